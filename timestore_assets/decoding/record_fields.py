"""Fields of a batch with columns as its source says they are made: those at paths, several that are one time, the file's path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import duckdb
import pyarrow as pa
import pyarrow.types as pt

from timestore_assets.decoding.fields_at_paths import fields_at_paths, names_at_paths
from timestore_assets.decoding.former_columns import FormerNames
from timestore_assets.decoding.plain_arrow import plain_arrow
from timestore_assets.decoding.spelling import trimmed
from timestore_assets.model.errors import BadFileError
from timestore_assets.model.record_form import RecordForm, TimeForm
from timestore_assets.model.schema import Column


def formed_names(
    names: Sequence[str], form: RecordForm, path: Mapping[str, str | None], columns: Sequence[Column], *, what: str = "file"
) -> tuple[str, ...]:
    """The names of a file's fields once its columns are made of them.

    Raises:
        BadFileError: `missing_column`, `ambiguous_column`: some of the fields that make up a column are not there, or too many.
    """
    names = FormerNames.of(columns, form).current(names, what=what)
    names = names_at_paths(names, form, columns, what=what)
    names = (*names, *(name for name in path if name not in names))
    kept = list(names)
    for time in form.times:
        if time.columns and _is_made(time, names, columns, what):
            kept = [name for name in kept if name not in consumed(time, columns)]
    for time in form.times:
        if time.columns and set(time.columns) <= set(names):
            kept.append(time.column)
    return tuple(kept)


def formed_fields(
    con: duckdb.DuckDBPyConnection, table: pa.Table, form: RecordForm, path: Mapping[str, str | None], columns: Sequence[Column]
) -> pa.Table:
    """The fields of a batch of a format with a header, with the columns that are made of them; errors as `formed_names`."""
    table = fields_at_paths(table, form, columns)
    for name, text in path.items():
        if name not in table.column_names:
            table = table.append_column(name, pa.repeat(pa.scalar(text, pa.string()), table.num_rows))
    made: list[tuple[str, pa.ChunkedArray]] = []
    left_out: set[str] = set()
    for time in form.times:
        if time.columns and _is_made(time, table.column_names, columns, "file"):
            made.append((time.column, joined(con, [table.column(name) for name in time.columns])))
            left_out |= consumed(time, columns)
    if left_out:
        table = table.drop_columns([name for name in table.column_names if name in left_out])
    for name, values in made:
        table = table.append_column(name, values)
    return table


def consumed(time: TimeForm, columns: Sequence[Column]) -> set[str]:
    """Fields that make up a time and are no columns themselves."""
    declared = {column.name for column in columns} - {time.column}
    return {name for name in time.columns if name not in declared}


def joined(con: duckdb.DuckDBPyConnection, parts: Sequence[pa.ChunkedArray]) -> pa.ChunkedArray:
    """The texts of several fields joined with a blank, null where all are; a single one as it is.

    A missing part shows as `null` among the others, so that a date without its clock is no time.
    """
    if len(parts) == 1:
        return parts[0]
    plain = [plain_arrow(part) for part in parts]
    con.register("landing_parts", pa.table(plain, names=[f"p{i}" for i in range(len(plain))]))
    texts = ", ".join(f"coalesce({trimmed(_text(f'p{i}', part.type))}, 'null')" for i, part in enumerate(plain))
    empty = " AND ".join(f"p{i} IS NULL" for i in range(len(plain)))
    try:
        found = con.sql(
            f"SELECT CASE WHEN NOT ({empty}) THEN concat_ws(' ', {texts}) END AS t FROM landing_parts"
        ).to_arrow_table()
    finally:
        con.unregister("landing_parts")
    return found.column(0)


def _text(part: str, kind: pa.DataType) -> str:
    text = f"CAST({part} AS VARCHAR)"
    if pt.is_timestamp(kind):
        # spreadsheets and data frames keep a date as its midnight
        return f"CASE WHEN date_trunc('day', {part}) = {part} THEN CAST(CAST({part} AS DATE) AS VARCHAR) ELSE {text} END"
    if pt.is_floating(kind):
        whole = f"{part} = trunc({part}) AND abs({part}) < 1e15"
        return f"CASE WHEN {whole} THEN CAST(CAST({part} AS BIGINT) AS VARCHAR) ELSE {text} END"
    return text


def _is_made(time: TimeForm, names: Sequence[str], columns: Sequence[Column], what: str) -> bool:
    """Whether a file has the fields that make up a time; a nullable one may lack all of them."""
    missing = [name for name in time.columns if name not in names]
    parts = " and ".join(repr(name) for name in time.columns)
    column = next((column for column in columns if column.name == time.column), None)
    if missing and (len(missing) < len(time.columns) or (column is not None and not column.nullable)):
        listed = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
        raise BadFileError(
            "missing_column",
            f"column {time.column!r} is made of {parts}; the {what} has no {missing[0]!r}, its columns are {listed or 'none'}",
        )
    if not missing and time.column in names and time.column not in time.columns:
        raise BadFileError(
            "ambiguous_column", f"column {time.column!r} is made of {parts}, and the {what} has one of that name as well"
        )
    return not missing
