"""Reading documents that are laid out alike without parsing them gives what the careful way gives, or nothing at all."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import duckdb
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from timestore_assets.decoding.json_documents import read_documents
from timestore_assets.decoding.json_layout import FEWEST, read_alike
from timestore_assets.decoding.rejections import RowMask
from timestore_assets.model.record_form import PLAIN
from timestore_assets_tests.property.test_json_at_once import NAMES, THOROUGH, TYPED, is_right
from timestore_assets_tests.property.test_json_fast_path import KINDS, VALUES, all_values
from timestore_assets_tests.support.landing_warehouse import columns

ALL = (*NAMES, "odd,key:")


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as opened:
        opened.execute("SET TimeZone='UTC'")
        yield opened


def by_layout(documents: Sequence[bytes | None], names: Sequence[str], *, fewest: int = 1) -> pa.Table | None:
    declared = columns(**{name: KINDS[name] for name in names})
    spellings = [PLAIN.spelling(name, zone=None) for name in names]
    values = pa.chunked_array([pa.array(documents, pa.binary())])
    parts = read_alike(values, declared, spellings, fewest=fewest)
    assert sum(part.rows for part in parts) in (0, len(documents))
    tables = [part.table for part in parts if part.table is not None]
    return pa.concat_tables(tables) if tables and len(tables) == len(parts) else None


def agree(con: duckdb.DuckDBPyConnection, documents: Sequence[bytes], names: Sequence[str]) -> bool:
    """Whether the batch was read by its layout; see `is_right`."""
    return is_right(con, by_layout(documents, names), documents, names)


def usual(rows: int, *, site: str = "Amsterdam") -> list[bytes]:
    return [
        json.dumps(
            {
                "ts": f"2026-11-01T00:00:{row % 60:02}.{row:06}Z",
                "name": f"é{row} {site}",
                "n": row - 7,
                "small": None if row % 3 else row,
                "x": row / 7 - 1,
                "ok": row % 2 == 0,
                "day": f"2026-11-{row % 28 + 1:02}",
            },
            ensure_ascii=False,
        ).encode()
        for row in range(rows)
    ]


@st.composite
def alike(draw: st.DrawFn) -> list[bytes]:
    """Documents with the same keys in the same order and with the same blanks; some values are of another kind."""
    names = draw(st.lists(st.sampled_from(ALL), unique=True, min_size=1, max_size=len(ALL)))
    between, after = draw(st.sampled_from([(", ", ": "), (",", ":"), (" , ", " : ")]))
    values = {**{name: TYPED[name].map(json.dumps) for name in NAMES}, "odd,key:": st.just('"v"')}
    spoilt = draw(st.booleans())

    def member(name: str) -> str:
        value = draw(st.one_of(*[values[name]] * 19, st.just("null"), VALUES) if spoilt else values[name])
        return f'"{name}"{after}{value}'

    rows = draw(st.integers(1, 5))
    return [f"{{{between.join(member(name) for name in names)}}}".encode(errors="surrogatepass") for _ in range(rows)]


@THOROUGH
@given(documents=alike())
@example(documents=[b'{"x": -0.0}'])
@example(documents=[b'{"name": "a", "n": 1}', b'{"name": "a", "n": 1, "n": 2}'])
@example(documents=[b'{"name": "a"}', b'{"name": "a", "n": "b"}'])
@example(documents=[b'{"name": "", "n": 1}', b'{"name": ""}, "n": 1}'])
@example(documents=[b'{"n": 1, "x": 2}', b'{"n": 1\n{"n": 1, "x": 2}, "x": 2}'])
@example(documents=[b'{"n": 1}', b'{"n": 1}\r'])
@example(documents=[b'{"n": 1}', b""])
@example(documents=[b'{"name": "a"}', b'{"name": "\xff"}'])
@example(documents=[b'{"name": "\xff"}'])
@example(documents=[b'\xef\xbb\xbf{"n": 1}'])
@example(documents=[b' {"n": 1} ', b' {"n": 2} '])
def test_documents_laid_out_alike(con: duckdb.DuckDBPyConnection, documents: list[bytes]) -> None:
    agree(con, documents, ALL)


@pytest.mark.parametrize("name", NAMES)
def test_each_value_among_usual_ones_is_read_as_the_careful_way_reads_it_or_not_at_all(
    con: duckdb.DuckDBPyConnection, name: str
) -> None:
    good, read = f'{{"{name}": {KINDS_WRITTEN[name]}}}'.encode(), 0
    for value in all_values():
        documents = [good, f'{{"{name}": {value}}}'.encode(), good]
        read += agree(con, documents, [name])
    assert read


KINDS_WRITTEN = {
    "ts": '"2026-11-01T00:00:11.123456Z"',
    "name": '"Amsterdam"',
    "n": "42",
    "small": "-7",
    "x": "1.25",
    "ok": "true",
    "day": '"2026-11-01"',
}


@pytest.mark.parametrize("site", ["Amsterdam", "Amsterdam, NL", "a: {b}", "[1, 2],"])
def test_a_usual_batch_is_read_by_its_layout(con: duckdb.DuckDBPyConnection, site: str) -> None:
    assert agree(con, usual(300, site=site), ALL)
    assert agree(con, usual(300, site=site), NAMES)


def test_a_large_batch_in_parts_is_read_whole() -> None:
    documents = usual(60_000)
    found = by_layout(documents, NAMES, fewest=FEWEST)
    assert found is not None
    assert found.num_rows == 60_000
    assert found.column("n").to_pylist() == list(range(-7, 59_993))


@pytest.mark.parametrize("odd", [(), (40_000,), (70, 100), (3,), (40_000, 55_000, 59_999)])
def test_a_batch_in_which_some_are_not_like_the_others_is_read_as_carefully(
    con: duckdb.DuckDBPyConnection, odd: tuple[int, ...]
) -> None:
    documents = usual(60_000)
    for place, row in enumerate(odd):
        documents[row] = ODD[place]
    found = []
    for careful in (True, False):
        row_mask, values = RowMask(len(documents)), pa.chunked_array([pa.array(documents, pa.binary())])
        declared = columns(**{name: KINDS[name] for name in NAMES})
        table, extras = read_documents(con, values, declared, [], row_mask, zone=None, careful=careful)
        shapes = [(one.names, one.rows.tolist()) for one in extras.shapes(row_mask.good_indices())] if extras.names() else []
        found.append((table.take(pa.array(row_mask.good_indices())), row_mask.refused().to_pylist(), extras.names(), shapes))
    carefully_read, read = found
    assert read[0].equals(carefully_read[0])
    assert read[1:] == carefully_read[1:]


ODD = (b'{"ts": "2026-11-01T00:00:00Z", "name": null, "more": 5}', b"no JSON", b'{"n": "x", "ts": "2026-11-01T00:00:00Z"}')


def test_few_documents_are_left_to_what_is_quicker_for_them() -> None:
    assert by_layout(usual(FEWEST - 1), NAMES, fewest=FEWEST) is None


@pytest.mark.parametrize(
    "document",
    [
        b'{"ts": "2026-11-01T00:00:00Z", "n": 1} {}',
        b'{"ts":"2026-11-01T00:00:00Z", "n": 1}',
        b'{"n": 1, "ts": "2026-11-01T00:00:00Z"}',
        b'{"ts": "2026-11-01T00:00:00Z"}',
        b'{"ts": "2026-11-01T00:00:00Z", "n": 1, "x": 2}',
        b'{"ts": "2026-11-01T00:00:00Z", "n": "1"}',
        b'{"ts": "2026-11-01T00:00:00Z", "n": 01}',
        b'{"ts": "2026-11-01T00:00:00Z", "n": 1.0}',
        b'{"ts": "2026-11-01T00:00:00Z", "n": -0}',
        b'{"ts": "2026-11-01T00:00:00Z", "n": 9223372036854775808}',
        b'{"ts": "2026-11-01T00:00:00Z", "n": }',
        b'{"ts": "2026-11-01T00:00:00+01:00", "n": 1}',
        b'{"ts": "2026-02-30T00:00:00Z", "n": 1}',
        b'{"ts": null, "n": 1}',
        b'{"ts": "2026-11-01T00:00:00Z", "n": 1',
        b'{"ts": "2026-11-01T00:00:00Z", "n": 1,}',
        b"[]",
        b"",
        None,
    ],
    ids=str,
)
def test_a_document_that_is_not_like_the_others_leaves_all_to_the_other_ways(document: bytes | None) -> None:
    alike = [b'{"ts": "2026-11-01T00:00:00Z", "n": 1}'] * 3
    assert by_layout(alike, NAMES) is not None
    assert by_layout([*alike, document, *alike], NAMES) is None
    assert by_layout([*alike * 30, document], NAMES) is None


@pytest.mark.parametrize(
    "document", [b'{"other": 1}', b'{"n": 1, "n": 1}', b"{}", b'{"n": [1]}', b'{"x": {"n": 1}}', b"n", b'{"n"']
)
def test_what_the_first_document_does_not_show_is_not_read(document: bytes) -> None:
    assert by_layout([document] * 3, NAMES) is None
