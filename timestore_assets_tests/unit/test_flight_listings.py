"""Patterns of names in listings: what they mean, and that none takes long."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timestore_assets.model.errors import InputError
from timestore_assets.service.flight.catalog_tables import LONGEST_PATTERN, is_like


def as_expression(pattern: str) -> str:
    """The same as a regular expression, which is right and may take for ever."""
    parts = re.findall(r"\\.|.", pattern, re.DOTALL)
    known = {"%": ".*", "_": "."}
    return "".join(known.get(part) or re.escape(part[-1]) for part in parts)


@given(name=st.text("ab_", max_size=6), pattern=st.text("ab%_\\", max_size=7))
def test_a_pattern_means_what_it_means_in_sql(name: str, pattern: str) -> None:
    assert is_like(name, pattern) == (re.fullmatch(as_expression(pattern), name, re.DOTALL) is not None)


def test_no_pattern_takes_long() -> None:
    began = time.process_time()
    assert not is_like("a_dataset_of_sixty_three_characters_is_the_longest_there_can_be", "%_" * 400 + "%Z")
    assert not is_like("a" * 63, "%a" * 30 + "%b")
    assert time.process_time() - began < 5, "a regular expression takes years"


def test_a_pattern_that_no_name_needs_is_refused() -> None:
    with pytest.raises(InputError, match="has at most 1,000 characters, here are 1,001"):
        is_like("weather", "%" * (LONGEST_PATTERN + 1))
