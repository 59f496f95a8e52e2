"""A plan for the first rows of many segments: it knows how many there are, and reads of them what a step is about to open.

Making ten thousand segments of their rows in the catalog takes longer than answering from the first of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from timestore_assets.catalog.stored_segments import Listed
from timestore_assets.querying.planning.query_plan import Plan, Step

WORTH_IT = 1_000
"""Segments of which so many at most are planned at once."""
_FIRST, _GROWTH = 200, 4


@dataclass(frozen=True, kw_only=True, slots=True)
class GradualPlan:
    """What a question with a limit reads at a manifest version, as `Plan` has it where that is the same."""

    version: int
    #: The segments that it may come to, in order of partition.
    listed: Sequence[Listed]
    #: How many the dataset has.
    live: int
    start: datetime | None
    end: datetime | None
    #: The plan of some of them, which are whole partitions.
    plan_of: Callable[[Sequence[Listed]], Plan]

    @property
    def scanned(self) -> int:
        """At most."""
        return len(self.listed)

    @property
    def pruned(self) -> int:
        return self.live - self.scanned

    def steps(self, *, selective: bool = False, limit: int | None = None, descending: bool = False) -> Iterator[Step]:
        """See `Plan.steps`."""
        for group in _groups(self.listed, descending=descending):
            yield from self.plan_of(group).steps(selective=selective, limit=limit, descending=descending)


def _groups(listed: Sequence[Listed], *, descending: bool) -> Iterator[Sequence[Listed]]:
    """Segments of consecutive partitions, none of which is in two groups; more and more of them."""
    size, left, right = _FIRST, 0, len(listed)
    while left < right:
        if descending:
            begin = max(left, right - size)
            while begin > left and listed[begin - 1][2] == listed[begin][2]:
                begin -= 1
            group, right = listed[begin:right], begin
        else:
            end = min(right, left + size)
            while end < right and listed[end][2] == listed[end - 1][2]:
                end += 1
            group, left = listed[left:end], end
        yield group
        size *= _GROWTH
