"""How long sessions wait for a catalog or a store that is away: briefly, where a test has them wait in vain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from timestore_assets.retry import OUTAGE
from timestore_assets.segments.publishing import WriteContext
from timestore_assets.verbs.workplace import Workplace

SECONDS = 1.0


def give_up_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions of every warehouse in this process give up after `SECONDS`, not after a minute; they do try again meanwhile."""
    usual: Callable[[Workplace], WriteContext] = vars(Workplace)["writing"].fget

    def writing(warehouse: Workplace) -> WriteContext:
        return replace(usual(warehouse), retry=replace(OUTAGE, seconds=SECONDS))

    monkeypatch.setattr(Workplace, "writing", property(writing))
