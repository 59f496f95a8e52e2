"""Feeding it everything that goes wrong in practice: a clear reason or a dead letter for each, and nothing lost."""

from __future__ import annotations

import gzip
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from timestore_assets.model.dataset import CsvDialect, Evolution, FileSource
from timestore_assets.model.errors import StorageFullError
from timestore_assets.model.schema import Column
from timestore_assets.model.types import parse_type
from timestore_assets_tests.support.landing_warehouse import LandingWarehouse, columns, dataset

HEADER = "ts,station,temp\n"
GOOD = "2013-01-05T06:00:00Z,JFK,1.5\n"


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[LandingWarehouse]:
    made = LandingWarehouse.at(tmp_path, dataset())
    yield made
    made.catalog.close()


def make(root: Path, *more: Column, source: FileSource | None = None, **changes: Any) -> LandingWarehouse:
    return LandingWarehouse.at(root, dataset(*more, **changes), source=source or FileSource(prefix="inbox"))


def balanced(warehouse: LandingWarehouse, **expected: int) -> None:
    found = warehouse.counters()
    assert found.balanced
    assert {name: getattr(found, name) for name in expected} == expected


# --- files that are bad as a whole


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.csv", "", "empty"),
        ("half.parquet", b"PAR1\x00\x00\x00\x00", "cut off"),
        ("picture.csv", b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "PNG"),
        ("twice.csv", "ts,temp,temp\n2013-01-05,1,2\n", "temp"),
        ("case.csv", "ts,station,temp,Temp\n2013-01-05,JFK,1,2\n", "Temp"),
        ("hidden.csv", "ts,station,__source\n2013-01-05,JFK,9\n", "__source"),
        ("cut.csv.gz", gzip.compress((HEADER + GOOD * 1000).encode(), mtime=0)[:-20], "ends too early"),
    ],
)
def test_bad_file_is_quarantined_with_one_reason(warehouse: LandingWarehouse, name: str, content: Any, words: str) -> None:
    report = warehouse.land_one(name, content)
    assert report.state == "quarantined"
    assert words.casefold() in report.reason.casefold()
    assert "\n" not in report.reason
    balanced(warehouse, landed=0)


def test_bad_file_stops_nothing_else(warehouse: LandingWarehouse) -> None:
    paths = [warehouse.drop("a.parquet", b"PAR1"), warehouse.drop("b.csv", HEADER + GOOD), warehouse.inbox / "missing.csv"]
    report = warehouse.land(*paths)
    assert [file.state for file in report.files] == ["quarantined", "landed", "quarantined"]
    assert "does not exist" in report.files[2].reason
    balanced(warehouse, read=1, landed=1)


def test_renamed_column_is_named_with_its_likely_new_name(warehouse: LandingWarehouse) -> None:
    report = warehouse.land_one("a.csv", "timestamp,station_id,temp\n2013-01-05,JFK,1\n")
    assert report.state == "quarantined"
    assert "'ts'" in report.reason
    second = warehouse.land_one("b.csv", "ts,station_id,temp\n2013-01-05,JFK,1\n")
    assert "'station' is required" in second.reason
    assert "'station_id': was it renamed?" in second.reason


def test_parquet_of_another_schema(warehouse: LandingWarehouse) -> None:
    report = warehouse.land_one("a.parquet", pa.table({"x": [1, 2], "y": ["a", "b"]}))
    assert report.state == "quarantined"
    assert "'ts' is required" in report.reason


def test_column_that_differs_only_by_case(warehouse: LandingWarehouse) -> None:
    report = warehouse.land_one("a.csv", "ts,station,TEMP\n2013-01-05,JFK,1\n")
    assert report.state == "quarantined"
    assert "'TEMP'" in report.reason
    assert "'temp'" in report.reason


def test_directory_named_like_a_file(warehouse: LandingWarehouse) -> None:
    (warehouse.inbox / "day.csv").mkdir()
    report = warehouse.land(warehouse.inbox / "day.csv").files[0]
    assert report.state == "quarantined"
    assert "directory" in report.reason


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user to be refused as")
def test_unreadable_file(warehouse: LandingWarehouse) -> None:
    path = warehouse.drop("secret.csv", HEADER + GOOD)
    path.chmod(0)
    # root may read anything, so this thread of a child gives that right up before it lands
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_RIGHTS, str(warehouse.root)], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.splitlines() == ["quarantined: secret.csv cannot be read: permission denied"], done.stderr
    kept = warehouse.catalog.files.of(warehouse.catalog.sources.of(warehouse.record.id)[0].id)
    assert [(file.address, file.state) for file in kept] == [("secret.csv", "quarantined")]


