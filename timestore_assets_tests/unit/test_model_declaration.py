"""Each mistake in a declaration is answered with file, line, key and what to write instead."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from timestore_assets.declaration.from_yaml import parse_declaration
from timestore_assets.declarations import read_declarations
from timestore_assets.model.dataset import FileSource, HttpSource, KafkaSource
from timestore_assets.model.errors import DeclarationError
from timestore_assets.model.record_form import NumberMarks, Spelling
from timestore_assets.model.schema import schema_from_plain, schema_to_plain
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
        ("window: day", "window: dya", 13, "window", "write 'hour', 'day', 'week', 'month', 'year' or 'all'"),
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


FORMS = """\
type: timestore_assets.Dataset
attributes:
  name: meter
  columns: {at: timestamp, day: {type: date, nullable: true}, v: double}
  time: at
  start: 2024-01-01
  sources:
    - files:
        prefix: inbox/meter/
        delimiter: ";"
        decimal: ","
        thousands: "."
        comment: "#"
        skip: 2
        units_row: true
        trim: true
        encoding: latin-1
        timezone: "+01:00"
        path_columns: [region]
        times:
          at: {columns: [date, clock], format: "%d/%m/%Y %H:%M", timezone: Europe/Berlin}
          day: {format: "%d.%m.%Y"}
    - kafka: {topic: m, wrapper: connect, times: {at: {unit: ms}}}
    - http: {decimal: ",", encoding: utf-16, times: {at: {unit: s}}}
"""


def test_how_records_are_written_is_part_of_a_source() -> None:
    files, kafka, http = parse_declaration(FORMS).sources
    assert isinstance(files, FileSource)
    assert isinstance(kafka, KafkaSource)
    assert isinstance(http, HttpSource)
    csv = files.csv
    assert (csv.comment, csv.skip, csv.units_row, csv.trim, csv.encoding) == ("#", 2, True, True, "iso8859-1")
    assert files.form.marks == NumberMarks(decimal=",", thousands=".")
    assert files.form.spelling("at", zone=files.timezone).zone == "Europe/Berlin"
    assert files.form.spelling("day", zone=files.timezone) == Spelling(zone="+01:00", marks=files.form.marks, format="%d.%m.%Y")
    assert (files.path_columns, kafka.form.wrapper, http.csv.encoding) == (("region",), "connect", "utf-16")
    assert parse_declaration(FORMS).definition()["sources"][1]["form"]["times"][0]["unit"] == "ms"


@pytest.mark.parametrize(
    ("good", "bad", "key", "says"),
    [
        ('thousands: "."', 'thousands: ","', "thousands", "the decimal mark"),
        ('thousands: "."', "thousands: x", "thousands", "write one of"),
        ('comment: "#"', 'comment: ";"', "comment", "the quote or the delimiter"),
        ('comment: "#"', 'comment: " #"', "comment", "ASCII characters such as"),
        ("skip: 2", "skip: -1", "skip", "greater than or equal to 0"),
        ("encoding: latin-1", "encoding: klingon", "encoding", "write for instance utf-8"),
        ("encoding: latin-1", "encoding: rot13", "encoding", "is not known"),
        ("encoding: latin-1", 'encoding: shift_jis\n        quote: "|"', "quote", "save the files as UTF-8"),
        ("encoding: latin-1", "encoding: latin-1\n        format: jsonl", "encoding", "JSON is UTF-8"),
        ('timezone: "+01:00"', 'timezone: "+1:00"', "timezone", "such as +01:00"),
        ("path_columns: [region]", "path_columns: [a=b]", "path_columns", "write names such as region"),
        ("columns: [date, clock]", "columns: [date, date]", "times.at.columns", "a field twice"),
        ('format: "%d/%m/%Y %H:%M"', "unit: s", "times.at.unit", "one number"),
        ('format: "%d/%m/%Y %H:%M"', 'format: "%d/%m %H:%M"', "times.at.format", "no year"),
        ('format: "%d/%m/%Y %H:%M"', 'format: "%d/%m/%Y %Q"', "times.at.format", "is no format"),
        ('day: {format: "%d.%m.%Y"}', "day: {unit: s}", "times.day", "a date has no unit"),
        ('day: {format: "%d.%m.%Y"}', "day: {}", "times.day", "says nothing"),
        ('day: {format: "%d.%m.%Y"}', "v: {unit: s}", "times.v", "no timestamp or date"),
        ('day: {format: "%d.%m.%Y"}', "x: {unit: s}", "times.x", "the columns are at, day, v"),
    ],
)
def test_a_form_that_cannot_be_meant_is_refused(good: str, bad: str, key: str, says: str) -> None:
    assert good in FORMS
    with pytest.raises(DeclarationError) as error:
        parse_declaration(FORMS.replace(good, bad))
    assert error.value.key == f"sources.0.files.{key}"
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("written", "columns", "types"),
    [
        ("", "evolve", "evolve"),
        ("evolution: {columns: freeze, types: discard_value}", "freeze", "discard_value"),
        ("evolution: {new_columns: add, widen: true}", "evolve", "evolve"),
        ("evolution: {new_columns: ignore, widen: false}", "discard_value", "discard_row"),
        ("evolution: {new_columns: reject, types: freeze}", "discard_row", "freeze"),
    ],
)
def test_the_contract_has_two_spellings(written: str, columns: str, types: str) -> None:
    evolution = parse_declaration(GOOD.replace("  late:", f"  {written}\n  late:")).evolution
    assert (evolution.columns, evolution.types, evolution.max_new_columns, evolution.notify) == (columns, types, 50, ())


@pytest.mark.parametrize(
    ("written", "key", "says"),
    [
        ("{columns: evolve, new_columns: add}", "evolution.new_columns", "says what `columns` says"),
        ("{types: evolve, widen: true}", "evolution.widen", "says what `types` says"),
        ("{columns: adapt}", "evolution.columns", "evolve"),
        ("{notify: Not a channel}", "evolution.notify", "is no name of a channel"),
    ],
)
def test_a_contract_that_cannot_be_meant_is_refused(written: str, key: str, says: str) -> None:
    with pytest.raises(DeclarationError, match=says) as caught:
        parse_declaration(GOOD.replace("  late:", f"  evolution: {written}\n  late:"))
    assert caught.value.key == key


def test_channels_of_schema_versions_are_one_or_several() -> None:
    for written, channels in (("ops", ("ops",)), ("[ops, mail, ops]", ("ops", "mail"))):
        evolution = parse_declaration(GOOD.replace("  late:", f"  evolution: {{notify: {written}}}\n  late:")).evolution
        assert evolution.notify == channels


def test_records_in_order_are_declared_and_requests_have_none() -> None:
    strict = GOOD.replace("  late:", "  order: strict\n  late:")
    assert (parse_declaration(GOOD).order, parse_declaration(strict).order) == ("any", "strict")
    assert parse_declaration(strict).order_keys == ("origin",)
    with pytest.raises(DeclarationError, match="can't be `strict` with an `http` source"):
        parse_declaration(strict.replace("  sources:\n", "  sources:\n    - http: {}\n"))
