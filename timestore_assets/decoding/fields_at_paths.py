"""Columns of formats with a header that are at paths: in a struct, a list, or in a field of another name."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from timestore_assets.decoding.arrow_fields import inside
from timestore_assets.decoding.column_names import case_twin
from timestore_assets.decoding.field_keys import FieldKeys
from timestore_assets.model.errors import BadFileError
from timestore_assets.model.field_path import FieldPath
from timestore_assets.model.record_form import RecordForm
from timestore_assets.model.schema import Column


def names_at_paths(names: Sequence[str], form: RecordForm, columns: Sequence[Column], *, what: str) -> tuple[str, ...]:
    """The names of a file's fields once columns are taken from where they are.

    Raises:
        BadFileError: `missing_column`, `ambiguous_column`: a column's field is not there, or there are two.
    """
    paths = _paths(form, columns)
    there = [path.column for path in paths if _place(path, names, paths, columns, what)]
    used = _used_up(paths, columns)
    return (*(name for name in names if name not in used), *there)


def fields_at_paths(table: pa.Table, form: RecordForm, columns: Sequence[Column]) -> pa.Table:
    """The fields of a batch once columns are taken from where they are.

    Raises:
        BadFileError: as `names_at_paths` and `arrow_fields.inside`.
    """
    paths = _paths(form, columns)
    if not paths:
        return table
    names, used = table.column_names, _used_up(paths, columns)
    made = {name: table.column(name) for name in names if name not in used}
    for path in paths:
        place = _place(path, names, paths, columns, "file")
        if place is None:
            continue
        values = inside(table.column(place), path) if place == path.root else table.column(place)
        if values is not None:
            made[path.column] = values
        elif not _column(path.column, columns).nullable:
            raise _missing(path, names, "file")
    # a table without columns would forget how many rows it has
    return pa.table(list(made.values()), names=list(made)) if made else table


def _paths(form: RecordForm, columns: Sequence[Column]) -> list[FieldPath]:
    declared = {column.name for column in columns}
    return [path for path in form.fields if path.column in declared]


def _used_up(paths: Sequence[FieldPath], columns: Sequence[Column]) -> frozenset[str]:
    return FieldKeys.of(paths, [column.name for column in columns]).used


def _place(path: FieldPath, names: Sequence[str], paths: Sequence[FieldPath], columns: Sequence[Column], what: str) -> str | None:
    """The field of a file that a column is in, its root or one of its whole name; None when a nullable column has none."""
    if path.column in names and path.column not in {name for other in paths for name in (other.root, other.flat)}:
        raise BadFileError(
            "ambiguous_column", f"column {path.column!r} is at {path.text}, and the {what} has one of that name as well"
        )
    there = [name for name in dict.fromkeys((path.root, path.flat)) if name in names]
    if len(there) > 1:
        raise BadFileError(
            "ambiguous_column", f"column {path.column!r} is at {path.text}, and the {what} has {path.flat!r} as well; rename one"
        )
    if not there and (twin := case_twin(path.root, names)):
        raise BadFileError(
            "ambiguous_column",
            f"column {path.column!r} is at {path.text}, and the {what} has {twin!r}, which differs only by case; rename one",
        )
    if not there and not _column(path.column, columns).nullable:
        raise _missing(path, names, what)
    return there[0] if there else None


def _missing(path: FieldPath, names: Sequence[str], what: str) -> BadFileError:
    listed = ", ".join(names[:8]) + (", …" if len(names) > 8 else "") or "none"
    reason = f"column {path.column!r} is at {path.text}, which the {what} does not have; its columns are {listed}"
    return BadFileError("missing_column", reason)


def _column(name: str, columns: Sequence[Column]) -> Column:
    return next(column for column in columns if column.name == name)
