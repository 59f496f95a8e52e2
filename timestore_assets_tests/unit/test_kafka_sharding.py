"""Parts of a source for several sessions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timestore_assets.model.errors import InputError
from timestore_assets.sources.kafka.sharding import WHOLE, Shard, parse_shard


@given(places=st.lists(st.integers()), of=st.integers(1, 20))
def test_the_parts_are_disjoint_even_and_make_the_whole(places: list[int], of: int) -> None:
    numbered = list(enumerate(places))
    parts = [Shard(index=index, of=of).take(numbered) for index in range(of)]
    assert sorted(one for part in parts for one in part) == numbered
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_texts() -> None:
    assert parse_shard("2/5") == Shard(index=2, of=5)
    assert str(Shard(index=2, of=5)) == "2/5"
    assert str(WHOLE) == "0/1"


@pytest.mark.parametrize("text", ["", "1", "/", "2/2", "1/0", "-1/2", "a/b", "1/2/3", "0/²"])
def test_no_shards(text: str) -> None:
    with pytest.raises(InputError, match="shard"):
        parse_shard(text)
