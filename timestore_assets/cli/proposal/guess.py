"""What a look at a column found, as a value."""

from __future__ import annotations

from dataclasses import dataclass

from timestore_assets.model.types import ColumnType


@dataclass(frozen=True, kw_only=True, slots=True)
class Guess:
    """A column as it could be declared.

    `type`: None when no declarable type fits all its values; evolution then keeps it as it comes. `missing`: nulls in the
    sample. `tokens`: values that are one of `null_tokens`, texts such as `NA` that often stand for null. `misfits`: values
    that the type refuses (few; their records will be dead letters), `misfit` is one. `example`: some value as text. `note`: a
    phrase.
    """

    name: str
    type: ColumnType | None
    missing: int = 0
    tokens: int = 0
    null_tokens: tuple[str, ...] = ()
    misfits: int = 0
    misfit: str = ""
    example: str = ""
    note: str = ""

    @property
    def kind(self) -> str:
        """The type as it is written in a declaration; `mixed` when there is none."""
        return "mixed" if self.type is None else str(self.type)


def shortened(value: object) -> str:
    """A value as a text that fits into a table's cell."""
    text = str(value)
    return text if len(text) <= 40 else text[:39] + "…"
