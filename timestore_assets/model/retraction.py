"""Rows that readers leave out, told by where they came from: a source partition, or a range of its positions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Retraction:
    """Rows of one source partition. A bound that is None is none."""

    source: int
    """Id of the source partition, the rows' `__source`."""
    first: int | None = None
    """Least `__position`."""
    end: int | None = None
    """The `__position` after the last one."""
    last_session: int | None = None
    """Greatest `__session`: rows that land there again later are shown."""

    @property
    def is_whole(self) -> bool:
        """Whether it hides every row of its source partition, now and later."""
        return self.first is None and self.end is None and self.last_session is None


Retracted = frozenset[Retraction]
"""All that is left out of a manifest version."""
NOTHING: Retracted = frozenset()


def whole(source_partition_ids: Iterable[int]) -> Retracted:
    """All rows of these source partitions."""
    return frozenset(Retraction(source=source) for source in source_partition_ids)


def wholly_retracted(retracted: Retracted) -> frozenset[int]:
    """Source partitions of which no row is left."""
    return frozenset(one.source for one in retracted if one.is_whole)


def sources_of(retracted: Retracted) -> frozenset[int]:
    """Source partitions of which any row may be left out."""
    return frozenset(one.source for one in retracted)
