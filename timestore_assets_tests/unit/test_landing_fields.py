"""Landing columns whose values are inside objects, arrays and structs, or in fields of other names."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml

from timestore_assets.declaration.from_yaml import parse_declaration
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.errors import DeclarationError
from timestore_assets_tests.support.dead_letter_replays import replay
from timestore_assets_tests.support.landing_warehouse import LandingWarehouse


def declared(columns: dict[str, Any], *sources: dict[str, Any], **more: Any) -> Dataset:
    attributes = {"name": "quakes", "columns": columns, "time": "at", "start": "2013-01-01", "sources": list(sources), **more}
    return parse_declaration(yaml.safe_dump({"type": "timestore_assets.Dataset", "attributes": attributes}))


def warehouse(root: Path, columns: dict[str, Any], files: dict[str, Any] | None = None, **more: Any) -> LandingWarehouse:
    found = declared(columns, {"files": {"prefix": "inbox", **(files or {})}}, **more)
    (source,) = found.file_sources
    return LandingWarehouse.at(root, found, source=source)


AT = {"type": "timestamp", "from": "properties.time"}
MAG = {"type": "double", "from": "properties.mag", "nullable": True}
UNIT = {"times": {"at": {"unit": "ms"}}}
FEATURES: list[dict[str, Any]] = [
    {"type": "Feature", "id": "a", "properties": {"mag": 2.5, "time": 1370000000000}, "geometry": {"coordinates": [8.5, 47]}},
    {"type": "Feature", "id": "b", "properties": {"mag": None, "time": 1370000001000}, "geometry": None},
]


def test_geojson_lands_with_its_time_and_the_rest_stays_what_it_was(tmp_path: Path) -> None:
    lon = {"type": "double", "from": "geometry.coordinates[0]", "nullable": True}
    landed = warehouse(tmp_path, {"at": AT, "mag": MAG, "lon": lon}, {"path": "features[*]", **UNIT})
    (file,) = landed.land(landed.drop("a.json", json.dumps({"type": "FeatureCollection", "features": FEATURES}))).files
    assert (file.state, file.counters.landed) == ("landed", 2)
    first, second = datetime(2013, 5, 31, 11, 33, 20), datetime(2013, 5, 31, 11, 33, 21)
    assert landed.rows("at", "mag", "lon", "id") == [(first, 2.5, 8.5, "a"), (second, None, None, "b")]
    assert json.loads(landed.rows("properties")[0][0]) == FEATURES[0]["properties"]


@pytest.mark.parametrize(
    ("record", "code", "reason"),
    [
        ({"properties": {"mag": 1}}, "missing_time", "column at is required and has no value"),
        ({"properties": None}, "missing_time", "column at is required and has no value"),
        (
            {"properties": [1370000000000]},
            "bad_value",
            '"[1370000000000]" is not an object, as properties.time of column at needs',
        ),
        ({"properties": {"time": "soon"}}, "bad_value", '""soon"" is not a number of ms since 1970, as column at needs'),
        (
            {"properties": {"time": 1370000000000}, "at": "2013-05-31"},
            "ambiguous_column",
            "column 'at' is at properties.time, and the record has a key of that name as well",
        ),
        (
            {"properties": {"time": 1370000000000}, "properties.time": 1},
            "ambiguous_column",
            "column 'at' is at properties.time, and the record has a key 'properties.time' as well",
        ),
        ({"Properties": {}}, "ambiguous_column", "key 'Properties' differs from column 'properties' only by case"),
    ],
)
def test_what_is_not_at_the_path_refuses_the_record_and_no_other(
    tmp_path: Path, record: dict[str, Any], code: str, reason: str
) -> None:
    """I2."""
    landed = warehouse(tmp_path, {"at": AT, "mag": MAG}, UNIT)
    (file,) = landed.land(landed.drop("a.jsonl", [FEATURES[0], record, FEATURES[1]])).files
    assert (file.counters.read, file.counters.landed, file.counters.dead_letters) == (3, 2, 1)
    (letter,) = landed.letters()
    assert (letter.code, letter.reason) == (code, reason)


def test_a_refused_record_lands_by_a_replay_once_its_path_is_mended(tmp_path: Path) -> None:
    """I1, I2."""
    landed = warehouse(tmp_path, {"at": {"type": "timestamp", "from": "properties.when"}}, UNIT)
    landed.land(landed.drop("a.jsonl", FEATURES))
    assert [letter.code for letter in landed.letters()] == ["missing_time"] * 2
    landed.dataset = declared({"at": AT}, {"files": {"prefix": "inbox", **UNIT}})
    (landed.source,) = landed.dataset.file_sources
    assert replay(landed).landed == 2
    assert len(landed.rows("at")) == 2


def test_a_field_of_another_name_is_no_column_of_its_own(tmp_path: Path) -> None:
    columns = {"at": {"type": "timestamp", "from": "ts"}, "temp": {"type": "double", "from": "Temp [C]"}}
    with pytest.raises(DeclarationError, match=r"\['a\.b'\]"):
        warehouse(tmp_path, columns)
    columns["temp"]["from"] = "['Temp [C]']"
    landed = warehouse(tmp_path, columns)
    landed.land(
        landed.drop("a.csv", "ts,Temp [C]\n2013-02-01,1.5\n"), landed.drop("b.jsonl", [{"ts": "2013-02-02", "Temp [C]": 2}])
    )
    assert landed.rows("at", "temp") == [(datetime(2013, 2, 1), 1.5), (datetime(2013, 2, 2), 2.0)]
    assert landed.record.schema.names == ("at", "temp")


def test_a_file_whose_column_has_no_such_member_is_refused_by_name(tmp_path: Path) -> None:
    landed = warehouse(tmp_path, {"at": AT}, UNIT)
    structs = pa.array([{"mag": 1.0}], pa.struct({"mag": pa.float64()}))
    tables = {
        "a.parquet": pa.table({"properties": structs}),
        "b.parquet": pa.table({"properties": ["{}"]}),
        "c.parquet": pa.table({"mag": [1.0]}),
        "d.parquet": pa.table({"properties": pa.array([], structs.type), "properties.time": pa.array([], pa.int64())}),
    }
    tables["e.parquet"] = pa.table({"Properties": structs})
    report = landed.land(*(landed.drop(name, table) for name, table in tables.items()))
    found = {Path(file.address).name: (file.state, file.reason) for file in report.files}
    assert {state for state, _ in found.values()} == {"quarantined"}
    assert "does not have" in found["a.parquet"][1]
    assert "is string, which has no members" in found["b.parquet"][1]
    assert "its columns are mag" in found["c.parquet"][1]
    assert "as well; rename one" in found["d.parquet"][1]
    assert "has 'Properties', which differs only by case" in found["e.parquet"][1]


def test_a_source_says_where_its_own_records_differ() -> None:
    found = declared(
        {"at": AT, "mag": MAG},
        {"files": {"prefix": "inbox", "fields": {"at": "at", "mag": "m"}}},
        {"kafka": {"topic": "quakes"}},
        {"http": {}},
    )
    texts = [{path.column: path.text for path in source.form.fields} for source in found.sources]
    assert texts == [{"mag": "m"}, *[{"at": "properties.time", "mag": "properties.mag"}] * 2]


@pytest.mark.parametrize("text", ["", ".", "a..b", "[0].a", "a[*].b", "a[-1]", "a['b", "a[0]b"])
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(DeclarationError, match=r"properties\.time") as caught:
        declared({"at": {"type": "timestamp", "from": text}}, {"http": {}})
    assert caught.value.key == "columns.at.from"


def test_a_time_is_at_a_path_or_made_of_fields() -> None:
    with pytest.raises(DeclarationError, match="leave out one of them"):
        declared({"at": AT}, {"http": {"times": {"at": {"columns": ["date", "clock"]}}}})


def test_parts_of_a_time_may_be_at_paths(tmp_path: Path) -> None:
    columns = {
        "at": "timestamp",
        "day": {"type": "string", "from": "when.day"},
        "clock": {"type": "string", "from": "when.clock"},
    }
    landed = warehouse(tmp_path, columns, {"times": {"at": {"columns": ["day", "clock"]}}})
    record = {"when": {"day": "2013-02-01", "clock": "10:30"}}
    landed.land(landed.drop("a.jsonl", [record]), landed.drop("b.parquet", pa.Table.from_pylist([record])))
    assert landed.rows("at", "day") == [(datetime(2013, 2, 1, 10, 30), "2013-02-01")] * 2


def test_a_column_may_have_the_name_of_the_object_it_is_in(tmp_path: Path) -> None:
    landed = warehouse(tmp_path, {"at": {"type": "timestamp", "from": "at.value"}})
    record = {"at": {"value": "2013-02-01", "zone": "UTC"}}
    landed.land(landed.drop("a.jsonl", [record]), landed.drop("b.parquet", pa.Table.from_pylist([record])))
    assert landed.rows("at") == [(datetime(2013, 2, 1),)] * 2
    assert landed.record.schema.names == ("at",)


def test_a_key_that_would_be_a_reserved_column_is_still_refused_where_all_columns_are_at_paths(tmp_path: Path) -> None:
    landed = warehouse(tmp_path, {"at": AT}, UNIT)
    landed.land(landed.drop("a.jsonl", [{**FEATURES[0], "__": 1}]))
    assert [letter.code for letter in landed.letters()] == ["bad_column_name"]


def test_quarters_are_times(tmp_path: Path) -> None:
    landed = warehouse(tmp_path, {"at": "timestamp"}, {"times": {"at": {"format": "quarter"}}})
    texts = ["2013Q1", "2013-q2", "Q1 2013", "2013Q5", "13Q1"]
    landed.land(landed.drop("a.jsonl", [{"at": text} for text in texts]))
    assert landed.rows("at") == [(datetime(2013, month, 1),) for month in (1, 4, 1)]
    assert [letter.code for letter in landed.letters()] == ["bad_value"] * 2