_WITHOUT_RIGHTS = """
import ctypes, sys
from pathlib import Path
from timestore_assets_tests.support.landing_warehouse import LandingWarehouse, dataset
ground = LandingWarehouse.at(Path(sys.argv[1]), dataset())
# drop CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH from what is effective
libc = ctypes.CDLL(None, use_errno=True)
header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
assert libc.capget(header, data) == 0
data[0] &= ~0b110
assert libc.capset(header, data) == 0
report = ground.land(ground.inbox / "secret.csv").files[0]
print(f"{report.state}: {report.reason}")
"""


def test_header_only_lands_with_no_rows(warehouse: LandingWarehouse) -> None:
    assert warehouse.land_one("a.csv", HEADER).state == "landed"
    balanced(warehouse, read=0)
    assert warehouse.catalog.manifest.version(warehouse.record.id) == 0


def test_header_only_of_another_schema_is_refused(warehouse: LandingWarehouse) -> None:
    assert warehouse.land_one("a.csv", "a,b\n").state == "quarantined"


def test_file_of_only_bad_records(warehouse: LandingWarehouse) -> None:
    assert warehouse.land_one("a.csv", HEADER + "x,JFK,1\n" * 3).state == "landed"
    balanced(warehouse, read=3, dead_letters=3, landed=0)


# --- records that are bad


def test_every_kind_of_bad_csv_record_keeps_its_bytes(warehouse: LandingWarehouse) -> None:
    lines = [
        GOOD.strip(),
        "2013-01-05,JFK",
        "2013-01-05,JFK,1,2",
        "x,JFK,1",
        ",JFK,1",
        "2013-01-05,,1",
        "2013-01-05,JFK,1.5.5",
        "2013-01-05,JFK,nan",
        "2013-01-05,JFK,-inf",
        "2013-01-05,JFK,1e400",
        "2013-01-05,JFK,200",
        "1999-01-05,JFK,1",
        "2033-01-05,JFK,1",
        '2013-01-05,"JFK,1',
    ]
    warehouse.land_one("a.csv", HEADER + "\n".join(lines) + "\n")
    letters = warehouse.letters()
    assert [letter.code for letter in letters] == [
        "ragged",
        "ragged",
        "bad_value",
        "missing_time",
        "missing_value",
        "bad_value",
        "non_finite",
        "non_finite",
        "non_finite",
        "failed_check",
        "out_of_range",
        "out_of_range",
        "unclosed_quote",
    ]
    assert [letter.raw.decode() for letter in letters] == lines[1:]
    assert [letter.line for letter in letters] == list(range(3, 16))
    assert "temp" in letters[9].reason
    assert "200" in letters[9].reason
    balanced(warehouse, read=14, landed=1, dead_letters=13)


def test_every_kind_of_bad_json_record_keeps_its_bytes(warehouse: LandingWarehouse) -> None:
    base = '"ts": "2013-01-05T06:00:00Z", "station": "JFK"'
    lines = {
        f'{{{base}, "temp": 1.5}}': None,
        "not json": "bad_json",
        f'{{{base}, "temp": 1.5,}}': "bad_json",
        f'{{{base}, "temp": 1.5': "bad_json",
        "[1, 2]": "not_an_object",
        "5": "not_an_object",
        f'{{{base}, "temp": 1, "temp": 2}}': "duplicate_keys",
        f'{{{base}, "temp": 1, "Temp": 2}}': "ambiguous_column",
        f'{{{base}, "TEMP": 1}}': "ambiguous_column",
        f'{{{base}, "__source": 1}}': "bad_column_name",
        f'{{{base}, "temp": "abc"}}': "bad_value",
        f'{{{base}, "temp": true}}': "bad_value",
        f'{{{base}, "temp": {{"v": 1}}}}': "bad_value",
        f'{{{base}, "temp": NaN}}': "non_finite",
        f'{{{base}, "temp": 1e400}}': "non_finite",
        f'{{{base}, "temp": 200}}': "failed_check",
        '{"ts": 1357000000, "station": "JFK"}': "bad_value",
        '{"ts": "2013-02-30", "station": "JFK"}': "bad_value",
        '{"ts": null, "station": "JFK"}': "missing_time",
        '{"station": "JFK"}': "missing_time",
        '{"ts": "2013-01-05"}': "missing_value",
        '{"ts": "2013-01-05", "station": {"a": 1}}': "bad_value",
    }
    warehouse.land_one("a.jsonl", "".join(line + "\n" for line in lines))
    refused = {line: code for line, code in lines.items() if code}
    letters = warehouse.letters()
    assert [(letter.raw.decode(), letter.code) for letter in letters] == list(refused.items())
    balanced(warehouse, read=len(lines), landed=1)


