"""How a value reads in JSON and CSV, as DuckDB SQL by Arrow type: rows become text without a step of Python for each.

Timestamps are RFC 3339 with a `Z`, dates ISO, binary base64. JSON: NaN and the infinities are null, decimals with a fraction are
strings (a JSON number would lose digits in most readers), whole ones numbers. CSV: null is an empty field, an empty text `""`,
lists and structs are JSON, NaN and the infinities are `nan`, `inf` and `-inf`. In CSV for spreadsheets texts that
those would compute have a `'` in front.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Literal

import duckdb
import pyarrow as pa

from timestore_assets.model.types import literal, quote
from timestore_assets.querying.answer import retyped
from timestore_assets.querying.rendering.few_rows import few_rows

_NEEDS_QUOTES = literal(r'[",\r\n]|^\s|\s$|^$')
_FORMULA = "^([\\s\\v\u00a0\ufeff]*[-=+@\uff1d\uff0b\uff0d\uff20]|[\\t\\r\\n])"
# a spreadsheet takes it for a formula's beginning also behind blanks, and in the full-width forms of East Asian keyboards

Form = Literal["json", "csv", "spreadsheet"]
_FEW_ROWS = 1_000


@cache
def _database() -> duckdb.DuckDBPyConnection:
    """One for all: a cursor takes a hundredth of the time that a database takes to start."""
    con = duckdb.connect(":memory:", config={"threads": 1})
    # a list of expressions leaves nothing to optimize, and looking takes a fifth of the time of few rows
    con.execute("SET GLOBAL enable_optimizer = false")
    return con


class RowTexts:
    """Turns batches of one schema into a text for each row."""

    def __init__(self, schema: pa.Schema, form: Form) -> None:
        self._con, self._form, self._names = _database().cursor(), form, schema.names
        # columns go by number inside: names may differ only in case, which DuckDB takes for equal
        self._types = [without_zone(field.type) for field in schema]
        self._schema = pa.schema([(f"c{i}", kind) for i, kind in enumerate(self._types)])
        columns = [(name, f"c{i}", kind) for i, (name, kind) in enumerate(zip(schema.names, self._types, strict=True))]
        if form == "json":
            values = ", ".join(f"{literal(name)}, {json_value(sql, kind)}" for name, sql, kind in columns)
            self._row = f"CAST(json_object({values}) AS VARCHAR)"
        else:
            fields = (csv_field(sql, kind, safe=form == "spreadsheet") for _, sql, kind in columns)
            self._row = f"concat_ws(',', {', '.join(fields)})"

    def texts(self, batch: pa.RecordBatch) -> list[str]:
        """A text for each row, in order."""
        columns = [retyped(column, kind) for column, kind in zip(batch.columns, self._types, strict=True)]
        texts = few_rows(self._names, columns, batch.num_rows) if self._form == "json" else None
        if texts is not None:
            return texts
        try:
            return self._computed(pa.Table.from_arrays(columns, schema=self._schema))
        except (duckdb.InternalException, duckdb.FatalException):
            # a database that has failed so fails at everything from then on, and other answers are not to
            _database.cache_clear()
            raise

    def _computed(self, rows: pa.Table) -> list[str]:
        self._con.register("batch", rows)
        sql = f"SELECT {self._row} FROM batch"
        texts: list[str]
        if rows.num_rows <= _FEW_ROWS:
            # a relation is bound twice, which takes longer than few rows do
            texts = [text for (text,) in self._con.execute(sql).fetchall()]
        else:
            texts = self._con.sql(sql).to_arrow_table().column(0).to_pylist()
        self._con.unregister("batch")
        return texts

    def close(self) -> None:
        self._con.close()


def without_zone(kind: pa.DataType) -> pa.DataType:
    """An Arrow type with timestamps in UTC taken as plain ones, which DuckDB handles without its time zone library."""
    if pa.types.is_timestamp(kind):
        return pa.timestamp("ns" if kind.unit == "ns" else "us")
    if pa.types.is_list(kind):
        return pa.list_(without_zone(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(without_zone(field.type)) for field in kind])
    return pa.string() if pa.types.is_dictionary(kind) else kind


def json_value(sql: str, kind: pa.DataType, depth: int = 0) -> str:
    """SQL for what stands for a value inside a JSON document."""
    if pa.types.is_floating(kind):
        # the shortest text of a 32-bit float, not the many digits of the double it widens to
        value = f"CAST(CAST({sql} AS VARCHAR) AS DOUBLE)" if kind == pa.float32() else sql
        return f"CASE WHEN isfinite({sql}) THEN {value} END"
    if pa.types.is_timestamp(kind):
        text = f"CAST({sql} AS VARCHAR)"
        return f"CASE WHEN isfinite({sql}) THEN replace({text}, ' ', 'T') || 'Z' ELSE {text} END"
    if pa.types.is_decimal(kind):
        return f"CAST({sql} AS HUGEINT)" if kind.scale == 0 else f"CAST({sql} AS VARCHAR)"
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return f"base64({sql})"
    if pa.types.is_list(kind):
        item = f"v{depth}"
        return f"list_transform({sql}, lambda {item}: {json_value(item, kind.value_type, depth + 1)})"
    if pa.types.is_struct(kind) and kind.num_fields:
        fields = (f"{literal(field.name)}, {json_value(f'{sql}.{quote(field.name)}', field.type, depth)}" for field in kind)
        return f"CASE WHEN {sql} IS NOT NULL THEN json_object({', '.join(fields)}) END"
    if pa.types.is_date(kind) or pa.types.is_time(kind):
        return f"CAST({sql} AS VARCHAR)"
    return sql


def without_formula(text: str) -> str:
    """A text that no spreadsheet computes."""
    return f"'{text}" if re.match(_FORMULA, text) else text


def csv_field(sql: str, kind: pa.DataType, *, safe: bool = False) -> str:
    """SQL for a value's field in a CSV line, quoted where it has to be; never null. `safe`: no text begins as a formula does."""
    if pa.types.is_list(kind) or pa.types.is_struct(kind) or pa.types.is_map(kind):
        text = f"CAST(to_json({json_value(sql, kind)}) AS VARCHAR)"
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        text = _without_formula(sql) if safe else sql
    elif safe and (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        return f"coalesce({_without_formula(json_value(sql, kind))}, '')"
    elif pa.types.is_timestamp(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return f"coalesce({json_value(sql, kind)}, '')"
    else:
        return f"coalesce(CAST({sql} AS VARCHAR), '')"
    quoted = f"""'"' || replace({text}, '"', '""') || '"'"""
    return f"CASE WHEN {sql} IS NULL THEN '' WHEN regexp_matches({text}, {_NEEDS_QUOTES}) THEN {quoted} ELSE {text} END"


def _without_formula(sql: str) -> str:
    return f"CASE WHEN regexp_matches({sql}, {literal(_FORMULA)}) THEN chr(39) || {sql} ELSE {sql} END"
