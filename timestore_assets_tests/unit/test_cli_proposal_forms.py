"""What `init` finds out about files of many kinds by trying: dialects, marks of numbers, forms of times."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from timestore_assets.cli.init import look_at
from timestore_assets.cli.proposal.dialect import find_dialect, find_marks
from timestore_assets.cli.proposal.proposal_yaml import to_yaml
from timestore_assets.cli.proposal.propose import Proposal, ProposalOptions
from timestore_assets.declaration.from_yaml import parse_declaration
from timestore_assets.model.errors import InputError
from timestore_assets.model.record_form import NumberMarks
from timestore_assets.settings import Settings


def proposed(path: Path, content: str | bytes | pa.Table, **wishes: Any) -> Proposal:
    if isinstance(content, pa.Table):
        pq.write_table(content, path)
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    found = look_at(path, Settings(home=path.parent), ProposalOptions(**wishes))
    parse_declaration(to_yaml(found))
    return found


BODY = "when;t\n2024-05-01 10:00;1,5\n2024-05-01 11:00;2,5\n2024-05-01 12:00;1.003,5\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a,b\n1,2\n", {}),
        (BODY, {"delimiter": ";"}),
        (f"Plant 5\nexported yesterday\n\n{BODY}", {"delimiter": ";", "skip": 3}),
        (f"% made by hand; twice\n{BODY}% the end; or not\n", {"delimiter": ";", "comment": "%"}),
        ("#time,v\n1,2\n3,4\n", {}),
        ("a|b\n|m/s\n1|2.5\n2|3.5\n", {"delimiter": "|", "units_row": True}),
        ("t\tv\n[s]\t[V]\n1\t2\n2\t3\n", {"delimiter": "\t", "units_row": True}),
        ("a,b\nNA,NA\n1,2\n3,4\n", {}),
        ("a , b\n1 , 2\n3 , 4\n", {"trim": True}),
        ("a,b\n'x,y',1\n'z,y',2\n", {"quote": "'"}),
        ('a,b\n"x\ny",1\n"z;;",2\n', {}),
    ],
)
def test_the_dialect_whose_records_agree_is_found(tmp_path: Path, text: str, expected: dict[str, Any]) -> None:
    (tmp_path / "a.csv").write_text(text)
    found = find_dialect(tmp_path / "a.csv").csv
    usual = {"delimiter": ",", "quote": '"', "comment": None, "skip": 0, "units_row": False, "trim": False, "encoding": "utf-8"}
    assert {name: getattr(found, name) for name in usual} == usual | expected


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [("utf-8", "utf-8"), ("utf-8-sig", "utf-8"), ("latin-1", "cp1252"), ("utf-16", "utf-16"), ("utf-16-le", "utf-16-le")],
)
def test_the_encoding_is_found(tmp_path: Path, encoding: str, expected: str) -> None:
    (tmp_path / "a.csv").write_bytes("zeit;Temperatur °C;Straße\n2024-01-01;1;ß\n2024-01-02;2;ö\n".encode(encoding))
    found = find_dialect(tmp_path / "a.csv").csv
    assert (found.encoding, found.delimiter) == (expected, ";")


@pytest.mark.parametrize(
    ("columns", "marks", "doubtful"),
    [
        ({"a": ["1.5", "2"], "b": ["x,y"]}, NumberMarks(), False),
        ({"a": ["1,5", "-2"]}, NumberMarks(decimal=","), False),
        ({"a": ["1.234,50", "7,5"], "b": ["3"]}, NumberMarks(decimal=",", thousands="."), False),
        ({"a": ["1,234.5", "12"]}, NumberMarks(thousands=","), False),
        ({"a": ["1 234,5", "1"]}, NumberMarks(decimal=",", thousands=" "), False),
        ({"a": ["1,234", "2,345"]}, NumberMarks(decimal=","), True),
        ({"a": ["1,5"], "b": ["2.5"]}, NumberMarks(), False),
    ],
)
def test_marks_of_numbers_are_decided_by_all_columns(columns: dict[str, list[str]], marks: NumberMarks, doubtful: bool) -> None:
    found = find_marks(columns)
    assert (found.marks, bool(found.doubt)) == (marks, doubtful)


@pytest.mark.parametrize(
    ("times", "format", "first"),
    [
        (["31/12/2023 10:00", "01/01/2024 11:30"], "%d/%m/%Y %H:%M", datetime(2023, 12, 31, 10)),
        (["12/31/23", "01/15/24"], "%m/%d/%y", datetime(2023, 12, 31)),
        (["01.02.2024", "02.02.2024", "03.02.2024", "04.02.2024"], "%d.%m.%Y", datetime(2024, 2, 1)),
        (["Jan 1 2000", "Feb 1 2000"], "%b %d %Y", datetime(2000, 1, 1)),
        (["5 March 2021 4:05 pm", "6 March 2021 12:00 am"], "%d %B %Y %I:%M %p", datetime(2021, 3, 5, 16, 5)),
        (["20240131", "20240201"], "%Y%m%d", datetime(2024, 1, 31)),
        (["2024/01/31", "2024/02/01"], "%Y/%m/%d", datetime(2024, 1, 31)),
        (["2021-01", "2021-02"], "%Y-%m", datetime(2021, 1, 1)),
    ],
)
def test_formats_of_times_are_found_by_trying(tmp_path: Path, times: list[str], format: str, first: datetime) -> None:
    found = proposed(tmp_path / "a.csv", "date;v\n" + "".join(f"{time};1\n" for time in times))
    assert (found.time.format, found.extent.first.replace(tzinfo=None)) == (format, first)
    assert f'times: {{date: {{format: "{format}"}}}}' in to_yaml(found)


@pytest.mark.parametrize(("factor", "unit"), [(1, "s"), (1_000, "ms"), (1_000_000, "us"), (1_000_000_000, "ns")])
@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_numbers_since_1970_are_told_by_their_size(tmp_path: Path, factor: int, unit: str, suffix: str) -> None:
    counts = [1_700_000_000 * factor, 1_700_000_060 * factor]
    content = {
        "csv": "ts,v\n" + "".join(f"{count},1\n" for count in counts),
        "jsonl": "".join(f'{{"ts": {count}, "v": 1}}\n' for count in counts),
        "parquet": pa.table({"ts": counts, "v": [1, 2]}),
    }[suffix]
    found = proposed(tmp_path / f"a.{suffix}", content)
    assert (found.time.unit, found.extent.first.replace(tzinfo=None)) == (unit, datetime(2023, 11, 14, 22, 13, 20))


def test_day_and_month_that_could_change_places_are_asked_for(tmp_path: Path) -> None:
    text = "date,v\n01/02/2024,1\n05/01/2024,2\n03/04/2024,3\n"
    with pytest.raises(InputError, match=r"could be %d/%m/%Y or %m/%d/%Y"):
        proposed(tmp_path / "a.csv", text)
    found = proposed(tmp_path / "a.csv", text, time_format="%m/%d/%Y")
    assert found.extent.first.replace(tzinfo=None) == datetime(2024, 1, 2)


@pytest.mark.parametrize(
    ("text", "columns", "format", "last"),
    [
        ("date,time,v\n2024-05-01,23:50:00,1\n2024-05-01,24:00:00,2\n", ("date", "time"), None, datetime(2024, 5, 2)),
        (
            "Tag;Uhrzeit;v\n01.05.2024;9:05;1\n13.05.2024;10:00;2\n",
            ("Tag", "Uhrzeit"),
            "%d.%m.%Y %H:%M",
            datetime(2024, 5, 13, 10),
        ),
        ("year,month,day,v\n2024,1,31,1\n2024,2,1,2\n", ("year", "month", "day"), "%Y %m %d", datetime(2024, 2, 1)),
    ],
)
def test_columns_that_are_one_time_together_become_one(
    tmp_path: Path, text: str, columns: tuple[str, ...], format: str | None, last: datetime
) -> None:
    found = proposed(tmp_path / "a.csv", text)
    assert (found.time.columns, found.time.format, found.extent.last.replace(tzinfo=None)) == (columns, format, last)
    assert any(f"is made of {' and '.join(columns)}" in remark for remark in found.remarks)


def test_a_nameless_index_and_folders_that_are_columns_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "region=eu" / "day=2024-05-01"
    folder.mkdir(parents=True)
    times = pa.array([datetime(2024, 5, 1), datetime(2024, 5, 2)], pa.timestamp("ns"))
    found = proposed(folder / "part.parquet", pa.table({"v": [1, 2], "__index_level_0__": times}))
    kinds = {guess.name: guess.kind for guess in found.columns}
    assert kinds == {"time": "timestamp", "v": "int64", "region": "string", "day": "date"}
    assert "path_columns: hive" in to_yaml(found)
    assert any("pandas' index, which had no name" in remark for remark in found.remarks)


def test_units_of_a_row_become_units_of_columns(tmp_path: Path) -> None:
    found = proposed(tmp_path / "a.csv", "time,temp,hum\n,degC,%\n2024-05-01 10:00,1.5,40\n2024-05-01 11:00,2.5,41\n")
    dataset = parse_declaration(to_yaml(found))
    assert [column.unit for column in dataset.schema] == ["", "degC", "%"]


@pytest.mark.parametrize(
    "values",
    [
        pa.array([2**60, None], pa.timestamp("ms")),
        pa.array([2**62, None], pa.int64()).cast(pa.date64()),
        pa.array([1 << 30, None], pa.int32()).cast(pa.date32()),
        pa.array([1, None], pa.duration("ns")),
        pa.array([1, None], pa.time64("ns")),
        pa.array([[2**60], None], pa.list_(pa.timestamp("ms"))),
        pa.array([{"a": 2**60}, None], pa.struct([("a", pa.timestamp("ms"))])),
        pa.array([[("a", 1)], None], pa.map_(pa.string(), pa.int64())),
        pa.array([b"\xff", None], pa.binary()),
        pa.array([1, None], pa.decimal256(60, 2)),
        pa.array(["a", None]).dictionary_encode(),
        pa.nulls(2),
    ],
)
def test_no_column_of_a_file_that_can_be_landed_ends_it(tmp_path: Path, values: pa.Array) -> None:
    ts = pa.array([datetime(2024, 5, 1), datetime(2024, 5, 2)], pa.timestamp("us"))
    assert proposed(tmp_path / "a.parquet", pa.table({"ts": ts, "c": values})).time.name == "ts"


FEATURE: dict[str, Any] = {
    "type": "Feature",
    "properties": {"mag": 1.5, "time": 1517966773840, "type": "quake"},
    "geometry": {"lon": [8.5]},
}


def test_geojson_is_declared_with_the_time_that_is_inside_its_properties(tmp_path: Path) -> None:
    later = {**FEATURE, "properties": {**FEATURE["properties"], "time": 1517966996303, "mag": None}}
    found = proposed(tmp_path / "quakes.json", json.dumps({"type": "FeatureCollection", "features": [FEATURE, later]}))
    assert (found.time.name, found.time.unit) == ("time", "ms")
    assert found.sample.fields["time"] == ("properties", "time")
    text = to_yaml(found)
    assert "time: {type: timestamp, from: properties.time}" in text
    assert "mag: {type: double, from: properties.mag, nullable: true}" in text
    assert "properties_type: {type: string, from: properties.type}" in text


def test_objects_stay_closed_where_a_time_stands_beside_them(tmp_path: Path) -> None:
    found = proposed(tmp_path / "a.jsonl", json.dumps({"ts": "2024-05-01", "inner": {"time": "2024-05-02", "v": 1}}))
    assert (found.time.name, dict(found.sample.fields)) == ("ts", {})


def test_a_time_inside_a_struct_of_parquet_is_found(tmp_path: Path) -> None:
    table = pa.Table.from_pylist([{"reading": {"at": datetime(2024, 5, 1), "deep": {"v": 1.5}}, "n": 7}])
    found = proposed(tmp_path / "a.parquet", table)
    assert found.time.name == "at"
    assert dict(found.sample.fields) == {"at": ("reading", "at"), "v": ("reading", "deep", "v")}


def test_quarters_are_found(tmp_path: Path) -> None:
    found = proposed(tmp_path / "a.csv", "period,gdp\n1995Q1,1\n1995Q2,2\n1995Q4,3\n")
    assert (found.time.name, found.time.format) == ("period", "quarter")
    assert (found.extent.first, found.extent.last) == (datetime(1995, 1, 1, tzinfo=UTC), datetime(1995, 10, 1, tzinfo=UTC))
