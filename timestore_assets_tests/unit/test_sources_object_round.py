"""Going round a listing: bounded looks, what is new, and where the next look goes on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st

from timestore_assets.sources.files.file_listing import ListedFile
from timestore_assets.sources.objects.bucket_listing import (
    ListingCursor,
    ListingLimits,
    ListingPage,
    from_cursor,
    look_on,
    to_cursor,
)

PAGE = 3
AMPLE = ListingLimits(wanted=100, keys=1000, seconds=100.0)


class Store:
    """Keys in order, in pages of three; counts what is asked of it."""

    def __init__(self, number: int) -> None:
        self.names = [f"{n:04}" for n in range(number)]
        self.settled: dict[str, str] = {}
        self.listed = 0
        self.most_asked = 0

    def pages(self, after: str) -> Iterator[ListingPage]:
        rest = [name for name in self.names if name > after]
        for begin in range(0, len(rest), PAGE):
            names = rest[begin : begin + PAGE]
            self.listed += len(names)
            files = tuple(ListedFile(address=name, size=1, etag="e") for name in names)
            yield ListingPage(files=files, keys=len(names), last=names[-1])

    def known(self, addresses: Sequence[str]) -> Mapping[str, str]:
        self.most_asked = max(self.most_asked, len(addresses))
        return {name: self.settled[name] for name in addresses if name in self.settled}

    def settle(self, files: Sequence[ListedFile]) -> None:
        self.settled |= {file.address: file.etag for file in files}


def test_everything_new_is_found_in_order_and_the_round_ends() -> None:
    store = Store(8)
    look = look_on(store.pages, store.known, ListingCursor(), AMPLE)
    assert [file.address for file in look.new] == store.names
    assert look.complete
    assert look.end == ListingCursor(whole=8)
    assert store.most_asked == PAGE, "only a page's files are asked for at a time"


def test_what_was_asked_for_is_seen_again_until_it_is_settled() -> None:
    store = Store(8)
    store.settle([ListedFile(address=name, size=1, etag="e") for name in store.names[:4]])
    look = look_on(store.pages, store.known, ListingCursor(), AMPLE)
    again = look_on(store.pages, store.known, look.resume, AMPLE)
    assert [file.address for file in look.new] == [file.address for file in again.new] == store.names[4:]
    assert look.resume == ListingCursor(after="0002", keys=3), (
        "the page with the first new file is listed again, those before it are not"
    )
    store.settle(look.new)
    assert look_on(store.pages, store.known, look.resume, AMPLE).new == ()


def test_a_changed_object_is_new() -> None:
    store = Store(2)
    store.settled = {"0000": "e", "0001": "before"}
    assert [file.address for file in look_on(store.pages, store.known, ListingCursor(), AMPLE).new] == ["0001"]


def test_keys_bound_a_look_and_the_next_goes_on() -> None:
    store = Store(9)
    store.settle([ListedFile(address=name, size=1, etag="e") for name in store.names])
    look = look_on(store.pages, store.known, ListingCursor(), ListingLimits(wanted=5, keys=4, seconds=100.0))
    assert (look.keys, look.complete, look.resume) == (6, False, ListingCursor(after="0005", keys=6))
    rest = look_on(store.pages, store.known, look.resume, ListingLimits(wanted=5, keys=4, seconds=100.0))
    assert (rest.keys, rest.complete, rest.resume) == (3, True, ListingCursor(whole=9))


def test_time_bounds_a_look_but_never_to_nothing() -> None:
    store = Store(9)
    seconds = iter(range(0, 1000, 10))
    look = look_on(
        store.pages, store.known, ListingCursor(), ListingLimits(wanted=5, keys=100, seconds=1.0), clock=lambda: next(seconds)
    )
    assert (look.keys, look.end.after) == (3, "0002")


def test_a_file_that_is_given_up_is_passed_and_those_behind_it_are_not() -> None:
    store = Store(9)
    look = look_on(store.pages, store.known, ListingCursor(), ListingLimits(wanted=4, keys=100, seconds=100.0))
    assert [file.address for file in look.new] == store.names[:4]
    assert (look.resume, look.end.after) == (ListingCursor(), "0003")
    again = look_on(store.pages, store.known, look.past_first(), AMPLE)
    assert [file.address for file in again.new] == store.names[1:]


@given(
    number=st.integers(0, 40),
    wanted=st.integers(1, 7),
    keys=st.integers(1, 20),
    late=st.sets(st.integers(0, 60), max_size=10),
    after_looks=st.integers(0, 6),
)
def test_no_key_is_missed_wherever_and_whenever_it_appears(
    number: int, wanted: int, keys: int, late: set[int], after_looks: int
) -> None:
    store, cursor = Store(number), None
    bounds = ListingLimits(wanted=wanted, keys=keys, seconds=100.0)
    ended = 0
    for count in range(400):
        if count == after_looks:
            store.names = sorted({*store.names, *(f"{n:04}x" for n in late)})
            ended = 0
        look = look_on(store.pages, store.known, from_cursor(cursor).get("all", ListingCursor()), bounds)
        store.settle(look.new)
        cursor = to_cursor({"all": look.resume})
        ended += look.complete and not look.new
        if count > after_looks and ended > 1:
            break
    assert set(store.settled) == set(store.names)


def test_a_cursor_that_cannot_be_read_costs_one_round() -> None:
    rounds = {"newest": ListingCursor(after="a\u00e9", keys=3, whole=9), "older": ListingCursor()}
    assert from_cursor(to_cursor(rounds)) == rounds
    for text in (None, "", "x", "[]", '{"version":2}', '{"version":1,"rounds":{"a":{"after":1,"keys":0,"whole":0}}}'):
        assert from_cursor(text) == {}