def test_invalid_utf8_refuses_just_that_record(warehouse: LandingWarehouse) -> None:
    warehouse.land_one("a.csv", HEADER.encode() + b"2013-01-05,J\xffK,1\n" + GOOD.encode())
    warehouse.land_one("b.jsonl", b'{"ts": "2013-01-05", "station": "\xff"}\n{"ts": "2013-01-05", "station": "JFK"}\n')
    assert warehouse.codes() == ["invalid_utf8", "invalid_utf8"]
    assert warehouse.letters()[0].raw == b"2013-01-05,J\xffK,1"
    balanced(warehouse, read=4, landed=2)


def test_allow_nan_takes_them(tmp_path: Path) -> None:
    column = Column(name="gust", type=parse_type("double"), nullable=True, allow_nan=True)
    warehouse = make(tmp_path, column)
    warehouse.land_one("a.csv", "ts,station,gust\n2013-01-05,JFK,nan\n2013-01-05,JFK,inf\n")
    found = [row[0] for row in warehouse.rows("gust")]
    assert math.isnan(found[0])
    assert found[1] == math.inf
    segment = warehouse.catalog.manifest.segments(warehouse.record.id)[0]
    assert segment.stats["gust"].max is None


def test_integers_are_never_rounded_into_range(tmp_path: Path) -> None:
    warehouse = make(tmp_path, *columns(n="int64?"))
    base = {"ts": "2013-01-05", "station": "JFK"}
    values = [1, 1.5, 2.0, True, "3", "1e3", 2**63, -(2**63)]
    warehouse.land_one("a.jsonl", [{**base, "n": value} for value in values])
    assert [row[0] for row in warehouse.rows("n")] == [1, 3, -(2**63)]
    assert warehouse.codes() == ["bad_value"] * 5


# --- times


def test_times_naive_zoned_ambiguous_and_never(tmp_path: Path) -> None:
    warehouse = make(tmp_path, start=datetime(1, 1, 1, tzinfo=UTC), source=FileSource(prefix="i", timezone="America/New_York"))
    warehouse.now = datetime(2014, 1, 1, tzinfo=UTC)
    times = ["2013-07-01T00:00:00", "2013-07-01T00:00:00Z", "2013-11-03T01:30:00", "2013-03-10T02:30:00"]
    warehouse.land_one("a.csv", HEADER + "".join(f"{time},JFK,1\n" for time in times))
    assert [row[0] for row in warehouse.rows("ts")] == [
        datetime(2013, 7, 1, 4),
        datetime(2013, 7, 1),
        datetime(2013, 11, 3, 5, 30),
    ]
    assert [(letter.code, letter.raw) for letter in warehouse.letters()] == [("bad_value", b"2013-03-10T02:30:00,JFK,1")]


def test_years_1_and_9999_survive(tmp_path: Path) -> None:
    far = datetime(9999, 12, 31, tzinfo=UTC)
    warehouse = make(tmp_path, *columns(made="timestamp?", day="date?"), start=datetime(1, 1, 1, tzinfo=UTC))
    text = "ts,station,made,day\n0001-01-01T00:00:00,JFK,9999-12-31T23:59:59.999999Z,0001-01-01\n"
    warehouse.land_one("a.csv", text)
    naive = pa.timestamp("us")
    table = pa.table(
        {
            "ts": pa.array([datetime(1, 1, 1, 1)], naive),
            "station": ["EWR"],
            "made": pa.array([far.replace(tzinfo=None)], naive),
            "day": pa.array([date(9999, 12, 31)]),
        }
    )
    warehouse.land_one("b.parquet", table)
    assert warehouse.rows("ts", "made", "day") == [
        (datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999999), date(1, 1, 1)),
        (datetime(1, 1, 1, 1), datetime(9999, 12, 31), date(9999, 12, 31)),
    ]
    segments = warehouse.catalog.manifest.segments(warehouse.record.id)
    assert {segment.partition_start for segment in segments} == {datetime(1, 1, 1, tzinfo=UTC)}


