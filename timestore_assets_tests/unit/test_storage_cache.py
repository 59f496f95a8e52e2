"""The read cache: what is fetched, kept and evicted, and what readers see meanwhile."""

from __future__ import annotations

import errno
import os
import pickle
import shutil
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from timestore_assets.model.errors import MissingObjectError, StorageFullError, UnavailableError
from timestore_assets.storage.cache.read_cache import ReadCache
from timestore_assets_tests.support.counting_store import CountingStore, contents, files_of_readers

BLOCK = 4096
ROOM = 1_000_000
NO_SPACE = OSError(errno.ENOSPC, "No space left on device")


def blocks(*names: str, size: int = BLOCK) -> CountingStore:
    """A store with objects of one block of the disk each."""
    return CountingStore(objects={name: name.encode()[:1] * size for name in names})


@pytest.fixture
def cache(tmp_path: Path) -> ReadCache:
    return ReadCache(tmp_path / "cache", ROOM)


def test_an_object_is_fetched_once_and_nothing_is_left_in_use(cache: ReadCache) -> None:
    store = blocks("a.parquet", "b.duckdb")
    for _ in range(2):
        with contents(cache, store) as found:
            assert found == [b"a" * BLOCK, b"b" * BLOCK]
    assert sorted(store.downloads) == ["a.parquet", "b.duckdb"]
    assert files_of_readers(cache) == []
    assert (cache.counts.objects_fetched, cache.counts.objects_found, cache.counts.fetched_bytes) == (2, 2, 2 * BLOCK)


def test_nothing_is_touched_before_the_first_use(cache: ReadCache) -> None:
    assert cache.shelf.contents().files == 0
    assert not cache.folder.exists()


def test_the_same_name_in_two_stores_is_two_objects(cache: ReadCache) -> None:
    one, other = CountingStore(objects={"a": b"1"}), CountingStore(objects={"a": b"2"}, key="other")
    with contents(cache, one) as first, contents(cache, other) as second:
        assert (first, second) == ([b"1"], [b"2"])


def test_an_object_has_one_path_while_it_is_in_use(cache: ReadCache) -> None:
    store = blocks("a.duckdb")
    with cache.reading(store, store.wanted()) as [first]:
        with cache.reading(store, [*store.wanted(), *store.wanted()]) as again:
            assert again == [first, first]
        cache.shelf.clear()
        with cache.reading(store, store.wanted()) as [third]:
            assert third == first
        assert first.read_bytes() == b"a" * BLOCK
        assert first.stat().st_mode & 0o777 == 0o400
    assert not first.exists()
    assert store.downloads == ["a.duckdb"]


def test_what_is_kept_stays_within_the_bound_and_the_least_recently_used_goes(tmp_path: Path) -> None:
    cache = ReadCache(tmp_path, 10 * BLOCK)
    store = blocks(*"abcdefghijklmno")
    for age, name in enumerate("abcdefghij"):
        with contents(cache, store, name):
            pass
        _used(cache, name, age)
    with contents(cache, store, "a"):  # the oldest is used again
        pass
    for name in "klm":
        with contents(cache, store, name):
            assert cache.shelf.contents().bytes <= 10 * BLOCK
    before = len(store.downloads)
    with contents(cache, store, *"aklmj") as found:
        assert [one[:1] for one in found] == [b"a", b"k", b"l", b"m", b"j"]
    assert store.downloads[before:] == []
    with contents(cache, store, "b"):
        assert store.downloads[before:] == ["b"]


def _used(cache: ReadCache, name: str, age: int) -> None:
    """Set when an object's file was used last."""
    for path in (cache.folder / "objects").glob("*/*"):
        if path.read_bytes()[:1] == name.encode():
            os.utime(path, (age, age))


def test_an_object_larger_than_the_cache_is_read_and_not_kept(tmp_path: Path) -> None:
    cache = ReadCache(tmp_path, BLOCK)
    store = blocks("a", size=3 * BLOCK)
    with contents(cache, store) as found:
        assert found == [b"a" * 3 * BLOCK]
    assert cache.shelf.contents().files == 0
    assert files_of_readers(cache) == []
    assert cache.counts.objects_unkept == 1


def test_a_reader_is_not_disturbed_by_eviction(tmp_path: Path) -> None:
    cache = ReadCache(tmp_path, 2 * BLOCK)
    store = blocks(*"abcdef")
    with cache.reading(store, store.wanted("a")) as [path]:
        for name in "bcdef":
            with contents(cache, store, name):
                pass
        assert path.read_bytes() == b"a" * BLOCK
    assert cache.shelf.contents().bytes <= 2 * BLOCK


def test_threads_that_want_the_same_object_fetch_it_once(cache: ReadCache) -> None:
    store = blocks("a")
    store.gate.clear()
    waiting = threading.Barrier(8, timeout=20)

    def read(_: int) -> bytes:
        waiting.wait()
        with contents(cache, store) as [found]:
            return found

    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(read, range(8))
        store.gate.set()
        assert set(answers) == {b"a" * BLOCK}
    assert store.downloads == ["a"]


