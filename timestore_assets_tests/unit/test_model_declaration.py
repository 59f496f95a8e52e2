"""Each mistake in a declaration is answered with file, line, key and what to write instead."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from timestore_assets.declarations import read_declarations
from timestore_assets.model.declaration import parse_declaration
from timestore_assets.model.definition import schema_from_plain, schema_to_plain
from timestore_assets.model.errors import DeclarationError
from timestore_assets.model.window import Window

GOOD = """\
type: timestore_assets.Dataset
attributes:
  name: weather
  owners: ["team:weather"]
  columns:
    origin:    {type: string, isin: [EWR, JFK, LGA]}
    time_hour: {type: timestamp}
    temp:      {type: double, nullable: true, unit: degF, ge: -60, le: 140}
    price:     {type: "decimal(10,2)", nullable: true, ge: 0}
    parts:     {type: "list<struct<a: int32, b: string>>", nullable: true}
    plain: int64
  time: time_hour
  window: day
  start: 2013-01-01
  partition_by: [origin]
  dedupe: {keys: [origin, time_hour], keep: last}
  sources:
    - files: {prefix: inbox/weather/, format: csv, nulls: [NA]}
  late: {allowed: 1d, policy: correct}
  segments: {format: auto, target_bytes: 256MB, sort_by: [origin, time_hour]}
  retention: {max_age: 5y}
"""


def test_a_declaration_becomes_a_dataset() -> None:
    dataset = parse_declaration(GOOD, file="defs.yaml")
    assert dataset.start == datetime(2013, 1, 1, tzinfo=UTC)
    assert dataset.window is Window.DAY
    assert dataset.late.allowed == timedelta(days=1)
    assert dataset.segments.target_bytes == 256_000_000
    assert dataset.sources[0].csv.nulls == ("NA",)
    assert str(dataset.schema.column("parts").type) == "list<struct<a: int32, b: string>>"
    assert dataset.schema.column("price").checks.ge == "0"
    assert dataset.schema.column("plain").nullable is False


def test_a_schema_survives_the_way_through_the_catalog() -> None:
    schema = parse_declaration(GOOD).schema
    assert schema_from_plain(schema_to_plain(schema), version=1) == schema


@pytest.mark.parametrize(
    ("good", "bad", "line", "key", "says"),
    [
        ("type: double", "type: doble", 8, "columns.temp.type", "unknown type 'doble'; write one of string"),
        ("window: day", "window: dya", 13, "window", "write 'hour', 'day', 'week' or 'month'"),
        ("start: 2013-01-01", "start: soon", 14, "start", "write for instance 2013-01-01"),
        ("keep: last", "keep: newest", 16, "dedupe.keep", "write 'last' or 'first'"),
        ("  time: time_hour", "  tme: time_hour", 12, "tme", "did you mean 'time'"),
        ("nullable: true, unit", "nullabel: true, unit", 8, "columns.temp.nullabel", "did you mean 'nullable'"),
        ("prefix: inbox/weather/", "prefix: ../other", 18, "sources.0.files.prefix", "absolute folder"),
        (
            "- files: {prefix: inbox/weather/, format: csv, nulls: [NA]}",
            "- http: {zone: UTC}",
            18,
            "sources.0.http.zone",
            "timezone",
        ),
        (
            "- files: {prefix: inbox/weather/, format: csv, nulls: [NA]}",
            "- kafka: {topic: 'a b'}",
            18,
            "sources.0.kafka",
            "no topic name",
        ),
        (
            "- files: {prefix: inbox/weather/, format: csv, nulls: [NA]}",
            "- kafka: {topic: a, topics: [b]}",
            18,
            "sources.0.kafka.topic",
            "needs either",
        ),
        (
            "- files: {prefix: inbox/weather/, format: csv, nulls: [NA]}",
            "- kafka: {topic: a, dead_letter_topic: a}",
            18,
            "sources.0.kafka.dead_letter_topic",
            "a topic that is read",
        ),
        ("ge: -60", "ge: cold", 8, "columns.temp.ge", "no double"),
        ("isin: [EWR, JFK, LGA]", "isin: [EWR, 1]", 6, "columns.origin.isin", "quote it"),
        ("keys: [origin, time_hour]", "keys: [origin]", 16, "dedupe.keys", "add time_hour"),
        ("keys: [origin, time_hour]", "keys: [origin, time_hour, nope]", 16, "dedupe.keys", "not a declared column"),
        ("target_bytes: 256MB", "target_bytes: big", 20, "segments.target_bytes", "256MB"),
        ("partition_by: [origin]", "partition_by: [temp]", 15, "partition_by", "must be one of"),
        ("time: time_hour", "time: origin", 12, "time", "must be a timestamp"),
        ("allowed: 1d", "allowed: soon", 19, "late.allowed", "write for instance 30s"),
        ("name: weather", "name: My Data", 3, "name", "lower-case letters"),
        ("window: day", "window: day\n  window: day", 14, "", "written twice"),
        ('owners: ["team', 'owners: [["team', 5, "", "not valid YAML"),
        ("plain: int64", "plain: 5", 11, "columns.plain", "is 5; write"),
        ("plain: int64", "__plain: int64", 11, "columns.__plain", "reserved"),
        ("plain: int64", "Temp: int64", 11, "columns.Temp", "only by case"),
        ("type: timestore_assets.Dataset", "type: other", 1, "type", "write `type: timestore_assets.Dataset`"),
        ("attributes:", "attribute:", 1, "attributes", "is missing"),
    ],
)
def test_a_mistake_is_located_and_explained(good: str, bad: str, line: int, key: str, says: str) -> None:
    assert good in GOOD
    with pytest.raises(DeclarationError) as caught:
        parse_declaration(GOOD.replace(good, bad, 1), file="defs.yaml")
    assert (caught.value.file, caught.value.line, caught.value.key) == ("defs.yaml", line, key)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_declarations_of_one_name_are_refused(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "defs.yaml").write_text(GOOD)
    with pytest.raises(DeclarationError, match="already declared in"):
        read_declarations([tmp_path])


def test_a_folder_is_read_once_however_often_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "defs.yaml").write_text(GOOD)
    assert list(read_declarations([tmp_path, tmp_path, tmp_path / "a"])) == ["weather"]


@pytest.mark.parametrize("text", ["", "[]", "just text", "attributes: {}", "type: timestore_assets.Dataset\nattributes:\n"])
def test_what_is_no_declaration_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(DeclarationError, match=r"defs\.yaml"):
        parse_declaration(text, file="defs.yaml")
