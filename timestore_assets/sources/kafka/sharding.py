"""Which topic partitions a session takes when several share a source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from timestore_assets.model.errors import InputError

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """Part `index` (from 0) `of` so many."""

    index: int = 0
    of: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.of:
            raise InputError(f"there is no shard {self.index} of {self.of}; they count from 0 to {self.of - 1}")

    def __str__(self) -> str:
        return f"{self.index}/{self.of}"

    def take(self, places: Sequence[T]) -> list[T]:
        """This shard's part of a sorted list; the shards' parts are disjoint and make the whole."""
        return list(places[self.index :: self.of])


WHOLE = Shard()


def parse_shard(text: str) -> Shard:
    """A shard from `INDEX/OF`.

    Raises:
        InputError: the text is none.
    """
    index, _, of = text.partition("/")
    if not (index.isdecimal() and of.isdecimal() and int(of) > 0):
        raise InputError(f"{text!r} is no shard; write INDEX/OF, for instance 0/2")
    return Shard(index=int(index), of=int(of))
