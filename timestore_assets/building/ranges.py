"""Partitions that follow each other, as the ranges that Dagster takes in one run request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from timestore_assets.building.needs import Need
from timestore_assets.model.window import Partition


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildRange:
    """Consecutive partitions that are needed, all to be sealed or none."""

    needs: tuple[Need, ...]

    @property
    def partitions(self) -> tuple[Partition, ...]:
        return tuple(need.partition for need in self.needs)

    @property
    def first(self) -> Partition:
        return self.needs[0].partition

    @property
    def last(self) -> Partition:
        return self.needs[-1].partition

    @property
    def closes(self) -> bool:
        return self.needs[0].closes

    @property
    def reason(self) -> str:
        """The first need's reason, and how many more there are."""
        others = len(self.needs) - 1
        return self.needs[0].reason if not others else f"{self.needs[0].reason}; {others} more like it"


def contiguous(needs: Sequence[Need], *, at_most: int) -> list[BuildRange]:
    """The needs as ranges without gaps, in order of time, each of at most `at_most` partitions."""
    if at_most < 1:
        raise ValueError(f"at_most is {at_most}; a range holds at least one partition")
    return [BuildRange(needs=run[i : i + at_most]) for run in _runs(needs) for i in range(0, len(run), at_most)]


def _runs(needs: Sequence[Need]) -> Iterator[tuple[Need, ...]]:
    run: list[Need] = []
    for need in sorted(needs, key=lambda need: need.partition.start):
        if run and (run[-1].partition.end != need.partition.start or run[-1].closes != need.closes):
            yield tuple(run)
            run = []
        run.append(need)
    if run:
        yield tuple(run)
