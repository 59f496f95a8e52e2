"""Questions to real segments: what is in an answer depends on the rows alone, and nothing disturbs it while it is read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from timestore_assets.model.dataset import Dedupe
from timestore_assets.model.errors import InputError, RefusedError, UnavailableError
from timestore_assets.querying.question import parse_aggregates, parse_every
from timestore_assets.upkeep.collect import collect
from timestore_assets_tests.querying_ground import DAY, METER, PLAIN, Ground, ground_in, money, row

FORMATS = ("parquet", "duckdb")


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    made = ground_in(tmp_path)
    yield made
    made.close()


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[Ground]:
    made = ground_in(tmp_path, PLAIN)
    yield made
    made.close()


def values(rows: list[dict[str, Any]], name: str = "value") -> list[Any]:
    return [one[name] for one in rows]


def test_the_newer_row_answers_before_a_build_and_after(ground: Ground) -> None:
    ground.land([row("a", minute, value=float(minute), n=minute) for minute in range(4)])
    ground.land([row("a", 2, value=200.0, rev=2)])
    before = ground.rows(columns=("ts", "value"))
    assert values(before) == [0.0, 1.0, 200.0, 3.0]
    ground.build(1)
    assert ground.rows(columns=("ts", "value")) == before


def test_a_superseded_row_does_not_come_back_through_a_filter_on_values(ground: Ground) -> None:
    ground.land([row("a", 1, value=1.0)])
    ground.build(1)
    ground.land([row("a", 1, value=1000.0, rev=2)])
    with ground.ask(where="value < 10") as answer:
        assert answer.table().num_rows == 0
        assert answer.scanned == 2


def test_filters_on_values_prune_built_segments(ground: Ground) -> None:
    for day in (1, 2, 3):
        ground.land([row("a", minute, value=day * 100.0 + minute, day=day) for minute in range(5)])
    ground.build(1, 2, 3)
    with ground.ask(where="value > 300") as answer:
        assert (answer.table().num_rows, answer.scanned, answer.pruned) == (4, 1, 2)


def test_filters_on_time_and_the_range_prune_alike(ground: Ground) -> None:
    for day in range(1, 6):
        ground.land([row("a", 60, value=float(day), day=day)])
    with ground.ask(where="ts >= '2024-01-02' AND ts < '2024-01-03T12:00:00+02:00'") as answer:
        assert (values(answer.table().to_pylist()), answer.scanned, answer.pruned) == ([2.0, 3.0], 2, 3)
    with ground.ask(start=DAY + timedelta(days=1), end=DAY + timedelta(days=2, hours=10)) as answer:
        assert (values(answer.table().to_pylist()), answer.scanned) == ([2.0, 3.0], 2)


def test_the_range_includes_its_start_and_excludes_its_end(ground: Ground) -> None:
    ground.land([row("a", minute, value=float(minute)) for minute in (0, 1, 2)])
    assert values(ground.rows(start=DAY, end=DAY + timedelta(minutes=2))) == [0.0, 1.0]


@pytest.mark.parametrize("format", FORMATS)
def test_built_and_unbuilt_days_of_any_format_answer_together(tmp_path: Path, format: str) -> None:
    ground = ground_in(tmp_path, format=format)
    for day in (1, 2, 3):
        ground.land([row(device, minute, value=float(day), day=day) for device in "ab" for minute in range(3)])
    ground.build(1, 2)
    ground.land([row("b", 1, value=20.0, rev=2, day=2)])
    answer = ground.rows(every=parse_every("1d"), aggregates=parse_aggregates("avg:value,count"))
    assert [(one["avg_value"], one["count"]) for one in answer] == [(1.0, 6), (5.0, 6), (3.0, 6)]
    ground.close()


def test_without_keys_every_row_counts(plain: Ground) -> None:
    plain.land([row("a", 1, value=1.0), row("a", 1, value=1.0)])
    plain.land([row("a", 1, value=1.0)])
    assert len(plain.rows()) == 3
    plain.build(1)
    assert len(plain.rows()) == 3


@pytest.mark.parametrize(("keep", "expected"), [("last", 3.0), ("first", 1.0)])
def test_arrival_decides_when_no_column_does(tmp_path: Path, keep: Any, expected: float) -> None:
    ground = ground_in(tmp_path, replace(METER, dedupe=Dedupe(keys=("device", "ts"), keep=keep)))
    for value in (1.0, 2.0, 3.0):
        ground.land([row("a", 1, value=value)])
    assert values(ground.rows()) == [expected]
    ground.close()


def test_a_replaced_source_is_gone_from_that_version_on(ground: Ground) -> None:
    first = ground.land([row("a", minute, value=1.0) for minute in range(3)])
    version = ground.catalog.manifest_version(ground.record.id)
    ground.land([row("a", 1, value=2.0)], retract=[first])
    assert values(ground.rows()) == [2.0]
    assert values(ground.rows(as_of=version)) == [1.0, 1.0, 1.0]


def test_an_older_version_answers_as_it_did(ground: Ground) -> None:
    versions = []
    for day in (1, 2, 3):
        ground.land([row("a", 1, value=float(day), day=day)])
        versions.append(ground.catalog.manifest_version(ground.record.id))
    ground.build(1, 2, 3)
    for number, version in enumerate(versions, start=1):
        with ground.ask(as_of=version) as answer:
            assert len(answer.table()) == number
            assert answer.manifest_version == version


def test_versions_that_never_were_or_are_gone_are_refused(ground: Ground) -> None:
    ground.land([row("a", 1, value=1.0)])
    with pytest.raises(RefusedError, match="has no version 99; the newest is 1"):
        ground.rows(as_of=99)
    ground.land([row("a", 2, value=1.0)])
    ground.build(1)
    collect(ground.catalog, ground.storage, intent_grace=timedelta(0), keep_versions=timedelta(0))
    with pytest.raises(RefusedError, match=r"version 1 .* has been collected"):
        ground.rows(as_of=1)


def test_columns_that_evolved_read_as_their_newest_type_in_every_segment(ground: Ground) -> None:
    ground.land([row("a", 1, value=1.0)])
    ground.land([row("a", 2, extra=5)], version=2)
    ground.build(1)
    ground.land([row("a", 3, extra=0.5)], version=3)
    assert values(ground.rows(), "extra") == [None, 5.0, 0.5]
    assert values(ground.rows(where="extra > 1"), "extra") == [5.0]
    assert ground.rows(aggregates=parse_aggregates("sum:extra"))[0]["sum_extra"] == 5.5


def test_a_column_that_appeared_after_the_record_was_read_does_not_break_the_answer(ground: Ground) -> None:
    ground.land([row("a", 1, extra=1)], version=2)
    old = ground.record
    ground.land([row("a", 2, extra=1.5)], version=3)
    question = {"dataset": ground.dataset.name}
    from timestore_assets.querying.question import Question

    with ground.querier.ask(ground.dataset, old, Question(**question)) as answer:
        assert values(answer.table().to_pylist(), "extra") == [1.0, 1.5]


def test_every_aggregate(ground: Ground) -> None:
    ground.land(
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
    assert ground.rows(aggregates=parse_aggregates(asked)) == [
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


def test_of_equal_times_first_and_last_do_not_depend_on_storage(plain: Ground) -> None:
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
def test_buckets_start_where_one_expects(ground: Ground, every: str, starts: list[datetime]) -> None:
    times = [(1, 0), (1, 60), (14, 23 * 60 + 59), (60, 720)]
    ground.land([row("a", minute, day=day) for day, minute in times])
    answer = ground.rows(every=parse_every(every), aggregates=parse_aggregates("count"))
    assert values(answer, "ts") == [start.replace(tzinfo=UTC) for start in starts]


def test_groups_come_by_time_then_by_group(ground: Ground) -> None:
    ground.land([row(device, minute, value=1.0, flag=minute == 0) for minute in (0, 70) for device in "ba"])
    answer = ground.rows(every=parse_every("1h"), aggregates=parse_aggregates("count"), group_by=("device", "flag"))
    assert [(one["ts"].hour, one["device"], one["flag"]) for one in answer] == [
        (0, "a", True),
        (0, "b", True),
        (1, "a", False),
        (1, "b", False),
    ]


def test_no_rows_at_all(ground: Ground) -> None:
    assert ground.rows() == []
    assert ground.rows(every=parse_every("1h"), aggregates=parse_aggregates("avg:value")) == []
    assert ground.rows(aggregates=parse_aggregates("count,avg:value")) == [{"count": 0, "avg_value": None}]
    with ground.ask(columns=("ts", "amount")) as answer:
        assert answer.schema == pa.schema([("ts", pa.timestamp("us", tz="UTC")), ("amount", pa.decimal128(12, 2))])


def test_a_limit_takes_the_earliest_rows_however_they_are_stored(ground: Ground) -> None:
    ground.land([row(device, minute, value=1.0, day=day) for day in (3, 1, 2) for device in "cab" for minute in (5, 1)])
    answer = ground.rows(limit=4)
    assert [(one["ts"].minute, one["device"]) for one in answer] == [(1, "a"), (1, "b"), (1, "c"), (5, "a")]
    ground.build(1, 2, 3)
    assert ground.rows(limit=4) == answer
    assert ground.rows(limit=0) == []


def test_times_are_utc_and_units_come_along(ground: Ground) -> None:
    ground.land([row("a", 0, value=1.0)])
    with ground.ask(every=parse_every("1h"), aggregates=parse_aggregates("max:value,count")) as answer:
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
def test_senseless_questions_are_refused_before_anything_is_read(ground: Ground, question: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ground.ask(**question)
    # and hold nothing: a thing left pinned or open would show here
    assert ground.rows() == []


def test_errors_in_values_come_while_reading_and_name_no_file(ground: Ground) -> None:
    ground.land([row("a", 0, note="12"), row("a", 1, note="twelve")])
    with (
        ground.ask(where="CAST(note AS INTEGER) = 12") as answer,
        pytest.raises(InputError, match="Could not convert string 'twelve'") as error,
    ):
        answer.table()
    assert str(ground.folder) not in str(error.value)
    with ground.ask(aggregates=parse_aggregates("sum:n")) as answer:
        answer.table()
    ground.land([row("a", 2, n=2**62), row("a", 3, n=2**62)])
    with ground.ask(aggregates=parse_aggregates("sum:n")) as answer, pytest.raises(InputError, match=r"out of range|INT128"):
        answer.table()


def test_a_missing_file_is_said_plainly(ground: Ground) -> None:
    ground.land([row("a", 0)])
    (segment,) = ground.catalog.segments(ground.record.id)
    ground.store.local_path(segment.name).unlink()
    with pytest.raises(UnavailableError, match="missing"), ground.ask() as answer:
        answer.table()
