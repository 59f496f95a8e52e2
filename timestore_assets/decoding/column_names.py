"""What a file's column names must satisfy before any of its rows is looked at."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from timestore_assets.model.errors import BadFileError
from timestore_assets.model.schema import Column

PANDAS_INDEX = "__index_level_"
"""What pandas calls an index without a name in Parquet; such a column is left out, like an ignored one."""


def check_header(names: Sequence[str], columns: Sequence[Column], *, what: str = "file") -> None:
    """Refuse a file whose columns can't be told apart or that lacks one it must have.

    `names`: the file's columns. `columns`: those of the schema, inferred ones included. `what`: how errors call the file.

    Raises:
        BadFileError: `ambiguous_column`, `bad_column_name` or `missing_column`, naming the columns.
    """
    _refuse_case_twins(names, columns, what)
    for name in names:
        if not name.startswith(PANDAS_INDEX) and (problem := name_problem(name)):
            raise BadFileError("bad_column_name", f"column {name[:60]!r} {problem}; rename it in the {what}")
    present = set(names)
    for column in columns:
        if not column.nullable and column.name not in present:
            raise BadFileError("missing_column", _missing(column, names, columns, what))


def name_problem(name: str) -> str | None:
    """Why a column can't be called that, or None."""
    if not name:
        return "has an empty name"
    if name.startswith("__"):
        return "begins with __, which is reserved"
    if not name.isprintable():
        return "has a name that can't be printed"
    return "has a name of more than 255 characters" if len(name) > 255 else None


def case_twin(name: str, others: Iterable[str]) -> str | None:
    """The one of `others` that differs from `name` only by case."""
    folded = name.casefold()
    return next((other for other in others if other != name and other.casefold() == folded), None)


def _refuse_case_twins(names: Sequence[str], columns: Sequence[Column], what: str) -> None:
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.casefold(), name)
        if other != name:
            raise BadFileError(
                "ambiguous_column", f"columns {other!r} and {name!r} differ only by case; rename one in the {what}"
            )
    present = set(names)
    for column in columns:
        twin = seen.get(column.name.casefold())
        # one that must be there is reported as missing, with its twin as the likely new name
        if twin and twin != column.name and (column.nullable or column.name in present):
            raise BadFileError(
                "ambiguous_column",
                f"column {twin!r} differs from the dataset's {column.name!r} only by case; rename one of them",
            )


def _missing(column: Column, names: Sequence[str], columns: Sequence[Column], what: str) -> str:
    text = f"column {column.name!r} is required and the {what} does not have it"
    known = {other.name for other in columns}
    candidates = {name.casefold(): name for name in names if name not in known}
    close = difflib.get_close_matches(column.name.casefold(), candidates, n=1, cutoff=0.5)
    if close:
        return f"{text}; it has {candidates[close[0]]!r}: was it renamed?"
    listed = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
    return f"{text}; its columns are {listed or 'none'}"
