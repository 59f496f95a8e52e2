"""Columns of a Parquet object by ranges: a query over the file with holes gives what one over the whole object gives."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from timestore_assets.segments.writer import write_parquet
from timestore_assets.storage.cache.cache_store import PartialFile
from timestore_assets.storage.cache.column_ranges import WORTH, coalesced, fetch_columns, needed_bytes
from timestore_assets.storage.cache.read_cache import ReadCache
from timestore_assets_tests.support.counting_store import CountingStore

ROWS = 30_000
COLUMNS = {
    "ts": "TIMESTAMP '2024-01-01' + INTERVAL 1 SECOND * i",
    "device": "'device ' || (hash(i) % 400)",
    "value": "random()",
    "flow": "random()::FLOAT",
    "status": "CASE WHEN i % 11 = 0 THEN NULL ELSE i % 7 END",
    "price": "(random() * 1000)::DECIMAL(18, 4)",
    "note.text": "md5(i::VARCHAR)",
    "place": "{'lat': random(), 'name': 'p' || i}",
    "tags": "[i % 5, i]",
    "__source": "1::BIGINT",
}
FILTERS = {
    "ts": "ts BETWEEN TIMESTAMP '2024-01-01 02:00:00' AND TIMESTAMP '2024-01-01 03:00:00'",
    "device": "device = 'device 17'",  # a bloom filter answers for most row groups
    "status": "status IS NULL",
    "value": "value < 0.1",
    "price": "price > 900",
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A segment of ten row groups, written as landing and building write them."""
    path = tmp_path_factory.mktemp("ranged") / "whole.parquet"
    with duckdb.connect() as con:
        con.execute("SET threads = 1; SELECT setseed(0.5)")
        columns = ", ".join(f'{expression} AS "{name}"' for name, expression in COLUMNS.items())
        con.execute(f"CREATE TABLE made AS SELECT {columns} FROM range({ROWS}) numbers(i)")
        with pytest.MonkeyPatch.context() as patch:
            from timestore_assets.segments import writer

            patch.setattr(writer, "PARQUET_OPTIONS", f"{writer.PARQUET_OPTIONS}, ROW_GROUP_SIZE 2048")
            write_parquet(con, "FROM made", path)
    yield path


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    columns=st.sets(st.sampled_from(sorted(COLUMNS)), min_size=0, max_size=4),
    before=st.none() | st.sets(st.sampled_from(sorted(COLUMNS)), max_size=2),
    filters=st.sets(st.sampled_from(sorted(FILTERS)), max_size=2),
)
def test_a_query_over_fetched_columns_equals_one_over_the_object(
    whole: Path, tmp_path_factory: pytest.TempPathFactory, columns: set[str], before: set[str] | None, filters: set[str]
) -> None:
    content = whole.read_bytes()
    store = CountingStore(objects={"s.parquet": content})
    folder, asked_for, size = tmp_path_factory.mktemp("made"), frozenset(columns | filters), len(content)
    made, earlier = folder / "s.parquet", folder / "earlier.parquet"
    with ExitStack() as stack:
        parts = []
        if before is not None and fetch_columns(store, "s.parquet", size=size, columns=frozenset(before), to=earlier).is_done:
            parts = [PartialFile(columns=frozenset(before), file=stack.enter_context(earlier.open("rb")))]
        store.spans.clear()
        fetched = fetch_columns(store, "s.parquet", size=size, columns=asked_for, to=made, parts=parts)
    if not fetched.is_done:
        assert needed_bytes(whole, asked_for) > 0.5 * WORTH * len(content)
        return
    assert made.stat().st_size == len(content)
    assert fetched.needed <= fetched.bytes == sum(end - start for start, end in store.spans)
    selected = ", ".join(["count(*) OVER () AS n", *(f'"{name}"' for name in sorted(columns))])
    condition = " AND ".join(FILTERS[name] for name in sorted(filters)) or "true"
    with duckdb.connect() as con:
        asked, expected = (
            con.execute(f"SELECT {selected} FROM read_parquet('{path}') WHERE {condition} ORDER BY ALL").fetchall()
            for path in (made, whole)
        )
    assert asked == expected


def test_bloom_filters_lie_where_everything_behind_the_chunks_is_fetched(whole: Path) -> None:
    query = f"SELECT min(bloom_filter_offset), sum(bloom_filter_length) FROM parquet_metadata('{whole}')"
    with duckdb.connect() as con:
        [(first, length)] = con.execute(query).fetchall()
    assert length > 0
    all_chunks = whole.stat().st_size - needed_bytes(whole, frozenset())
    assert first >= all_chunks