def test_arrow_times_of_every_unit_and_zone(tmp_path: Path) -> None:
    warehouse = make(tmp_path, *columns(a="timestamp?", b="timestamp?", c="timestamp?", d="date?"))
    table = pa.table(
        {
            "ts": pa.array([1_360_000_000], pa.timestamp("s", tz="America/New_York")),
            "station": ["JFK"],
            "a": pa.array([-1], pa.timestamp("ns")),
            "b": pa.array([1_360_000_000_123], pa.timestamp("ms", tz="+05:00")),
            "c": pa.array([1_360_000_000_123_456_789], pa.timestamp("ns", tz="UTC")),
            "d": pa.array([1_359_936_000_000], pa.date64()),
        }
    )
    warehouse.land_one("a.parquet", table)
    assert warehouse.rows() == [
        (
            datetime(2013, 2, 4, 17, 46, 40),
            "JFK",
            None,
            datetime(1969, 12, 31, 23, 59, 59, 999999),
            datetime(2013, 2, 4, 17, 46, 40, 123000),
            datetime(2013, 2, 4, 17, 46, 40, 123456),
            date(2013, 2, 4),
        )
    ]


# --- typed files


def test_parquet_types_are_coerced_by_the_same_rules(tmp_path: Path) -> None:
    warehouse = make(tmp_path, *columns(n="int32?", f="float?", s="string?", flag="bool?", price="decimal(10,2)?"))
    at = pa.array([datetime(2013, 1, 5)] * 4, pa.timestamp("us"))
    table = pa.table(
        {
            "ts": at,
            "station": pa.array(["JFK"] * 4).dictionary_encode(),
            "temp": pa.array([1, 2, 3, None], pa.int8()),
            "n": pa.array([1, 2**40, -1, None], pa.int64()),
            "f": pa.array([1.5, 1.5, 1e300, None], pa.float64()),
            "s": pa.array([b"x", b"y", b"z", None], pa.binary()),
            "flag": pa.array(["true", "FALSE", "false", None], pa.large_string()),
            "price": pa.array([Decimal("1.5"), Decimal(1), Decimal(1), None], pa.decimal128(20, 4)),
        }
    )
    warehouse.land_one("a.parquet", table)
    assert warehouse.rows("temp", "n", "f", "s", "flag", "price") == [
        (1.0, 1, 1.5, "x", True, Decimal("1.50")),
        (None, None, None, None, None, None),
    ]
    assert [(letter.code, letter.column) for letter in warehouse.letters()] == [("bad_value", "n"), ("non_finite", "f")]


def test_parquet_of_impossible_types_refuses_values_not_nulls(tmp_path: Path) -> None:
    warehouse = make(tmp_path, *columns(n="int64?", day="date?"))
    at = pa.array([datetime(2013, 1, 5), datetime(2013, 1, 5, 6)], pa.timestamp("us"))
    table = pa.table({"ts": at, "station": ["JFK", "JFK"], "n": pa.array([None, 5.0], pa.float64()), "day": at})
    warehouse.land_one("a.parquet", table)
    assert warehouse.rows("n", "day") == [(None, date(2013, 1, 5))]
    assert [(letter.code, letter.column) for letter in warehouse.letters()] == [("bad_value", "n")]


def test_nested_parquet_columns(tmp_path: Path) -> None:
    warehouse = make(tmp_path, *columns(l="list<double>?", s="struct<a: int64, b: string>?"))
    at = pa.array([datetime(2013, 1, 5)] * 3, pa.timestamp("us"))
    table = pa.table(
        {
            "ts": at,
            "station": ["JFK"] * 3,
            "l": pa.array([[1, 2], None, [3]], pa.list_(pa.int64())),
            "s": pa.array([{"a": 1, "b": "x"}, {"a": None, "b": None}, None]),
        }
    )
    warehouse.land_one("a.parquet", table)
    assert warehouse.rows("l", "s") == [([1.0, 2.0], {"a": 1, "b": "x"}), (None, {"a": None, "b": None}), ([3.0], None)]


