"""Keys of JSON documents: which are columns, which are others, and which can't be told apart or can't name one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from timestore_assets.decoding.column_names import case_twin, name_problem
from timestore_assets.decoding.field_keys import FieldKeys
from timestore_assets.decoding.json_wrappers import wrapping_of_keys
from timestore_assets.decoding.rejections import RowMask, Rows


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyShape:
    """Rows that have the same list of keys."""

    keys: tuple[str, ...]
    rows: Rows


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownKeys:
    """`columns`: keys that are read as columns. `inferred`: other columns of the schema. `fields`: keys that others read."""

    columns: tuple[str, ...]
    inferred: tuple[str, ...]
    fields: FieldKeys

    @property
    def read(self) -> frozenset[str]:
        """Keys that are no undeclared columns."""
        return self.fields.used.union(self.columns)

    @property
    def names(self) -> tuple[str, ...]:
        """What keys have to be told apart from."""
        return (*self.columns, *self.fields.elsewhere, *sorted(self.fields.used | self.fields.passed), *self.inferred)


def refuse_bad_keys(shapes: Sequence[KeyShape], known: KnownKeys, row_mask: RowMask) -> dict[str, list[Rows]]:
    """Refuse rows with keys that can't be told apart or can't name a column; give the other undeclared keys with their rows."""
    read = known.read
    asked = read | known.fields.passed | known.fields.elsewhere.keys()
    others: dict[str, list[Rows]] = {}
    for shape in shapes:
        unknown = [key for key in shape.keys if key not in read]
        if asked.isdisjoint(shape.keys) and (wrapping := wrapping_of_keys(shape.keys)):
            row_mask.refuse(shape.rows, code="wrapped", reason=wrapping)
            continue
        if refusal := _key_problem(shape.keys, unknown, known):
            row_mask.refuse(shape.rows, code=refusal[0], column=refusal[1], reason=refusal[2])
            continue
        for key in unknown:
            others.setdefault(key, []).append(shape.rows)
    return others


def _key_problem(keys: Sequence[str], unknown: Sequence[str], known: KnownKeys) -> tuple[str, str, str] | None:
    if len(set(keys)) < len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        return "duplicate_keys", twice, f"key {twice[:60]!r} occurs more than once"
    if not unknown:
        return None
    folded = {key.casefold() for key in keys}
    if len(folded) < len(keys):
        twin = next(key for key in keys if case_twin(key, keys))
        return "ambiguous_column", twin, f"keys {twin[:60]!r} and {case_twin(twin, keys)!r} differ only by case"
    for key in unknown:
        if place := known.fields.elsewhere.get(key):
            return "ambiguous_column", key, f"column {key!r} is at {place}, and the record has a key of that name as well"
        if column := case_twin(key, known.names):
            return "ambiguous_column", key, f"key {key[:60]!r} differs from column {column!r} only by case"
        if problem := name_problem(key):
            return "bad_column_name", key[:60], f"key {key[:60]!r} {problem}"
    return None
