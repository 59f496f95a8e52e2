"""The coercion table, value by value, for texts and JSON values."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import duckdb
import pytest

from timestore_assets.decoding.coercion import not_finite, value_of_json, value_of_text
from timestore_assets.model.record_form import NumberMarks, Spelling
from timestore_assets.model.types import parse_type


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as opened:
        opened.execute("SET TimeZone='UTC'")
        yield opened


def evaluate(con: duckdb.DuckDBPyConnection, sql: str, raw: str) -> Any:
    found = con.execute(f"SELECT {sql} FROM (SELECT ?::VARCHAR AS t)", [raw]).fetchone()
    assert found is not None
    return found[0]


NONE = None
TEXTS: list[tuple[str, str, Any]] = [
    *[("int64", text, int(text)) for text in ("0", "+5", "-7", "9223372036854775807", "-9223372036854775808", "007")],
    *[("int64", text, NONE) for text in ("9223372036854775808", "1.0", "1e3", "0x1F", "1_000", "", "abc", "true")],
    ("int32", "2147483647", 2147483647),
    ("int32", "2147483648", NONE),
    *[("double", text, value) for text, value in (("1", 1.0), ("1.5", 1.5), (".5", 0.5), ("5.", 5.0), ("-1e-3", -0.001))],
    *[("double", text, math.inf) for text in ("inf", "Infinity", "+INF", "1e400")],
    *[("double", text, NONE) for text in ("1_0", "0x1", "e5", ".", "1,5", "", "none")],
    ("decimal(10,2)", "1.5", Decimal("1.50")),
    ("decimal(10,2)", "1.500", Decimal("1.50")),
    ("decimal(10,2)", "-.5", Decimal("-0.50")),
    *[("decimal(10,2)", text, NONE) for text in ("1.501", ".", "100000000", "1e2", "nan")],
    ("decimal(5,0)", "7.", Decimal(7)),
    ("decimal(5,0)", "7.1", NONE),
    *[("bool", text, text.lower() == "true") for text in ("true", "FALSE", "True")],
    *[("bool", text, NONE) for text in ("1", "0", "t", "yes", "")],
    ("date", "2013-01-31", date(2013, 1, 31)),
    ("date", "2013-01-31T00:00:00.000", date(2013, 1, 31)),
    *[("date", text, NONE) for text in ("2013-02-30", "2013-01-31 05:00", "2013-1-31", "0000-01-01", "31.01.2013")],
    ("timestamp", "2013-01-31", datetime(2013, 1, 31)),
    ("timestamp", "2013-01-31 06:07", datetime(2013, 1, 31, 6, 7)),
    ("timestamp", "2013-01-31T06:07:08.1234569Z", datetime(2013, 1, 31, 6, 7, 8, 123456)),
    ("timestamp", "1969-12-31T23:59:59.9999999", datetime(1969, 12, 31, 23, 59, 59, 999999)),
    ("timestamp", "2013-01-31T06:00:00+05:30", datetime(2013, 1, 31, 0, 30)),
    ("timestamp", "2013-01-31T06:00:00-0800", datetime(2013, 1, 31, 14)),
    ("timestamp", "2013-01-31T06:00:00+02", datetime(2013, 1, 31, 4)),
    ("timestamp", "0001-01-01T00:00:00", datetime(1, 1, 1)),
    ("timestamp", "9999-12-31T23:59:59.999999Z", datetime(9999, 12, 31, 23, 59, 59, 999999)),
    *[
        ("timestamp", text, NONE)
        for text in (
            "2013-02-30T00:00:00",
            "2013-01-31T25:00:00",
            "2013-01-31T23:59:60",
            "1357000000",
            "epoch",
            "infinity",
            "2013-01-31T06:00:00 America/Neu_York",
            "2013-01-31T06:00:00 EST5EDT",
            "2013-01-31T06:00:00+99",
            "0001-01-01T00:00:00+05:00",
            "9999-12-31T23:00:00-05:00",
            "0000-06-01T00:00:00",
            "2013-01-31T06",
            "",
        )
    ],
    ("string", "", ""),
    ("string", " x\x00y ", " x\x00y "),
    ("binary", "é", "é".encode()),
    ("list<int64>", "[1, 2, null]", [1, 2, None]),
    ("list<int64>", "[]", []),
    *[("list<int64>", text, NONE) for text in ("[1.5]", '["x"]', "{}", "[1", "1", "")],
    ("struct<a: int64, b: list<double>>", '{"a": 1, "b": [1, 2.5]}', {"a": 1, "b": [1.0, 2.5]}),
    ("struct<a: int64, b: list<double>>", '{"b": null}', {"a": None, "b": None}),
    *[("struct<a: int64>", text, NONE) for text in ('{"a": "x"}', '{"a": 1, "c": 2}', "[]", "5")],
    ("list<struct<t: timestamp>>", '[{"t": "2013-01-31T06:00:00+01:00"}]', [{"t": datetime(2013, 1, 31, 5)}]),
    ("list<list<int64>>", "[[1], [], null]", [[1], [], None]),
]


@pytest.mark.parametrize(("kind", "text", "expected"), TEXTS)
def test_text(con: duckdb.DuckDBPyConnection, kind: str, text: str, expected: Any) -> None:
    assert evaluate(con, value_of_text("t", parse_type(kind), zone=None), text) == expected


SPELLINGS: list[tuple[str, str, Any]] = [
    *[
        ("timestamp", text, datetime(2024, 3, 1, 0, 0, 4, 500000 * (".5" in text or ",5" in text)))
        for text in (
            *("20240301T000004Z", "20240301T000004,5Z", "20240301 00:00:04", "2024-03-01t00:00:04z", "2024-03-01 00:00:04,5"),
            *("2024-03-01 00:00:04 UTC", "2024-03-01 00:00:04.5 utc", "2024-03-01T00:00:04GMT", " 2024-03-01T00:00:04 Z\t"),
            *("2024-03-01T01:00:04 +01:00", "20240301T010004+0100", "20240301T010004.5+01"),
        )
    ],
    ("timestamp", "20240301T240000Z", datetime(2024, 3, 2)),
    ("timestamp", "20240301T0610", datetime(2024, 3, 1, 6, 10)),
    *[
        ("timestamp", text, NONE)
        for text in ("20240301", "2024-061", "2024-W09-5", "20240301T06", "20241301T000000Z", "+2024-03-01")
    ],
    *[
        ("timestamp", text, NONE)
        for text in ("2024-03-01 UTC", "2024-03-01T00:00:04 CET", "20240301T000060Z", "2024-03-01T00:00:04,")
    ],
    ("int64", " 5\t", 5),
    ("double", "\u00a01.5 ", 1.5),
    ("bool", " True", True),
    ("date", " 2024-03-01 ", date(2024, 3, 1)),
    *[("int64", text, NONE) for text in ("1 000", "- 5", " ")],
]


@pytest.mark.parametrize(("kind", "text", "expected"), SPELLINGS)
def test_other_spellings(con: duckdb.DuckDBPyConnection, kind: str, text: str, expected: Any) -> None:
    assert evaluate(con, value_of_text("t", parse_type(kind), zone=None), text) == expected


COMMA, SWISS = NumberMarks(decimal=",", thousands="."), NumberMarks(thousands="'")
FORMS: list[tuple[str, str, Spelling, Any]] = [
    *[("double", text, Spelling(marks=COMMA), value) for text, value in (("1.234,50", 1234.5), ("19,5", 19.5), ("-,5", -0.5))],
    *[("double", text, Spelling(marks=COMMA), NONE) for text in ("1.23,4", "12.34.567", "1.5", "0.500", "1,234.5", "1,2,3", ",")],
    ("int64", "1.234", Spelling(marks=COMMA), 1234),
    ("int64", "1,0", Spelling(marks=COMMA), NONE),
    ("decimal(10,2)", "1.234,5", Spelling(marks=COMMA), Decimal("1234.50")),
    ("decimal(10,2)", "1.234,567", Spelling(marks=COMMA), NONE),
    *[("double", text, Spelling(marks=SWISS), 1234.5) for text in ("1'234.5", "1’234.5", "1234.5")],
    ("double", "1\u202f234,5", Spelling(marks=NumberMarks(decimal=",", thousands=" ")), 1234.5),
    ("list<double>", '["1,5", 2.5]', Spelling(marks=COMMA), [1.5, 2.5]),
    ("timestamp", "1709251200.1234569", Spelling(unit="s"), datetime(2024, 3, 1, 0, 0, 0, 123456)),
    ("timestamp", "-0.0000001", Spelling(unit="s"), datetime(1969, 12, 31, 23, 59, 59, 999999)),
    ("timestamp", "-1", Spelling(unit="ns"), datetime(1969, 12, 31, 23, 59, 59, 999999)),
    ("timestamp", "1709251200123456789", Spelling(unit="ns"), datetime(2024, 3, 1, 0, 0, 0, 123456)),
    ("timestamp", "253402300799999", Spelling(unit="ms"), datetime(9999, 12, 31, 23, 59, 59, 999000)),
    ("timestamp", "-62135596800", Spelling(unit="s"), datetime(1, 1, 1)),
    *[
        ("timestamp", text, Spelling(unit="s"), NONE)
        for text in ("253402300800", "-62135596801", "9" * 40, "2024-03-01", "", "nan")
    ],
    ("timestamp", "1,5", Spelling(unit="s", marks=COMMA), datetime(1970, 1, 1, 0, 0, 1, 500000)),
    ("timestamp", "12/31/2023 24:00", Spelling(format="%m/%d/%Y %H:%M"), datetime(2024, 1, 1)),
    ("timestamp", "202312312400", Spelling(format="%Y%m%d%H%M"), datetime(2024, 1, 1)),
    ("timestamp", " 1/2/2024 9:05 ", Spelling(format="%d/%m/%Y %H:%M"), datetime(2024, 2, 1, 9, 5)),
    ("timestamp", "1/2/2024 9:05", Spelling(format="%d/%m/%Y %H:%M", zone="+01:00"), datetime(2024, 2, 1, 8, 5)),
    ("timestamp", "1/2/2024 9:05 +0200", Spelling(format="%d/%m/%Y %H:%M %z", zone="+01:00"), datetime(2024, 2, 1, 7, 5)),
    *[
        ("timestamp", text, Spelling(format="%d/%m/%Y %H:%M"), NONE)
        for text in ("24:00", "1/2/2024 24:01", "32/1/2024 00:00", "x")
    ],
    ("date", "19580329", Spelling(format="%Y%m%d"), date(1958, 3, 29)),
    ("date", "1/2/2024 9:05", Spelling(format="%d/%m/%Y %H:%M"), NONE),
    ("timestamp", "2013-01-31T06:00:00", Spelling(zone="-03:30"), datetime(2013, 1, 31, 9, 30)),
]


@pytest.mark.parametrize(("kind", "text", "spelling", "expected"), FORMS)
def test_declared_forms(con: duckdb.DuckDBPyConnection, kind: str, text: str, spelling: Spelling, expected: Any) -> None:
    assert evaluate(con, value_of_text("t", parse_type(kind), spelling=spelling), text) == expected


JSON: list[tuple[str, str, Any]] = [
    ("int64", "5", 5),
    ("int64", '"5"', 5),
    *[("int64", raw, NONE) for raw in ("1.5", "5.0", "true", '"abc"', "9223372036854775808", "[1]", '{"a":1}', '""')],
    ("double", "9223372036854775808", 2.0**63),
    *[("double", raw, NONE) for raw in ("true", '"abc"', "[]")],
    ("bool", "true", True),
    *[("bool", raw, NONE) for raw in ("1", "0", '"yes"')],
    ("string", r'"a\"\u00e9\n"', 'a"é\n'),
    ("string", "1.5", "1.5"),
    ("string", "true", "true"),
    *[("string", raw, NONE) for raw in ('{"a":1}', "[1]")],
    ("timestamp", '"2013-01-31T06:00:00Z"', datetime(2013, 1, 31, 6)),
    *[("timestamp", raw, NONE) for raw in ("1357000000", '"2013-02-30"', "true")],
    ("binary", '"x"', b"x"),
    ("decimal(38,20)", "1.5", Decimal("1.5")),
    ("decimal(38,20)", '"0.12345678901234567890"', Decimal("0.12345678901234567890")),
    ("decimal(38,20)", "0.12345678901234567890", NONE),
    ("decimal(38,0)", "12345678901234567", Decimal(12345678901234567)),
    ("binary", "5", NONE),
    ("binary", r'"a\u0000b"', b"a\x00b"),
    ("binary", '{"base64": "AP8="}', b"\x00\xff"),
    ("binary", ' { "base64" : "" }'.strip(), b""),
    ("list<binary>", '["é", {"base64": "/w=="}, null]', ["é".encode(), b"\xff", None]),
    ("struct<b: binary>", '{"b": {"base64": "/w=="}}', {"b": b"\xff"}),
    *[
        ("binary", raw, NONE)
        for raw in (
            *('{"base64": "AP8"}', '{"base64": "AP8=\\n"}', '{"base64": "_-8="}', '{"base64": "A==="}', '{"base64": 1234}'),
            *('{"base64": null}', '{"base64": "AP8=", "a": 1}', '{"base64": "AP8=", "base64": "AP8="}', "{}", '["AP8="]'),
        )
    ],
    ("string", '{"base64": "AP8="}', NONE),
]


@pytest.mark.parametrize(("kind", "raw", "expected"), JSON)
def test_json(con: duckdb.DuckDBPyConnection, kind: str, raw: str, expected: Any) -> None:
    assert evaluate(con, value_of_json("t", parse_type(kind), zone=None), raw) == expected


@pytest.mark.parametrize(
    ("zone", "local", "expected"),
    [
        ("America/New_York", "2013-01-31T06:00:00", datetime(2013, 1, 31, 11)),
        ("America/New_York", "2013-11-03T01:30:00", datetime(2013, 11, 3, 5, 30)),  # ambiguous: the first
        ("America/New_York", "2013-03-10T02:30:00", None),  # never was
        ("America/New_York", "2013-03-10T02:30:00Z", datetime(2013, 3, 10, 2, 30)),  # its own zone wins
        ("Asia/Tokyo", "2013-01-31T06:00:00 America/New_York", datetime(2013, 1, 31, 11)),
        ("Asia/Tokyo", "2013-11-03T01:30:00[America/New_York]", datetime(2013, 11, 3, 5, 30)),  # ambiguous: the first
        ("Asia/Tokyo", "2013-11-03T01:30:00-05:00[America/New_York]", datetime(2013, 11, 3, 6, 30)),  # and told
        ("Asia/Tokyo", "2013-03-10 02:30 America/New_York", None),  # never was
        ("Australia/Lord_Howe", "2013-04-07T01:45:00", datetime(2013, 4, 6, 14, 45)),  # half an hour twice
        ("Australia/Lord_Howe", "2013-10-06T02:15:00", None),
        ("Pacific/Apia", "2011-12-30T12:00:00", None),  # a whole day that never was
        ("Europe/Berlin", "2013-07-01", datetime(2013, 6, 30, 22)),
        ("Etc/UTC", "2013-07-01T00:00:00", datetime(2013, 7, 1)),
    ],
)
def test_local_times(con: duckdb.DuckDBPyConnection, zone: str, local: str, expected: datetime | None) -> None:
    assert evaluate(con, value_of_text("t", parse_type("timestamp"), zone=zone), local) == expected


@pytest.mark.parametrize(
    ("format", "text", "expected"),
    [
        ("rfc2822", "Fri, 01 Mar 2024 10:00:00 +0100", datetime(2024, 3, 1, 9)),
        ("rfc2822", "1 Mar 2024 10:00 GMT", datetime(2024, 3, 1, 10)),
        ("rfc2822", "2024-03-01", None),
        ("day_first", "31/12/2023 10:00", datetime(2023, 12, 31, 10)),
        ("day_first", "1.2.24", datetime(2024, 2, 1)),
        ("day_first", "31-12-2023 4:05:06 pm", datetime(2023, 12, 31, 16, 5, 6)),
        ("day_first", "31/12/2023 24:00", datetime(2024, 1, 1)),
        ("day_first", "12/31/2023", None),
        ("month_first", "12/31/2023 4:05 PM", datetime(2023, 12, 31, 16, 5)),
        ("year", "1999", datetime(1999, 1, 1)),
        ("%Y-%m-%d %H:%M %Z", "2024-10-27 02:30 Europe/Berlin", datetime(2024, 10, 27, 0, 30)),  # ambiguous: the first
        ("%Y-%m-%d %H:%M %Z", "2024-03-31 02:30 Europe/Berlin", None),  # never was
        ("%Y-%m-%d %H:%M %Z", "2024-07-01 10:00 EST", datetime(2024, 7, 1, 15)),
        ("%Y-%m-%d %H:%M %Z", "2024-07-01 10:00 Mars/Berlin", None),
    ],
)
def test_formats_with_a_name_and_zones_by_name(
    con: duckdb.DuckDBPyConnection, format: str, text: str, expected: datetime | None
) -> None:
    spelling = Spelling(format=format)
    assert evaluate(con, value_of_text("t", parse_type("timestamp"), spelling=spelling), text) == expected


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("double", "nan", True),
        ("float", "1e300", True),
        ("double", "1.5", False),
        ("list<double>", "[1, NaN]", True),
        ("struct<a: list<double>>", '{"a": [1]}', False),
        ("struct<a: list<double>>", '{"a": [-Infinity]}', True),
    ],
)
def test_not_finite_is_found_at_any_depth(con: duckdb.DuckDBPyConnection, kind: str, text: str, expected: bool) -> None:
    test = not_finite("v", parse_type(kind))
    value = value_of_text("t", parse_type(kind), zone=None)
    found = con.execute(f"SELECT {test} FROM (SELECT {value} AS v FROM (SELECT ?::VARCHAR AS t))", [text]).fetchone()
    assert found == (expected,)


def test_types_without_floats_are_not_searched() -> None:
    assert not_finite("v", parse_type("struct<a: list<int64>>")) is None
