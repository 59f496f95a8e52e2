"""Questions to real segments: what is in an answer depends on the rows alone, and nothing disturbs it while it is read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from timestore_assets.model.aggregate_text import parse_aggregates
from timestore_assets.model.dataset import Dedupe
from timestore_assets.model.errors import InputError, RefusedError, UnavailableError
from timestore_assets.model.question import parse_every
from timestore_assets.upkeep.collect import collect
from timestore_assets_tests.support.query_warehouse import DAY, METER, PLAIN, QueryWarehouse, money, query_warehouse_in, row

FORMATS = ("parquet", "duckdb")


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[QueryWarehouse]:
    made = query_warehouse_in(tmp_path)
    yield made
    made.close()


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[QueryWarehouse]:
    made = query_warehouse_in(tmp_path, PLAIN)
    yield made
    made.close()


def values(rows: list[dict[str, Any]], name: str = "value") -> list[Any]:
    return [one[name] for one in rows]


def test_the_newer_row_answers_before_a_build_and_after(warehouse: QueryWarehouse) -> None:
    warehouse.land([row("a", minute, value=float(minute), n=minute) for minute in range(4)])
    warehouse.land([row("a", 2, value=200.0, rev=2)])
    before = warehouse.rows(columns=("ts", "value"))
    assert values(before) == [0.0, 1.0, 200.0, 3.0]
    warehouse.build(1)
    assert warehouse.rows(columns=("ts", "value")) == before


def test_a_superseded_row_does_not_come_back_through_a_filter_on_values(warehouse: QueryWarehouse) -> None:
    warehouse.land([row("a", 1, value=1.0)])
    warehouse.build(1)
    warehouse.land([row("a", 1, value=1000.0, rev=2)])
    with warehouse.ask(where="value < 10") as answer:
        assert answer.table().num_rows == 0
        assert answer.scanned == 2


def test_filters_on_values_prune_built_segments(warehouse: QueryWarehouse) -> None:
    for day in (1, 2, 3):
        warehouse.land([row("a", minute, value=day * 100.0 + minute, day=day) for minute in range(5)])
    warehouse.build(1, 2, 3)
    with warehouse.ask(where="value > 300") as answer:
        assert (answer.table().num_rows, answer.scanned, answer.pruned) == (4, 1, 2)


def test_filters_on_time_and_the_range_prune_alike(warehouse: QueryWarehouse) -> None:
    for day in range(1, 6):
        warehouse.land([row("a", 60, value=float(day), day=day)])
    with warehouse.ask(where="ts >= '2024-01-02' AND ts < '2024-01-03T12:00:00+02:00'") as answer:
        assert (values(answer.table().to_pylist()), answer.scanned, answer.pruned) == ([2.0, 3.0], 2, 3)
    with warehouse.ask(start=DAY + timedelta(days=1), end=DAY + timedelta(days=2, hours=10)) as answer:
        assert (values(answer.table().to_pylist()), answer.scanned) == ([2.0, 3.0], 2)


def test_the_range_includes_its_start_and_excludes_its_end(warehouse: QueryWarehouse) -> None:
    warehouse.land([row("a", minute, value=float(minute)) for minute in (0, 1, 2)])
    assert values(warehouse.rows(start=DAY, end=DAY + timedelta(minutes=2))) == [0.0, 1.0]


@pytest.mark.parametrize("format", FORMATS)
def test_built_and_unbuilt_days_of_any_format_answer_together(tmp_path: Path, format: str) -> None:
    warehouse = query_warehouse_in(tmp_path, format=format)
    for day in (1, 2, 3):
        warehouse.land([row(device, minute, value=float(day), day=day) for device in "ab" for minute in range(3)])
    warehouse.build(1, 2)
    warehouse.land([row("b", 1, value=20.0, rev=2, day=2)])
    answer = warehouse.rows(every=parse_every("1d"), aggregates=parse_aggregates("avg:value,count"))
    assert [(one["avg_value"], one["count"]) for one in answer] == [(1.0, 6), (5.0, 6), (3.0, 6)]
    warehouse.close()


def test_without_keys_every_row_counts(plain: QueryWarehouse) -> None:
    plain.land([row("a", 1, value=1.0), row("a", 1, value=1.0)])
    plain.land([row("a", 1, value=1.0)])
    assert len(plain.rows()) == 3
    plain.build(1)
    assert len(plain.rows()) == 3


@pytest.mark.parametrize(("keep", "expected"), [("last", 3.0), ("first", 1.0)])
def test_arrival_decides_when_no_column_does(tmp_path: Path, keep: Any, expected: float) -> None:
    warehouse = query_warehouse_in(tmp_path, replace(METER, dedupe=Dedupe(keys=("device", "ts"), keep=keep)))
    for value in (1.0, 2.0, 3.0):
        warehouse.land([row("a", 1, value=value)])
    assert values(warehouse.rows()) == [expected]
    warehouse.close()


def test_a_replaced_source_is_gone_from_that_version_on(warehouse: QueryWarehouse) -> None:
    first = warehouse.land([row("a", minute, value=1.0) for minute in range(3)])
    version = warehouse.catalog.manifest.version(warehouse.record.id)
    warehouse.land([row("a", 1, value=2.0)], retract=[first])
    assert values(warehouse.rows()) == [2.0]
    assert values(warehouse.rows(as_of=version)) == [1.0, 1.0, 1.0]


def test_an_older_version_answers_as_it_did(warehouse: QueryWarehouse) -> None:
    versions = []
    for day in (1, 2, 3):
        warehouse.land([row("a", 1, value=float(day), day=day)])
        versions.append(warehouse.catalog.manifest.version(warehouse.record.id))
    warehouse.build(1, 2, 3)
    for number, version in enumerate(versions, start=1):
        with warehouse.ask(as_of=version) as answer:
            assert len(answer.table()) == number
            assert answer.manifest_version == version


def test_versions_that_never_were_or_are_gone_are_refused(warehouse: QueryWarehouse) -> None:
    warehouse.land([row("a", 1, value=1.0)])
    with pytest.raises(RefusedError, match="has no version 99; the newest is 1"):
        warehouse.rows(as_of=99)
    warehouse.land([row("a", 2, value=1.0)])
    warehouse.build(1)
    collect(warehouse.catalog, warehouse.storage, intent_grace=timedelta(0), keep_versions=timedelta(0))
    with pytest.raises(RefusedError, match=r"version 1 .* has been collected"):
        warehouse.rows(as_of=1)


def test_columns_that_evolved_read_as_their_newest_type_in_every_segment(warehouse: QueryWarehouse) -> None:
    warehouse.land([row("a", 1, value=1.0)])
    warehouse.land([row("a", 2, extra=5)], version=2)
    warehouse.build(1)
    warehouse.land([row("a", 3, extra=0.5)], version=3)
    assert values(warehouse.rows(), "extra") == [None, 5.0, 0.5]
    assert values(warehouse.rows(where="extra > 1"), "extra") == [5.0]
    assert warehouse.rows(aggregates=parse_aggregates("sum:extra"))[0]["sum_extra"] == 5.5


def test_a_column_that_appeared_after_the_record_was_read_does_not_break_the_answer(warehouse: QueryWarehouse) -> None:
    warehouse.land([row("a", 1, extra=1)], version=2)
    old = warehouse.record
    warehouse.land([row("a", 2, extra=1.5)], version=3)
    question = {"dataset": warehouse.dataset.name}
    from timestore_assets.model.question import Question

    with warehouse.querier.ask(warehouse.dataset, old, Question(**question)) as answer:
        assert values(answer.table().to_pylist(), "extra") == [1.0, 1.5]


def test_every_aggregate(warehouse: QueryWarehouse) -> None:
    warehouse.land(
        [
            row("a", 0, value=1.0, n=1, amount=money("1.10"), flag=True, note="x"),
            row("a", 1, value=3.0, n=None, amount=money("2.20"), flag=False, note="y"),
            row("a", 2, value=None, n=5, flag=True, note="x"),
        ]
    )
    asked = (
        "avg:value,min:note,max:ts,sum:amount,sum:n as ns,sum:flag,avg:flag,median:n,count,count:value,"
        "count_distinct:note,first:value,last:value,last:note,percentile(25):value"
    )
    assert warehouse.rows(aggregates=parse_aggregates(asked)) == [
        {
            "avg_value": 2.0,
            "min_note": "x",
            "max_ts": DAY + timedelta(minutes=2),
            "sum_amount": money("3.30"),
            "ns": 6,
            "sum_flag": 2,
            "avg_flag": pytest.approx(2 / 3),
            "median_n": 3.0,
            "count": 3,
            "count_value": 2,
            "count_distinct_note": 2,
            "first_value": 1.0,
            "last_value": 3.0,
            "last_note": "x",
            "p25_value": 1.5,
        }
    ]


def test_of_equal_times_first_and_last_do_not_depend_on_storage(plain: QueryWarehouse) -> None:
    plain.land([row("a", 0, value=value) for value in (2.0, 1.0, 3.0)])
    asked = {"aggregates": parse_aggregates("first:value,last:value")}
    assert plain.rows(**asked) == [{"first_value": 1.0, "last_value": 3.0}]


@pytest.mark.parametrize(
    ("every", "starts"),
    [
        ("1h", [datetime(2024, 1, 1, 0), datetime(2024, 1, 1, 1), datetime(2024, 1, 14, 23), datetime(2024, 2, 29, 12)]),
        ("36h", [datetime(2023, 12, 31), datetime(2024, 1, 13, 12), datetime(2024, 2, 29)]),
        ("week", [datetime(2024, 1, 1), datetime(2024, 1, 8), datetime(2024, 2, 26)]),
        ("1w", [datetime(2024, 1, 1), datetime(2024, 1, 8), datetime(2024, 2, 26)]),
        ("month", [datetime(2024, 1, 1), datetime(2024, 2, 1)]),
        ("quarter", [datetime(2024, 1, 1)]),
    ],
)
def test_buckets_start_where_one_expects(warehouse: QueryWarehouse, every: str, starts: list[datetime]) -> None:
    times = [(1, 0), (1, 60), (14, 23 * 60 + 59), (60, 720)]
    warehouse.land([row("a", minute, day=day) for day, minute in times])
    answer = warehouse.rows(every=parse_every(every), aggregates=parse_aggregates("count"))
    assert values(answer, "ts") == [start.replace(tzinfo=UTC) for start in starts]


def test_groups_come_by_time_then_by_group(warehouse: QueryWarehouse) -> None:
    warehouse.land([row(device, minute, value=1.0, flag=minute == 0) for minute in (0, 70) for device in "ba"])
    answer = warehouse.rows(every=parse_every("1h"), aggregates=parse_aggregates("count"), group_by=("device", "flag"))
    assert [(one["ts"].hour, one["device"], one["flag"]) for one in answer] == [
        (0, "a", True),
        (0, "b", True),
        (1, "a", False),
        (1, "b", False),
    ]


def test_no_rows_at_all(warehouse: QueryWarehouse) -> None:
    assert warehouse.rows() == []
    assert warehouse.rows(every=parse_every("1h"), aggregates=parse_aggregates("avg:value")) == []
    assert warehouse.rows(aggregates=parse_aggregates("count,avg:value")) == [{"count": 0, "avg_value": None}]
    with warehouse.ask(columns=("ts", "amount")) as answer:
        assert answer.schema == pa.schema([("ts", pa.timestamp("us", tz="UTC")), ("amount", pa.decimal128(12, 2))])


def test_a_limit_takes_the_earliest_rows_however_they_are_stored(warehouse: QueryWarehouse) -> None:
    warehouse.land([row(device, minute, value=1.0, day=day) for day in (3, 1, 2) for device in "cab" for minute in (5, 1)])
    answer = warehouse.rows(limit=4)
    assert [(one["ts"].minute, one["device"]) for one in answer] == [(1, "a"), (1, "b"), (1, "c"), (5, "a")]
    warehouse.build(1, 2, 3)
    assert warehouse.rows(limit=4) == answer
    assert warehouse.rows(limit=0) == []


@pytest.mark.parametrize("format", FORMATS)
def test_a_limit_reads_no_more_partitions_than_it_needs(tmp_path: Path, format: str) -> None:
    warehouse = query_warehouse_in(tmp_path, format=format)
    warehouse.land([row("a", minute, value=float(minute), n=day, day=day) for day in range(1, 13) for minute in range(4)])
    warehouse.build(*range(1, 11))
    for asked, days, opened in (
        ({"limit": 3}, [1, 1, 1], 1),
        ({"limit": 3, "descending": True}, [12, 12, 12], 1),
        ({"limit": 5, "descending": True, "where": "minute(ts) < 3"}, [12, 12, 12, 11, 11], 12),
        # of the first partition only one row lies in the range, so it has to go on
        ({"limit": 2, "start": DAY + timedelta(minutes=3)}, [1, 2], 5),
        ({"limit": 0}, [], 0),
    ):
        with warehouse.ask(**asked) as answer:
            assert values(answer.table().to_pylist(), "n") == days
            assert (answer.segments_read, answer.scanned) == (opened, 12), asked
    warehouse.close()


def test_descending_is_the_reverse_of_ascending_ties_and_gaps_included(warehouse: QueryWarehouse) -> None:
    warehouse.land(
        [
            row(device, minute, value=None if minute == 1 else 1.0, day=day)
            for day in (1, 3)
            for device in "ab"
            for minute in (1, 1, 5)
        ]
    )
    ascending = warehouse.rows(limit=100)
    assert len(ascending) == 8
    assert warehouse.rows(limit=100, descending=True) == ascending[::-1]
    asked: dict[str, Any] = {"every": parse_every("1d"), "aggregates": parse_aggregates("count,stddev:value"), "fill": "zero"}
    buckets = warehouse.rows(**asked)
    assert values(buckets, "count") == [4, 0, 4]
    assert warehouse.rows(**asked, descending=True, limit=2) == buckets[:0:-1]


def test_times_are_utc_and_units_come_along(warehouse: QueryWarehouse) -> None:
    warehouse.land([row("a", 0, value=1.0)])
    with warehouse.ask(every=parse_every("1h"), aggregates=parse_aggregates("max:value,count")) as answer:
        assert answer.schema.field("ts").type == pa.timestamp("us", tz="UTC")
        assert answer.schema.field("max_value").metadata == {b"unit": b"degC"}
        assert answer.table().schema == answer.schema
        assert answer.series == ("ts",)


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ({"columns": ("valu",)}, "has no column 'valu'; did you mean value"),
        ({"columns": ("__source",)}, "has no column '__source'"),
        ({"columns": ()}, "no column is asked for"),
        ({"where": "value + device > 3"}, "No function matches"),
        ({"where": "flag + 1"}, "No function matches"),
        (
            {"aggregates": parse_aggregates("sum:note")},
            "sum of 'note' is not possible, it is a string; possible are min, max, count",
        ),
        ({"aggregates": parse_aggregates("avg:value,avg:value")}, "two columns of the answer would be named 'avg_value'"),
        ({"aggregates": parse_aggregates("count as TS"), "every": parse_every("1h")}, r"two columns .* named 'TS'"),
        ({"aggregates": parse_aggregates("count"), "columns": ("ts",)}, "columns and aggregates exclude each other"),
        ({"every": parse_every("1h")}, "every needs aggregates"),
        ({"group_by": ("device",)}, "group_by needs aggregates"),
        ({"limit": -1}, "limit -1 is below zero"),
        ({"start": DAY, "end": DAY}, "the range is empty"),
        ({"start": datetime(2024, 1, 1)}, "has no time zone"),
    ],
)
def test_senseless_questions_are_refused_before_anything_is_read(
    warehouse: QueryWarehouse, question: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        warehouse.ask(**question)
    # and hold nothing: a thing left pinned or open would show here
    assert warehouse.rows() == []


def test_errors_in_values_come_while_reading_and_name_no_file(warehouse: QueryWarehouse) -> None:
    warehouse.land([row("a", 0, note="12"), row("a", 1, note="twelve")])
    with (
        warehouse.ask(where="CAST(note AS INTEGER) = 12") as answer,
        pytest.raises(InputError, match="Could not convert string 'twelve'") as error,
    ):
        answer.table()
    assert str(warehouse.folder) not in str(error.value)
    with warehouse.ask(aggregates=parse_aggregates("sum:n")) as answer:
        answer.table()
    warehouse.land([row("a", 2, n=2**62), row("a", 3, n=2**62)])
    with warehouse.ask(aggregates=parse_aggregates("sum:n")) as answer, pytest.raises(InputError, match=r"out of range|INT128"):
        answer.table()


def test_a_missing_file_is_said_plainly(warehouse: QueryWarehouse) -> None:
    warehouse.land([row("a", 0)])
    (segment,) = warehouse.catalog.manifest.segments(warehouse.record.id)
    warehouse.store.local_path(segment.name).unlink()
    with pytest.raises(UnavailableError, match="missing"), warehouse.ask() as answer:
        answer.table()
