"""The small pure parts of landing: sieve, headers, admission, inference, clusters, reading ahead, patience."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from timestore_assets.decoding.column_names import check_header
from timestore_assets.decoding.rejections import RowMask
from timestore_assets.decoding.undeclared_columns import ColumnPattern, RawColumn, TableExtras
from timestore_assets.landing.files.part_job import read_ahead
from timestore_assets.landing.preparing.evolve import admit, reject
from timestore_assets.landing.preparing.inferred_types import join, raw_texts
from timestore_assets.landing.preparing.validate import Validator
from timestore_assets.model.errors import BadFileError, CredentialsError, StorageFullError, UnavailableError
from timestore_assets.model.schema import Checks, Column
from timestore_assets.model.types import parse_type
from timestore_assets.model.window import Window
from timestore_assets.retry import OUTAGE, RetryPolicy
from timestore_assets.segments.partition_rows import cluster, window_numbers
from timestore_assets_tests.support.landing_warehouse import columns, dataset


def rows(*indices: int) -> np.ndarray:
    return np.array(indices, dtype=np.int64)


# --- sieve


def test_sieve_counts_the_first_refusal_of_a_row() -> None:
    row_mask = RowMask(5)
    assert row_mask.all_good
    row_mask.refuse(rows(3, 1), code="a", reason=pa.array(["third", "first"]))
    row_mask.refuse(rows(1, 2), code="b", column="x", reason="second")
    found = [(row["row"], row["code"], row["reason"]) for row in row_mask.refused().to_pylist()]
    assert found == [(1, "a", "first"), (2, "b", "second"), (3, "a", "third")]
    assert row_mask.good_indices().tolist() == [0, 4]
    assert row_mask.keep(pa.table({"v": [0, 1, 2, 3, 4]})).column(0).to_pylist() == [0, 4]


def test_sieve_leaves_duplicates_out_of_the_refused() -> None:
    row_mask = RowMask(3)
    row_mask.leave_out(rows(0, 1))
    row_mask.refuse(rows(1, 2), code="a", reason="r")
    assert (row_mask.duplicates, row_mask.good_rows, row_mask.refused().column("row").to_pylist()) == (2, 0, [2])


def test_sieve_without_rows() -> None:
    row_mask = RowMask(0)
    row_mask.refuse(rows(), code="a", reason="r")
    assert row_mask.all_good
    assert row_mask.refused().num_rows == 0


# --- headers


@pytest.mark.parametrize(
    ("names", "code", "words"),
    [
        (["ts", "station", "Station"], "ambiguous_column", "'station' and 'Station'"),
        (["ts", "station", "Temp"], "ambiguous_column", "'Temp'"),
        (["ts", "station", "__hidden"], "bad_column_name", "'__hidden'"),
        (["ts", "station", ""], "bad_column_name", "empty"),
        (["ts", "station", "a\nb"], "bad_column_name", "printed"),
        (["station"], "missing_column", "'ts'"),
        (["TS", "station"], "missing_column", "'TS': was it renamed?"),
        (["ts", "stations"], "missing_column", "'stations': was it renamed?"),
        ([], "missing_column", "its columns are none"),
    ],
)
def test_bad_headers(names: list[str], code: str, words: str) -> None:
    with pytest.raises(BadFileError) as caught:
        check_header(names, dataset().schema.columns)
    assert caught.value.code == code
    assert words in caught.value.reason


def test_good_headers() -> None:
    check_header(["station", "ts", "new", "__index_level_0__"], dataset().schema.columns)


# --- new columns


def shapes(*names: str) -> list[ColumnPattern]:
    """One shape for each text: columns separated by blanks, rows numbered from 0."""
    return [ColumnPattern(names=tuple(one.split()), rows=rows(number)) for number, one in enumerate(names)]


def test_columns_are_admitted_record_by_record() -> None:
    found = admit(shapes("a b", "c d e", "c", "a c", "d"), known=["z"], allowance=3)
    assert found.added == ("a", "b", "c")
    assert [(refused.code, refused.rows.tolist()) for refused in found.refused] == [
        ("too_many_columns", [1]),
        ("too_many_columns", [4]),
    ]


def test_case_twins_are_refused_in_order_of_appearance() -> None:
    found = admit(shapes("Foo", "foo", "TEMP"), known=["temp"], allowance=10)
    assert found.added == ("Foo",)
    assert [refused.code for refused in found.refused] == ["ambiguous_column"] * 2


def test_rejecting_takes_known_columns_only() -> None:
    found = reject(shapes("known", "known new", "new"), known=["known"])
    assert [refused.rows.tolist() for refused in found.refused] == [[1], [2]]


def test_shapes_of_a_table_come_by_their_first_row() -> None:
    table = pa.table({"a": [None, "1", None, "1"], "b": ["1", None, None, None], "c": pa.nulls(4, pa.string())})
    extras = TableExtras(table, lambda values: RawColumn(values=values))
    assert extras.names() == ("a", "b")
    found = [(shape.names, shape.rows.tolist()) for shape in extras.shapes(rows(0, 1, 2, 3))]
    assert found == [(("b",), [0]), (("a",), [1, 3])]
    assert [shape.rows.tolist() for shape in extras.shapes(rows(3))] == [[3]]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["true", "FALSE"], "bool"),
        (["1", "-2", "+3", "007"], "int64"),
        (["1", "2.5"], "double"),
        (["1e5", ".5"], "double"),
        (["1", "true"], "string"),
        (["9223372036854775808"], "string"),
        (["1", "x", ""], "string"),
        (["nan"], "string"),
        (["1e999"], "string"),
    ],
)
def test_types_of_undeclared_texts(values: list[str], expected: str) -> None:
    with duckdb.connect() as con:
        texts = raw_texts(con, RawColumn(values=pa.chunked_array([[*values, None]], pa.string())))
    assert texts.column("text").to_pylist() == [*values, None]
    assert str(join(set(texts.column("class").to_pylist()) - {None})) == expected


def test_types_of_undeclared_json_values() -> None:
    column = RawColumn(
        values=pa.chunked_array([["5", "5", "NaN", "{}"]]), is_string=pa.chunked_array([[False, True, False, True]])
    )
    with duckdb.connect() as con:
        assert raw_texts(con, column).column("class").to_pylist() == ["int64", "string", "non_finite", "string"]


# --- clusters


@pytest.mark.parametrize("window", list(Window))
def test_windows_number_times_like_the_model(window: Window) -> None:
    epoch, random = datetime(1970, 1, 1, tzinfo=UTC), np.random.default_rng(1)
    seconds = np.sort(random.integers(-62_135_596_800, 253_402_300_799, 2000))
    edges = [window.start_of(epoch + timedelta(seconds=int(second))) for second in seconds]
    exact = np.array([(edge - epoch) // timedelta(microseconds=1) for edge in edges])
    times = np.sort(np.concatenate([seconds * 1_000_000, exact, exact[exact > exact[0]] - 1]))
    numbers = window_numbers(times, window)
    starts = [window.start_of(epoch + timedelta(microseconds=int(time))) for time in times]
    for one, other, start, following in zip(numbers, numbers[1:], starts, starts[1:], strict=False):
        assert (one == other) == (start == following)
        assert one <= other


@pytest.mark.parametrize("spread", [10, 100_000, 10**12])
def test_clusters_keep_the_order_inside_each(spread: int) -> None:
    times = np.random.default_rng(2).integers(0, spread, 1000) * 3_600_000_000
    found = cluster(times, Window.HOUR)
    order = np.arange(1000) if found.order is None else found.order
    assert order.tolist() == sorted(range(1000), key=lambda row: (times[row], row))
    runs = [(times[order[first]], count) for first, count in found.spans()]
    assert dict(runs) == dict(zip(*np.unique(times, return_counts=True), strict=True))


def test_clusters_of_sorted_times_need_no_order() -> None:
    found = cluster(np.array([0, 1, 3_600_000_000, 3_600_000_001, 9_000_000_000]), Window.HOUR)
    assert found.order is None
    assert list(found.spans()) == [(0, 2), (2, 2), (4, 1)]
    assert list(cluster(np.zeros(0, dtype=np.int64), Window.DAY).spans()) == []


# --- validation


def test_every_failing_row_is_refused_with_its_value() -> None:
    checked = Column(name="code", type=parse_type("string"), nullable=True, checks=Checks(isin=("a", "b")))
    table = pa.table({"temp": [1.0, 200.0, None, -100.0], "code": ["a", "z", None, "q" * 100]})
    row_mask = RowMask(4)
    Validator(dataset(checked)).refuse_invalid(table, row_mask)
    found = row_mask.refused().to_pylist()
    assert [(row["row"], row["code"], row["column"]) for row in found] == [
        (1, "failed_check", "temp"),
        (3, "failed_check", "temp"),
    ]
    assert '"200.0" in column temp fails the check le(140' in found[0]["reason"]


def test_rows_refused_before_are_not_validated() -> None:
    row_mask = RowMask(3)
    row_mask.refuse(rows(0), code="bad_value", reason="r")
    Validator(dataset()).refuse_invalid(pa.table({"temp": [999.0, 1.0, 999.0]}), row_mask)
    assert [(row["row"], row["code"]) for row in row_mask.refused().to_pylist()] == [(0, "bad_value"), (2, "failed_check")]


def test_all_rows_may_fail() -> None:
    count = 300_000
    row_mask = RowMask(count)
    Validator(dataset()).refuse_invalid(pa.table({"temp": np.full(count, 999.0)}), row_mask)
    assert row_mask.good_rows == 0
    assert row_mask.refused().num_rows == count


def test_a_persons_own_model_validates_too() -> None:
    base = dataset(*columns(n="int64?"), pandera_model="timestore_assets_tests.support.landing_models.Observations")
    at = pa.array([datetime(2013, 1, 5)] * 3, pa.timestamp("us"))
    row_mask = RowMask(3)
    Validator(base).refuse_invalid(pa.table({"ts": at, "station": ["JFK", "jfk", "EWR"], "temp": [1.0, 1.0, 13.0]}), row_mask)
    found = row_mask.refused().to_pylist()
    assert [(row["row"], row["column"]) for row in found] == [(1, "station"), (2, "temp")]
    assert "not_unlucky" in found[1]["reason"]


def test_a_check_on_the_whole_frame_refuses_its_batch() -> None:
    base = dataset(pandera_model="timestore_assets_tests.support.landing_models.Paired")
    at = pa.array([datetime(2013, 1, 5)] * 3, pa.timestamp("us"))
    table = pa.table({"ts": at, "station": ["A", "B", "C"], "temp": [1.0, 1.0, 1.0]})
    row_mask = RowMask(3)
    Validator(base).refuse_invalid(table, row_mask)
    assert row_mask.good_rows == 0
    assert "whole frame" in row_mask.refused().column("reason")[0].as_py()


# --- reading ahead, patience


def test_one_batch_is_made_while_another_is_used() -> None:
    made: list[int] = []
    second = threading.Event()

    def items() -> Iterator[int]:
        for number in range(4):
            made.append(number)
            if number == 1:
                second.set()
            yield number

    with read_ahead(items()) as ahead:
        assert next(ahead) == 0
        assert second.wait(10)
        assert made == [0, 1]
        assert list(ahead) == [1, 2, 3]


def test_an_error_comes_when_its_batch_would() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise BadFileError("cut", "cut off")

    with read_ahead(items()) as ahead:
        assert next(ahead) == 1
        with pytest.raises(BadFileError, match="cut off"):
            next(ahead)


def test_patience_ends_with_its_budget() -> None:
    waits: list[float] = []

    def work() -> None:
        raise UnavailableError("away")

    with pytest.raises(UnavailableError, match="away"):
        RetryPolicy(seconds=5, sleep=waits.append).run(work)
    assert waits == sorted(waits)
    assert 3 <= sum(waits) <= 5


def test_patience_counts_the_time_that_the_work_took(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def work() -> None:
        nonlocal now
        now += 60
        raise UnavailableError("away")

    monkeypatch.setattr("timestore_assets.retry.time", SimpleNamespace(monotonic=lambda: now))
    with pytest.raises(UnavailableError, match="away"):
        RetryPolicy(seconds=100, sleep=lambda _: None).run(work)
    assert now == 120


@pytest.mark.parametrize("kind", [StorageFullError, CredentialsError])
def test_patience_is_not_for_what_does_not_mend_itself(kind: type[Exception]) -> None:
    def work() -> None:
        raise kind("full")

    with pytest.raises(kind):
        replace(OUTAGE, sleep=lambda _: pytest.fail("waited")).run(work)


def test_patience_pays() -> None:
    answers: list[BaseException | str] = [UnavailableError("away"), UnavailableError("away"), "here"]

    def work() -> str:
        answer = answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    assert replace(OUTAGE, sleep=lambda _: None).run(work) == "here"


def test_a_policy_for_loops_gives_so_many_tries_and_waits_between_them() -> None:
    waits: list[float] = []
    policy = RetryPolicy(attempts=4, first_wait=1.0, longest_wait=2.0, jitter=0.5, sleep=waits.append)
    assert list(policy.tries()) == [1, 2, 3, 4]
    assert [low <= wait <= high for wait, (low, high) in zip(waits, [(0.5, 1), (1, 2), (1, 2)], strict=True)] == [True] * 3
