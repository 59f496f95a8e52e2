"""Which partitions are built together, as a function of their states: small ones whose build is the plain case."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from timestore_assets.building.file_splitting import fits_one_file, is_split, sealed_format
from timestore_assets.building.partition_states import BuildState

GROUP_PARTITIONS = 500
"""At most so many are claimed, merged and committed together: what is lost when it fails, and how long a commit takes."""
SMALL_ROWS = 50_000
"""Larger partitions gain nothing: what each build costs whatever it holds, some 25 ms, is little beside their rows."""
_ROWS = 1_000_000
_BYTES = 256_000_000
_MEMORY_SHARE = 4
"""Of the memory, the part that a group's files may be large, before they are decoded."""


def is_small(state: BuildState) -> bool:
    """Whether a partition may be built with others.

    Its segments become one Parquet file, nothing of it was retracted or is erased, and no migration lies behind it.
    """
    plan, dataset, schema = state.plan, state.dataset, state.record.schema
    rows = sum(segment.rows for segment in plan.merge)
    if not plan.merge or rows > SMALL_ROWS or state.known is None or state.known.retracted or state.erasing is not None:
        return False
    if schema.was_migrated and any(segment.schema_version < schema.version for segment in plan.merge):
        return False
    if plan.kind == "delta":
        return True
    # rows of two partitions can only share their keys if the time is none of them
    apart = dataset.dedupe is None or dataset.time in dataset.dedupe.keys
    split = bool(dataset.partition_by) and is_split(rows=rows, keys=1)
    size = sum(segment.bytes for segment in plan.merge)
    fits = fits_one_file(rows=1, bytes_per_row=size, target=dataset.segments.target_bytes)
    return apart and not split and fits and sealed_format(dataset.segments.format, rows=rows) == "parquet"


def runs(states: Sequence[BuildState], *, memory_bytes: int) -> Iterator[list[BuildState]]:
    """The states in their order, in runs whose small ones are built together; another one is a run of its own.

    Where there is nothing to do a partition breaks no run.
    """
    most = min(_BYTES, memory_bytes // _MEMORY_SHARE)
    run: list[BuildState] = []
    kind, rows, size = "", 0, 0
    for state in states:
        if state.plan.nothing:
            run.append(state)
            continue
        if not is_small(state):
            yield from filter(None, (run, [state]))
            run, rows, size = [], 0, 0
            kind = ""
            continue
        more_rows = sum(segment.rows for segment in state.plan.merge)
        more = sum(segment.bytes for segment in state.plan.merge)
        if rows + more_rows > _ROWS or size + more > most or kind not in ("", state.plan.kind):
            yield run
            run, rows, size = [], 0, 0
        run.append(state)
        kind, rows, size = state.plan.kind, rows + more_rows, size + more
    if run:
        yield run
