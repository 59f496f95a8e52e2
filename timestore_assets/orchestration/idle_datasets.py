"""Datasets of which a sensor has nothing to do, so that a tick over many of them need not read their partitions."""

from __future__ import annotations

import time
from collections.abc import Callable

_SECONDS = 10.0
"""How long a partition that is old or complete enough by now may wait to be noticed, behind the tick that would have."""


class IdleDatasets:
    """Datasets at the manifest versions at which nothing was to be done, in this process.

    Nothing new can be to do before the version changes, unless time makes it due (rows that wait for a threshold, sources that
    grow quiet) or something else than the manifest (files that are pending).
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[str, tuple[int, float]] = {}

    def holds(self, dataset: str, version: int | None) -> bool:
        """Whether nothing can be to do for the dataset at this version. None: it was never registered."""
        known, until = self._known.get(dataset, (None, 0.0))
        return known is not None and known == version and self._clock() < until

    def remember(self, dataset: str, version: int | None, *, waiting: bool) -> None:
        """Nothing was to be done at this version; `waiting`: it may be without another version, so look again soon."""
        if version is not None:
            self._known[dataset] = version, self._clock() + _SECONDS if waiting else float("inf")
