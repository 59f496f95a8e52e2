"""Around every call: who calls, an id and a trace, a metric, a line in the log, and an answer to errors that nobody foresaw.

A gRPC call is a request of HTTP/2, and is told to the rest of the service as one.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any
from urllib.parse import unquote

import grpc
from starlette.datastructures import Headers
from starlette.requests import Request

from timestore_assets.model.as_of import AsOfEach, parse_as_of_words
from timestore_assets.model.errors import InputError, TimestoreError
from timestore_assets.service.access.caller import Caller
from timestore_assets.service.answers.query_gate import LOCAL
from timestore_assets.service.error_redaction import ErrorRedaction
from timestore_assets.service.observing.middleware import offered_id, parent_of, untraced
from timestore_assets.service.problems import (
    Problem,
    ServiceError,
    TooLargeError,
    TooManyRequestsError,
    UnauthorizedError,
    told,
    unexpected,
)
from timestore_assets.service.state import Service
from timestore_assets.tracing import span

AS_OF = "timestore-as-of"
"""The header that says which versions a statement reads, as `--as-of` does, with commas between several."""
MOST_CALLS = 256
"""At a time; gRPC itself refuses more with RESOURCE_EXHAUSTED."""
SHARE = 64
"""Of them one caller has at most, so that the others find room."""
MESSAGE_BYTES = 2_000_000
"""Of what asks for something: a statement and its parameters are a quarter of it."""
FIRST_SECONDS = 10.0
"""How long a call may take to say what it wants."""
PATIENCE_SECONDS = 60.0
"""How long a client may take none of what waits for it before it counts as gone."""
_LONGEST_DETAIL = 2_000
"""Bytes: what is beyond gRPC's limit for headers would reach nobody."""
_CODES = {
    "time_limit": grpc.StatusCode.DEADLINE_EXCEEDED,
    "exists": grpc.StatusCode.ALREADY_EXISTS,
    "key_reused": grpc.StatusCode.ALREADY_EXISTS,
    "unknown_outcome": grpc.StatusCode.UNKNOWN,
    "cancelled": grpc.StatusCode.CANCELLED,
}
_STATUSES = {
    HTTPStatus.UNAUTHORIZED: grpc.StatusCode.UNAUTHENTICATED,
    HTTPStatus.FORBIDDEN: grpc.StatusCode.PERMISSION_DENIED,
    HTTPStatus.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    HTTPStatus.CONFLICT: grpc.StatusCode.ABORTED,
    HTTPStatus.GONE: grpc.StatusCode.NOT_FOUND,
    HTTPStatus.PRECONDITION_FAILED: grpc.StatusCode.FAILED_PRECONDITION,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: grpc.StatusCode.RESOURCE_EXHAUSTED,
    HTTPStatus.UNPROCESSABLE_ENTITY: grpc.StatusCode.INVALID_ARGUMENT,
    HTTPStatus.TOO_MANY_REQUESTS: grpc.StatusCode.RESOURCE_EXHAUSTED,
    HTTPStatus.NOT_IMPLEMENTED: grpc.StatusCode.UNIMPLEMENTED,
    HTTPStatus.SERVICE_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    HTTPStatus.INSUFFICIENT_STORAGE: grpc.StatusCode.RESOURCE_EXHAUSTED,
}


class UnsupportedError(ServiceError):
    """Something of the protocol that is not offered here."""

    status, code = HTTPStatus.NOT_IMPLEMENTED, "unsupported"


class StoppedError(ServiceError):
    """The client stopped its own statement, or took none of its answer for too long."""

    status, code = HTTPStatus.UNPROCESSABLE_ENTITY, "cancelled"


