"""Folders in which nothing is new, so that a tick over many of them need not ask the catalog about each."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from timestore_assets.model.dataset import Dataset, FileSource
from timestore_assets.sources.files.file_listing import Listing

_SECONDS = 60.0


class IdleFolders:
    """The listings of which everything is settled, in this process and for a minute each.

    It only saves work: who forgets asks the catalog again. A file that changes, comes or goes makes another listing.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[tuple[str, str], tuple[Listing, float]] = {}

    def holds(self, dataset: Dataset, source: FileSource, listing: Listing) -> bool:
        """Whether this very listing had nothing new a short while ago."""
        known, until = self._known.get((dataset.name, source.address), (None, 0.0))
        return known == listing and self._clock() < until

    def remember(self, dataset: Dataset, source: FileSource, listing: Listing) -> None:
        """Everything in the listing is settled."""
        spread = _SECONDS * random.uniform(0.5, 1.0)  # noqa: S311 - so that not all are due at once
        self._known[dataset.name, source.address] = listing, self._clock() + spread
