"""Which fields of a record are columns of their own, where some columns are at paths."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from timestore_assets.model.field_path import FieldPath


@dataclass(frozen=True, kw_only=True, slots=True)
class FieldKeys:
    """What paths make of the keys of a document.

    `used`: those that are no columns of their own any more. `passed`: those that paths lead through; they stay what they are.
    """

    used: frozenset[str] = frozenset()
    passed: frozenset[str] = frozenset()
    #: Columns that are at a path, with its text; a key of that name would be another value of theirs.
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    #: Columns that are read at paths.
    moved: frozenset[str] = frozenset()

    @classmethod
    def of(cls, paths: Sequence[FieldPath], declared: Collection[str]) -> FieldKeys:
        """`declared`: names of all columns of the declaration."""
        moved = {path.column for path in paths}
        plain = frozenset(declared) - moved
        roots = {path.root for path in paths}
        alone = {path.root for path in paths if len(path.steps) == 1} | {path.flat for path in paths}
        return cls(
            used=frozenset(alone | (roots & moved)) - plain,
            passed=frozenset(roots - alone - moved),
            moved=frozenset(moved),
            elsewhere={path.column: path.text for path in paths if path.column not in roots},
        )


NO_FIELDS = FieldKeys()
