"""Connections of a service: what each may send before a request is known, how long it may take, and which of them make room.

Before a request is known there is none that the application could answer, so what is said to who goes beyond is said here. All
connections are looked at every second, and the longest waiting ones closed where there are too many.
"""

from __future__ import annotations

import asyncio
import resource
from collections import Counter
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol, Self

from starlette.types import Receive, Scope, Send

from timestore_assets.service.problems import Problem, answer

if TYPE_CHECKING:
    from timestore_assets.settings import Settings

_FEWEST = 16
_SHARE = 2
"""Of the descriptors that a process may have one in so many can be a connection; files, pipes and the catalog need the others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ConnectionLimits:
    """What a connection may send and how long it may take."""

    header_bytes: int
    headers: int
    url_bytes: int
    head_seconds: float
    """For the request line and headers."""
    body_seconds: float
    """Without a byte of a body, or below `body_rate`."""
    body_rate: int
    """Bytes a second."""
    idle_seconds: int
    """Between two requests."""
    connections: int
    """At a time."""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Those of the settings."""
        return cls(
            header_bytes=settings.http_header_bytes,
            headers=settings.http_headers,
            url_bytes=settings.http_url_bytes,
            head_seconds=settings.http_head_seconds,
            body_seconds=settings.http_body_seconds,
            body_rate=settings.http_body_rate,
            idle_seconds=settings.http_idle_seconds,
            connections=settings.http_connections,
        )

    def connections_now(self) -> int:
        """How many connections may be open, no more than this process has descriptors for; the limit can be changed under it."""
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if descriptors == resource.RLIM_INFINITY:
            return self.connections
        return min(self.connections, max(_FEWEST, descriptors // _SHARE))


def raise_descriptors(connections: int) -> None:
    """Let this process have the descriptors that so many connections take, as far as the system allows it to ask for them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _SHARE * connections
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@dataclass(frozen=True, kw_only=True, slots=True)
class ConnectionRefusal:
    """An answer after which the connection is closed."""

    status: HTTPStatus
    reason: str
    """How figures name it."""
    detail: str

    @cache  # noqa: B019 - there are but a few
    def to_bytes(self) -> bytes:
        """The whole answer as it goes over the wire."""
        response = answer(self._problem())
        head = [f"HTTP/1.1 {self.status.value} {self.status.phrase}".encode()]
        head += [name + b": " + value for name, value in response.raw_headers]
        return b"\r\n".join([*head, b"connection: close", b"", bytes(response.body)])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The same as an application."""
        await answer(self._problem(), {"Connection": "close", "Retry-After": "1"})(scope, receive, send)

    def _problem(self) -> Problem:
        return Problem(status=self.status.value, title=self.status.phrase, code=self.reason, detail=self.detail)


NO_REQUEST = ConnectionRefusal(status=HTTPStatus.BAD_REQUEST, reason="bad_request", detail="this is no HTTP/1.1 request")
LATE_HEAD = ConnectionRefusal(
    status=HTTPStatus.REQUEST_TIMEOUT, reason="head_timeout", detail="the headers of the request took too long to arrive"
)
LATE_BODY = ConnectionRefusal(
    status=HTTPStatus.REQUEST_TIMEOUT, reason="body_timeout", detail="the body of the request arrives too slowly; send it again"
)
PIPELINED = ConnectionRefusal(
    status=HTTPStatus.TOO_MANY_REQUESTS,
    reason="pipelined",
    detail="too many requests were sent before their turn; wait for answers",
)
FULL = ConnectionRefusal(
    status=HTTPStatus.SERVICE_UNAVAILABLE, reason="unavailable", detail="too many connections are open; ask again in a moment"
)


def long_url(most: int) -> ConnectionRefusal:
    return ConnectionRefusal(
        status=HTTPStatus.REQUEST_URI_TOO_LONG, reason="uri_too_long", detail=f"the address is longer than {most:,} bytes"
    )


def large_head(most: int, number: int) -> ConnectionRefusal:
    return ConnectionRefusal(
        status=HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        reason="headers_too_large",
        detail=f"the headers are longer than {most:,} bytes, or more than {number:,}",
    )


RESERVE = 32
"""Connections beyond the bound that are taken for the sake of who asks whether the service is alive."""
_LOOK_SECONDS = 1.0


class KeptConnection(Protocol):
    """What the keeper asks of a connection."""

    def look(self, now: float) -> None:
        """Close it if it has waited too long. `now`: the loop's time."""

    def give_way(self) -> None:
        """Close it for another one."""


class Keeper:
    """Belongs to one event loop. `refused`: how many requests were cut off, by reason.

    Connections that wait stand in the order in which they began to: for the rest of a head, for more of a body, for a request.
    """

    def __init__(self, bounds: ConnectionLimits) -> None:
        self.bounds = bounds
        # made now: while the first one is being made, its sender goes on sending
        for known in (large_head(bounds.header_bytes, bounds.headers), long_url(bounds.url_bytes)):
            known.to_bytes()
        self.refused: Counter[str] = Counter()
        self._all: set[KeptConnection] = set()
        self._heads: dict[KeptConnection, None] = {}
        self._bodies: dict[KeptConnection, None] = {}
        self._idle: dict[KeptConnection, None] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def __len__(self) -> int:
        return len(self._all)

    def admit(self, connection: KeptConnection, loop: asyncio.AbstractEventLoop) -> bool:
        """Take in a new connection; whether it is within the bound, if need be in place of one that has waited longest."""
        self._all.add(connection)
        if self._loop is None:
            self._loop = loop
            loop.call_later(_LOOK_SECONDS, self._look)
        if len(self._all) <= self.bounds.connections_now():
            return True
        for waiting in (self._heads, self._bodies, self._idle):
            oldest = next(iter(waiting), None)
            if oldest is not None:
                self.refused["connections"] += 1
                self.leave(oldest)
                oldest.give_way()
                return True
        return False

    @property
    def is_full(self) -> bool:
        """Whether not even the reserve has room."""
        return len(self._all) > self.bounds.connections_now() + RESERVE

    def leave(self, connection: KeptConnection) -> None:
        self.works(connection)
        self._all.discard(connection)

    def waits_for_head(self, connection: KeptConnection) -> None:
        self.works(connection)
        self._heads[connection] = None

    def waits_for_body(self, connection: KeptConnection) -> None:
        self.works(connection)
        self._bodies[connection] = None

    def waits_for_request(self, connection: KeptConnection) -> None:
        self.works(connection)
        self._idle[connection] = None

    def works(self, connection: KeptConnection) -> None:
        """It waits for nothing: its request is being answered."""
        self._heads.pop(connection, None)
        self._bodies.pop(connection, None)
        self._idle.pop(connection, None)

    def _look(self) -> None:
        loop, self._loop = self._loop, None
        if loop is None or not self._all:
            return
        now = loop.time()
        for one in list(self._all):
            one.look(now)
        self._loop = loop
        loop.call_later(_LOOK_SECONDS, self._look)