@dataclass(kw_only=True, slots=True)
class Call:
    """A call on its way. `command`: what it turned out to ask for, by its name in Flight SQL."""

    context: Any
    """gRPC's, of `grpc.aio`."""
    request: Request
    caller: Caller
    command: str = ""
    rows: int | None = None
    trailers: list[tuple[str, str]] = field(default_factory=list)
    """Go with the answer."""

    @property
    def headers(self) -> Headers:
        return self.request.headers

    @property
    def as_of(self) -> AsOfEach | None:
        """The versions that the call asks for, None for the newest ones.

        Raises:
            InputError: its header names none, or is there with several values: ADBC's driver goes on sending what an option was
                set to before, and a connection's beside a statement's, in no order that would tell which is meant.
        """
        given = list(dict.fromkeys(self.headers.getlist(AS_OF)))
        if len(given) > 1:
            shown = "; ".join(given)[:200]
            raise InputError(f"the header {AS_OF} is there with several values ({shown}); set it to '' before it is set anew")
        return parse_as_of_words([word.strip() for word in given[0].split(",")]) if given else None

    @property
    def seconds_left(self) -> float | None:
        """Until the client's deadline, None when it has none."""
        left: float | None = self.context.time_remaining()
        return left

    async def write(self, message: bytes) -> None:
        """Send a message of the answer, at the client's pace.

        Raises:
            StoppedError: it takes nothing for too long.
        """
        try:
            await asyncio.wait_for(self.context.write(message), PATIENCE_SECONDS)
        except TimeoutError:
            raise StoppedError(f"the answer was not read for {PATIENCE_SECONDS:.0f} seconds; ask again") from None


Handler = Callable[[Call, Any], Awaitable[bytes | None]] | Callable[[Call, Any], Awaitable[None]]
"""Gets what was sent, an iterator of messages. What it returns is the answer of a call that has a single one."""


def of_one_message(handler: Callable[[Call, bytes], Awaitable[Any]]) -> Handler:
    """A handler that gets the only message of a call.

    Raises (it):
        TooLargeError: the message is larger than any question is. InputError: there is none.
        StoppedError: it does not come.
    """

    async def answered(call: Call, sent: AsyncIterator[bytes]) -> Any:
        try:
            message = await asyncio.wait_for(anext(sent), FIRST_SECONDS)
        except StopAsyncIteration:
            raise InputError("the call ended without a message") from None
        except TimeoutError:
            raise StoppedError(f"nothing was sent for {FIRST_SECONDS:.0f} seconds; send it again") from None
        if len(message) > MESSAGE_BYTES:
            raise TooLargeError(f"a question has at most {MESSAGE_BYTES:,} bytes, here are {len(message):,}")
        return await handler(call, message)

    return answered


