"""Spans for OpenTelemetry. Where no collector is set, nothing is imported and `span` costs about a microsecond."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from timestore_assets.extras import extra

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span, SpanContext, Tracer

Value = str | bool | int | float
Kind = Literal["internal", "server"]

SERVICE_NAME = "timestore"
EXPORT_SECONDS = 2.0
"""How long one export may take; a collector that is away must not hold up the end of the process."""
_PATH = "/v1/traces"

_tracer: Tracer | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class TraceContext:
    """Where a trace has come to: what other threads and processes need to go on from there, as W3C writes it.

    `trace_id`: 32 hex digits. `span_id`: 16. `sampled`: whether the trace is kept.
    """

    trace_id: str
    span_id: str
    sampled: bool = True


class OpenSpan:
    """A span while it is open."""

    __slots__ = ("_span",)

    def __init__(self, span: Span | None = None) -> None:
        self._span = span

    def note(self, **attributes: Value) -> None:
        """Say something about what is done here; underscores in names become dots."""
        if self._span is not None:
            self._span.set_attributes(_named(attributes))

    def rename(self, name: str) -> None:
        if self._span is not None:
            self._span.update_name(name)

    def fail(self, reason: str) -> None:
        """What is done here has failed, though nothing was raised."""
        if self._span is not None:
            from opentelemetry.trace import StatusCode

            self._span.set_status(StatusCode.ERROR, reason)

    @property
    def place(self) -> TraceContext | None:
        """None where nothing is traced."""
        return None if self._span is None else _place(self._span.get_span_context())


_SILENT = OpenSpan()


@contextmanager
def span(
    name: str,
    *,
    parent: TraceContext | None = None,
    links: Sequence[TraceContext] = (),
    kind: Kind = "internal",
    **attributes: Value,
) -> Iterator[OpenSpan]:
    """One step of what is traced; steps inside it, in this thread or task, become its children.

    Args:
        parent: what it is a step of, when that is in another thread or process. links: other traces that it serves too.
        attributes: as in `OpenSpan.note`. Names, counts, sizes; never a payload or a secret.
    """
    if _tracer is None:
        yield _SILENT
        return
    from opentelemetry.trace import Link, SpanKind, StatusCode

    opened = _tracer.start_as_current_span(
        name,
        context=None if parent is None else _context(parent),
        kind=SpanKind.SERVER if kind == "server" else SpanKind.INTERNAL,
        links=[Link(_remote(one)) for one in links],
        attributes=_named(attributes),
        record_exception=False,  # a message may repeat what was sent to us
        set_status_on_exception=False,
    )
    with opened as found:
        try:
            yield OpenSpan(found)
        except Exception as error:
            found.set_status(StatusCode.ERROR, type(error).__name__)
            raise


def here() -> TraceContext | None:
    """Where the trace of this thread or task has come to, to be handed to another; None where nothing is traced."""
    if _tracer is None:
        return None
    from opentelemetry.trace import get_current_span

    context = get_current_span().get_span_context()
    return _place(context) if context.is_valid else None


@contextmanager
def tracing(endpoint: str | None) -> Iterator[None]:
    """While entered, spans of this process go to a collector (OTLP over HTTP); with None nothing happens.

    Args:
        endpoint: the collector's address, as `http://localhost:4318`.

    Raises:
        MissingExtraError: the extra `tracing` is not installed.
    """
    if endpoint is None:
        yield
        return
    with extra("tracing"):
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    address = endpoint if endpoint.endswith(_PATH) else endpoint.rstrip("/") + _PATH
    provider = TracerProvider(resource=Resource.create({"service.name": SERVICE_NAME}), shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint=address, timeout=EXPORT_SECONDS)
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=500))
    with _using(provider.get_tracer(SERVICE_NAME)):
        try:
            yield
        finally:
            provider.shutdown()


@contextmanager
def _using(tracer: Tracer) -> Iterator[None]:
    global _tracer  # one a process, as its environment is
    before, _tracer = _tracer, tracer
    try:
        yield
    finally:
        _tracer = before


def _named(attributes: dict[str, Value]) -> dict[str, Value]:
    return {name.replace("_", "."): value for name, value in attributes.items()}


def _place(context: SpanContext) -> TraceContext:
    return TraceContext(
        trace_id=f"{context.trace_id:032x}", span_id=f"{context.span_id:016x}", sampled=bool(context.trace_flags.sampled)
    )


def _remote(place: TraceContext) -> SpanContext:
    from opentelemetry.trace import SpanContext, TraceFlags

    flags = TraceFlags(TraceFlags.SAMPLED if place.sampled else TraceFlags.DEFAULT)
    return SpanContext(int(place.trace_id, 16), int(place.span_id, 16), is_remote=True, trace_flags=flags)


def _context(place: TraceContext) -> Context:
    from opentelemetry.trace import NonRecordingSpan, set_span_in_context

    return set_span_in_context(NonRecordingSpan(_remote(place)))
