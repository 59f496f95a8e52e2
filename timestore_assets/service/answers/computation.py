"""An answer that is computed for one client: asked, given a format piece by piece, stopped when nobody waits for it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, TypeVar

import pyarrow as pa

from timestore_assets.querying import render
from timestore_assets.querying.answer import Answer
from timestore_assets.querying.clock import Clock, Stopper
from timestore_assets.service.answers.facts import Facts, as_headers
from timestore_assets.service.answers.formats import Format

Interruptible = TypeVar("Interruptible", bound=Answer | Stopper)


class Interruption:
    """Stops whatever is computed for a client, from another thread. `seconds`: that all of it may take."""

    def __init__(self, seconds: float) -> None:
        self._computing: Answer | Stopper | None = None
        self._fired = False
        self._lock = threading.Lock()
        self.clock = Clock(self.fire, seconds)

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
    """An answer under way. `batches`: its rows. `close`: lets go of what holds it. `more`: what is known only about a page."""

    facts: Facts
    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]
    close: Callable[[], None]
    more: Mapping[str, Any] = field(default_factory=dict)


class Computation:
    """One client's answer; its methods block and belong into one thread at a time, except `interruption.fire`."""

    def __init__(
        self,
        ask: Callable[[Interruption], Answered],
        form: Format,
        *,
        seconds: float,
        done: Callable[[float, int], None],
    ) -> None:
        """`done`: told at the end how many seconds it took and how many rows there were."""
        self.form = form
        self.interruption = Interruption(seconds)
        self._ask, self._done = ask, done
        self._answered: Answered | None = None
        self._pieces: Iterator[bytes] = iter(())
        self._rows, self._began = 0, time.monotonic()

    def start(self) -> dict[str, str]:
        """Ask, and compute as far as the first rows, so that what can't be answered shows here; returns the headers."""
        answered = self._answered = self._ask(self.interruption)
        batches = self._timed(answered.batches)
        first = next(batches, None)
        self._pieces = self._rendered(answered, chain(() if first is None else (first,), batches))
        headers = {"Content-Type": self.form.content_type, "Vary": "Accept", "Cache-Control": "no-store"}
        if self.form is not Format.JSON:
            headers |= answered.facts.headers() | as_headers(answered.more)
        return headers

    def next_piece(self) -> bytes | None:
        """The next bytes, None after the last."""
        return next((piece for piece in self._pieces if piece), None)

    def close(self) -> None:
        """Let go of everything, whether or not it was read to its end; closing twice is fine."""
        if close := getattr(self._pieces, "close", None):
            close()
        answered, self._answered = self._answered, None
        if answered is not None:
            answered.close()
            self._done(time.monotonic() - self._began, self._rows)

    def _timed(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        while True:
            with self.interruption.clock.running():
                batch = next(batches, None)
            if batch is None:
                return
            self._rows += batch.num_rows
            yield batch

    def _rendered(self, answered: Answered, batches: Iterator[pa.RecordBatch]) -> Iterator[bytes]:
        schema = answered.schema
        match self.form:
            case Format.JSON:
                return _json(answered, batches)
            case Format.JSON_LINES:
                return render.json_lines(schema, batches)
            case Format.CSV:
                return render.csv(schema, batches)
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
