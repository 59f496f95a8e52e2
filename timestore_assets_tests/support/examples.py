"""How many examples a property is tried on: few in every run of the tests, many by `make torture`."""

from __future__ import annotations

import os

TIMES = float(os.environ.get("TIMESTORE_EXAMPLES_TIMES", "1"))


def examples(usual: int) -> int:
    """As many as usual, times TIMESTORE_EXAMPLES_TIMES. What is drawn differs from run to run, so that runs add up."""
    return max(1, round(usual * TIMES))
