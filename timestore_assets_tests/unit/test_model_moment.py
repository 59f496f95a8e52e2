"""Times as people write them in questions."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from timestore_assets.model.errors import InputError
from timestore_assets.model.moment import PATTERN, parse_moment

NOW = datetime(2024, 3, 31, 12, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", NOW),
        ("today", datetime(2024, 3, 31, tzinfo=UTC)),
        (" Yesterday ", datetime(2024, 3, 30, tzinfo=UTC)),
        ("tomorrow", datetime(2024, 4, 1, tzinfo=UTC)),
        ("-30d", datetime(2024, 3, 1, 12, 30, tzinfo=UTC)),
        ("+90m", datetime(2024, 3, 31, 14, 0, tzinfo=UTC)),
        ("-1mo", datetime(2024, 2, 29, 12, 30, tzinfo=UTC)),
        ("-1q", datetime(2023, 12, 31, 12, 30, tzinfo=UTC)),
        ("-1y", datetime(2023, 3, 31, 12, 30, tzinfo=UTC)),
        ("yesterday - 1w", datetime(2024, 3, 23, tzinfo=UTC)),
        ("2015", datetime(2015, 1, 1, tzinfo=UTC)),
        ("2015-12", datetime(2015, 12, 1, tzinfo=UTC)),
        ("2015-12-31", datetime(2015, 12, 31, tzinfo=UTC)),
        ("2013-01-01T01:00:00+01:00", datetime(2013, 1, 1, tzinfo=UTC)),
        ("2013-01-01t06:00z", datetime(2013, 1, 1, 6, tzinfo=UTC)),
    ],
)
def test_what_people_write(text: str, expected: datetime) -> None:
    assert parse_moment(text, now=NOW) == expected


@pytest.mark.parametrize("text", ["", "soon", "2015-13", "0000", "30d", "--3d", "-3", "-3x", "now yesterday", "-1234567d"])
def test_what_is_no_time_is_refused_with_examples(text: str) -> None:
    with pytest.raises(InputError, match=r"is not a time; write for instance 2013-01-01, .* yesterday or -30d"):
        parse_moment(text, now=NOW)


@pytest.mark.parametrize("text", ["+9000y", "-999999y", "-999999d", "0001-01-01T00:00+02:00"])
def test_what_lies_outside_all_years_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=re.escape(f"{text!r} lies outside the years 1 to 9999")):
        parse_moment(text, now=NOW)


@pytest.mark.parametrize("text", ["now", "yesterday", "-999mo", "+999y", "-1s", "1000", "9999-12"])
def test_every_text_of_the_pattern_is_a_time(text: str) -> None:
    assert re.fullmatch(PATTERN, text)
    assert parse_moment(text, now=NOW).tzinfo is UTC
