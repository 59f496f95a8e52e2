"""Typed values straight from JSON documents, for those rows where that provably gives what the careful way would.

One pass of DuckDB's reader makes typed values, and a proof stands beside each: a row without one (a bad value, but also a good
one in an unusual spelling) is left to `json_documents`. Keys are proven by counting: each key brings a colon, and each but the
first a comma, so a batch that has no more of them than its values and columns account for has no key twice, no unknown one and
no trailing comma. Where that fails, the reader is asked for the keys. Times that all have one plain form are told from their
bytes, much quicker than by a pattern for each text.

Judging a batch the careful way alone takes 1.6 to 3 times the processor's time, 2.1 times in the median of the cases of
`benchmarks/json_decoding.py --careful` (100,000 records, 2 cores): that is what this module is there for.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from timestore_assets.decoding.coercion import value_of_json, value_of_text
from timestore_assets.decoding.rejections import Rows
from timestore_assets.model.arrow_schema import arrow_type
from timestore_assets.model.record_form import POINT, Spelling
from timestore_assets.model.schema import Column
from timestore_assets.model.types import ColumnType, duckdb_type, literal

_FORM = "0000-00-00T00:00:00."
_SHORTEST, _LONGEST = 16, 40
_LENGTHS_WITHOUT_FRACTION = (16, 19)


def are_plain_times(times: pa.ChunkedArray, texts: pa.ChunkedArray) -> bool:
    """Whether all texts look like `2013-01-31T06:00:00.123Z`, with equally many digits, and so mean what a plain cast gives.

    `times`: what the cast gave, microseconds in UTC, null for impossible ones. Zone and fraction may be absent, the T a blank.
    Times before year 1, which such a text can also say, are no plain ones.
    """
    first = pc.min(times)
    if first.is_valid and first.value < FIRST_TIME:
        return False
    return all(_plain(chunk) for chunk in texts.chunks)


FIRST_TIME = -62135596800000000  # 0001-01-01 in microseconds since 1970


def _plain(texts: pa.Array) -> bool:
    valid = len(texts) - texts.null_count
    if not valid:
        return True
    if texts.type != pa.string():
        return False
    offsets = np.frombuffer(texts.buffers()[1], dtype=np.int32)[texts.offset : texts.offset + len(texts) + 1]
    lengths = np.diff(offsets)
    width = int(lengths.max())
    size = int(offsets[-1] - offsets[0])
    # as long as the longest, or null: then the bytes are a matrix
    if not _SHORTEST <= width <= _LONGEST or size != width * valid or np.count_nonzero(lengths) != valid:
        return False
    matrix = np.frombuffer(texts.buffers()[2], dtype=np.uint8)[offsets[0] : offsets[-1]].reshape(valid, width)
    form = _form(bytes(matrix[0]))
    if form is None:
        return False
    lowest = np.frombuffer(form, dtype=np.uint8)
    span = np.where(lowest == ord("0"), 9, 0).astype(np.uint8)
    return bool((matrix - lowest <= span).all())


def _form(text: bytes) -> bytes | None:
    """The form that a text of this length, separator and end has, its digits as zeros; None for no known one."""
    zone = b"Z" if text.endswith(b"Z") else b""
    length = len(text) - len(zone)
    if length not in _LENGTHS_WITHOUT_FRACTION and length <= len(_FORM):
        return None
    form = _FORM.ljust(length, "0")[:length].encode()
    return (form.replace(b"T", b" ") if text[10:11] == b" " else form) + zone


_BLOCK = 1 << 20
_TEXTUAL = frozenset({"string", "binary", "date", "timestamp", "list", "struct"})
_RAW = frozenset({"float", "double", "decimal", "binary", "list", "struct"})
_FRACTION = literal(r"-?[0-9]+(?:\.[0-9]+(?:[eE][-+]?[0-9]+)?|[eE][-+]?[0-9]+)|-(?i:inf|nan).*")
_NOT_FINITE = "'inf', 'nan', 'Infinity', 'NaN'"
TRAILING_COMMA = r",\s*[}\]]"


@dataclass(frozen=True, kw_only=True, slots=True)
class Values:
    """What one pass over documents gives."""

    #: Typed columns, a row for each document.
    table: pa.Table
    #: Rows whose values are to be found the careful way.
    unproven: Rows
    #: Of each row a hash of its keys in their order, null where they are the columns and no others.
    shapes: pa.ChunkedArray


def read_values(
    con: duckdb.DuckDBPyConnection, documents: pa.ChunkedArray, columns: Sequence[Column], spellings: Sequence[Spelling]
) -> Values:
    """Typed values of documents, which the connection has as the column `value` of the table `landing_documents`.

    `spellings`: how the values of each column are written.
    """
    try:
        found = con.sql(_sql(columns, spellings, "from_json(d, {})")).to_arrow_table()
    except (duckdb.InvalidInputException, duckdb.ConversionException):
        # some document is none; try() alone goes row by row wherever one fails, so those are kept from it
        found = con.sql(_sql(columns, spellings, "CASE WHEN json_valid(d) THEN try(from_json(d, {})) END")).to_arrow_table()
    proven = found.column("proven").to_numpy()
    values, texts = [], []
    for index, column in enumerate(columns):
        value = found.column(f"v{index}")
        if f"t{index}" in found.column_names:
            text = found.column(f"t{index}")
            if column.type.kind == "timestamp":
                value, bad = _times(con, value, text, column.type, spellings[index])
                proven = proven & ~bad
            texts.append(text)
        elif column.type.kind == "string":
            texts.append(value)
        values.append(value)
    table = pa.table(values, names=[column.name for column in columns])
    shapes = found.column("shape")
    # the time of a row was found bad only after the others had been asked for their keys
    unasked = ~proven & pc.is_null(shapes).to_numpy()
    if not _keys_add_up(con, documents, [column.name for column in columns], texts, shapes, proven):
        unasked |= proven
    if unasked.any():
        shapes, trails = _asked(con, documents, shapes, unasked)
        proven = proven & ~trails
    return Values(table=table, unproven=np.flatnonzero(~proven), shapes=shapes)


def _asked(
    con: duckdb.DuckDBPyConnection, documents: pa.ChunkedArray, shapes: pa.ChunkedArray, rows: npt.NDArray[np.bool_]
) -> tuple[pa.ChunkedArray, npt.NDArray[np.bool_]]:
    """The shapes with those of some rows set anew, and which of these rows may have a trailing comma."""
    con.register("landing_documents", pa.table({"value": documents.filter(pa.array(rows))}))
    keys = con.sql(f"SELECT hash(try(json_keys(d))) AS shape, {_TRAILS} AS trails FROM ({_DECODED})").to_arrow_table()
    hashes = pc.fill_null(shapes, 0).to_numpy().copy()
    hashes[rows] = keys.column("shape").to_numpy()
    trails = np.zeros(len(rows), dtype=bool)
    trails[rows] = keys.column("trails").to_numpy()
    missing = pc.is_null(shapes).to_numpy() & ~rows
    return pa.chunked_array([pa.array(hashes, mask=missing)]), trails


def all_unproven(con: duckdb.DuckDBPyConnection, columns: Sequence[Column]) -> Values:
    """Nothing about the table `landing_documents` but its keys."""
    shapes = con.sql(f"SELECT hash(try(json_keys(d))) AS shape FROM ({_DECODED})").to_arrow_table().column(0)
    table = pa.table({column.name: pa.nulls(len(shapes), arrow_type(column.type)) for column in columns})
    return Values(table=table, unproven=np.arange(len(shapes)), shapes=shapes)


_DECODED = "SELECT try(decode(value)) AS d FROM landing_documents"
_TRAILS = f"coalesce(regexp_matches(d, {literal(TRAILING_COMMA)}), false)"


def _sql(columns: Sequence[Column], spellings: Sequence[Spelling], parse: str) -> str:
    kinds = {column.name: "JSON" if column.type.kind in _RAW else "VARCHAR" for column in columns}
    structure = literal(json.dumps(kinds, ensure_ascii=False))
    raws = ", ".join(f"s[{literal(column.name)}]::VARCHAR AS r{i}" for i, column in enumerate(columns))
    values = ", ".join(f"r{i}, {_value(f'r{i}', column.type, spellings[i])} AS v{i}" for i, column in enumerate(columns))
    proofs = " AND ".join(f"(r{i} IS NULL OR {_proof(i, column.type)})" for i, column in enumerate(columns))
    full = " AND ".join(f"r{i} IS NOT NULL" for i in range(len(columns)))
    shown = ", ".join(f"v{i}" for i in range(len(columns)))
    textual = (i for i, column in enumerate(columns) if column.type.kind in _TEXTUAL - {"string"})
    texts = "".join(f", r{i} AS t{i}" for i in textual)
    parsed = f"SELECT d, CASE WHEN starts_with(d, '{{') THEN {parse.format(structure)} END AS s FROM ({_DECODED})"
    judged = f"SELECT d, s IS NOT NULL AS object, {raws} FROM ({parsed})"
    proven = f"SELECT *, coalesce(object AND {proofs}, false) AS proven FROM (SELECT d, object, {values} FROM ({judged}))"
    shape = f"CASE WHEN NOT (proven AND {full}) THEN hash(try(json_keys(d))) END AS shape"
    return f"SELECT {shown}{texts}, proven, {shape} FROM ({proven})"


def _value(raw: str, kind: ColumnType, spelling: Spelling) -> str:
    """SQL for what a raw value most likely is; only where `_proof` holds, it is so."""
    match kind.kind:
        case "string":
            return raw
        case "bool":
            return f"CASE {raw} WHEN 'true' THEN true WHEN 'false' THEN false END"
        case "int32" | "int64" | "float" | "double" | "timestamp":
            return f"try_cast({raw} AS {duckdb_type(kind)})"
        case "date":
            return value_of_text(raw, kind, spelling=spelling)
        case _:
            return value_of_json(raw, kind, spelling=spelling)


def _proof(index: int, kind: ColumnType) -> str:
    """SQL that is true only if `v` is the value that the coercion table gives for the raw value `r`, which is not null."""
    raw, value = f"r{index}", f"v{index}"
    match kind.kind:
        case "string":
            # objects and arrays, fractions that the reader writes in another way, or texts that look like one
            plain = f"{raw}[1] NOT IN ('{{', '[') AND {raw} NOT IN ({_NOT_FINITE})"
            return f"CASE WHEN {raw} >= '-' AND {raw} < ':' THEN NOT regexp_full_match({raw}, {_FRACTION}) ELSE {plain} END"
        case "int32" | "int64":
            # a fraction is rounded, and many spellings are read, but each number is written in one way only
            return f"{value}::VARCHAR = {raw}"
        case "float" | "double":
            # a JSON number: strings begin with a quote, true and infinities with a letter
            return f"({raw} >= '-' AND {raw} < ':' AND {value} IS NOT NULL)"
        case "timestamp":
            return "true"
        case _:
            return f"{value} IS NOT NULL"


def _times(
    con: duckdb.DuckDBPyConnection, times: pa.ChunkedArray, texts: pa.ChunkedArray, kind: ColumnType, spelling: Spelling
) -> tuple[pa.ChunkedArray, npt.NDArray[np.bool_]]:
    """Times of these texts and which rows have a text that is none. `times`: what a plain cast, blind to offsets, gives."""
    if spelling.unit is not None and spelling.marks != POINT:
        # a text may not be what the same digits are as a number, and here one can't be told from the other
        return times, pc.is_valid(texts).to_numpy()
    if spelling.zone is not None or not spelling.usual_times or not are_plain_times(times, texts):
        con.register("landing_times", pa.table({"t": texts}))
        try:
            times = con.sql(f"SELECT {value_of_text('t', kind, spelling=spelling)} FROM landing_times").to_arrow_table().column(0)
        finally:
            con.unregister("landing_times")
    return times, pc.and_(pc.is_null(times), pc.is_valid(texts)).to_numpy()


def _keys_add_up(
    con: duckdb.DuckDBPyConnection,
    documents: pa.ChunkedArray,
    names: Sequence[str],
    texts: Sequence[pa.ChunkedArray],
    shapes: pa.ChunkedArray,
    proven: npt.NDArray[np.bool_],
) -> bool:
    """Whether the proven documents hold exactly the colons and commas of their keys and texts.

    None can hold fewer, so equal sums mean equality in each. Nothing is known where an escape may stand for a colon.
    """
    unproven = pa.array(np.flatnonzero(~proven))
    if _count(documents, unproven, "\\"):
        return False
    partial = pc.is_valid(shapes).to_numpy() & proven
    keys = _number_of_keys(con, documents, shapes, np.flatnonzero(partial))
    full = int(proven.sum()) - len(keys)
    colons, commas = full * len(names) + int(keys.sum()), full * (len(names) - 1) + int(np.maximum(keys - 1, 0).sum())
    if any(":" in name or "," in name for name in names):
        return False
    return _count(documents, unproven, ":") == colons + sum(_count(text, unproven, ":") for text in texts) and _count(
        documents, unproven, ","
    ) == commas + sum(_count(text, unproven, ",") for text in texts)


def _number_of_keys(
    con: duckdb.DuckDBPyConnection, documents: pa.ChunkedArray, shapes: pa.ChunkedArray, rows: Rows
) -> npt.NDArray[np.int64]:
    """How many keys the documents of these rows have, those of equal shapes being asked once."""
    if not len(rows):
        return np.empty(0, dtype=np.int64)
    _, first, inverse = np.unique(pc.fill_null(shapes, 0).to_numpy()[rows], return_index=True, return_inverse=True)
    con.register("landing_shapes", pa.table({"value": documents.take(pa.array(rows[first]))}))
    try:
        counts = con.sql("SELECT len(json_keys(decode(value))) FROM landing_shapes").to_arrow_table().column(0)
    finally:
        con.unregister("landing_shapes")
    number: npt.NDArray[np.int64] = counts.to_numpy()[inverse]
    return number


def _count(values: pa.ChunkedArray, without: pa.Array, character: str) -> int:
    """How often an ASCII character occurs in the values except those of some rows."""
    inside = sum(occurrences(chunk, ord(character)) for chunk in values.chunks)
    return inside - sum(occurrences(chunk, ord(character)) for chunk in values.take(without).chunks) if len(without) else inside


def occurrences(values: pa.Array, byte: int) -> int:
    """How often a byte occurs in the values."""
    width = np.int64 if pa.types.is_large_binary(values.type) or pa.types.is_large_string(values.type) else np.int32
    _, offsets, data = values.buffers()
    if data is None or not len(values):
        return 0
    ends = np.frombuffer(offsets, dtype=width)[values.offset : values.offset + len(values) + 1]
    content = np.frombuffer(data, dtype=np.uint8)[ends[0] : ends[-1]]
    blocks = range(0, len(content), _BLOCK)
    return sum(int(np.count_nonzero(content[start : start + _BLOCK] == byte)) for start in blocks)