def test_readers_that_come_and_go_never_lose_the_file(cache: ReadCache) -> None:
    store = blocks("a", "b")

    def read(_: int) -> set[bytes]:
        found = set()
        for _ in range(300):
            with contents(cache, store) as both:
                found.update(both)
        return found

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(6) as pool:
            assert set().union(*pool.map(read, range(6))) == {b"a" * BLOCK, b"b" * BLOCK}
    finally:
        sys.setswitchinterval(interval)
    assert files_of_readers(cache) == []


def test_two_caches_on_one_folder_share_what_is_kept(tmp_path: Path) -> None:
    store = blocks("a", "b")
    first = ReadCache(tmp_path, ROOM)
    second: ReadCache = pickle.loads(pickle.dumps(first))
    with contents(first, store, "a"), contents(second, store, "a", "b"):
        pass
    with contents(first, store):
        assert sorted(store.downloads) == ["a", "b"]


def test_a_failed_fetch_reaches_the_reader_and_is_tried_anew(cache: ReadCache) -> None:
    store = blocks("a", "b", "c")
    store.failures = [UnavailableError("the store is away")]
    with pytest.raises(UnavailableError, match="away"), contents(cache, store):
        pass
    assert files_of_readers(cache) == []
    with contents(cache, store) as found:
        assert len(found) == 3


def test_a_reader_whose_fetcher_was_stopped_fetches_by_itself(cache: ReadCache) -> None:
    store = CountingStore(objects=dict.fromkeys("ab", b"x"), concurrency=1)
    store.failures = [UnavailableError("the store is away")]
    store.gate.clear()

    def stopped() -> None:
        with pytest.raises(UnavailableError), contents(cache, store, "a", "b"):
            pass

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(stopped)
        _until(lambda: store.downloads == ["a"])
        second = pool.submit(lambda: contents(cache, store, "b").__enter__())
        _until(lambda: any(use.readers == 2 for uses in list(cache._in_use.values()) for use in uses))
        store.gate.set()
        first.result(20)
        assert second.result(20) == [b"x"]


def _until(is_so: Callable[[], bool]) -> None:
    reached = threading.Event()
    for _ in range(2000):
        if is_so():
            return
        reached.wait(0.01)
    raise AssertionError("it did not come to that")


def test_a_missing_object_is_called_missing(cache: ReadCache) -> None:
    with pytest.raises(MissingObjectError, match="gone"), contents(cache, blocks("a"), "gone"):
        pass


def test_an_object_of_another_size_than_catalogued_is_refused_and_not_kept(cache: ReadCache) -> None:
    store = blocks("a")
    [wanted] = store.wanted()
    object.__setattr__(wanted, "bytes", BLOCK + 1)
    with pytest.raises(UnavailableError, match="catalogued"), cache.reading(store, [wanted]):
        pass
    assert cache.shelf.contents().files == 0
    assert files_of_readers(cache) == []


def test_a_kept_file_that_lost_bytes_is_fetched_again(cache: ReadCache) -> None:
    store = blocks("a")
    with contents(cache, store):
        pass
    [kept] = (cache.folder / "objects").glob("*/*")
    kept.chmod(0o644)
    os.truncate(kept, 10)
    with contents(cache, store) as found:
        assert found == [b"a" * BLOCK]


def test_a_full_disk_costs_what_is_kept_and_then_says_so(cache: ReadCache) -> None:
    store = blocks("a", "b")
    with contents(cache, store, "a"):
        pass
    store.failures = [NO_SPACE]
    with contents(cache, store, "b") as found:
        assert found == [b"b" * BLOCK]
    assert cache.shelf.contents().files == 1
    cache.shelf.clear()
    store.failures = [NO_SPACE, NO_SPACE]
    with pytest.raises(StorageFullError, match="TIMESTORE_QUERY_CACHE_DIR"), contents(cache, store, "b"):
        pass
    assert files_of_readers(cache) == []


def test_a_folder_that_can_not_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = ReadCache(tmp_path / "file", ROOM)
    with pytest.raises(UnavailableError, match="TIMESTORE_QUERY_CACHE_DIR"), contents(cache, blocks("a")):
        pass


def test_a_cache_that_is_done_leaves_no_folder_of_its_own(tmp_path: Path) -> None:
    cache = ReadCache(tmp_path, ROOM)
    with contents(cache, blocks("a")):
        assert list((tmp_path / "readers").iterdir())
    del cache
    assert list((tmp_path / "readers").iterdir()) == []


def test_a_folder_that_was_removed_is_made_again(cache: ReadCache) -> None:
    store = blocks("a")
    for _ in range(2):
        with contents(cache, store) as found:
            assert found == [b"a" * BLOCK]
        shutil.rmtree(cache.folder)
