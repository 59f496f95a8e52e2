"""What is held of topics: runs without a gap, pieces that are joined, rows cut at the checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from timestore_assets.catalog.records import TopicPartition
from timestore_assets.model.arrow_schema import stored_arrow_schema
from timestore_assets.model.schema import Schema
from timestore_assets.tailing.buffer_snapshot import moved_on
from timestore_assets.tailing.buffered_rows import BufferedRows, OffsetRun, RowBlock, beyond
from timestore_assets_tests.support.landing_warehouse import columns

SCHEMA = Schema(columns=columns(ts="timestamp"))
DAY = datetime(2013, 1, 1, tzinfo=UTC)
IDLE = timedelta(minutes=1)


def piece(*places: tuple[int, int], written: Schema = SCHEMA) -> RowBlock:
    """Rows of these source partitions and positions."""
    micros = np.arange(len(places), dtype=np.int64)
    kinds = stored_arrow_schema(written)
    hidden = {"__source": [part for part, _ in places], "__position": [at for _, at in places], "__session": [1] * len(places)}
    made: dict[str, Any] = {name: pa.nulls(len(places), kinds.field(name).type) for name in written.names} | hidden
    return RowBlock(rows=pa.table(made | {"ts": micros}).cast(kinds), written=written, times=micros)


def places(pieces: Any) -> list[tuple[int, int]]:
    return [pair for one in pieces for pair in zip(one.sources.tolist(), one.positions.tolist(), strict=True)]


def test_rows_are_cut_at_the_checkpoint_of_their_own_source_partition() -> None:
    found = piece((1, 5), (2, 5), (1, 6), (3, 9), (2, 7))
    mask = beyond(found, {1: 6, 2: 0, 4: 0})
    assert places([found.where(mask)]) == [(2, 5), (1, 6), (2, 7)]
    assert not beyond(found, {}).any()


def test_what_was_taken_stays_as_it_was() -> None:
    before = BufferedRows().with_runs({1: OffsetRun(start=0, end=0)}).with_more(piece((1, 0), (1, 1)), {1: 2}, {})
    after = before.with_more(piece((1, 2), (1, 3)), {1: 4}, {}).trimmed({1: 3})
    assert (places(before.pieces), before.runs[1]) == ([(1, 0), (1, 1)], OffsetRun(start=0, end=2))
    assert (after.runs[1].start, after.runs[1].end) == (3, 4)


def test_a_run_never_begins_behind_what_was_read() -> None:
    held = BufferedRows().with_runs({1: OffsetRun(start=0, end=0)}).with_more(piece((1, 0)), {1: 1}, {}).trimmed({1: 500})
    assert (held.runs[1], held.pieces) == (OffsetRun(start=1, end=1), ())


def test_an_end_may_move_on_without_a_record() -> None:
    held = BufferedRows().with_runs({1: OffsetRun(start=3, end=3)}).with_more(None, {1: 9}, {})
    assert (held.runs[1], held.count, held.bytes) == (OffsetRun(start=3, end=9), 0, 0)


def test_pieces_of_other_schemas_stay_apart() -> None:
    other = Schema(columns=columns(ts="timestamp", n="int64?"))
    held = BufferedRows().with_runs({1: OffsetRun(start=0, end=0)})
    for at, written in enumerate((SCHEMA, other, other, SCHEMA)):
        held = held.with_more(piece((1, at), written=written), {1: at + 1}, {})
    assert [one.rows.num_rows for one in held.pieces] == [1, 2, 1]


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(0, 40)), max_size=40))
def test_any_reading_and_landing_leaves_exactly_what_is_not_landed(steps: list[tuple[int, int]]) -> None:
    """Each step reads so many records and lands up to so many behind the end of the last step."""
    held, end, checkpoint = BufferedRows().with_runs({1: OffsetRun(start=0, end=0)}), 0, 0
    for read, lag in steps:
        held = held.with_more(piece(*((1, at) for at in range(end, end + read))), {1: end + read}, {})
        end += read
        checkpoint = max(checkpoint, end - lag)
        if read % 2:
            held = held.trimmed({1: checkpoint})
        assert held.runs[1].start <= checkpoint
        shown = [place for one in held.pieces for place in places([one.where(beyond(one, {1: checkpoint}))])]
        assert shown == [(1, at) for at in range(checkpoint, end)]
        assert len(held.pieces) <= 8


def topic(number: int, *, position: int = 10, newest: int | None = 0, quiet: timedelta = timedelta(0)) -> TopicPartition:
    return TopicPartition(
        id=number,
        source_id=1,
        cluster_id="c",
        topic="t",
        epoch=1,
        topic_id=None,
        number=number,
        position=position,
        newest=None if newest is None else hour(newest),
        quiet=quiet,
    )


def hour(number: int) -> datetime:
    return DAY + timedelta(hours=number)


def run(end: int = 10, newest: int | None = None) -> OffsetRun:
    return OffsetRun(start=0, end=end, newest=None if newest is None else hour(newest))


@pytest.mark.parametrize(
    ("topics", "runs", "expected"),
    [
        ([topic(1, newest=3), topic(2, newest=5)], {1: run(), 2: run()}, 3),
        ([topic(1, newest=3), topic(2, newest=5)], {1: run(20, 7), 2: run()}, 5),
        ([topic(1, newest=3), topic(2, newest=None)], {1: run(20, 7), 2: run()}, 1),
        ([topic(1, newest=3), topic(2, newest=None, quiet=IDLE)], {1: run(20, 7), 2: run()}, 7),
        ([topic(1, newest=3), topic(2, newest=2, quiet=IDLE)], {1: run(20, 7), 2: run(11, 4)}, 4),
        ([topic(1, newest=3, quiet=IDLE)], {1: run()}, 1),
        ([topic(1, newest=3)], {1: run(20, 40)}, 30),
        ([topic(1, newest=0)], {1: run()}, 1),
        ([topic(1, newest=3)], {}, 1),
    ],
    ids=["landed", "moved", "silent", "idle", "awakened", "all-idle", "future", "never-back", "not-read"],
)
def test_the_watermark_follows_the_rule_of_landing(
    topics: list[TopicPartition], runs: Mapping[int, OffsetRun], expected: int
) -> None:
    assert moved_on(hour(1), topics, runs, idle=IDLE, now=hour(30)) == hour(expected)


def test_without_a_record_there_is_no_watermark() -> None:
    assert moved_on(None, [replace(topic(1), newest=None)], {1: run()}, idle=IDLE, now=hour(30)) is None
