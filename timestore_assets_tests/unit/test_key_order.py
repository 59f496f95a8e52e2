"""The newest times of keys as a value: which rows of a batch come behind them, and what they are after it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from timestore_assets.decoding.rejections import RowMask
from timestore_assets.landing.preparing.key_order import Arrivals, NewestTimes, OrderStep, refuse_out_of_order
from timestore_assets.model.arrow_schema import stored_arrow_type
from timestore_assets.model.dataset import Dataset, Dedupe
from timestore_assets.segments.engine import EngineLimits, connect
from timestore_assets_tests.support.landing_warehouse import columns, dataset

Row = tuple[int, int, Any]
"""Source partition, second, and key."""


@pytest.fixture(scope="module")
def con(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    with connect(EngineLimits(memory_bytes=500_000_000, threads=1, temp_dir=tmp_path_factory.mktemp("temp"))) as made:
        yield made


def by(*names: str, **kinds: str) -> Dataset:
    return dataset(*columns(**kinds), order="strict", partition_by=names)


def step(
    con: duckdb.DuckDBPyConnection, declared: Dataset, before: NewestTimes, rows: Sequence[Row], *, refused: Sequence[int] = ()
) -> tuple[list[int], NewestTimes, RowMask]:
    """Judge a batch; which rows are behind, and the state after it."""
    times = [datetime(2013, 1, 1, 0, 0, second, tzinfo=UTC) for _, second, _ in rows]
    names = declared.order_keys
    kinds = {name: declared.schema.column(name) for name in names}
    table = pa.table({"ts": pa.array(times, pa.timestamp("us", "UTC"))})
    for place, name in enumerate(names):
        values = [key[place] if len(names) > 1 else key for _, _, key in rows]
        table = table.append_column(name, pa.array(values, stored_arrow_type(kinds[name])))
    mask = RowMask(len(rows))
    mask.refuse(np.array(refused, np.int64), code="bad_value", reason="bad")
    sources = pa.array([source for source, _, _ in rows], pa.int64())
    positions = pa.array(range(len(rows)), pa.int64())
    arrivals = Arrivals.of(table, declared, declared.schema, mask, sources=sources, positions=positions)
    made = refuse_out_of_order(con, arrivals, declared, mask, order=before)
    assert isinstance(made, OrderStep)
    assert made.before is before
    behind = mask.refused()
    return behind.filter(pa.compute.equal(behind["code"], "out_of_order")).column("row").to_pylist(), made.after, mask


def behind_in(con: duckdb.DuckDBPyConnection, declared: Dataset, *batches: Sequence[Row]) -> list[list[int]]:
    """Which rows of each batch are behind, one batch after the other."""
    state, found = NewestTimes(sources=frozenset({1, 2})), []
    for rows in batches:
        behind, state, _ = step(con, declared, state, rows)
        found.append(behind)
    return found


def test_a_record_is_behind_when_one_before_it_with_its_key_was_later(con: duckdb.DuckDBPyConnection) -> None:
    declared = by("station")
    rows = [(1, 5, "a"), (1, 3, "b"), (1, 4, "a"), (1, 5, "a"), (1, 6, "a"), (1, 5, "a"), (1, 2, "b")]
    assert behind_in(con, declared, rows) == [[2, 5, 6]]
    assert behind_in(con, declared, *([one] for one in rows)) == [[], [], [0], [], [], [0], [0]]


def test_each_source_partition_has_an_order_of_its_own(con: duckdb.DuckDBPyConnection) -> None:
    assert behind_in(con, by("station"), [(1, 5, "a"), (2, 3, "a"), (1, 4, "a")], [(2, 4, "a"), (2, 3, "a")]) == [[2], [1]]


def test_without_a_key_a_source_partition_has_one_order(con: duckdb.DuckDBPyConnection) -> None:
    declared = by()
    assert declared.order_keys == ()
    assert behind_in(con, declared, [(1, 5, None), (2, 3, None), (1, 4, None)], [(1, 4, None), (2, 4, None)]) == [[2], [0]]


def test_what_is_refused_already_is_not_the_newest(con: duckdb.DuckDBPyConnection) -> None:
    behind, after, _ = step(con, by("station"), NewestTimes(), [(1, 3, "a"), (1, 9, "a"), (1, 5, "a")], refused=[1])
    assert behind == []
    assert step(con, by("station"), after, [(1, 4, "a"), (1, 5, "a")])[0] == [0]


def test_a_null_is_a_key_like_any_other(con: duckdb.DuckDBPyConnection) -> None:
    assert behind_in(con, by("station"), [(1, 5, None), (1, 4, "a")], [(1, 4, None), (1, 4, "a")]) == [[], [0]]


@pytest.mark.parametrize(
    ("kind", "one", "same", "other"),
    [
        ("double", 0.0, -0.0, 1.5),
        ("double", float("nan"), float("nan"), None),
        ("float", 1.5, 1.5, -1.5),
        ("int32", 1, 1, 2),
        ("bool", True, True, False),
        ("date", date(2013, 1, 1), date(2013, 1, 1), date(2013, 1, 2)),
        ("timestamp", datetime(2013, 1, 1), datetime(2013, 1, 1), datetime(2013, 1, 2)),
        ("binary", b"\xff", b"\xff", b""),
        ("decimal(9,2)", Decimal("1.50"), Decimal("1.5"), Decimal("1.51")),
    ],
)
def test_keys_of_any_type(con: duckdb.DuckDBPyConnection, kind: str, one: Any, same: Any, other: Any) -> None:
    declared = by("k", k=f"{kind}?")
    assert behind_in(con, declared, [(1, 5, one), (1, 4, other), (1, 4, same)], [(1, 4, same), (1, 4, other)]) == [[2], [0]]


def test_a_key_of_several_columns_is_all_of_them(con: duckdb.DuckDBPyConnection) -> None:
    declared = by("station", "k", k="int64?")
    rows = [(1, 5, ("a", 1)), (1, 4, ("a", 2)), (1, 4, ("a", 1)), (1, 3, ("b", 1))]
    assert behind_in(con, declared, rows, rows) == [[2], [2]]


def test_the_key_is_that_of_dedupe_without_the_time() -> None:
    declared = replace(by("station"), dedupe=Dedupe(keys=("ts", "station", "temp")))
    assert declared.order_keys == ("station", "temp")
    assert replace(declared, dedupe=Dedupe(keys=("ts",))).order_keys == ("station",)


def test_a_state_begins_anew_for_the_source_partitions_that_are_named(con: duckdb.DuckDBPyConnection) -> None:
    declared = by("station")
    rows = [(1, 1, "a"), (2, 1, "a")]
    _, after, _ = step(con, declared, NewestTimes(sources=frozenset({1, 2})), [(1, 9, "a"), (2, 9, "a")])
    assert step(con, declared, after.started([2]), rows)[0] == [0]
    assert step(con, declared, after.started([1, 2]), rows)[0] == []


def test_the_reason_names_columns_and_times_and_no_value(con: duckdb.DuckDBPyConnection) -> None:
    _, _, mask = step(con, by("station"), NewestTimes(), [(1, 5, "secret"), (1, 4, "secret")])
    [told] = mask.refused().column("reason").to_pylist()
    assert told == (
        "2013-01-01T00:00:04Z in column ts is before 2013-01-01T00:00:05Z, the newest of its station before it (`order: strict`)"
    )


def test_many_batches_leave_few_tables(con: duckdb.DuckDBPyConnection) -> None:
    declared, state = by("station"), NewestTimes()
    for number in range(60):
        _, state, _ = step(con, declared, state, [(1, number % 60, f"s{number}"), (1, number % 60, "always")])
    assert len(state.tables) <= 7
    assert step(con, declared, state, [(1, 4, "s5"), (1, 5, "s5"), (1, 58, "always")])[0] == [0, 2]
