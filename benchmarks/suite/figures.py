"""What is made of measurements: medians, ratios, geometric means, exponents; and the time that a run may take."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Seconds that a run may take. Rounds stop when they are over; what has begun is finished."""

    seconds: float
    began: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float:
        return self.seconds - (time.monotonic() - self.began)

    def part(self, share: float) -> Budget:
        """A share of what is left."""
        return Budget(seconds=max(0.0, self.left * share))


def median(values: Iterable[float]) -> float:
    return statistics.median(values)


def geometric_mean(values: Sequence[float]) -> float:
    """Raises: ValueError without values."""
    if not values:
        raise ValueError("a mean of nothing")
    return math.exp(sum(math.log(value) for value in values) / len(values))


def exponent(points: Sequence[tuple[float, float]]) -> float | None:
    """How time grows with rows: the slope of log time over log rows by least squares; None for fewer than two sizes."""
    logs = [(math.log(rows), math.log(seconds)) for rows, seconds in points]
    if len({x for x, _ in logs}) < 2:
        return None
    middle_x, middle_y = statistics.mean(x for x, _ in logs), statistics.mean(y for _, y in logs)
    across = sum((x - middle_x) ** 2 for x, _ in logs)
    return sum((x - middle_x) * (y - middle_y) for x, y in logs) / across
