"""Numbers as people read them."""

from __future__ import annotations

import pytest

from timestore_assets.cli.output import count, duration, rate, size


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (2294215, "2.3 MB"), (123_456_789, "123 MB"), (5e12, "5.0 TB"), (None, "–")],
)
def test_size(value: int | None, text: str) -> None:
    assert size(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0.0 s"), (0.04, "< 0.1 s"), (9.94, "9.9 s"), (42, "42 s"), (125, "2 min 5 s"), (7300, "2 h 1 min")]
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0, "0 rows/s"),
        (0.4, "< 1 row/s"),
        (999, "999 rows/s"),
        (12_345, "12,300 rows/s"),
        (4_021_000, "4,020,000 rows/s"),
    ],
)
def test_rate(value: float | None, text: str) -> None:
    assert rate(value) == text


def test_count() -> None:
    assert count(336776) == "336,776"
    assert count(None) == "–"
