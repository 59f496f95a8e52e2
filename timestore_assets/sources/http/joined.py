"""Bodies of several requests as one batch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from timestore_assets.sources.http.body import Body
from timestore_assets.sources.port import Batch, ManyRawRows, RawRows


class JoinedRows:
    """Original bytes of rows that come from several places (see `port.ManyRawRows`). `rows`: how many from each of `raws`."""

    def __init__(self, rows: Sequence[int], raws: Sequence[RawRows]) -> None:
        self._starts, self._raws = np.cumsum([0, *rows]), raws

    def __call__(self, index: int) -> bytes | None:
        part = int(np.searchsorted(self._starts, index, side="right")) - 1
        return self._raws[part](index - int(self._starts[part]))

    def many(self, indices: Sequence[int]) -> list[bytes | None]:
        """See `port.ManyRawRows.many`."""
        found: list[bytes | None] = [None] * len(indices)
        for part, wanted in self._by_part(indices).items():
            start, raw = int(self._starts[part]), self._raws[part]
            own = [indices[place] - start for place in wanted]
            made = raw.many(own) if isinstance(raw, ManyRawRows) else map(raw, own)
            for place, value in zip(wanted, made, strict=True):
                found[place] = value
        return found

    def _by_part(self, indices: Sequence[int]) -> dict[int, list[int]]:
        parts: dict[int, list[int]] = defaultdict(list)
        for place, part in enumerate(np.searchsorted(self._starts, np.asarray(indices), side="right") - 1):
            parts[int(part)].append(place)
        return parts


def join(bodies: Sequence[Body], *, first: int) -> Batch:
    """One batch of bodies of equal shape.

    `first`: position of the first record; the records of all bodies, good and bad, are counted on from there.
    """
    starts = first + np.cumsum([0, *(body.rows for body in bodies)])
    positions = [body.places_of_records() + start for body, start in zip(bodies, starts, strict=False)]
    bad = [
        replace(record, position=int(start) + record.position)
        for body, start in zip(bodies, starts, strict=False)
        for record in body.bad
    ]
    tables = [body.records for body in bodies]
    return Batch(
        encoding=bodies[0].encoding,
        # many small pieces cost every step of landing more than one copy does
        records=tables[0] if len(tables) == 1 else pa.concat_tables(tables).combine_chunks(),
        positions=pa.array(np.concatenate(positions)),
        lines=None,
        bad=tuple(bad),
        raw=bodies[0].raw
        if len(bodies) == 1
        else JoinedRows([table.num_rows for table in tables], [body.raw for body in bodies]),
    )
