"""An HTTP proxy on loopback in front of an object store, as rough as a test wants it while it runs."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

from timestore_assets_tests.support.object_servers import ObjectServer
from timestore_assets_tests.support.rough_store_listing import LaggingList
from timestore_assets_tests.support.rough_store_wire import Exchange

CODES = {400: "ExpiredToken", 403: "AccessDenied", 429: "TooManyRequests", 500: "InternalError", 503: "SlowDown"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """An answer instead of the store's: XML with this code, as S3 and Azure shape it."""

    status: int
    code: str

    def body(self) -> bytes:
        text = f"<Code>{self.code}</Code><Message>as the test wants it</Message><RequestId>rough</RequestId>"
        return f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{text}</Error>'.encode()


@dataclass(frozen=True, kw_only=True, slots=True)
class Cut:
    """The connection is reset after this many bytes of the body of an answer, or of an upload."""

    after: int
    upload: bool


@dataclass
class _Turn:
    fault: Refusal | Cut
    left: int
    methods: tuple[str, ...]
    matching: str


@dataclass
class RoughStore:
    """The proxy. `server`: the store behind it, with the proxy's address; clients use that one.

    Faults befall requests in the order in which they were set; each is used up by the requests that it befalls.
    `delay_seconds` goes before each request. `requests`, `sent` and `received` count requests and bytes of bodies by
    method, also of those that were refused; `seen` has method and target (path and query) of each.
    """

    server: ObjectServer
    behind: str
    delay_seconds: float = 0.0
    requests: Counter[str] = field(default_factory=Counter)
    sent: Counter[str] = field(default_factory=Counter)
    received: Counter[str] = field(default_factory=Counter)
    seen: list[tuple[str, str]] = field(default_factory=list)
    befallen: int = 0
    lagging: LaggingList = field(default_factory=LaggingList)
    _turns: list[_Turn] = field(default_factory=list)
    _always: Refusal | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def refuse_next(
        self, number: int, status: int = 503, *, code: str = "", methods: tuple[str, ...] = (), matching: str = ""
    ) -> None:
        """Refuse the next requests (of these methods, whose target has this text in it) without asking the store."""
        self._add(Refusal(status=status, code=code or CODES[status]), number, methods, matching)

    def cut_answers(self, number: int, *, after: int = 0, methods: tuple[str, ...] = (), matching: str = "") -> None:
        """The store does what it is asked; its answer breaks off after so many bytes (0: not even a status line comes)."""
        self._add(Cut(after=after, upload=False), number, methods, matching)

    def cut_uploads(self, number: int, *, after: int, methods: tuple[str, ...] = ("PUT", "POST"), matching: str = "") -> None:
        """The store gets so many bytes of the body and no more."""
        self._add(Cut(after=after, upload=True), number, methods, matching)

    def refuse_all(self, status: int = 403, *, code: str = "") -> None:
        """Refuse everything from now on, until `heal`: 400 for an expired token, 403 for a wrong one."""
        self._always = Refusal(status=status, code=code or CODES[status])

    def lag_listings(self, listings: int) -> None:
        """Keys written from now on are missing from the next so many listings."""
        self.lagging.listings = listings

    def heal(self) -> None:
        """No faults any more; the counts stay."""
        with self._lock:
            self._turns, self._always, self.delay_seconds = [], None, 0.0
        self.lagging.forget()

    def forget_counts(self) -> None:
        """Count from nothing again."""
        with self._lock:
            for counter in (self.requests, self.sent, self.received):
                counter.clear()
            self.seen, self.befallen = [], 0

    def befalls(self, method: str, target: str) -> Refusal | Cut | None:
        """Count a request and tell what befalls it."""
        with self._lock:
            self.requests[method] += 1
            self.seen.append((method, target))
            turn = next((turn for turn in self._turns if _concerns(turn, method, target)), None)
            if turn is not None:
                turn.left -= 1
                self._turns = [one for one in self._turns if one.left]
            fault = self._always or (turn.fault if turn else None)
            self.befallen += fault is not None
            return fault

    def count(self, counter: Counter[str], method: str, size: int) -> None:
        with self._lock:
            counter[method] += size

    def key_of(self, target: str) -> str:
        """The object's name in a request's target; empty for the bucket itself."""
        parts = unquote(urlsplit(target).path).lstrip("/").split("/", 2 if self.server.kind == "azure" else 1)
        return parts[-1] if len(parts) == (3 if self.server.kind == "azure" else 2) else ""

    def _add(self, fault: Refusal | Cut, number: int, methods: tuple[str, ...], matching: str) -> None:
        with self._lock:
            self._turns.append(_Turn(fault, number, methods, matching))


def _concerns(turn: _Turn, method: str, target: str) -> bool:
    return (not turn.methods or method in turn.methods) and turn.matching in target


@contextmanager
def rough_store(server: ObjectServer) -> Iterator[RoughStore]:
    """A proxy in front of the server, until the block ends."""
    listener = ThreadingHTTPServer(("127.0.0.1", 0), Exchange)
    listener.daemon_threads = True
    address = f"http://127.0.0.1:{listener.server_address[1]}"
    store = RoughStore(server=server.through(address), behind=server.endpoint)
    listener.RequestHandlerClass = type("Exchange", (Exchange,), {"store": store})
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield store
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join(timeout=10)
