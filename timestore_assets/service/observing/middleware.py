"""Around every request: an id and a trace, a metric, a line in the log, and an answer also where nobody foresaw the error.

Plain ASGI: bodies pass in both directions as they come, nothing is buffered.
"""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import dataclass, field
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from timestore_assets.service.observing.metrics import Metrics
from timestore_assets.service.problems import answer, unexpected
from timestore_assets.service.service_log import Log
from timestore_assets.tracing import OpenSpan, TraceContext, span

CLIENT_GONE = 499
"""How logs and metrics name a request whose client left before it was answered, after nginx."""
UNMATCHED = "unmatched"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

# https://www.w3.org/TR/trace-context/#traceparent-header
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(kw_only=True, slots=True)
class _Exchange:
    """One request and what is known of its answer."""

    id: str
    place: TraceContext
    method: str
    began: float = field(default_factory=time.perf_counter)
    status: int = 0
    """0 until it begins."""


class Observed:
    """An application whose requests are seen."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, log: Log) -> None:
        self._app, self._metrics, self._log = app, metrics, log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        came_from = parent_of(headers.get("traceparent", ""))
        method = scope["method"] if scope["method"] in METHODS else "other"
        with span(method, parent=came_from, kind="server", http_request_method=method) as noting:
            place = noting.place or untraced(came_from)
            exchange = _Exchange(id=offered_id(headers) or place.trace_id, place=place, method=method)
            with self._metrics.in_flight():
                try:
                    await self._answered(exchange, scope, receive, send)
                finally:
                    self._finished(exchange, scope, noting)

    async def _answered(self, exchange: _Exchange, scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                _identify(MutableHeaders(scope=message), exchange)
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except ClientDisconnect:
            exchange.status = CLIENT_GONE
        except Exception as error:  # the boundary of a request: whatever it was is written down and answered
            self._log.failure("request_failed", error, request_id=exchange.id, trace_id=exchange.place.trace_id)
            if not exchange.status:
                await answer(unexpected(exchange.id))(scope, receive, sending)
            # an answer that has begun is left unfinished, so that its client can't take it for a whole one
            exchange.status = HTTPStatus.INTERNAL_SERVER_ERROR

    def _finished(self, exchange: _Exchange, scope: Scope, noting: OpenSpan) -> None:
        seconds = time.perf_counter() - exchange.began
        route, status = _route(scope), exchange.status or CLIENT_GONE
        self._metrics.observe_request(route=route, method=exchange.method, status=status, seconds=seconds)
        noting.rename(f"{exchange.method} {route}")
        noting.note(http_route=route, http_response_status_code=status)
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            noting.fail(str(status))
        caller = scope.get("state", {}).get("caller")
        self._log.request(
            method=exchange.method,
            route=route,
            status=status,
            seconds=round(seconds, 6),
            caller=caller.name if caller is not None else None,
            request_id=exchange.id,
            trace_id=exchange.place.trace_id,
        )


def parent_of(traceparent: str) -> TraceContext | None:
    """The place in a trace that such a header names, None when it names none."""
    found = _TRACEPARENT.fullmatch(traceparent.strip())
    if found is None:
        return None
    return TraceContext(trace_id=found[1], span_id=found[2], sampled=bool(int(found[3], 16) & 1))


def untraced(came_from: TraceContext | None) -> TraceContext:
    """A place for a request that nothing traces, in its client's trace if it has one."""
    trace_id = came_from.trace_id if came_from else secrets.token_hex(16)
    return TraceContext(trace_id=trace_id, span_id=secrets.token_hex(8), sampled=False)


def offered_id(headers: Headers) -> str | None:
    """The id that a client gave its request, if it can stand in a log."""
    offered = headers.get("x-request-id", "")
    return offered if _REQUEST_ID.fullmatch(offered) else None


def _identify(headers: MutableHeaders, exchange: _Exchange) -> None:
    place = exchange.place
    headers["X-Request-Id"] = exchange.id
    headers["traceresponse"] = f"00-{place.trace_id}-{place.span_id}-{'01' if place.sampled else '00'}"
    headers["X-Content-Type-Options"] = "nosniff"


def _route(scope: Scope) -> str:
    """The template of the route, so that names of datasets and stray paths don't become labels."""
    route = scope.get("route")
    return getattr(route, "path_format", None) or getattr(route, "path", None) or UNMATCHED