# --- columns nobody declared


def test_ten_thousand_columns_do_not_poison_the_schema(warehouse: LandingWarehouse) -> None:
    names = [f"c{number}" for number in range(10_000)]
    wide = ",".join(["ts", "station", *names]) + "\n"
    wide += ",".join(["2013-01-05", "JFK", *["1"] * 10_000]) + "\n"
    wide += ",".join(["2013-01-05", "EWR", "7", *[""] * 9_999]) + "\n"
    report = warehouse.land(warehouse.drop("wide.csv", wide))
    assert [change.column for change in report.schema_changes] == ["c0"]
    assert warehouse.rows("station", "c0") == [("EWR", 7)]
    assert warehouse.codes() == ["too_many_columns"]
    balanced(warehouse, read=2, landed=1, dead_letters=1)


def test_ten_thousand_keys_do_not_poison_the_schema(warehouse: LandingWarehouse) -> None:
    base = {"ts": "2013-01-05", "station": "JFK"}
    documents = [base | {f"k{number}": 1 for number in range(10_000)}, base | {"k1": 2, "k2": None}, base]
    report = warehouse.land(warehouse.drop("wide.jsonl", documents))
    assert [change.column for change in report.schema_changes] == ["k1"]
    assert [row[0] for row in warehouse.rows("k1")] == [2, None]
    assert warehouse.codes() == ["too_many_columns"]


def test_a_key_of_its_own_in_each_record(warehouse: LandingWarehouse) -> None:
    base = {"ts": "2013-01-05", "station": "JFK"}
    warehouse.land(warehouse.drop("each.jsonl", [base | {f"k{number}": number} for number in range(300)]))
    assert len(warehouse.record.schema.columns) == 3 + 50
    balanced(warehouse, read=300, landed=50, dead_letters=250)
    # the day's allowance is used up, for other files too
    warehouse.land(warehouse.drop("more.jsonl", [base | {"other": 1}, base | {"k7": 8}]))
    balanced(warehouse, read=302, landed=51, dead_letters=251)


def test_new_columns_ignored_are_counted(tmp_path: Path) -> None:
    warehouse = make(tmp_path, evolution=Evolution(columns="discard_value"))
    report = warehouse.land(warehouse.drop("a.csv", "ts,station,x,y\n2013-01-05,JFK,1,\n2013-01-05,JFK,2,\n"))
    assert report.ignored_columns == {"x": 2}
    assert warehouse.record.schema.names == ("ts", "station", "temp")
    audit = warehouse.catalog.audit.newest(dataset_ids=[warehouse.record.id])
    assert any(entry["details"].get("ignored_columns") == {"x": 2} for entry in audit)


def test_new_columns_rejected_by_record(tmp_path: Path) -> None:
    warehouse = make(tmp_path, evolution=Evolution(columns="discard_row"))
    warehouse.land_one("a.csv", "ts,station,x\n2013-01-05,JFK,1\n2013-01-05,EWR,\n")
    assert warehouse.codes() == ["unknown_column"]
    assert [row[0] for row in warehouse.rows("station")] == ["EWR"]


def test_types_widen_over_files_and_old_values_keep_their_text(warehouse: LandingWarehouse) -> None:
    for number, value in enumerate(["1", "2.50", "x"]):
        warehouse.land_one(f"{number}.csv", f"ts,station,v\n2013-01-05,JFK,{value}\n")
    assert [row[0] for row in warehouse.rows("v")] == ["1", "2.50", "x"]
    history = [
        change for version in warehouse.catalog.datasets.schema_history(warehouse.record.id) for change in version["changes"]
    ]
    assert [change["after"] for change in reversed(history) if change["column"] == "v"] == ["int64", "double", "string"]


def test_widening_off_refuses_what_does_not_fit(tmp_path: Path) -> None:
    warehouse = make(tmp_path, evolution=Evolution(types="discard_row"))
    warehouse.land_one("a.csv", "ts,station,v\n2013-01-05,JFK,1\n")
    warehouse.land_one("b.csv", "ts,station,v\n2013-01-05,JFK,2\n2013-01-05,JFK,2.5\n")
    assert [row[0] for row in warehouse.rows("v")] == [1, 2]
    assert warehouse.codes() == ["bad_value"]


