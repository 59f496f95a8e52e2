"""Reading a batch of JSON documents by one call of Arrow's reader gives what the careful way gives, or nothing at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from timestore_assets.decoding.json_at_once import read_at_once
from timestore_assets.decoding.json_documents import read_documents
from timestore_assets.decoding.rejections import RowMask
from timestore_assets.model.record_form import PLAIN
from timestore_assets_tests.property.test_json_fast_path import BROKEN, KINDS, VALUES, all_values, members
from timestore_assets_tests.support.landing_warehouse import columns

NAMES = ("ts", "name", "n", "small", "x", "ok", "day")
THOROUGH = settings(
    max_examples=int(os.environ.get("TIMESTORE_JSON_EXAMPLES", "25")), deadline=None, suppress_health_check=list(HealthCheck)
)


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as opened:
        opened.execute("SET TimeZone='UTC'")
        yield opened


def at_once(documents: Sequence[bytes | None], names: Sequence[str]) -> pa.Table | None:
    declared = columns(**{name: KINDS[name] for name in names})
    spellings = [PLAIN.spelling(name, zone=None) for name in names]
    return read_at_once(pa.chunked_array([pa.array(documents, pa.binary())]), declared, spellings)


def carefully(
    con: duckdb.DuckDBPyConnection, documents: Sequence[bytes | None], names: Sequence[str]
) -> tuple[pa.Table, list[int]]:
    """What the careful way reads, and the rows that it refuses or that have undeclared keys."""
    row_mask = RowMask(len(documents))
    declared = columns(**{name: KINDS[name] for name in names})
    values = pa.chunked_array([pa.array(documents, pa.binary())])
    table, extras = read_documents(con, values, declared, [], row_mask, zone=None, careful=True)
    good = row_mask.good_indices()
    others = extras.names()
    held = {int(row) for shape in (extras.shapes(good) if others and len(good) else ()) for row in shape.rows}
    return table, sorted({*range(len(documents))} - ({*good.tolist()} - held))


def shown(table: pa.Table) -> list[str]:
    """The representation tells -0.0 from 0.0."""
    return [repr(row) for row in table.to_pylist()]


def agree(con: duckdb.DuckDBPyConnection, documents: Sequence[bytes | None], names: Sequence[str]) -> bool:
    """Whether the batch was read at once; see `is_right`."""
    return is_right(con, at_once(documents, names), documents, names)


def is_right(
    con: duckdb.DuckDBPyConnection, found: pa.Table | None, documents: Sequence[bytes | None], names: Sequence[str]
) -> bool:
    """Whether a quick way found anything; then the careful way finds nothing wrong with the batch, and the same in it."""
    if found is None:
        return False
    table, wrong = carefully(con, documents, names)
    assert not wrong
    assert found.schema.equals(table.schema)
    assert shown(found) == shown(table)
    return True


@pytest.mark.parametrize("name", NAMES)
def test_each_value_alone_is_read_as_the_careful_way_reads_it_or_not_at_all(con: duckdb.DuckDBPyConnection, name: str) -> None:
    documents = [
        f'{{"{name}": {value}}}'.encode()
        for value in (
            *all_values(),
            "2147483647",
            "-2147483648",
            "1.7976931348623157e308",
            '"0001-01-01"',
            '"0000-12-31"',
            '"9999-12-31"',
        )
    ]
    table, wrong = carefully(con, documents, [name])
    read = 0
    for row, document in enumerate(documents):
        found = at_once([document], [name])
        if found is not None:
            read += 1
            assert row not in wrong, document
            assert shown(found) == shown(table.slice(row, 1)), document
    assert read >= 2


def moments() -> st.SearchStrategy[str]:
    fractions = st.sampled_from(["", ".5", ".123", ".123456", ".000001", ".1234567"])
    return st.builds(
        lambda at, between, fraction, zone: f"{at:%Y-%m-%d}{between}{at:%H:%M:%S}{fraction}{zone}",
        st.datetimes(),
        st.sampled_from(["T"] * 5 + [" "]),
        fractions,
        st.sampled_from(["Z"] * 9 + ["", "+01:00"]),
    )


TYPED: dict[str, st.SearchStrategy[Any]] = {
    "ts": moments(),
    "name": st.text(max_size=12),
    "n": st.integers(-(2**63), 2**63 - 1),
    "small": st.integers(-(2**31), 2**31 - 1),
    "x": st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**70), 2**70)),
    "ok": st.booleans(),
    "day": st.one_of(*[st.dates().map(str)] * 5, moments()),
}


@st.composite
def typed(draw: st.DrawFn) -> bytes:
    """A document of values of the right types, some null, some left out, in any order."""
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=len(NAMES)))
    record = {name: draw(st.one_of(*[TYPED[name]] * 6, st.none())) for name in names}
    return json.dumps(record, ensure_ascii=draw(st.booleans())).encode(errors="surrogatepass")


@THOROUGH
@given(documents=st.lists(typed(), min_size=1, max_size=8))
@example(documents=[b'{"x": -0.0}'])
@example(documents=[b'{"name": "\\ud800"}', b"{}"])
@example(documents=[b'{"name": "\xed\xa0\x80"}'])
@example(documents=[b'{"n": 1, "n": null}'])
@example(documents=[b'{"n": null, "n": 1}'])
@example(documents=[b'{"n": 1}{"n": 2}', b'{"n": 3}'])
@example(documents=[b'{"name": "}', b'{"}'])
@example(documents=[b'{"n": 1}', b'{"n": 2, "other": null}'])
def test_values_of_the_right_types(con: duckdb.DuckDBPyConnection, documents: list[bytes]) -> None:
    agree(con, documents, NAMES)


@THOROUGH
@given(documents=st.lists(st.one_of(*[members(NAMES)] * 9, BROKEN), min_size=1, max_size=3))
def test_documents_that_were_spoilt(con: duckdb.DuckDBPyConnection, documents: list[bytes | None]) -> None:
    agree(con, documents, NAMES)


@THOROUGH
@given(value=VALUES, name=st.sampled_from(NAMES), place=st.integers(0, 3))
def test_one_bad_value_leaves_a_batch_to_the_other_ways(
    con: duckdb.DuckDBPyConnection, value: str, name: str, place: int
) -> None:
    documents = [b'{"n": 1}', b'{"ok": true, "x": 1.5}', b'{"name": "a, b: c"}']
    documents.insert(place, f'{{"{name}": {value}}}'.encode())
    agree(con, documents, NAMES)


def test_a_usual_batch_is_read_at_once(con: duckdb.DuckDBPyConnection) -> None:
    documents = [
        json.dumps(
            {"ts": f"2026-11-01T00:00:{row % 60:02}Z", "name": f"é{row}", "n": row, "x": row / 7, "ok": row % 2 == 0}
        ).encode()
        for row in range(500)
    ]
    assert agree(con, documents, NAMES)
    assert agree(con, [*documents, b'{"ts": "2026-11-01 00:00:00.5Z", "n": null}'], NAMES)


@pytest.mark.parametrize(
    "document",
    [
        b'{"n": 1}{"n": 2}',
        b' {"n": 1}',
        b'{"n": "1"}',
        b'{"n": 1.0}',
        b'{"n": 1, "n": 1}',
        b'{"n": 1, "m": null}',
        b'{"n": 1,}',
        b'{"x": NaN}',
        b'{"x": 1e400}',
        b'{"ts": "2026-02-30T00:00:00Z"}',
        b'{"ts": "2026-11-01T00:00:00+01:00"}',
        b'{"ts": "2026-11-01T00:00:00"}',
        b'{"name": "\xff"}',
        b'{"name": 5}',
        b"[]",
        b"",
        None,
    ],
    ids=str,
)
def test_what_is_not_sure_is_not_read_at_once(document: bytes | None) -> None:
    assert at_once([b'{"ts": "2026-11-01T00:00:00Z", "n": 1}', document, b'{"n": 3}'], NAMES) is None