def test_few_columns_cost_few_bytes_and_serve_those_who_want_fewer(whole: Path, tmp_path: Path) -> None:
    store = CountingStore(objects={"s.parquet": whole.read_bytes()})
    cache = ReadCache(tmp_path, 10**9, range_bytes=0)
    for columns in (["ts", "value"], ["value"], [], ["ts", "value"]):
        with cache.reading(store, store.wanted(columns=columns)) as [path]:
            assert path.stat().st_blocks * 512 < 0.5 * len(store.objects["s.parquet"])
    assert (cache.counts.objects_fetched, cache.counts.objects_found) == (1, 3)
    assert cache.counts.needed_bytes <= cache.counts.fetched_bytes < 0.5 * len(store.objects["s.parquet"])
    with cache.reading(store, store.wanted()) as [path]:
        assert path.read_bytes() == store.objects["s.parquet"]
    asked = len(store.spans)
    with cache.reading(store, store.wanted(columns=["flow", "place"])) as [path]:
        assert path.read_bytes() == store.objects["s.parquet"]
    assert store.downloads == ["s.parquet"]
    assert len(store.spans) == asked


def test_columns_that_are_here_are_not_fetched_again(whole: Path, tmp_path: Path) -> None:
    store = CountingStore(objects={"s.parquet": whole.read_bytes()})
    cache = ReadCache(tmp_path, 10**9, range_bytes=0)
    spent = []
    for columns in (["ts", "value"], ["ts", "flow"], ["flow", "value"]):
        before = cache.counts
        with cache.reading(store, store.wanted(columns=columns)):
            spent.append((cache.counts.fetched_bytes - before.fetched_bytes, cache.counts.needed_bytes - before.needed_bytes))
    flow = needed_bytes(whole, frozenset({"flow"})) - needed_bytes(whole, frozenset())
    assert spent[1] == (flow, flow)
    assert spent[2] == (0, 0)


def test_most_columns_and_small_objects_are_fetched_whole(whole: Path, tmp_path: Path) -> None:
    store = CountingStore(objects={"s.parquet": whole.read_bytes(), "b.parquet": whole.read_bytes(), "c.duckdb": b"x" * 10})
    cache = ReadCache(tmp_path, 10**9, range_bytes=len(store.objects["s.parquet"]))
    with cache.reading(store, store.wanted("s.parquet", columns=sorted(COLUMNS)[:-1])):
        assert store.downloads == ["s.parquet"]
    with cache.reading(store, store.wanted("c.duckdb", columns=["ts"])):
        assert store.downloads == ["s.parquet", "c.duckdb"]
    smaller = ReadCache(tmp_path, 10**9, range_bytes=len(store.objects["s.parquet"]) + 1)
    with smaller.reading(store, store.wanted("b.parquet", columns=["ts"])):
        assert store.downloads[2:] == ["b.parquet"]


def test_a_footer_longer_than_the_first_look_is_fetched(tmp_path: Path) -> None:
    path = tmp_path / "wide.parquet"
    with duckdb.connect() as con:
        columns = ", ".join(f"random() AS c{i}" for i in range(200))
        con.execute(f"COPY (SELECT {columns} FROM range(20480)) TO '{path}' (FORMAT parquet, ROW_GROUP_SIZE 2048)")
        store = CountingStore(objects={"w.parquet": path.read_bytes()})
        made = tmp_path / "made.parquet"
        fetched = fetch_columns(store, "w.parquet", size=path.stat().st_size, columns=frozenset({"c7", "C9"}), to=made)
        assert len(store.spans) > 2
        assert fetched.is_done
        rows = "SELECT c7, c9 FROM read_parquet('{}')"
        assert con.execute(rows.format(made)).fetchall() == con.execute(rows.format(path)).fetchall()


spans = st.lists(st.tuples(st.integers(0, 10**8), st.integers(1, 3 * 10**7)).map(lambda one: (one[0], one[0] + one[1])))


@given(spans=spans, limit=st.integers(0, 10**8), gap=st.integers(0, 10**6))
def test_coalesced_spans_hold_all_that_was_asked_in_order_and_in_pieces(
    spans: list[tuple[int, int]], limit: int, gap: int
) -> None:
    found = coalesced(spans, limit=limit, gap=gap)
    assert all(start < end <= limit and end - start <= 2**23 for start, end in found)
    assert all(before[1] <= after[0] for before, after in pairwise(found))
    for start, end in spans:
        points = {at for at in (start, (start + min(end, limit)) // 2, min(end, limit) - 1) if start <= at < min(end, limit)}
        assert all(any(low <= at < high for low, high in found) for at in points)
