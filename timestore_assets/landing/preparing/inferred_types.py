"""What the values of a column nobody declared look like, and the type that they make together.

The type is the join of what its values look like. bool joins only with itself, int64 lies below double, and string is above all:
a value is never read as something that its text does not say.
"""

from __future__ import annotations

from collections.abc import Collection

import duckdb
import pyarrow as pa

from timestore_assets.decoding.undeclared_columns import RawColumn
from timestore_assets.model.types import ColumnType

_INTEGER = "[+-]?[0-9]+"
_FLOAT = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"
_NOT_FINITE = "[+-]?(?i:nan|inf|infinity)"

NON_FINITE = "non_finite"
_FITS = {
    "bool": frozenset({"bool"}),
    "int64": frozenset({"int64"}),
    "double": frozenset({"int64", "double"}),
    "string": frozenset({"bool", "int64", "double", "string"}),
}


def raw_texts(con: duckdb.DuckDBPyConnection, column: RawColumn) -> pa.Table:
    """The column's values as columns `text`, as segments store them, and `class`, what each looks like.

    Classes: `bool`, `int64`, `double`, `string`, or `non_finite` for what a format wrote as a number that is none; null for null.
    """
    nested = pa.types.is_nested(column.values.type)
    table = {"v": column.values}
    if column.is_string is not None:
        table["s"] = column.is_string
    con.register("landing_extra", pa.table(table))
    text = "CAST(to_json(v) AS VARCHAR)" if nested else "CAST(v AS VARCHAR)"
    inner = f"SELECT {text} AS text{', s' if 's' in table else ''} FROM landing_extra"
    try:
        return con.sql(f"SELECT text, {_class(column)} AS class FROM ({inner})").to_arrow_table()
    finally:
        con.unregister("landing_extra")


def _class(column: RawColumn) -> str:
    if column.type_name == "double":
        return f"CASE WHEN regexp_full_match(text, '{_NOT_FINITE}') THEN '{NON_FINITE}' WHEN text IS NOT NULL THEN 'double' END"
    if column.type_name is not None:
        return f"CASE WHEN text IS NOT NULL THEN '{column.type_name}' END"
    written = f"WHEN s THEN 'string' WHEN regexp_full_match(text, '{_NOT_FINITE}') THEN '{NON_FINITE}'"
    # a whole number beyond int64 would lose digits as a double
    return f"""CASE WHEN text IS NULL THEN NULL {written if column.is_string is not None else ""}
        WHEN lower(text) IN ('true', 'false') THEN 'bool'
        WHEN regexp_full_match(text, '{_INTEGER}') THEN CASE WHEN try_cast(text AS BIGINT) IS NULL THEN 'string' ELSE 'int64' END
        WHEN regexp_full_match(text, '{_FLOAT}') AND isfinite(try_cast(text AS DOUBLE)) THEN 'double' ELSE 'string' END"""


def join(classes: Collection[str]) -> ColumnType:
    """The narrowest type that all these classes of values fit: text for what only a declaration can name, such as a timestamp."""
    fitting = next((name for name, fits in _FITS.items() if fits.issuperset(classes)), "string")
    return ColumnType(kind=fitting)


def fits(kind: ColumnType) -> frozenset[str]:
    """Classes of values that a column of the type can hold without being widened."""
    return _FITS.get(kind.kind, frozenset({kind.kind}))
