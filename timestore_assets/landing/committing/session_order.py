"""The newest times of keys as one session carries them on: those behind its last commit, and those behind what it has judged.

A batch may be judged while the one before it is committed. Only what was judged by the state of the last commit may be
committed, so whatever was judged too early, or in vain, changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyarrow as pa

from timestore_assets.landing.committing.newest_landed import LandedRows
from timestore_assets.landing.preparing.key_order import NewestTimes, OrderStep

Find = Callable[[Sequence[LandedRows]], pa.Table]
"""Reads the newest times of what has landed."""


class SessionOrder:
    """One session's, which nobody but it moves on: `begin` and `renew` are for when nothing is being committed."""

    def __init__(self, find: Find) -> None:
        self._find = find
        self._committed = self._judged = NewestTimes()
        self._begun: dict[int, Sequence[LandedRows]] = {}
        self._is_lost = False

    @property
    def judged(self) -> NewestTimes | None:
        """What the next batch is judged by; None while that is lost, so that it has to be judged again."""
        return None if self._is_lost else self._judged

    @property
    def committed(self) -> NewestTimes:
        """What a batch has to be judged by to be committed."""
        return self._committed

    def begin(self, landed: Sequence[LandedRows], *, is_new: bool = False) -> None:
        """Go on with source partitions from what has landed of them. `is_new`: that is nothing yet."""
        sources = {one.stands_for for one in landed}
        self._begun |= {source: [one for one in landed if one.stands_for == source] for source in sources}
        found = self._find(landed) if landed and not is_new else None
        self._committed = self._judged = self._committed.started(sources, found)

    def lose(self) -> None:
        """Take note that keys are other values by now than those that are held."""
        self._is_lost = True

    def renew(self) -> None:
        """Begin anew from what has landed, if what was held is lost."""
        if self._is_lost:
            self._is_lost = False
            self._committed = NewestTimes()
            self.begin([one for rows in self._begun.values() for one in rows])

    def go_back(self) -> None:
        """Forget what was judged and not committed."""
        self._judged = self._committed

    def went_on(self, step: OrderStep | None, instead_of: OrderStep | None = None) -> None:
        """A batch was judged. `instead_of`: what had come of it before; who was judged behind that goes on as it did."""
        if step is not None and (instead_of is None or self._judged is instead_of.after):
            self._judged = step.after

    def commit(self, step: OrderStep | None) -> None:
        """What was judged has been committed."""
        if step is not None:
            self._committed = step.after

    def allows(self, step: OrderStep | None) -> bool:
        """Whether a batch was judged by the state of the last commit, so that it may be committed."""
        return not self._is_lost and step is not None and step.before is self._committed
