"""Trying again after faults that pass by themselves, within a budget of time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from timestore_assets.model.errors import CredentialsError, StorageFullError, UnavailableError

T = TypeVar("T")

BUDGET_SECONDS = 60.0
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 0.2, 10.0


def patiently(work: Callable[[], T], *, budget_seconds: float = BUDGET_SECONDS, sleep: Callable[[float], None] = time.sleep) -> T:
    """Do the work, again after growing waits while something is unavailable, until the budget is spent, by waiting or by trying.

    Raises:
        UnavailableError: still so at the end. A full disk and refused credentials are not waited for: neither mends itself.
    """
    began = time.monotonic()
    waited, wait = 0.0, _FIRST_WAIT_SECONDS
    while True:
        try:
            return work()
        except (StorageFullError, CredentialsError):
            raise
        except UnavailableError:
            if max(waited, time.monotonic() - began) + wait > budget_seconds:
                raise
        sleep(wait)
        waited, wait = waited + wait, min(wait * 2, _LONGEST_WAIT_SECONDS)