def test_undeclared_columns_of_parquet_and_json(warehouse: LandingWarehouse) -> None:
    at = pa.array([datetime(2013, 1, 5)], pa.timestamp("us"))
    table = pa.table({"ts": at, "station": ["JFK"], "f": [1.5], "o": [[1, 2]], "b": [True], "__index_level_0__": [7]})
    report = warehouse.land(warehouse.drop("a.parquet", table))
    assert report.ignored_columns == {"__index_level_0__": 1}
    record = {"ts": "2013-01-05", "station": "JFK", "f": "x", "o": {"a": [1]}, "b": False, "n": None}
    warehouse.land_one("b.jsonl", [record])
    assert warehouse.rows("f", "o", "b") == [("1.5", "[1,2]", True), ("x", '{"a":[1]}', False)]
    assert warehouse.record.schema.find("n") is None


def test_column_declared_after_it_was_found_keeps_its_rows(warehouse: LandingWarehouse) -> None:
    warehouse.land_one("a.csv", "ts,station,v\n2013-01-05,JFK,1\n")
    later = warehouse.with_dataset(dataset(*columns(v="double?")))
    later.land_one("b.csv", "ts,station,v\n2013-01-05,JFK,2.5\n2013-01-05,JFK,x\n")
    assert [row[0] for row in later.rows("v")] == [1.0, 2.5]
    assert later.codes() == ["bad_value"]


# --- sizes


def test_strings_of_a_megabyte(tmp_path: Path) -> None:
    warehouse = make(tmp_path, source=FileSource(prefix="i", max_record_bytes=2 << 20))
    big = "x" * (1 << 20)
    warehouse.land_one("a.csv", f"ts,station,temp\n2013-01-05,{big},1\n")
    warehouse.land_one("b.jsonl", [{"ts": "2013-01-05", "station": big}])
    assert [len(row[0]) for row in warehouse.rows("station")] == [1 << 20, 1 << 20]
    assert warehouse.catalog.manifest.segments(warehouse.record.id)[0].stats["station"].max is None


def test_over_long_record_is_a_dead_letter(tmp_path: Path) -> None:
    warehouse = make(tmp_path, source=FileSource(prefix="i", max_record_bytes=1000))
    warehouse.land_one("a.csv", HEADER + f"2013-01-05,{'x' * 2000},1\n" + GOOD)
    assert warehouse.codes() == ["too_long"]
    balanced(warehouse, read=2, landed=1)


def test_null_tokens_are_the_sources_own(tmp_path: Path) -> None:
    warehouse = make(tmp_path, source=FileSource(prefix="i", csv=CsvDialect(nulls=("NA",))))
    warehouse.land_one("a.csv", HEADER + '2013-01-05,JFK,NA\n2013-01-05,"NA",\n')
    assert warehouse.rows("station", "temp") == [("JFK", None), ("NA", None)]


# --- the disk


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)], capture_output=True, timeout=30
    )
    if made.returncode:
        pytest.skip("mounting a small file system is not allowed here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True, timeout=30)


def test_full_disk_publishes_nothing_by_halves_and_resumes(tmp_path: Path) -> None:
    lines = (f"2013-01-{number % 28 + 1:02}T00:00:00,{number * 7919},{number % 100}.{number}\n" for number in range(120_000))
    with small_disk(tmp_path / "disk", 5) as disk:
        warehouse = LandingWarehouse.at(disk, dataset())
        warehouse.inbox.rmdir()
        warehouse.inbox.symlink_to(tmp_path)
        path = warehouse.drop("a.csv", HEADER + "".join(lines))
        filler = disk / "filler"
        filler.write_bytes(bytes(3_000_000))
        with pytest.raises(StorageFullError, match=r"(?i)no room|full"):
            warehouse.land(path, chunk_rows=20_000)
        balanced(warehouse)
        landed = warehouse.counters().landed
        assert landed < 120_000
        assert len(warehouse.rows("ts")) == landed
        filler.unlink()
        warehouse.collect()
        report = warehouse.land(path, chunk_rows=20_000)
        assert report.files[0].state == "landed"
        assert report.counters.read == 120_000 - landed
        assert len(warehouse.rows("ts")) == 120_000
        warehouse.catalog.close()
