"""The quick reading of JSON documents gives what the careful one gives: same rows, same refusals, same other keys."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from timestore_assets.decoding.json_documents import read_documents
from timestore_assets.decoding.rejections import RowMask
from timestore_assets.model.record_form import PLAIN, NumberMarks, RecordForm, TimeForm
from timestore_assets_tests.support.landing_warehouse import columns

KINDS = {
    "ts": "timestamp",
    "name": "string?",
    "n": "int64?",
    "small": "int32?",
    "x": "double?",
    "f": "float?",
    "ok": "bool?",
    "day": "date?",
    "price": "decimal(10,2)?",
    "blob": "binary?",
    "tags": "list<int64>?",
    "at": "struct<a: int64, t: timestamp>?",
    "odd,key:": "string?",
}
SCALARS = ("ts", "name", "n", "x", "ok")
GOOD = {
    "ts": '"2026-11-01T00:00:11.123456Z"',
    "name": '"Amsterdam, NL: x"',
    "n": "42",
    "small": "-7",
    "x": "1.25",
    "f": "0.1",
    "ok": "true",
    "day": '"2026-11-01"',
    "price": "12.50",
    "blob": '"bytes"',
    "tags": "[1, 2, null]",
    "at": '{"a": 1, "t": "2026-11-01T00:00:00+01:00"}',
    "odd,key:": '"v"',
}
# one of each kind that DuckDB's reader would take for something else, or that is spelled unusually
NASTY = """
null true false 0 1 -0 -0.0 0.0 1.0 1.5 5.0 1e3 1E5 1e-7 1e400 -1e400 1e23 0.1 0.30000000000000004 2.5000000000000001 12.505
9223372036854775807 9223372036854775808 -9223372036854775808 -9223372036854775809 18446744073709551616 2147483648 3.4e39
123456789012345678901234567890 1234567890.12345678901 NaN -NaN Infinity -Infinity nan inf 1357000000 1357000000000
"" " " "5" " 5" "5 " "+5" "007" "1_000" "0x1F" "1.5" "1e3" ".5" "5." "-" "e5" "nan" "NaN" "inf" "-Infinity" "1e400"
"true" "TRUE" "True" "t" "yes" "false" "null" "abc" "{" "[" "{}" "[1]" "{\\"a\\": 1}" "," ":" ",}" ", ]" "a,b:c"
"2026-11-01" "2026-11-01T00:00:00Z" "2026-11-01 00:00:00" "2026-11-01T00:00" "2026-11-01T00:00:00+05:30" "2026-02-30T00:00:00Z"
"2026-11-01T00:00:00.123+05Z" "2026-11-01T00:00:00.12   Z" "2026-11-01T00:00:00.1234567Z" "2026-11-01T25:00:00Z"
" 026-11-01T00:00:00Z"
"0000-06-01T00:00:00Z" "0001-01-01T00:00:00Z" "9999-12-31T23:59:59.999999Z" "2026-11-01T00:00:00.Z" "2026-11-01T00:00:00.123+05"
"2026-11-01T00:00:00.123456+" "epoch" "infinity" "2026-11-01T00:00:00 America/New_York" "2026/11/01 00:00:00"
"2026-11-01T00:00:00z"
"-026-11-01T00:00:00Z" "2026-11-01T24:00:00Z" "2026-11-01T23:59:60Z"
"\\u00e9" "\\ud83d\\ude00" "\\ud800" "a\\u0000b" "a\\u003ab" "\\"" "\\\\" "\\/" "é" "日本" "\\n"
[] {} [1] [1.5] [1,] ["x"] [[1]] {"a":1} {"a":1,} {"a":1,"a":2} {"b":1} {"a":"x"} {"t":"2026-02-30"} {"a":null}
"""


def all_values() -> list[str]:
    """The texts above, one a value; blanks inside quotes belong to it."""
    decoder = json.JSONDecoder()
    found = []
    for line in NASTY.splitlines():
        rest = line.strip()
        while rest:
            end = decoder.raw_decode(rest)[1] if rest[0] == '"' else len(rest.split(" ")[0])
            found.append(rest[:end])
            rest = rest[end:].strip()
    return [*found, '" "', "tru", "'a'", "01", "+1", ".5", "5.", "1 2", "/**/1", '"\t"']


VALUES = st.sampled_from(all_values())
BROKEN = st.sampled_from(
    [
        None,
        b"",
        b" ",
        b"{",
        b"}",
        b"[]",
        b"1",
        b'"x"',
        b"null",
        b"{}",
        b"{,}",
        b" {}",
        b"\n{}\n",
        b'{"a":1}x',
        b'{"n":1}{"n":2}',
        b"not json",
        b'{"n":"\xff"}',
        b'\xef\xbb\xbf{"n":1}',
        b'{"n":1,}',
        b'{"n":1 , }',
        b'{"n":1,,"x":2}',
        b'{"n" 1}',
        b"{n:1}",
        b'{"name":",}"}',
        b'{"name":", ]", "n": 1}',
        b'{"\xff":1}',
        b'{"n":1}\x00',
        b"[{}]",
        b"{" * 50,
        b'{"n":1}//c',
        b'{"":1}',
    ]
)
KEYS = st.sampled_from(["ts", "name", "n", "N", "Name", "extra", "Extra", "a:b", "a,b", "\\u006e", "é", "__x", "", "ok", "x y"])


@st.composite
def members(draw: st.DrawFn, names: Sequence[str]) -> bytes:
    """A document: good members, of which a few are changed, left out, doubled, added or moved."""
    kept = [(name, GOOD[name]) for name in names]
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 1, 2]))):
        place = draw(st.integers(0, len(kept) - 1)) if kept else 0
        match draw(st.integers(0, 5)):
            case 0 | 1 if kept:
                kept[place] = (kept[place][0], draw(VALUES))
            case 2 if kept:
                del kept[place]
            case 3:
                kept.insert(place, (draw(KEYS), draw(VALUES)))
            case 4 if kept:
                kept.append((kept[place][0], draw(VALUES)))
            case _:
                kept.reverse()
    comma, colon = draw(st.sampled_from([(", ", ": "), (",", ":"), (" ,\n", " : ")]))
    end = draw(st.sampled_from([""] * 12 + [",", " , "]))
    return ("{" + comma.join(f'"{key}"{colon}{value}' for key, value in kept) + end + "}").encode()


def batches(names: Sequence[str]) -> st.SearchStrategy[list[bytes | None]]:
    one = members(names)
    return st.lists(st.one_of(*[one] * 12, BROKEN), min_size=1, max_size=25)


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as opened:
        opened.execute("SET TimeZone='UTC'")
        yield opened


def outcome(
    con: duckdb.DuckDBPyConnection,
    documents: Sequence[bytes | None],
    names: Sequence[str],
    zone: str | None,
    careful: bool,
    form: RecordForm = PLAIN,
) -> dict[str, Any]:
    row_mask = RowMask(len(documents))
    declared = columns(**{name: KINDS[name] for name in names})
    values = pa.chunked_array([pa.array(documents, pa.binary())])
    table, extras = read_documents(con, values, declared, ["inferred"], row_mask, zone=zone, form=form, careful=careful)
    good = row_mask.good_indices()
    held = extras.names()
    return {
        "types": [(field.name, str(field.type)) for field in table.schema],
        # the representation tells -0.0 from 0.0 and NaN from NaN no more
        "rows": [repr(row) for row in row_mask.keep(table).to_pylist()],
        "good": good.tolist(),
        "refused": row_mask.refused().to_pylist(),
        "extras": {name: extras.column(name).values.to_pylist() for name in held},
        "order": list(held),
        "shapes": [(shape.names, shape.rows.tolist()) for shape in extras.shapes(good)] if held and len(good) else [],
    }


def agree(
    con: duckdb.DuckDBPyConnection,
    documents: Sequence[bytes | None],
    names: Sequence[str],
    zone: str | None,
    form: RecordForm = PLAIN,
) -> dict[str, Any]:
    """Read them both ways; what the careful one gave."""
    quick, careful = (outcome(con, documents, names, zone, way, form) for way in (False, True))
    for part, expected in careful.items():
        assert quick[part] == expected, part
    return careful


def of_row(found: dict[str, Any], row: int) -> dict[str, Any]:
    """What one row of a batch without other keys gives, if it is a batch of its own."""
    assert not found["extras"]
    place = [found["good"].index(row)] if row in found["good"] else []
    refused = [{**one, "row": 0} for one in found["refused"] if one["row"] == row]
    return {**found, "rows": [found["rows"][at] for at in place], "good": [0] * len(place), "refused": refused}


THOROUGH = settings(
    max_examples=int(os.environ.get("TIMESTORE_JSON_EXAMPLES", "8")), deadline=None, suppress_health_check=list(HealthCheck)
)
ZONES = st.sampled_from([None, None, "UTC", "America/New_York"])


@THOROUGH
@given(documents=batches(SCALARS), zone=ZONES)
@example(documents=[b'{"n":"a:b","x":1}', b'{"n":1,"x":2,"x":3}'], zone=None)
def test_scalars(con: duckdb.DuckDBPyConnection, documents: list[bytes | None], zone: str | None) -> None:
    agree(con, documents, SCALARS, zone)


@THOROUGH
@given(documents=batches(tuple(KINDS)), zone=ZONES)
def test_every_type(con: duckdb.DuckDBPyConnection, documents: list[bytes | None], zone: str | None) -> None:
    agree(con, documents, tuple(KINDS), zone)


FORMS = [
    RecordForm(marks=NumberMarks(decimal=",", thousands=".")),
    RecordForm(marks=NumberMarks(thousands=","), times=(TimeForm(column="ts", format="%Y-%m-%dT%H:%M:%SZ"),)),
    RecordForm(times=(TimeForm(column="ts", unit="s"), TimeForm(column="day", format="%Y-%m-%d"))),
    RecordForm(times=(TimeForm(column="ts", unit="ms"),), marks=NumberMarks(decimal=",", thousands=".")),
    RecordForm(times=(TimeForm(column="ts", timezone="+05:30"),)),
]
SPELLED = (
    *('"1.234,5"', '"1,234.5"', '"1.234"', '"1,234"', '"12.34"', '"1234,5"', "1.234", "1709251200", "1709251200.5"),
    *("1709251200123", '"1709251200.5"', '"1709251200,5"', "253402300800", '"20261101T000000Z"', '"2026-11-01T00:00:00,5Z"'),
    *('"2026-11-01 00:00:00 UTC"', '" 2026-11-01 "', '"2026-11-01T06"', '"20261101"'),
)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_every_value_in_every_form(con: duckdb.DuckDBPyConnection, form: RecordForm) -> None:
    values = [*all_values(), *SPELLED]
    for name in ("ts", "n", "x", "day", "price"):
        agree(con, [f'{{"{name}": {value}}}'.encode() for value in values], [name], None, form)


@pytest.mark.parametrize("name", KINDS)
def test_every_value_in_every_type(con: duckdb.DuckDBPyConnection, name: str) -> None:
    values = all_values()
    plain = [f'{{"{name}": {value}}}'.encode() for value in values]
    careful = agree(con, plain, [name], None)
    # alone too: in company of keys that don't add up, all are asked for theirs
    for row, document in enumerate(plain if name in SCALARS else []):
        assert outcome(con, [document], [name], None, careful=False) == of_row(careful, row), document


def test_a_good_batch_is_proven_whole(con: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    """The quick way is taken at all: with the careful one gone, a good batch is still read."""
    good = {**{name: json.loads(value) for name, value in GOOD.items() if name in SCALARS}}
    documents = [json.dumps(good | {"n": number, "x": None if number % 3 else 0.5}).encode() for number in range(500)]
    monkeypatch.setattr("timestore_assets.decoding.json_documents._raw_values", None)
    found = outcome(con, documents, SCALARS, None, careful=False)
    assert found["good"] == list(np.arange(500))
