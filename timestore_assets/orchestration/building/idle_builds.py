"""Datasets of which nothing needs a build, so that a tick over many of them need not read their partitions."""

from __future__ import annotations

import time
from collections.abc import Callable

_SECONDS = 10.0
"""How long a partition that is old or complete enough by now may wait to be noticed, behind the tick that would have."""


class IdleBuilds:
    """Datasets at the manifest versions at which nothing was needed, in this process.

    Nothing can be needed before the version changes where every row is built. Where rows wait for a threshold, it is time that
    makes them due.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[str, tuple[int, float]] = {}

    def holds(self, dataset: str, version: int | None) -> bool:
        """Whether nothing can be needed of the dataset at this version. None: it was never registered."""
        known, until = self._known.get(dataset, (None, 0.0))
        return known is not None and known == version and self._clock() < until

    def remember(self, dataset: str, version: int | None, *, waiting: bool) -> None:
        """Nothing was needed at this version; `waiting`: there are unbuilt rows."""
        if version is not None:
            self._known[dataset] = version, self._clock() + _SECONDS if waiting else float("inf")
