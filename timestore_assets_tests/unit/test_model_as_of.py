"""What people write for a version: a number, a time, a tag; no text can be two of them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timestore_assets.model.as_of import TagName, as_of_words, parse_as_of, parse_as_of_words, parse_tag
from timestore_assets.model.errors import InputError
from timestore_assets.model.moment import parse_moment

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("17", 17),
        ("2015", 2015),
        (17, 17),
        ("2015-12", datetime(2015, 12, 1, tzinfo=UTC)),
        ("2024-05-01T12:00:00Z", NOW),
        ("2024-05-01T14:00:00+02:00", NOW),
        (datetime(2024, 5, 1, 12), NOW),
        ("-2h", datetime(2024, 5, 1, 10, tzinfo=UTC)),
        ("yesterday", datetime(2024, 4, 30, tzinfo=UTC)),
        ("before-cleaning", TagName("before-cleaning")),
        ("v2024.05", TagName("v2024.05")),
    ],
)
def test_forms(text: str | int | datetime, meant: object) -> None:
    assert parse_as_of(text, now=NOW) == meant


@pytest.mark.parametrize("text", ["", "-1", "ü", "a b", "2024-13-01", "1.5", "x" * 101])
def test_what_is_none_of_them_says_what_would_be(text: str) -> None:
    with pytest.raises(InputError, match="is no version, time or tag; write for instance 17"):
        parse_as_of(text)
    with pytest.raises(InputError):
        parse_tag(text)


@pytest.mark.parametrize("text", ["today", "now", "yesterday-1w", "17", "2015-12"])
def test_a_time_or_number_is_no_name(text: str) -> None:
    with pytest.raises(InputError, match="no name for a tag"):
        parse_tag(text)


@given(st.from_regex(r"[A-Za-z][A-Za-z0-9_.-]{0,20}", fullmatch=True))
def test_a_name_is_read_as_itself_and_never_as_a_time(name: str) -> None:
    try:
        tag = parse_tag(name)
    except InputError:
        parse_moment(name)
        return
    assert parse_as_of(name) == tag
    with pytest.raises(InputError):
        parse_moment(name)


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["17"], 17),
        (["-2h"], datetime(2024, 5, 1, 10, tzinfo=UTC)),
        (["power=17"], {"power": 17}),
        (["power = 17", "rooms=before-cleaning", "gates=-2h"], {
            "power": 17, "rooms": TagName("before-cleaning"), "gates": datetime(2024, 5, 1, 10, tzinfo=UTC),
        }),
    ],
)  # fmt: skip
def test_words_mean_all_datasets_or_each_by_name(words: list[str], meant: object) -> None:
    found = parse_as_of_words(words, now=NOW)
    assert found == meant
    assert parse_as_of_words(as_of_words(found)) == meant, "as they are written again, without what depends on now"


@pytest.mark.parametrize("words", [["17", "18"], ["17", "power=1"], ["=17"], ["power=1", "power=2"], ["power="], [""]])
def test_words_that_are_both_or_neither_are_refused(words: list[str]) -> None:
    with pytest.raises(InputError, match="write"):
        parse_as_of_words(words)
