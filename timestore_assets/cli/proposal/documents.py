"""Guess the types of JSON documents' members."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from timestore_assets.cli.proposal.guess import Guess, shortened
from timestore_assets.model.types import BOOL, DOUBLE, INT64, STRING, ColumnType

if TYPE_CHECKING:
    import pyarrow as pa

_INT64 = range(-(2**63), 2**63)


def guess_members(documents: Sequence[dict[str, Any]]) -> list[Guess]:
    """Guesses for the members of the documents, in order of first appearance.

    Texts are guessed as strings; whether they are times is for `text_columns` to say.
    """
    names = dict.fromkeys(name for document in documents for name in document)
    return [_guess(name, [document.get(name) for document in documents]) for name in names]


def _guess(name: str, values: Sequence[Any]) -> Guess:
    present = [value for value in values if value is not None]
    missing = len(values) - len(present)
    if not present:
        return Guess(name=name, type=None, missing=missing, note="always null here")
    kind = _type_of(present)
    note = "" if kind is not None else "values of several types"
    return Guess(name=name, type=kind, missing=missing, example=shortened(present[0]), note=note)


def _type_of(values: Iterable[Any]) -> ColumnType | None:
    """The one type that fits all non-null values, None when there is none."""
    values = [value for value in values if value is not None]
    kinds = {type(value) for value in values}
    if kinds == {bool}:
        return BOOL
    if kinds == {int} and all(value in _INT64 for value in values):
        return INT64
    if kinds and kinds <= {int, float}:
        return DOUBLE
    if kinds == {str}:
        return STRING
    if kinds == {list}:
        item = _type_of(item for value in values for item in value)
        return ColumnType(kind="list", item=item) if item is not None else None
    if kinds == {dict}:
        return _struct(values)
    return None


def _struct(values: Sequence[dict[str, Any]]) -> ColumnType | None:
    """A struct only of what all values share: a member that some lack could not be told from one that is new."""
    names = tuple(values[0])
    if not names or any(set(value) != set(names) for value in values):
        return None
    fields = tuple((name, _type_of(value[name] for value in values)) for name in names)
    plain = all(name.isidentifier() for name in names)
    if not plain or any(kind is None for _, kind in fields):
        return None
    return ColumnType(kind="struct", fields=tuple((name, kind) for name, kind in fields if kind is not None))


def scalar_table(documents: Sequence[dict[str, Any]], names: Iterable[str]) -> pa.Table:
    """The scalar members as text columns, for a look at times and keys."""
    import pyarrow as pa

    columns = {name: pa.array([_scalar(document.get(name)) for document in documents], pa.string()) for name in names}
    return pa.table(columns)


def _scalar(value: Any) -> str | None:
    if value is None or isinstance(value, dict | list):
        return None
    return value if isinstance(value, str) else repr(value)
