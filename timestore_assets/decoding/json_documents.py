"""JSON documents of a batch: what makes one refusable as a whole, and the value of each column.

DuckDB's reader lets pass what JSON does not allow (trailing commas) and keeps silent about what would be lost (the second of two
equal keys, unknown keys), so both are looked for here. NaN and infinities, which it also reads, are left to the columns.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import accumulate

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from timestore_assets.decoding.coerce_columns import RAW, ColumnCoercion, coerce, refuse_non_finite
from timestore_assets.decoding.coercion import json_pointer, text_of_json, value_of_json
from timestore_assets.decoding.field_keys import NO_FIELDS, FieldKeys
from timestore_assets.decoding.json_at_once import read_at_once
from timestore_assets.decoding.json_fast_path import TRAILING_COMMA, Values, all_unproven, read_values
from timestore_assets.decoding.json_keys import KeyShape, KnownKeys, refuse_bad_keys
from timestore_assets.decoding.json_layout import AlikePart, read_alike
from timestore_assets.decoding.json_wrappers import looks
from timestore_assets.decoding.rejections import RowMask, Rows
from timestore_assets.decoding.undeclared_columns import ColumnPattern, RawColumn
from timestore_assets.model.record_form import PLAIN, RecordForm, Spelling
from timestore_assets.model.schema import Column
from timestore_assets.model.types import STRING, literal

_NULL, _NOT_UTF8, _NOT_JSON, _NOT_OBJECT, _SUSPICIOUS = 1, 2, 3, 4, 5
_BROKEN = (
    (_NULL, "null_value", "the record has no value (a tombstone)"),
    (_NOT_UTF8, "invalid_utf8", "the record is not valid UTF-8"),
    (_NOT_JSON, "bad_json", "the record is not valid JSON"),
    (_NOT_OBJECT, "not_an_object", "the record is JSON, but no object"),
)
SPARE = Column(name="__", type=STRING, nullable=True)
"""Read where no column is a key of its own; no record may have such a key."""
_WIDE = 200  # undeclared keys beyond which a batch is not laid out as columns


def read_documents(
    con: duckdb.DuckDBPyConnection,
    values: pa.ChunkedArray,
    declared: Sequence[Column],
    inferred: Sequence[str],
    row_mask: RowMask,
    *,
    zone: str | None,
    form: RecordForm = PLAIN,
    fields: FieldKeys = NO_FIELDS,
    careful: bool = False,
) -> tuple[pa.Table, JsonExtras]:
    """The typed columns of a batch of documents, a row for each, and their other keys; bad rows are refused in the mask.

    `inferred`: other columns of the schema. `zone`: IANA name of the zone of naive times, None for UTC. `form`: how values are
    written. `fields`: keys that others read. `careful`: read every row the way that tells why one is bad; else only those whose
    values the quick ways can't prove: that of whole batches, and that of rows.
    All give the same.

    Codes: `null_value`, `invalid_utf8`, `bad_json`, `not_an_object`, `duplicate_keys`, `ambiguous_column`, `bad_column_name`,
    `bad_value`, `non_finite`.
    """
    spellings = [form.spelling(column.name, zone=zone) for column in declared]
    documents = pa.table({"value": values})
    names = [column.name for column in declared]
    known = KnownKeys(columns=tuple(name for name in names if name != SPARE.name), inferred=tuple(inferred), fields=fields)
    read = [*known.columns, *fields.used, *fields.elsewhere]
    alike = [] if careful else read_alike(values, declared, spellings)
    if alike and all(part.table is not None for part in alike):
        return pa.concat_tables([part.table for part in alike]), JsonExtras(con, documents, read, {})
    if not (careful or alike) and (at_once := read_at_once(values, declared, spellings)) is not None:
        return at_once, JsonExtras(con, documents, read, {})
    rest = _not_alike(values, alike) if alike else values
    con.register("landing_documents", pa.table({"value": rest}))
    try:
        found = all_unproven(con, declared) if careful else read_values(con, rest, declared, spellings)
        found = _with_alike(found, alike) if alike else found
        shapes = _key_shapes(con, values, found.shapes)
    finally:
        con.unregister("landing_documents")
    if not len(found.unproven):
        table, others = found.table, refuse_bad_keys(shapes, known, row_mask)
    else:
        doubtful = values.take(pa.array(found.unproven)) if len(found.unproven) < len(values) else values
        raws, states = _raw_values(con, doubtful, names)
        _refuse_broken(states, doubtful, found.unproven, row_mask)
        others = refuse_bad_keys(shapes, known, row_mask)
        exact = _coerced(con, declared, raws, found.unproven, row_mask, spellings)
        table = _replaced(found.table, found.unproven, exact)
    refuse_non_finite(con, declared, table, row_mask)
    return table, JsonExtras(con, documents, read, others)


def _not_alike(values: pa.ChunkedArray, parts: Sequence[AlikePart]) -> pa.ChunkedArray:
    """The documents of the parts that were not read yet."""
    starts = accumulate((part.rows for part in parts), initial=0)
    left = [values.slice(start, part.rows) for part, start in zip(parts, starts, strict=False) if part.table is None]
    return pa.chunked_array([chunk for some in left for chunk in some.chunks], values.type)


def _with_alike(found: Values, parts: Sequence[AlikePart]) -> Values:
    """What was found in the documents of the parts that had not been read, among the others, whose keys are columns only."""
    tables, shapes, unproven, start, at = list[pa.Table](), list[pa.Array](), list[Rows](), 0, 0
    for part in parts:
        if part.table is not None:
            tables.append(part.table.cast(found.table.schema))
            shapes.append(pa.nulls(part.rows, found.shapes.type))
        else:
            tables.append(found.table.slice(at, part.rows))
            shapes.extend(found.shapes.slice(at, part.rows).chunks)
            rows = found.unproven[(found.unproven >= at) & (found.unproven < at + part.rows)]
            unproven.append(rows - at + start)
            at += part.rows
        start += part.rows
    return Values(
        table=pa.concat_tables(tables),
        unproven=np.concatenate(unproven),
        shapes=pa.chunked_array(shapes, found.shapes.type),
    )


def _raw_values(
    con: duckdb.DuckDBPyConnection, values: pa.ChunkedArray, names: Sequence[str]
) -> tuple[list[pa.ChunkedArray], pa.ChunkedArray]:
    """The raw text of each named key (null for a missing key or a JSON null), and what is wrong with each document."""
    con.register("landing_documents", pa.table({"value": values}))
    try:
        found = con.sql(_parse_sql(names)).to_arrow_table()
    finally:
        con.unregister("landing_documents")
    return found.columns[: len(names)], found.column("state")


def _coerced(
    con: duckdb.DuckDBPyConnection,
    declared: Sequence[Column],
    raws: Sequence[pa.ChunkedArray],
    rows: Rows,
    row_mask: RowMask,
    spellings: Sequence[Spelling],
) -> pa.Table:
    cells = [
        ColumnCoercion(column=column, raw=raw, value=value_of_json(RAW, column.type, spelling=spelling), spelling=spelling)
        for column, raw, spelling in zip(declared, raws, spellings, strict=True)
    ]
    part = RowMask(len(rows))
    table = coerce(con, cells, part)
    refused = part.refused()
    row_mask.refuse_each(refused.set_column(0, "row", pa.array(rows[refused.column("row").to_numpy()])))
    return table


def _replaced(table: pa.Table, rows: Rows, exact: pa.Table) -> pa.Table:
    """The table with other values in some rows."""
    if len(rows) == table.num_rows:
        return exact
    place = np.arange(table.num_rows)
    place[rows] = np.arange(len(rows)) + table.num_rows
    return pa.concat_tables([table, exact.cast(table.schema)]).take(pa.array(place))


def _parse_sql(names: Sequence[str]) -> str:
    structure = literal(json.dumps(dict.fromkeys(names, "JSON"), ensure_ascii=False))
    columns = "".join(f"s[{literal(name)}]::VARCHAR AS r{index}, " for index, name in enumerate(names))
    state = f"""CASE WHEN value IS NULL THEN {_NULL} WHEN d IS NULL THEN {_NOT_UTF8}
        WHEN s IS NULL OR NOT starts_with(d, '{{') THEN
            CASE WHEN NOT json_valid(d) THEN {_NOT_JSON} WHEN NOT starts_with(ltrim(d, ' \t\r\n'), '{{') THEN {_NOT_OBJECT} END
        WHEN regexp_matches(d, {literal(TRAILING_COMMA)}) THEN {_SUSPICIOUS} END"""
    decoded = "SELECT value, try(decode(value)) AS d FROM landing_documents"
    parsed = f"SELECT value, d, try(from_json(d, {structure})) AS s FROM ({decoded})"
    return f"SELECT {columns}{state} AS state FROM ({parsed})"


def _refuse_broken(states: pa.ChunkedArray, values: pa.ChunkedArray, rows: Rows, row_mask: RowMask) -> None:
    """Refuse what is no document. `rows`: where in the batch these values stand."""
    if states.null_count == len(states):
        return
    state = pc.fill_null(states, 0).to_numpy().copy()
    for place in np.flatnonzero(state == _SUSPICIOUS):
        state[place] = 0 if _strictly_valid(values[int(place)].as_py()) else _NOT_JSON
    for number, code, reason in _BROKEN:
        places = np.flatnonzero(state == number)
        if number == _NULL or not len(places):
            row_mask.refuse(rows[places], code=code, reason=reason)
            continue
        # what it looks like tells more than what it is not
        refused = values.take(pa.array(places))
        row_mask.refuse(rows[places], code=code, reason=pc.binary_join_element_wise(reason, looks(refused), ""))


def _strictly_valid(document: bytes) -> bool:
    try:
        json.loads(document)
    except (ValueError, RecursionError):
        return False
    return True


def _key_shapes(con: duckdb.DuckDBPyConnection, values: pa.ChunkedArray, shapes: pa.ChunkedArray) -> list[KeyShape]:
    """The distinct lists of keys with the rows that have them, by first row.

    `shapes`: a hash of each row's keys; rows without one are left out.
    """
    asked = np.flatnonzero(pc.is_valid(shapes).to_numpy())
    if not len(asked):
        return []
    distinct, first, inverse = np.unique(pc.drop_null(shapes).to_numpy(), return_index=True, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    ends = np.cumsum(np.bincount(inverse, minlength=len(distinct)))
    con.register("landing_shapes", pa.table({"value": values.take(pa.array(asked[first]))}))
    try:
        keys = con.sql("SELECT try(json_keys(try(decode(value)))) FROM landing_shapes").to_arrow_table().column(0).to_pylist()
    finally:
        con.unregister("landing_shapes")
    rows = np.split(asked[order], ends[:-1])
    return [KeyShape(keys=tuple(keys[i] or ()), rows=rows[i]) for i in np.argsort(first)]


class JsonExtras:
    """Keys that are no columns of the schema. Implements `undeclared_columns.Extras`."""

    def __init__(
        self, con: duckdb.DuckDBPyConnection, documents: pa.Table, names: Sequence[str], others: dict[str, list[Rows]]
    ) -> None:
        self._con, self._documents, self._names, self._others = con, documents, names, others
        self._columns: dict[str, pa.ChunkedArray] = {}

    def names(self) -> tuple[str, ...]:
        if len(self._others) > _WIDE:
            return tuple(self._others)
        self._extract(list(self._others))
        return tuple(name for name in self._others if self._columns[name].null_count < self._documents.num_rows)

    def column(self, name: str) -> RawColumn:
        self._extract([name])
        raw = self._columns[name]
        self._con.register("landing_raw", pa.table({"r": raw}))
        text = text_of_json("r")
        try:
            found = self._con.sql(f"SELECT {text} AS t, r[1] IN ('\"', '{{', '[') AS s FROM landing_raw").to_arrow_table()
        finally:
            self._con.unregister("landing_raw")
        return RawColumn(values=found.column(0), is_string=found.column(1))

    def shapes(self, good: Rows) -> Iterator[ColumnPattern]:
        # each row may hold keys of its own, so each document is asked for its keys instead of trying every key on all
        holders = np.unique(np.concatenate([rows for parts in self._others.values() for rows in parts]))
        rows = pa.array(np.intersect1d(holders, good))
        self._con.register("landing_holders", pa.table({"n": rows, "value": self._documents.column(0).take(rows)}))
        known = ", ".join(literal(name) for name in self._names)
        members = """SELECT n, unnest(json_keys(d)) AS k, unnest(json_extract(d, '$.*'))::VARCHAR AS v,
            generate_subscripts(json_keys(d), 1) AS i FROM (SELECT n, decode(value) AS d FROM landing_holders)"""
        keys = f"SELECT n, list(k ORDER BY i) AS keys FROM ({members}) WHERE v <> 'null' AND k NOT IN ({known}) GROUP BY n"
        grouped = f"SELECT first(keys) AS keys, list(n ORDER BY n) AS rows FROM ({keys}) GROUP BY hash(keys) ORDER BY min(n)"
        try:
            found = self._con.sql(grouped).to_arrow_table()
        finally:
            self._con.unregister("landing_holders")
        for names, holding in zip(found.column("keys"), found.column("rows"), strict=True):
            yield ColumnPattern(names=tuple(names.as_py()), rows=holding.values.to_numpy())

    def _extract(self, names: Sequence[str]) -> None:
        wanted = [name for name in names if name not in self._columns]
        if not wanted:
            return
        paths = ", ".join(literal(json_pointer(name)) for name in wanted)
        picked = ", ".join(f"nullif(l[{index + 1}]::VARCHAR, 'null') AS c{index}" for index in range(len(wanted)))
        self._con.register("landing_documents", self._documents)
        try:
            lists = f"SELECT try(json_extract(try(decode(value)), [{paths}])) AS l FROM landing_documents"
            found = self._con.sql(f"SELECT {picked} FROM ({lists})").to_arrow_table()
        finally:
            self._con.unregister("landing_documents")
        self._columns.update(zip(wanted, found.columns, strict=True))
