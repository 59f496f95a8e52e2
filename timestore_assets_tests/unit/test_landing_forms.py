"""Landing by what a source says of its records: columns of the path, times of several fields, wrappers, dead letters."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from timestore_assets.landing.files.land_report import unread_path_sentence
from timestore_assets.model.dataset import CsvDialect, FileSource
from timestore_assets.model.record_form import NumberMarks, RecordForm, TimeForm
from timestore_assets.model.schema import Checks, Column, Schema
from timestore_assets.model.types import parse_type
from timestore_assets_tests.support import shaped_files as shaped
from timestore_assets_tests.support.dead_letter_replays import replay
from timestore_assets_tests.support.landing_warehouse import LandingWarehouse, columns, dataset

DAY = datetime(2013, 2, 1)
CSV = "ts,station,temp\n2013-02-01,A,1.5\n"


def warehouse(path: Path, *more: Any, **source: Any) -> LandingWarehouse:
    declared = FileSource(prefix="inbox", **source)
    return LandingWarehouse.at(path, dataset(*columns(**dict(more)), sources=(declared,)), source=declared)


def below(warehouse: LandingWarehouse, folder: str, name: str, content: Any) -> Path:
    (warehouse.inbox / folder).mkdir(parents=True, exist_ok=True)
    return warehouse.drop(f"{folder}/{name}", content)


def test_folders_are_columns_declared_or_not_and_equal_bytes_below_others_are_other_records(tmp_path: Path) -> None:
    landed = warehouse(tmp_path, ("year", "int64?"), path_columns="hive")
    paths = [below(landed, f"year={year}/region={place}", "a.csv", CSV) for year, place in ((2013, "eu"), (2014, "%C3%BC"))]
    report = landed.land(*paths, below(landed, "year=__HIVE_DEFAULT_PARTITION__", "a.csv", CSV))
    assert [file.state for file in report.files] == ["landed"] * 3
    assert landed.rows("year", "region") == [(2013, "eu"), (2014, "ü"), (None, None)]
    assert report.unread_path_columns == ()


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "envelopes"])
def test_a_value_of_the_record_goes_before_that_of_its_path(tmp_path: Path, kind: str) -> None:
    landed = warehouse(tmp_path, path_columns="hive")
    records = [{"ts": "2013-02-01", "region": "us", "temp": 1.0}, {"ts": "2013-02-02", "temp": 2.0}]
    content: Any = records
    if kind == "parquet":
        content = pa.Table.from_pylist([{"ts": datetime(2013, 2, day), "temp": float(day)} for day in (1, 2)])
    elif kind == "envelopes":
        content = [{"ingestion": record} for record in records]
    landed.land(below(landed, "region=eu/station=B", f"a.{'parquet' if kind == 'parquet' else 'jsonl'}", content))
    first = "eu" if kind == "parquet" else "us"
    assert landed.rows("station", "region", "temp") == [("B", first, 1.0), ("B", "eu", 2.0)]


def test_folders_that_are_not_read_are_told(tmp_path: Path) -> None:
    landed = warehouse(tmp_path, path_columns=("region",))
    report = landed.land(below(landed, "region=eu/day=1/station=A", "a.csv", CSV))
    assert report.unread_path_columns == ("day",)
    assert "path_columns: hive" in unread_path_sentence(report)


def test_a_path_that_does_not_fit_refuses_its_records_and_a_replay_adds_the_path_again(tmp_path: Path) -> None:
    landed = warehouse(tmp_path, ("year", "int32?"), path_columns="hive")
    landed.land(
        below(landed, "year=x", "a.jsonl", [{"ts": "2013-02-01", "station": "A"}]),
        below(landed, "year=2013", "b.csv", "ts,station,temp\n2013-02-01,A,400\n2013-02-02,A,1\n"),
    )
    assert landed.codes() == ["failed_check", "bad_value"]
    wider = tuple(replace(column, checks=type(column.checks)()) for column in landed.dataset.schema)
    mended = landed.with_dataset(replace(landed.dataset, schema=replace(landed.dataset.schema, columns=wider)))
    assert replay(mended).landed == 1
    assert sorted(mended.rows("year", "temp")) == [(2013, 1.0), (2013, 400.0)]


TIMES = RecordForm(times=(TimeForm(column="ts", columns=("day", "clock")),))


def test_a_time_of_two_fields_is_missing_or_bad_when_one_of_them_is(tmp_path: Path) -> None:
    landed = warehouse(tmp_path, form=TIMES)
    text = "day,clock,station\n2013-02-01,24:00:00,A\n2013-02-03,,B\n,06:00,C\n,,D\n 2013-02-04 , 06:00,E\n"
    landed.land_one("a.csv", text)
    assert landed.rows("ts", "station") == [(datetime(2013, 2, 2), "A"), (datetime(2013, 2, 4, 6), "E")]
    assert [(letter.code, letter.column) for letter in landed.letters()] == [("bad_value", "ts")] * 2 + [("missing_time", "ts")]
    assert landed.letters()[0].raw == b"2013-02-03,,B"


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_part_of_a_time_may_stand_in_the_path(tmp_path: Path, kind: str) -> None:
    form = RecordForm(times=(TimeForm(column="ts", columns=("year", "month", "hour"), format="%Y %m %H"),))
    landed = warehouse(tmp_path, path_columns="hive", form=form)
    content: Any = "hour,station\n06,A\n" if kind == "csv" else [{"hour": "06", "station": "A"}]
    landed.land(below(landed, "year=2013/month=03", f"a.{kind}", content))
    assert landed.rows("ts", "station") == [(datetime(2013, 3, 1, 6), "A")]
    assert landed.record.schema.names == ("ts", "station", "temp")


def test_files_without_a_part_or_with_the_time_beside_its_parts_are_refused_by_name(tmp_path: Path) -> None:
    landed = warehouse(tmp_path, form=TIMES)
    lacking, doubled = (
        landed.land_one(name, text)
        for name, text in (("a.csv", "day,station\n2013-02-01,A\n"), ("b.csv", "ts,day,clock,station\n,2013-02-01,06:00,A\n"))
    )
    assert (lacking.state, doubled.state) == ("quarantined", "quarantined")
    assert "no 'clock'" in lacking.reason
    assert "one of that name as well" in doubled.reason


def test_parts_that_are_columns_themselves_stay(tmp_path: Path) -> None:
    landed = warehouse(tmp_path, ("day", "date?"), form=TIMES)
    landed.land_one("a.csv", "day,clock,station\n2013-02-01,06:00,A\n")
    landed.land_one("b.jsonl", [{"day": "2013-02-02", "clock": "06:00", "station": "B"}])
    assert [(ts, day.isoformat()) for ts, day in landed.rows("ts", "day")] == [
        (datetime(2013, 2, 1, 6), "2013-02-01"),
        (datetime(2013, 2, 2, 6), "2013-02-02"),
    ]
    assert landed.record.schema.find("clock") is None


def test_the_unnamed_index_of_a_data_frame_is_a_time_when_the_source_says_so(tmp_path: Path) -> None:
    form = RecordForm(times=(TimeForm(column="ts", columns=("__index_level_0__",)),))
    landed = warehouse(tmp_path, form=form)
    table = pa.table({"station": ["A", "B"], "temp": [1.0, 900.0], "__index_level_0__": pa.array([DAY, DAY], pa.timestamp("ns"))})
    landed.land_one("a.parquet", table)
    assert landed.rows("ts", "station") == [(DAY, "A")]
    plain = tuple(replace(column, checks=type(column.checks)()) for column in landed.dataset.schema)
    mended = landed.with_dataset(replace(landed.dataset, schema=replace(landed.dataset.schema, columns=plain)))
    assert replay(mended).landed == 1


def test_undeclared_numbers_are_kept_with_a_point(tmp_path: Path) -> None:
    form = RecordForm(marks=NumberMarks(decimal=",", thousands="."))
    landed = warehouse(tmp_path, csv=CsvDialect(delimiter=";"), form=form)
    landed.land_one("a.csv", "ts;station;temp;sum;name\n2013-02-01;A;1,5;1.234,5;a,b\n2013-02-02;1,5;2;7;1.23,4\n")
    assert landed.rows("temp", "sum", "name", "station") == [(1.5, 1234.5, "a,b", "A"), (2.0, 7.0, "1.23,4", "1,5")]


def test_deleted_rows_and_tombstones_of_a_change_stream_are_dead_letters(tmp_path: Path) -> None:
    landed = warehouse(tmp_path, form=RecordForm(wrapper="debezium"))
    record = {"ts": "2013-02-01", "station": "A"}
    landed.land_one("a.jsonl", [{"after": record, "op": "c"}, {"before": record, "after": None, "op": "d"}, record])
    assert landed.rows("station") == [("A",), ("A",)]
    (letter,) = landed.letters()
    assert letter.code == "deleted_row"
    assert letter.raw is not None
    assert b'"op": "d"' in letter.raw


def test_what_looks_wrapped_says_so_and_lands_once_the_wrapper_is_declared(tmp_path: Path) -> None:
    landed = warehouse(tmp_path)
    record = {"ts": "2013-02-01", "station": "A"}
    landed.land_one("a.jsonl", [{"schema": {}, "payload": record}, {"op": "c", "after": record}, [record], '{"ts": 1}'])
    reasons = [letter.reason for letter in landed.letters()]
    for reason, words in zip(reasons, ("wrapper: connect", "wrapper: debezium", "an array", "encoded twice"), strict=True):
        assert words in reason
    source = replace(landed.source, form=RecordForm(wrapper="debezium"))
    assert replay(landed.with_dataset(replace(landed.dataset, sources=(source,)))).landed == 1


def test_a_bad_element_of_a_document_is_a_dead_letter_that_lands_once_it_fits(tmp_path: Path) -> None:
    declared = FileSource(prefix="inbox", format="json", path=("data", "rows"))
    landed = LandingWarehouse.at(tmp_path, dataset(sources=(declared,)), source=declared)
    elements = '{"ts": "2013-02-01", "station": "A", "temp": 1.5},\n 7,\n {"ts": "2013-02-02", "station": "A", "temp": 400}'
    document = f'{{"meta": {{"rows": [0]}}, "data": {{"rows": [{elements}\n,{{"ts": }}]}}}}'
    report = landed.land_one("a.json", document.encode())
    assert (report.state, landed.rows("temp")) == ("landed", [(1.5,)])
    letters = landed.letters()
    assert [(letter.code, letter.raw, letter.position, letter.line) for letter in letters] == [
        ("not_an_object", b"7", document.index("7,"), 2),
        ("failed_check", b'{"ts": "2013-02-02", "station": "A", "temp": 400}', document.index('{"ts": "2013-02-02'), 3),
        ("bad_json", b'{"ts": }', document.index('{"ts": }'), 4),
    ]
    wider = tuple(replace(column, checks=type(column.checks)()) for column in landed.dataset.schema)
    mended = landed.with_dataset(replace(landed.dataset, schema=replace(landed.dataset.schema, columns=wider)))
    assert replay(mended).landed == 1


@pytest.mark.parametrize("kind", ["arrow", "avro", "orc", "xlsx"])
def test_a_bad_row_of_other_formats_is_a_dead_letter_with_its_place(tmp_path: Path, kind: str) -> None:
    is_sheet = kind == "xlsx"
    form = RecordForm(times=(TimeForm(column="ts", columns=("when" if is_sheet else "time",)),))
    declared = FileSource(prefix="inbox", csv=CsvDialect(skip=2 * is_sheet), form=form)
    value = Column(name="v", type=parse_type("double"), nullable=True, checks=Checks(lt=39 / 8))
    schema = Schema(columns=(*columns(ts="timestamp"), value))
    late = dataset(schema=schema, sources=(declared,), future_allowed=timedelta(days=8000))
    landed = LandingWarehouse.at(tmp_path, late, source=declared)
    makers = {"arrow": shaped.arrow_stream, "avro": shaped.avro_file, "orc": shaped.orc_file, "xlsx": shaped.excel_file}
    makers[kind](landed.inbox / f"a.{kind}")
    (report,) = landed.land(landed.inbox / f"a.{kind}").files
    assert (report.state, report.counters.landed, report.counters.dead_letters) == ("landed", 39, 1)
    (letter,) = landed.letters()
    assert (letter.code, letter.position) == ("failed_check", 42 if is_sheet else 39)
    assert letter.raw is not None
    assert json.loads(letter.raw)["v"] == 39 / 8
    assert min(landed.rows("ts")) == (shaped.HOURS[0].replace(tzinfo=None),)
