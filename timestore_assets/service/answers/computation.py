"""An answer that is computed for one client: asked, given a format piece by piece, and streamed to it in threads, at its pace.

It is stopped when nobody waits for it.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, TypeVar

import anyio
import duckdb
import pyarrow as pa
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from timestore_assets.model.errors import InputError, TimestoreError
from timestore_assets.querying.answer import Answer
from timestore_assets.querying.rendering import render
from timestore_assets.querying.time_limit import Cancellable, TimeLimit
from timestore_assets.service.answers.answer_facts import AnswerFacts, as_headers
from timestore_assets.service.answers.answer_formats import Format, Formulas
from timestore_assets.service.answers.query_gate import QueryGate, while_connected

Interruptible = TypeVar("Interruptible", bound=Answer | Cancellable)
_SHORT_BYTES, _SHORT_SECONDS = 64_000, 0.05
"""An answer that is no longer, and computed no longer after its first rows, is sent as a whole: most are, and every piece of one
takes a turn of a thread, a write and a part of the client's reading.
"""


class Interruption:
    """Stops whatever is computed for a client, from another thread. `seconds`: that all of it may take."""

    def __init__(self, seconds: float) -> None:
        self._computing: Answer | Cancellable | None = None
        self._fired = False
        self._lock = threading.Lock()
        self.clock = TimeLimit(self.fire, seconds)

    def watch(self, computing: Interruptible) -> Interruptible:
        """From now on this is what is stopped."""
        with self._lock:
            self._computing, fired = computing, self._fired
        if fired:
            computing.interrupt()
        return computing

    def fire(self) -> None:
        """Stop it, and whatever comes after it."""
        with self._lock:
            self._fired, computing = True, self._computing
        if computing is not None:
            computing.interrupt()


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """An answer under way."""

    facts: AnswerFacts
    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]
    """Its rows."""
    close: Callable[[], None]
    """Lets go of what holds it."""
    more: Mapping[str, Any] = field(default_factory=dict)
    """What is known only about a page."""


class Computation:
    """One client's answer; its methods block and belong into one thread at a time, except `interruption.fire`."""

    def __init__(
        self,
        ask: Callable[[Interruption], Answered],
        form: Format,
        *,
        seconds: float,
        done: Callable[..., None],
        formulas: Formulas = "keep",
    ) -> None:
        """`done`: told at the end how many `seconds` it took and how many `rows` there were."""
        self.form, self._formulas = form, formulas
        self.interruption = Interruption(seconds)
        self._ask, self._done = ask, done
        self._answered: Answered | None = None
        self._pieces: Iterator[bytes] = iter(())
        self._ahead: deque[bytes] = deque()
        self._rows, self._began = 0, time.monotonic()
        self.is_closed = False

    def start(self) -> dict[str, str]:
        """Ask, and compute as far as the first rows, so that what can't be answered shows here; returns the headers."""
        answered = self._answered = self._ask(self.interruption)
        batches = self._timed(answered.batches)
        first = next(batches, None)
        self._pieces = self.rendered(answered, chain(() if first is None else (first,), batches))
        # what stands before the rows, and the first of them: a type or value that can't be written shows here too
        pieces = 2 if self.form in (Format.JSON, Format.CSV) else 1
        self._ahead = deque(piece for _ in range(pieces) if (piece := self._next_piece()) is not None)
        headers = {"Content-Type": self.form.content_type, "Vary": "Accept", "Cache-Control": "no-store"}
        if self.form is not Format.JSON:
            headers |= answered.facts.headers() | as_headers(answered.more)
        return headers

    def short_answer(self) -> bytes | None:
        """All of an answer that is short, which is closed then; else None, and `next_piece` gives it from its beginning.

        Raises:
            InputError: as `next_piece`.
        """
        began = time.monotonic()
        while sum(map(len, self._ahead)) <= _SHORT_BYTES and time.monotonic() - began <= _SHORT_SECONDS:
            piece = self._next_piece()
            if piece is None:
                self.close()
                return b"".join(self._ahead)
            self._ahead.append(piece)
        return None

    def next_piece(self) -> bytes | None:
        """The next bytes, None after the last.

        Raises:
            InputError: a value has no form in this format.
        """
        return self._ahead.popleft() if self._ahead else self._next_piece()

    def _next_piece(self) -> bytes | None:
        try:
            return next((piece for piece in self._pieces if piece), None)
        except (duckdb.Error, pa.ArrowException, OverflowError, UnicodeError) as error:
            reason = str(error).partition("\n")[0][:200]
            raise InputError(f"a value can't be written as {self.form.value}: {reason}; cast its column to VARCHAR") from error

    def close(self) -> None:
        """Let go of everything, whether or not it was read to its end; closing twice is fine."""
        if close := getattr(self._pieces, "close", None):
            close()
        answered, self._answered = self._answered, None
        self.is_closed = True
        if answered is not None:
            answered.close()
            self._done(seconds=time.monotonic() - self._began, rows=self._rows)

    def _timed(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        while True:
            with self.interruption.clock.running():
                batch = next(batches, None)
            if batch is None:
                return
            self._rows += batch.num_rows
            yield batch

    def rendered(self, answered: Answered, batches: Iterator[pa.RecordBatch]) -> Iterator[bytes]:
        """The answer in its format, piece by piece."""
        schema = answered.schema
        match self.form:
            case Format.JSON:
                return _json(answered, batches)
            case Format.JSON_LINES:
                return render.json_lines(schema, batches)
            case Format.CSV:
                return render.csv(schema, batches, safe=self._formulas == "escape")
            case Format.ARROW:
                return render.arrow(schema, batches, stream=True)
            case Format.PARQUET:
                return render.parquet(schema, batches)


def _json(answered: Answered, batches: Iterator[pa.RecordBatch]) -> Iterator[bytes]:
    """One object: what is said about the answer, the rows, and what is known behind them."""
    head = json.dumps(answered.facts.model_dump(by_alias=True), ensure_ascii=False, separators=(",", ":"))
    yield f'{head[:-1]},"rows":['.encode()
    yield from render.json_rows(answered.schema, batches)
    tail = json.dumps(dict(answered.more), separators=(",", ":"))[1:-1]
    yield f"\n]{',' if tail else ''}{tail}}}\n".encode()


PATIENCE_SECONDS = 60.0
"""How long a client may take none of what waits for it before it counts as gone."""
_log = logging.getLogger(__name__)


class AnswerResponse(Response):
    """Errors up to the first rows become an answer of their own. Later ones end the connection before the answer's end, so that
    no client takes a part for the whole.
    """

    def __init__(self, computation: Computation, gate: QueryGate, *, principal: str) -> None:
        """`principal`: whose turn it takes."""
        super().__init__()
        self._computation, self._gate, self._principal = computation, gate, principal
        self._started = False

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        async def answer() -> None:
            async with self._gate.entered(self._principal):
                await self._answer(send)

        try:
            await while_connected(receive, answer, stop=self._computation.interruption.fire)
        except TimestoreError as error:
            if not self._started:
                raise
            _log.warning("an answer broke off: %s", error)

    async def _answer(self, send: Send) -> None:
        work = self._computation
        try:
            headers, whole = await self._gate.in_thread(lambda: (work.start(), work.short_answer()))
            if whole is not None:
                headers["Content-Length"] = str(len(whole))
            raw = [(name.lower().encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers.items()]
            self._started = True
            await send({"type": "http.response.start", "status": 200, "headers": raw})
            if whole is not None:
                await send({"type": "http.response.body", "body": whole, "more_body": False})
                return
            while (piece := await self._gate.in_thread(work.next_piece)) is not None:
                with anyio.move_on_after(PATIENCE_SECONDS) as patience:
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                if patience.cancelled_caught:
                    return
            # who asks again on reading the end finds the place free
            await self._gate.in_thread(work.close)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            if not work.is_closed:
                with anyio.CancelScope(shield=True):
                    await self._gate.in_thread(work.close)
