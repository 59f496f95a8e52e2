"""HTTP/1.1 with bounds: uvicorn's protocol over httptools, which counts what comes in and is looked at every second.

httptools itself keeps whatever is sent until a header ends, and a request has no end unless its client sends one.
"""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from timestore_assets.service.front import connections
from timestore_assets.service.front.connections import ConnectionRefusal, Keeper

STALLED_SECONDS = 60.0
"""How long a client may take none of what waits for it before it counts as gone."""
LINGER_SECONDS = 30.0
"""How long what follows an answer that came before its request's end is read and thrown away, so that the answer is read."""
MOST_PIPELINED = 512
"""Requests that wait behind the one that is answered. Each is taken apart when it comes, at a hundred times its size, and one
read can bring thousands.
"""
ALWAYS = frozenset({"/health", "/ready", "/metrics"})
"""What is answered on connections beyond the bound."""


class _RefusedError(Exception):
    """Ends the parsing of a request."""


class BoundedProtocol(HttpToolsProtocol):
    """A connection. What it waits for is the rest of a head, more of a body, or a next request; else it works."""

    def __init__(self, *arguments: Any, keeper: Keeper, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._keeper, self._bounds = keeper, keeper.bounds
        self._most_head = keeper.bounds.header_bytes + keeper.bounds.url_bytes
        self._in_head = self._in_body = self._is_deaf = self._advanced = False
        self._refusal: ConnectionRefusal | None = None
        # of the head at hand, and since it began or the last byte of a body came
        self._header_bytes = self._headers = self._silent_bytes = 0
        self._since = self._looked = 0.0
        # of the body at hand; seconds in which it could have come
        self._body_bytes, self._body_seconds = 0, 0.0
        self._unwritten, self._unwritten_since = 0, 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's own
        super().connection_made(transport)
        self._since = self._looked = self.loop.time()
        self._in_head = True
        if not self._keeper.admit(self, self.loop):
            self._keeper.refused["connections"] += 1
            self.app = _only_always(self.app)
            if self._keeper.is_full:
                transport.abort()
                return
        self._keeper.waits_for_head(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._keeper.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_deaf or self.transport.is_closing():
            return
        if not self._in_head and not self._in_body:
            self._begin_head()
        if self._in_head and self._silent_bytes + len(data) > self._most_head and not _may_end_head(data):
            self._refuse(connections.large_head(self._bounds.header_bytes, self._bounds.headers))
            return
        self._advanced = False
        super().data_received(data)
        if self._advanced:
            self._silent_bytes = 0
        else:
            self._silent_bytes += len(data)
            if self._silent_bytes > self._bounds.header_bytes:
                self._refuse(connections.large_head(self._bounds.header_bytes, self._bounds.headers))
        if self._in_body:
            self._since = self.loop.time()
            self._keeper.waits_for_body(self)

    # what the parser finds

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._begin_head()
        self._header_bytes = self._headers = 0
        self._advanced = True
        if len(self.pipeline) >= MOST_PIPELINED:
            self._refusal = connections.PIPELINED
            raise _RefusedError

    def on_url(self, url: bytes) -> None:
        if len(self.url) + len(url) > self._bounds.url_bytes:
            self._refusal = connections.long_url(self._bounds.url_bytes)
            raise _RefusedError
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        # also called for what follows a chunked body
        self._headers += 1
        self._header_bytes += len(name) + len(value) + 4
        if self._headers > self._bounds.headers or self._header_bytes > self._bounds.header_bytes:
            self._refusal = connections.large_head(self._bounds.header_bytes, self._bounds.headers)
            raise _RefusedError
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._in_head, self._in_body = False, True
        self._since = self.loop.time()
        self._body_bytes, self._body_seconds = 0, 0.0
        self._advanced = True

    def on_body(self, body: bytes) -> None:
        self._advanced = True
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_body = False
        self._advanced = True
        self._keeper.works(self)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._in_body:
            self._since = self.loop.time()
        elif not self._in_head and self.cycle.response_complete:
            self._keeper.waits_for_request(self)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - how uvicorn says it
        """Whatever ended the parsing, in the form of all errors."""
        self._refuse(self._refusal or connections.NO_REQUEST)

    # what the keeper asks

    def look(self, now: float) -> None:
        """Close the connection if it has waited too long. `now`: the loop's time."""
        passed, self._looked = now - self._looked, now
        if self._has_stalled(now):
            self.transport.abort()
        elif self.transport.is_closing():
            return
        elif self._is_answered_early():
            if now - self._since > LINGER_SECONDS:
                self.transport.close()
        elif self.flow.read_paused or self._is_held_back():
            # it is the service that does not read
            self._since = now
        elif self._in_head and now - self._since > self._bounds.head_seconds:
            self._refuse(connections.LATE_HEAD)
        elif self._in_body:
            self._body_seconds += passed
            if now - self._since > self._bounds.body_seconds or self._is_slow():
                self._refuse(connections.LATE_BODY)

    def give_way(self) -> None:
        """Close the connection for another one."""
        if self._in_body and not self._is_answered_early():
            self._refuse(connections.LATE_BODY)
        else:
            self.transport.abort()

    def _begin_head(self) -> None:
        self._in_head, self._in_body = True, False
        self._since = self.loop.time()
        self._keeper.waits_for_head(self)

    def _is_answered_early(self) -> bool:
        return self._in_body and self.cycle is not None and self.cycle.response_complete

    def _is_held_back(self) -> bool:
        """Whether the client waits to be told that its body is wanted."""
        return self._in_body and self.cycle is not None and self.cycle.waiting_for_100_continue

    def _is_slow(self) -> bool:
        counted = self._body_seconds - self._bounds.body_seconds
        return counted > 0 and self._body_bytes < self._bounds.body_rate * counted

    def _has_stalled(self, now: float) -> bool:
        """Whether an answer waits and nothing of it has been taken for too long."""
        size = self.transport.get_write_buffer_size()
        if size == 0 or size != self._unwritten:
            self._unwritten, self._unwritten_since = size, now
        return size > 0 and now - self._unwritten_since > STALLED_SECONDS

    def _refuse(self, why: ConnectionRefusal) -> None:
        """Answer if there is nothing that is being answered, and close."""
        if self._is_deaf or self.transport.is_closing():
            return
        self._keeper.refused[why.reason] += 1
        self._is_deaf = True
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            if self._in_head and (why is connections.LATE_HEAD or self._was_silent()):
                # who never says what is wanted waits for no answer
                self.transport.close()
                return
        elif self._in_head:
            # an earlier request is being answered, which goes on; nothing comes after it
            cycle.keep_alive = False
            return
        else:
            cycle.disconnected = True
            cycle.message_event.set()
            if cycle.response_started:
                self.transport.close()
                return
        self.transport.write(why.to_bytes())
        self.transport.close()

    def _was_silent(self) -> bool:
        """Whether nothing has come at all that could be answered."""
        return self._silent_bytes == 0 and not self._headers and self.headers is None


def _may_end_head(data: bytes) -> bool:
    """Whether a head can end here, also one whose last line break began before."""
    return b"\r\n\r\n" in data or b"\n" in data[:3]


def _only_always(app: ASGIApp) -> ASGIApp:
    """An application that answers who asks whether it is alive, and nobody else."""

    async def answering(scope: Scope, receive: Receive, send: Send) -> None:
        chosen = app if scope["type"] == "http" and scope["path"] in ALWAYS else connections.FULL
        await chosen(scope, receive, send)

    return answering