class Calls:
    """`port`: on which the calls come in."""

    def __init__(self, service: Service) -> None:
        self._service, self._redaction = service, ErrorRedaction.of(service.warehouse)
        self._inside: Counter[str] = Counter()
        self.port = 0

    def around(self, method: str, handler: Handler) -> Callable[[Any, Any], Awaitable[bytes | None]]:
        """What gRPC calls for a method."""

        async def answered(sent: Any, context: Any) -> bytes | None:
            request = self._request(method, context)
            came_from = parent_of(request.headers.get("traceparent", ""))
            began, code, trailers = time.perf_counter(), grpc.StatusCode.OK, list[tuple[str, str]]()
            nobody = Caller(name="", scopes=frozenset(), known=self._service.access.scopes)
            call = Call(context=context, request=request, caller=nobody)
            with (
                span(method, parent=came_from, kind="server", rpc_system="grpc", rpc_method=method) as noting,
                self._service.metrics.call_in_flight(),
            ):
                place = noting.place or untraced(came_from)
                request_id = offered_id(request.headers) or place.trace_id
                try:
                    call.caller = await self._service.caller(request)
                    with self._shared(call.caller.name):
                        answer = await handler(call, sent)
                    context.set_trailing_metadata(tuple(call.trailers))
                    return answer
                except asyncio.CancelledError:
                    code = grpc.StatusCode.CANCELLED
                    raise
                except TimestoreError as error:
                    problem, headers = told(error, log=self._service.log, redaction=self._redaction)
                    code, detail, trailers = _status(problem, headers)
                except Exception as error:  # the boundary of a call: whatever it was is written down and answered
                    self._service.log.failure("call_failed", error, request_id=request_id, trace_id=place.trace_id)
                    code, detail, trailers = _status(unexpected(request_id), {})
                finally:
                    seconds = time.perf_counter() - began
                    noting.note(rpc_grpc_status_code=code.value[0])
                    self._service.metrics.observe_call(method=method, command=call.command, code=code.name, seconds=seconds)
                    self._service.log.request(
                        method=method,
                        command=call.command or None,
                        status=code.name,
                        rows=call.rows,
                        seconds=round(seconds, 6),
                        caller=call.caller.name or None,
                        request_id=request_id,
                        trace_id=place.trace_id,
                    )
            if not context.cancelled():
                await context.abort(code, detail, tuple(trailers + call.trailers))
            return None

        return answered

    @contextmanager
    def _shared(self, caller: str) -> Iterator[None]:
        """While a call of this caller goes on; TooManyRequestsError when that are too many."""
        if caller != LOCAL and self._inside[caller] >= SHARE:
            raise TooManyRequestsError(f"{SHARE} of your calls are under way, which is the most; call again in a moment")
        self._inside[caller] += 1
        try:
            yield
        finally:
            self._inside[caller] -= 1
            if not self._inside[caller]:
                del self._inside[caller]

    def _request(self, method: str, context: Any) -> Request:
        client = _place(context.peer())
        headers = [(name, value) for name, value in context.invocation_metadata() or () if isinstance(value, str)]
        # no page of another site speaks gRPC, whose authority the server is not told
        found = [("host", "localhost"), *(_as_bearer(name, value) for name, value in headers if name != "host")]
        return Request(
            {
                "type": "http",
                "http_version": "2",
                "method": "POST",
                "path": f"/{method}",
                "query_string": b"",
                "headers": [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in found],
                "client": client,
                "server": None if client is None else (_own_address(client[0]), self.port),
                "state": {},
            }
        )


def _status(problem: Problem, headers: dict[str, str]) -> tuple[grpc.StatusCode, str, list[tuple[str, str]]]:
    code = _CODES.get(problem.code) or _STATUSES.get(HTTPStatus(problem.status), grpc.StatusCode.INTERNAL)
    trailers = [("timestore-code", problem.code)]
    if after := headers.get("Retry-After"):
        trailers.append(("retry-after", after))
    # each byte beyond ASCII becomes three
    return code, problem.detail.encode()[:_LONGEST_DETAIL].decode(errors="ignore"), trailers


def _place(peer: str) -> tuple[str, int] | None:
    """Address and port of `ipv4:127.0.0.1:4711` or `ipv6:%5B::1%5D:4711`; None for anything else."""
    kind, _, rest = unquote(peer).partition(":")
    host, _, port = rest.rpartition(":")
    return (host.strip("[]"), int(port)) if kind in ("ipv4", "ipv6") and port.isdigit() else None


def _own_address(client: str) -> str:
    """Where a client of this machine has reached us. Others are never told apart by it."""
    return "::1" if ip_address(client.partition("%")[0]).version == 6 else "127.0.0.1"


def _as_bearer(name: str, value: str) -> tuple[str, str]:
    """A header as it is; of `Authorization: Basic` the password is the token."""
    scheme, _, credentials = value.partition(" ")
    if name != "authorization" or scheme.casefold() != "basic":
        return name, value
    try:
        # Go's driver sends no padding
        plain = base64.b64decode(credentials.strip() + "=" * (-len(credentials.strip()) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError):
        return name, value
    return name, f"Bearer {plain.partition(':')[2]}"


async def handshake(call: Call, _: Any) -> None:
    """Answer who has shown good credentials with the same as a bearer token, which is all that later calls need.

    Raises:
        UnauthorizedError: it has shown none, and the service has tokens; as `AccessControl.identify`, before this is reached.
    """
    given = call.headers.get("authorization")
    if given is not None:
        if not given.isascii():
            raise UnauthorizedError("these credentials are not valid here")
        await call.context.send_initial_metadata((("authorization", given),))
