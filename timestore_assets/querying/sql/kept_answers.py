"""Small answers of SQL, kept for who asks the same again: a manifest version never changes, so neither does what it answers.

Kept is an answer under its text and parameters, under all names that its asker may read, so that nobody gets to see what the
text was not checked for, and under the versions of the datasets that it reads. Only what depends on nothing else is kept.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from timestore_assets.querying.answer import AnswerDetails
from timestore_assets.querying.sql.tables_read import Asked
from timestore_assets.querying.time_limit import later

MOST = 512
"""Answers that are kept."""
SHARE = 16
"""One takes at most that part of the bytes that all may take together."""
KEPT_SECONDS = 600.0
"""After so long an answer is computed anew, so that what was erased does not stay in memory either."""
_MOST_TEXT = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptAnswer:
    """An answer that was read to its end."""

    schema: pa.Schema
    batches: tuple[pa.RecordBatch, ...]
    facts: AnswerDetails
    bytes: int
    at: float


Standing = Callable[[Sequence[str]], Hashable]
"""The versions of datasets by their names, in a form that tells them from any others; None where they can't be told."""


class KeptAnswers:
    """Gives answers that are known. Thread-safe. `most_bytes`: what all of them take of the memory; with 0 none is kept.

    Attributes: `found`, how many were given.
    """

    def __init__(self, most_bytes: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._most_bytes, self._clock = most_bytes, clock
        self._lock = threading.Lock()
        self._names: OrderedDict[Hashable, tuple[str, ...]] = OrderedDict()
        self._kept: OrderedDict[Hashable, KeptAnswer] = OrderedDict()
        self._bytes = self.found = 0
        self._tidying = False

    def find(self, asked: Asked, standing: Standing) -> KeptAnswer | None:
        """The answer from the versions that are standing now; errors as of `standing`, which is asked where one may be known."""
        key = _key(asked) if self._most_bytes else None
        with self._lock:
            self._drop_old()
            names = self._names.get(key)
        versions = None if key is None or names is None else standing(names)
        if versions is None:
            return None
        with self._lock:
            known = self._kept.get((key, versions))
            if known is not None:
                self._kept.move_to_end((key, versions))
                self.found += 1
        return known

    def keeping(
        self,
        asked: Asked,
        names: tuple[str, ...],
        versions: Hashable,
        *,
        schema: pa.Schema,
        facts: AnswerDetails,
        batches: Iterator[pa.RecordBatch],
    ) -> Iterator[pa.RecordBatch]:
        """The batches, which are kept when all of them were read and they are small enough."""
        most = self._most_bytes // SHARE
        key = _key(asked) if most else None
        held: list[pa.RecordBatch] = []
        size = 0
        for batch in batches:
            size += batch.get_total_buffer_size()
            if key is not None and size <= most:
                held.append(batch)
            else:
                held, key = [], None
            yield batch
        if key is not None:
            kept = replace(facts, cached=True)
            answer = KeptAnswer(schema=schema, batches=tuple(held), facts=kept, bytes=size, at=self._clock())
            self._keep(key, names, versions, answer)

    def let_go(self) -> None:
        """Forget all of them."""
        with self._lock:
            self._names.clear()
            self._kept.clear()
            self._bytes = 0

    def _keep(self, key: Hashable, names: tuple[str, ...], versions: Hashable, answer: KeptAnswer) -> None:
        with self._lock:
            before = self._kept.pop((key, versions), None)
            self._bytes += answer.bytes - (before.bytes if before else 0)
            self._kept[key, versions] = answer
            self._names[key] = names
            self._names.move_to_end(key)
            self._drop_old()
            while len(self._kept) > MOST or self._bytes > self._most_bytes:
                self._bytes -= self._kept.popitem(last=False)[1].bytes
            while len(self._names) > MOST:
                self._names.popitem(last=False)
            is_first, self._tidying = not self._tidying, True
        if is_first:
            _tidy_later(weakref.ref(self))

    def tidy(self) -> None:
        """Forget those that are too old, and look again while there are others."""
        with self._lock:
            self._drop_old()
            self._tidying = bool(self._kept)
            goes_on = self._tidying
        if goes_on:
            _tidy_later(weakref.ref(self))

    def _drop_old(self) -> None:
        since = self._clock() - KEPT_SECONDS
        for key in [key for key, one in self._kept.items() if one.at < since]:
            self._bytes -= self._kept.pop(key).bytes


def _tidy_later(answers: weakref.ref[KeptAnswers]) -> None:
    def tidy() -> None:
        found = answers()
        if found is not None:
            found.tidy()

    later(KEPT_SECONDS / 4, tidy)


def _key(asked: Asked) -> Hashable:
    """All that an answer goes by beside its datasets' versions; None for what is not kept."""
    if len(asked.text) > _MOST_TEXT or asked.parameters is None:
        return None
    return asked.text, asked.datasets, asked.columns, _values(asked.parameters)


def _values(parameters: Mapping[str, Any]) -> Hashable:
    # 1, 1.0 and True are equal, and so are 0.0 and -0.0; their texts are not
    return tuple(sorted((name, type(value).__name__, repr(value)) for name, value in parameters.items()))
