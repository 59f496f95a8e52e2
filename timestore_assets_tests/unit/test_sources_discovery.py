"""Which files are ready: a pure function over observations."""

from __future__ import annotations

import json

import pytest

from timestore_assets.sources.files.file_listing import ListedFile, Listing, plan


def listing(**etags: str) -> Listing:
    return Listing(files=tuple(ListedFile(address=address, size=len(etag), etag=etag) for address, etag in etags.items()))


def names(files: tuple[ListedFile, ...]) -> list[str]:
    return [file.address for file in files]


def test_a_file_is_ready_after_two_equal_observations() -> None:
    first, cursor = plan(listing(a="1"), None, {})
    second, cursor = plan(listing(a="1"), cursor, {})
    assert names(first) == []
    assert names(second) == ["a"]


def test_a_growing_file_is_left_alone_until_it_rests() -> None:
    cursor, seen = None, []
    for etag in ("1", "12", "123", "123"):
        files, cursor = plan(listing(a=etag), cursor, {})
        seen.append(names(files))
    assert seen == [[], [], [], ["a"]]


def test_a_file_stays_ready_until_it_is_settled() -> None:
    _, cursor = plan(listing(a="1", b="1"), None, {})
    ready, cursor = plan(listing(a="1", b="1"), cursor, {})
    again, cursor = plan(listing(a="1", b="1"), cursor, {"a": "1"})
    assert names(ready) == ["a", "b"]
    assert names(again) == ["b"]


def test_a_settled_file_is_looked_at_again_when_its_etag_changes() -> None:
    settled = {"landed": "1", "quarantined": "1"}
    _, cursor = plan(listing(landed="1", quarantined="2"), None, settled)
    ready, cursor = plan(listing(landed="1", quarantined="2"), cursor, settled)
    assert names(ready) == ["quarantined"]


def test_a_file_that_left_and_came_back_is_observed_anew() -> None:
    _, cursor = plan(listing(a="1"), None, {})
    _, cursor = plan(listing(), cursor, {})
    ready, _ = plan(listing(a="1"), cursor, {})
    assert names(ready) == []


def test_the_order_of_the_listing_does_not_matter() -> None:
    one, other = listing(b="1", a="1"), listing(a="1", b="1")
    assert plan(one, None, {}) == plan(other, None, {})
    assert names(plan(one, plan(other, None, {})[1], {})[0]) == ["a", "b"]


@pytest.mark.parametrize(
    "cursor", ["", "nonsense", "[]", '{"version":0,"seen":["x"]}', '{"version":1,"seen":7}', '{"version":1,"seen":[[]]}']
)
def test_a_cursor_of_another_kind_costs_one_observation(cursor: str) -> None:
    ready, after = plan(listing(a="1"), cursor, {})
    assert names(ready) == []
    assert names(plan(listing(a="1"), after, {})[0]) == ["a"]


def test_the_cursor_is_bounded_and_all_files_get_their_turn() -> None:
    everything = listing(**{f"{'long/' * 40}{i:05}": "1" for i in range(2500)})
    cursor, settled, largest = None, dict[str, str](), 0
    for _ in range(6):
        ready, cursor = plan(everything, cursor, settled, limit=1000)
        settled.update({file.address: file.etag for file in ready})
        largest = max(largest, len(cursor))
    assert len(settled) == 2500
    assert largest < 20_000
    assert json.loads(cursor or "")["version"] == 1
