"""Statements: what a SELECT would give, and its rows as Flight carries them.

Describing costs a process (some 55 ms), and drivers ask for it up to twice before each run, so descriptions are kept.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import date, datetime
from functools import partial
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.types as pt
from anyio import to_thread
from cachetools import LRUCache

from timestore_assets.model.errors import TimestoreError
from timestore_assets.querying.sql.sandbox import Description, check
from timestore_assets.service.answers.answer_formats import Format
from timestore_assets.service.answers.computation import Answered, Computation, Interruption
from timestore_assets.service.flight.calls import Call, StoppedError, UnsupportedError
from timestore_assets.service.flight.flight_data import batch_data, schema_data
from timestore_assets.service.flight.handles import Handle
from timestore_assets.service.sql.sql_route import ReadableDatasets, asking, readable, seconds_for
from timestore_assets.service.state import Service

T = TypeVar("T")
_KEPT = 256
_KEPT_TEXT = 10_000
"""Characters of a text whose description is kept."""
_INT32 = 1 << 31


class Statements:
    """Describes and runs statements for callers. Belongs to one event loop."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._known: LRUCache[Any, tuple[Description, Mapping[str, tuple[int, int]]]] = LRUCache(_KEPT)
        self._lock = threading.Lock()
        self._running: dict[tuple[str, bytes], _Running] = {}

    async def described(self, call: Call, text: str, values: Mapping[str, Any] | None) -> Description:
        """What a statement would give; errors as `sandbox.check`. `values`: None while they are not known."""
        datasets = readable(self._service, call.caller)
        found = await to_thread.run_sync(self._look, text, values, datasets)
        if found is None:
            seconds = seconds_for(self._service, call.seconds_left)
            stop = Interruption(seconds)
            work = partial(self._describe, text, values, datasets, seconds, stop)
            async with self._service.gate.entered(call.caller.name):
                found = await self._in_thread(work, stop.fire)
        return found

    def _look(self, text: str, values: Mapping[str, Any] | None, datasets: ReadableDatasets) -> Description | None:
        """What is known, if the caller may read what it is about, and nothing of that has changed."""
        with self._lock:
            found = self._known.get(_key(text, values))
        if found is None or not all(name in datasets for name in found[1]):
            return None
        return found[0] if all(_schema_of(datasets, name) == schema for name, schema in found[1].items()) else None

    def _describe(
        self, text: str, values: Mapping[str, Any] | None, datasets: ReadableDatasets, seconds: float, stop: Interruption
    ) -> Description:
        # many may have waited for their turn to ask the same
        known = self._look(text, values, datasets)
        if known is not None:
            return known
        service = self._service
        found = check(
            service.warehouse.querier,
            text,
            datasets,
            parameters=values,
            bound_only=True,
            timeout=seconds,
            began=stop.watch,
            room=service.workers.room,
        )
        if len(text) <= _KEPT_TEXT:
            schemas = {name: _schema_of(datasets, name) for name in found.datasets}
            with self._lock:
                self._known[_key(text, values)] = found, schemas
                if not found.samples:
                    # one without parameters is the same before and after it is bound
                    self._known[_key(text, None)] = self._known[_key(text, {})] = found, schemas
        return found

    async def stream(self, call: Call, handle: Handle) -> None:
        """Run a statement and send its rows; errors as `run_sql`."""
        service = self._service
        seconds = seconds_for(service, call.seconds_left)
        ask = asking(service, call.caller, handle.text, parameters=handle.values(), seconds=seconds)
        work = _FlightComputation(ask, seconds=seconds, done=partial(self._done, call), zoneless=zoneless(call))
        with self._noted(call, handle, work.interruption.fire) as running:
            try:
                async with service.gate.entered(call.caller.name):
                    await self._sent(call, work)
            except TimestoreError:
                if running.cancelled:
                    raise StoppedError("the statement was cancelled by its client") from None
                raise

    async def _sent(self, call: Call, work: Computation) -> None:
        fire = work.interruption.fire
        try:
            await self._in_thread(work.start, fire)
            while (piece := await self._in_thread(work.next_piece, fire)) is not None:
                await call.write(piece)
        finally:
            await self._in_thread(work.close, fire)

    def _done(self, call: Call, seconds: float, rows: int) -> None:
        call.rows = rows
        self._service.metrics.observe_query(dataset="", kind="flight", seconds=seconds, rows=rows)

    @contextmanager
    def _noted(self, call: Call, handle: Handle, fire: Callable[[], None]) -> Iterator[_Running]:
        """While a statement runs, who runs it may cancel it."""
        key, running = (call.caller.name, handle.nonce), _Running(fire)
        self._running[key] = running
        try:
            yield running
        finally:
            if self._running.get(key) is running:
                del self._running[key]

    def cancel(self, call: Call, handle: Handle) -> bool:
        """Stop a statement of the caller's; whether it was running."""
        running = self._running.get((call.caller.name, handle.nonce))
        if running is not None:
            running.cancelled = True
            running.fire()
        return running is not None

    async def _in_thread(self, work: Callable[[], T], stop: Callable[[], None]) -> T:
        """Do what blocks, for somebody who has entered the gate; when the call ends it is stopped, and waited for."""
        task = asyncio.ensure_future(self._service.gate.in_thread(work))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            stop()
            while not task.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait({task})
            if not task.cancelled():
                task.exception()  # nobody waits for what it says
            raise


class _Running:
    def __init__(self, fire: Callable[[], None]) -> None:
        self.fire, self.cancelled = fire, False


class _FlightComputation(Computation):
    """An answer as `FlightData`: its schema, then batches cut by bytes."""

    def __init__(
        self, ask: Callable[[Interruption], Answered], *, seconds: float, done: Callable[[float, int], None], zoneless: bool
    ) -> None:
        super().__init__(ask, Format.ARROW, seconds=seconds, done=done)
        self._zoneless = zoneless

    def rendered(self, answered: Answered, batches: Iterator[pa.RecordBatch]) -> Iterator[bytes]:
        """See `Computation`."""
        schema = without_zones(answered.schema) if self._zoneless else answered.schema
        yield schema_data(schema)
        for batch in batches:
            yield from batch_data(batch.cast(schema) if self._zoneless else batch)


def zoneless(call: Call) -> bool:
    """Whether times are to be given naive and in UTC: JDBC's driver has no `getObject` for zoned ones."""
    return call.headers.get("timestore-times", "").strip().casefold() == "zoneless"


def without_zones(schema: pa.Schema) -> pa.Schema:
    return pa.schema(
        [field.with_type(pa.timestamp(field.type.unit)) if pt.is_timestamp(field.type) else field for field in schema],
        schema.metadata,
    )


def refuse_transaction(message: Any) -> None:
    """UnsupportedError when a statement is to be part of a transaction."""
    if message.HasField("transaction_id"):
        raise UnsupportedError("there are no transactions here; turn autocommit on")


def _schema_of(datasets: ReadableDatasets, name: str) -> tuple[int, int]:
    """Which dataset a name stands for, since another may be declared under the name of one that was dropped, and its schema."""
    record = datasets[name][1]
    return record.id, record.schema.version


def _key(text: str, values: Mapping[str, Any] | None) -> Any:
    """What decides the types of an answer: the text, and the types that DuckDB gives the values."""
    return text, None if values is None else tuple((name, _kind(value)) for name, value in values.items())


def _kind(value: Any) -> Any:
    if isinstance(value, bool) or value is None or isinstance(value, float | str | datetime | date):
        return type(value)
    if isinstance(value, int):
        return int, -_INT32 <= value < _INT32 or value
    return type(value), value
