"""Which new columns a batch may add, decided record by record, so that the split into batches doesn't matter."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from timestore_assets.landing.extras import Shape
from timestore_assets.landing.header import case_twin
from timestore_assets.landing.sieve import Rows


@dataclass(frozen=True, kw_only=True, slots=True)
class Refused:
    """Rows refused for one column."""

    rows: Rows
    code: str
    column: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Admission:
    """`added`: new columns, in order of appearance."""

    added: tuple[str, ...] = ()
    refused: tuple[Refused, ...] = field(default=())


def admit(shapes: Iterable[Shape], *, known: Collection[str], allowance: int) -> Admission:
    """Go through the records in order; one whose new columns exceed the allowance is refused and adds none of them.

    A refusal names the alphabetically first of them: the order of a header differs between files of the same records.

    `known`: columns of the schema. `allowance`: how many columns may still be added.
    """
    added: dict[str, None] = {}
    refused: list[Refused] = []
    for shape in shapes:
        new = [name for name in shape.names if name not in known and name not in added]
        twin = next((name for name in new if case_twin(name, [*known, *added])), None)
        if twin is not None:
            other = case_twin(twin, [*known, *added])
            reason = f"column {twin[:60]!r} differs from {other!r} only by case"
            refused.append(Refused(rows=shape.rows, code="ambiguous_column", column=twin, reason=reason))
        elif len(added) + len(new) > allowance:
            reason = f"{len(new):,} new columns, of which {max(0, allowance - len(added))} may still be added today"
            refused.append(Refused(rows=shape.rows, code="too_many_columns", column=min(new), reason=reason))
        else:
            added.update(dict.fromkeys(new))
    return Admission(added=tuple(added), refused=tuple(refused))


def reject(shapes: Iterable[Shape], *, known: Collection[str]) -> Admission:
    """Refuse every record that has a value in an unknown column."""
    refused = []
    for shape in shapes:
        new = [name for name in shape.names if name not in known]
        if new:
            first = min(new)
            reason = f"column {first[:60]!r} is not declared and `new_columns: reject` takes no others"
            refused.append(Refused(rows=shape.rows, code="unknown_column", column=first, reason=reason))
    return Admission(refused=tuple(refused))
