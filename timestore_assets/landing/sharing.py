"""Several runs with the same list of files, each of which takes what is free."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """One of `of` runs over the same list; `index` counts from 0.

    Who lands what is decided by leases alone, so a run that dies, or never starts, leaves its part to the others.
    """

    index: int
    of: int

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.of:
            raise ValueError(f"share {self.index} of {self.of}")

    @property
    def is_alone(self) -> bool:
        return self.of == 1

    def ordered(self, items: Sequence[T]) -> list[T]:
        """The items from another beginning than the other runs', so that they seldom meet."""
        first = len(items) * self.index // self.of
        return [*items[first:], *items[:first]]


ALONE = Share(index=0, of=1)
