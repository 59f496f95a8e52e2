"""The portable content hash: a digest of a set of rows that depends on their values alone, and that any engine can compute.

Rows count as a multiset: the hash is the sum, modulo 2^64 in each half, of the 128-bit MD5 of every row's canonical text. So
neither order, nor how rows are split into files, nor the file format plays a part, and hashes of parts add up to that
of the whole (`model.hash_sums`). A canonical text names the columns that are not null, in order of their names; a column without
values therefore changes nothing. The sum guards against mistakes, not against somebody who forges rows on purpose.

Builds make the quick one (`segments.quick_hash`), which takes a fiftieth of the time.
"""

from __future__ import annotations

from timestore_assets.model.schema import Column, Schema
from timestore_assets.model.types import STRING, ColumnType, literal, quote

_HALF = 1 << 64


def hash_sql(schema: Schema, table_expression: str) -> str:
    """A SELECT that gives the content hash of a table: one row with one text of 32 hex digits.

    `table_expression`: what stands after FROM. It has the visible columns of `schema` as they are stored (inferred ones as
    raw text, see `segments.reader.opened(stored=True)`); others are ignored.
    """
    low = f"(h & {_HALF - 1}::UHUGEINT)::UBIGINT"
    high = "(h >> 64)::UBIGINT"
    sums = ", ".join(f"(coalesce(sum({half}), 0) % {_HALF}::HUGEINT)::UBIGINT" for half in (high, low))
    return f"SELECT printf('%016x%016x', {sums}) FROM (SELECT md5_number({row_text(schema)}) AS h FROM {table_expression})"


def row_text(schema: Schema) -> str:
    """SQL for a row's canonical text: equal exactly when all visible values are."""
    parts = [_part(column) for column in sorted(schema, key=lambda column: column.name)]
    return f"concat({', '.join(parts)})" if parts else "''"


def value_text(column: Column) -> str:
    """SQL for the canonical text of a column's value, null when that is null."""
    return _value(quote(column.name), STRING if column.origin == "inferred" else column.type)


def _part(column: Column) -> str:
    label = literal(f"{len(column.name)}:{column.name}=")
    # concat leaves out nulls, and `||` makes the label vanish with its value
    return f"{label} || {value_text(column)}"


def _value(sql: str, kind: ColumnType, depth: int = 0) -> str:
    """SQL for a value's text, null when it is null. Its end can be told without looking at what follows."""
    match kind.kind:
        case "string":
            return f"strlen({sql}) || ':' || {sql}"
        case "float" | "double":
            # adding zero turns -0.0 into 0.0; the text is the shortest that reads back as the same number
            return f"CASE WHEN isnan({sql}) THEN 'nan;' ELSE ({sql} + 0) || ';' END"
        case "decimal" if kind.scale:
            return f"rtrim(rtrim({sql}::VARCHAR, '0'), '.') || ';'"
        case "timestamp":
            return f"coalesce(epoch_us({sql})::VARCHAR, {sql}::VARCHAR) || ';'"
        case "binary":
            return f"hex({sql}) || ';'"
        case "list":
            return _list(sql, kind, depth)
        case "struct":
            return _struct(sql, kind, depth)
        case _:
            return f"{sql}::VARCHAR || ';'"


def _list(sql: str, kind: ColumnType, depth: int) -> str:
    item = f"item_{depth}"
    texts = f"list_transform({sql}, lambda {item}: coalesce({_value(item, kind.item or STRING, depth + 1)}, '_'))"
    return f"CASE WHEN {sql} IS NOT NULL THEN '[' || coalesce(array_to_string({texts}, ''), '') || ']' END"


def _struct(sql: str, kind: ColumnType, depth: int) -> str:
    fields = [
        f"{literal(f'{len(name)}:{name}=')} || {_value(f'struct_extract({sql}, {literal(name)})', field, depth)}"
        for name, field in sorted(kind.fields, key=lambda pair: pair[0])
    ]
    return f"CASE WHEN {sql} IS NOT NULL THEN concat('{{', {', '.join(fields)}, '}}') END"
