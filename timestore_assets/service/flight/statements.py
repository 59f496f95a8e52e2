"""Statements: what a SELECT would give, and its rows as Flight carries them.

Describing can cost a process (some 55 ms), and drivers ask for it up to twice before each run, so descriptions are kept.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.types as pt
from anyio import to_thread
from cachetools import LRUCache

from timestore_assets.model.errors import TimestoreError
from timestore_assets.querying.sql.datasets_as_of import DatasetsAsOf
from timestore_assets.querying.sql.sandbox import Description, check
from timestore_assets.service.answers.answer_formats import Format
from timestore_assets.service.answers.computation import Answered, Computation, Interruption
from timestore_assets.service.flight.calls import Call, StoppedError, UnsupportedError
from timestore_assets.service.flight.flight_data import batch_data, schema_data
from timestore_assets.service.flight.handles import Handle
from timestore_assets.service.sql.sql_route import asking, readable, seconds_for
from timestore_assets.service.state import Service

T = TypeVar("T")
_KEPT = 256
_KEPT_TEXT = 10_000
"""Characters of a text whose description is kept."""
_INT32 = 1 << 31


@dataclass(frozen=True, kw_only=True, slots=True)
class _Asked:
    """A statement that is to be described. `as_of`: the words that say which versions `datasets` are of."""

    text: str
    as_of: tuple[str, ...]
    values: Mapping[str, Any] | None
    datasets: DatasetsAsOf

    def key(self, values: Mapping[str, Any] | None) -> Any:
        """What decides the types of its answer: the text, which versions, and the types that DuckDB gives such values."""
        kinds = None if values is None else tuple((name, _kind(value)) for name, value in values.items())
        return self.text, self.as_of, kinds

    def schema_of(self, name: str) -> tuple[int, int]:
        """Which dataset a name stands for, since another may be declared under the name of one that was dropped, and its
        schema.
        """
        record = self.datasets[name][1]
        return record.id, record.schema.version


class Statements:
    """Describes and runs statements for callers. Belongs to one event loop."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._known: LRUCache[Any, tuple[Description, Mapping[str, tuple[int, int]]]] = LRUCache(_KEPT)
        self._lock = threading.Lock()
        self._running: dict[tuple[str, bytes], _Running] = {}

    async def described(self, call: Call, handle: Handle, values: Mapping[str, Any] | None) -> Description:
        """What a statement would give; errors as `sandbox.check`. `values`: None while they are not known."""
        service = self._service
        datasets = DatasetsAsOf(service.warehouse.querier, readable(service, call.caller), handle.versions())
        asked = _Asked(text=handle.text, as_of=handle.as_of, values=values, datasets=datasets)
        found = await to_thread.run_sync(self._look, asked)
        if found is None:
            seconds = seconds_for(service, call.seconds_left)
            stop = Interruption(seconds)
            async with service.gate.entered(call.caller.name):
                found = await self._in_thread(partial(self._describe, asked, seconds, stop), stop.fire)
        return found

    def _look(self, asked: _Asked) -> Description | None:
        """What is known, if the caller may read what it is about, and nothing of that has changed."""
        with self._lock:
            found = self._known.get(asked.key(asked.values))
        if found is None or not all(name in asked.datasets for name in found[1]):
            return None
        return found[0] if all(asked.schema_of(name) == schema for name, schema in found[1].items()) else None

    def _describe(self, asked: _Asked, seconds: float, stop: Interruption) -> Description:
        # many may have waited for their turn to ask the same
        known = self._look(asked)
        if known is not None:
            return known
        service = self._service
        found = check(
            service.warehouse.querier,
            asked.text,
            asked.datasets,
            parameters=asked.values,
            bound_only=True,
            timeout=seconds,
            began=stop.watch,
            room=service.workers.room,
        )
        if len(asked.text) <= _KEPT_TEXT:
            schemas = {name: asked.schema_of(name) for name in found.datasets}
            with self._lock:
                self._known[asked.key(asked.values)] = found, schemas
                if not found.samples:
                    # one without parameters is the same before and after it is bound
                    self._known[asked.key(None)] = self._known[asked.key({})] = found, schemas
        return found

    async def stream(self, call: Call, handle: Handle) -> None:
        """Run a statement and send its rows; errors as `run_sql`."""
        service = self._service
        seconds = seconds_for(service, call.seconds_left)
        ask = asking(service, call.caller, handle.text, parameters=handle.values(), as_of=handle.versions(), seconds=seconds)
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


def _kind(value: Any) -> Any:
    if isinstance(value, bool) or value is None or isinstance(value, float | str | datetime | date):
        return type(value)
    if isinstance(value, int):
        return int, -_INT32 <= value < _INT32 or value
    return type(value), value
