"""Topics in the catalog, on SQLite and PostgreSQL: epochs, claims, watermarks, lost offsets, pauses."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.commit_values import LandingCommit, Span, TopicProgress, WatermarkRule
from timestore_assets.catalog.records import SourceRecord, TopicPartition
from timestore_assets.model.counters import Counters
from timestore_assets.model.errors import ConflictError
from timestore_assets.model.position import Position
from timestore_assets_tests.support.catalog_dataset import HOUR, START, CatalogDataset

MINUTE = timedelta(minutes=1)


@pytest.fixture
def source(catalog_dataset: CatalogDataset) -> SourceRecord:
    return catalog_dataset.catalog.sources.ensure(catalog_dataset.id, "kafka", "t")


def opened(
    catalog_dataset: CatalogDataset, source: SourceRecord, starts: dict[int, int] | None = None, **changes: Any
) -> list[TopicPartition]:
    how: dict[str, Any] = {"cluster_id": "c", "topic": "t", "epoch": 1, "topic_id": None}
    return catalog_dataset.catalog.topics.open(source.id, **(how | changes), starts={0: 0, 1: 5} if starts is None else starts)


def session(catalog_dataset: CatalogDataset, *, alive: bool = True) -> int:
    return catalog_dataset.catalog.sessions.begin(catalog_dataset.id, "landing", holder="h", ttl=HOUR if alive else -HOUR)


def span(one: TopicPartition, by: int = 0, **changes: Any) -> Span:
    start, end = Position(offset=one.position), Position(offset=one.position + by)
    return Span(source_partition_id=one.id, start=start, end=end, **changes)


def commit(
    catalog_dataset: CatalogDataset, source: SourceRecord, session_id: int, *spans: Span, watermark: WatermarkRule | None = None
) -> int:
    read = sum(one.end.offset - one.start.offset for one in spans)
    made = LandingCommit(
        dataset_id=catalog_dataset.id,
        session_id=session_id,
        source_id=source.id,
        progress=TopicProgress(spans=spans, watermark=watermark),
        counters=Counters(read=read, dead_letters=read),
    )
    return catalog_dataset.catalog.commits.land(made)


def watermark(catalog_dataset: CatalogDataset, source: SourceRecord) -> datetime | None:
    return catalog_dataset.catalog.sources.ensure(catalog_dataset.id, source.kind, source.address).watermark


def observed(
    catalog_dataset: CatalogDataset,
    source: SourceRecord,
    over: Sequence[TopicPartition],
    *,
    newest: dict[int, datetime] | None = None,
    quiet: dict[int, timedelta] | None = None,
    cap: datetime = START + 1000 * HOUR,
) -> datetime | None:
    """The watermark after a commit that saw these newest times and quiet times, by partition number."""
    newest, quiet = newest or {}, quiet or {}
    held = catalog_dataset.catalog.sessions.begin(catalog_dataset.id, "landing", holder="h", ttl=HOUR)
    catalog_dataset.catalog.topics.assign(held, [one.id for one in over])
    current = catalog_dataset.catalog.topics.partitions(source.id)
    spans = [span(one, newest=newest.get(one.number), quiet=quiet.get(one.number)) for one in current]
    rule = WatermarkRule(over=tuple(one.id for one in over), idle=MINUTE, cap=cap)
    commit(catalog_dataset, source, held, *spans, watermark=rule)
    catalog_dataset.catalog.sessions.end(held)
    return watermark(catalog_dataset, source)


def test_opening_twice_changes_nothing(catalog_dataset: CatalogDataset, source: SourceRecord) -> None:
    first = opened(catalog_dataset, source)
    assert [(one.number, one.position, one.epoch) for one in first] == [(0, 0, 1), (1, 5, 1)]
    assert opened(catalog_dataset, source, {0: 77, 1: 88}) == first
    assert [one.position for one in opened(catalog_dataset, source, {2: 9})] == [0, 5, 9]


def test_opening_at_once(catalog_dataset: CatalogDataset, source: SourceRecord, catalog_url: str) -> None:
    others = [Catalog.open(catalog_url) for _ in range(4)]
    try:
        with ThreadPoolExecutor(4) as pool:
            key: dict[str, Any] = {"cluster_id": "c", "topic": "t", "epoch": 2, "topic_id": "x"}
            starts = dict.fromkeys(range(20), 3)
            found = list(pool.map(lambda one: one.topics.open(source.id, **key, starts=starts), others))
    finally:
        for one in others:
            one.close()
    assert all([part.id for part in one] == [part.id for part in found[0]] for one in found)
    assert len(found[0]) == 20
    assert [one["action"] for one in catalog_dataset.catalog.audit.newest(dataset_ids=[catalog_dataset.id])].count(
        "topic_began_anew"
    ) == 1


def test_a_new_epoch_hides_the_old_one(catalog_dataset: CatalogDataset, source: SourceRecord) -> None:
    old = opened(catalog_dataset, source, topic_id="one")
    new = opened(catalog_dataset, source, {0: 0}, epoch=2, topic_id="two")
    assert [(one.number, one.epoch, one.topic_id) for one in new] == [(0, 2, "two")]
    assert {one.id for one in new}.isdisjoint(one.id for one in old)
    assert catalog_dataset.catalog.topics.partitions(source.id) == new
    other = opened(catalog_dataset, source, {0: 4}, cluster_id="d")
    assert catalog_dataset.catalog.topics.partitions(source.id) == [*new, *other]


def test_an_id_is_kept_once_known(catalog_dataset: CatalogDataset, source: SourceRecord) -> None:
    opened(catalog_dataset, source)
    assert {one.topic_id for one in opened(catalog_dataset, source, {}, topic_id="one")} == {"one"}
    assert {one.topic_id for one in opened(catalog_dataset, source, {}, topic_id="two")} == {"one"}


def test_a_claim_is_refused_while_another_lives(catalog_dataset: CatalogDataset, source: SourceRecord) -> None:
    ids = [one.id for one in opened(catalog_dataset, source)]
    first, second = session(catalog_dataset), session(catalog_dataset)
    assert catalog_dataset.catalog.topics.assign(first, ids[:1]) == set(ids[:1])
    assert catalog_dataset.catalog.topics.assign(second, ids) == set(ids[1:])
    assert catalog_dataset.catalog.topics.assign(first, ids) == set(ids[:1])
    assert [one.session_id for one in catalog_dataset.catalog.topics.partitions(source.id)] == [first, second]
    catalog_dataset.catalog.sessions.end(first)
    assert [one.session_id for one in catalog_dataset.catalog.topics.partitions(source.id)] == [None, second]
    assert catalog_dataset.catalog.topics.assign(second, ids) == set(ids)


def test_what_a_dead_session_holds_is_free_until_it_comes_back(catalog_dataset: CatalogDataset, source: SourceRecord) -> None:
    ids = [one.id for one in opened(catalog_dataset, source)]
    dead = session(catalog_dataset, alive=False)
    catalog_dataset.catalog.topics.assign(dead, ids)
    living = session(catalog_dataset)
    catalog_dataset.catalog.sessions.heartbeat(dead, ttl=HOUR)
    assert catalog_dataset.catalog.topics.assign(living, ids) == set()
    catalog_dataset.catalog.sessions.heartbeat(dead, ttl=-HOUR)
    assert catalog_dataset.catalog.topics.assign(living, ids) == set(ids)
    catalog_dataset.catalog.sessions.heartbeat(dead, ttl=HOUR)
    assert catalog_dataset.catalog.topics.assign(dead, ids) == set()


def test_claims_at_once_are_disjoint(catalog_dataset: CatalogDataset, source: SourceRecord, catalog_url: str) -> None:
    ids = [one.id for one in opened(catalog_dataset, source, dict.fromkeys(range(40), 0))]
    sessions = [session(catalog_dataset) for _ in range(4)]
    others = [Catalog.open(catalog_url) for _ in sessions]
    try:
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda pair: pair[0].topics.assign(pair[1], ids), zip(others, sessions, strict=True)))
    finally:
        for one in others:
            one.close()
    assert sorted(one for held in found for one in held) == sorted(ids)


def test_only_the_holder_commits(catalog_dataset: CatalogDataset, source: SourceRecord) -> None:
    one, other = opened(catalog_dataset, source)
    zombie, living = session(catalog_dataset, alive=False), session(catalog_dataset)
    catalog_dataset.catalog.topics.assign(zombie, [one.id, other.id])
    catalog_dataset.catalog.topics.assign(living, [other.id])
    with pytest.raises(ConflictError, match="no longer at offset 5"):
        commit(catalog_dataset, source, zombie, span(one, 3), span(other, 3))
    assert catalog_dataset.catalog.sources.checkpoints([one.id, other.id]) == {
        one.id: Position(offset=0),
        other.id: Position(offset=5),
    }
    commit(catalog_dataset, source, living, span(other, 3))
    commit(catalog_dataset, source, zombie, span(one, 3))  # nobody has taken this one
    assert [found.position for found in catalog_dataset.catalog.topics.partitions(source.id)] == [3, 8]


def test_the_watermark_is_the_least_newest_time(catalog_dataset: CatalogDataset, source: SourceRecord) -> None:
    parts = opened(catalog_dataset, source)
    assert observed(catalog_dataset, source, parts, newest={0: START + 9 * HOUR}) is None  # the other may still deliver anything
    assert observed(catalog_dataset, source, parts, newest={1: START + 5 * HOUR}) == START + 5 * HOUR
    assert observed(catalog_dataset, source, parts, newest={1: START + 20 * HOUR}) == START + 9 * HOUR


def test_the_watermark_never_goes_back(catalog_dataset: CatalogDataset, source: SourceRecord) -> None:
    parts = opened(catalog_dataset, source)
    observed(catalog_dataset, source, parts, newest={0: START + 9 * HOUR, 1: START + 9 * HOUR})
    grown = opened(catalog_dataset, source, {2: 0})
    assert observed(catalog_dataset, source, grown, newest={2: START + HOUR}) == START + 9 * HOUR
    assert observed(catalog_dataset, source, grown, newest={0: START + 2 * HOUR}) == START + 9 * HOUR
    assert next(one.newest for one in catalog_dataset.catalog.topics.partitions(source.id)) == START + 9 * HOUR


def test_an_idle_partition_does_not_hold_it(catalog_dataset: CatalogDataset, source: SourceRecord) -> None:
    parts = opened(catalog_dataset, source)
    newest = {0: START + 9 * HOUR, 1: START + HOUR}
    assert observed(catalog_dataset, source, parts, newest=newest, quiet={1: MINUTE - timedelta(seconds=1)}) == START + HOUR
    assert observed(catalog_dataset, source, parts, quiet={1: MINUTE}) == START + 9 * HOUR
    # when all are idle nothing says how far time has come
    assert observed(catalog_dataset, source, parts, newest={0: START + 12 * HOUR}, quiet={0: MINUTE}) == START + 9 * HOUR


def test_an_idle_partition_without_a_record_does_not_hold_it(catalog_dataset: CatalogDataset, source: SourceRecord) -> None:
    parts = opened(catalog_dataset, source)
    assert observed(catalog_dataset, source, parts, newest={0: START + HOUR}, quiet={1: MINUTE}) == START + HOUR


def test_the_watermark_is_capped(catalog_dataset: CatalogDataset, source: SourceRecord) -> None:
    parts = opened(catalog_dataset, source, {0: 0})
    assert observed(catalog_dataset, source, parts, newest={0: START + 9 * HOUR}, cap=START + HOUR) == START + HOUR


def test_lost_offsets_are_recorded_once_and_grow(catalog_dataset: CatalogDataset, source: SourceRecord) -> None:
    (one, _) = opened(catalog_dataset, source)
    held = session(catalog_dataset)
    catalog_dataset.catalog.topics.assign(held, [one.id])
    lose: dict[str, Any] = {"start": 0, "reason": "gone", "session_id": held, "actor": "test"}
    assert not catalog_dataset.catalog.topics.lose(one.id, end=4, skip=False, **lose).skipped
    again = catalog_dataset.catalog.topics.lose(one.id, end=6, skip=False, **lose)
    assert (again.start, again.end, again.accepted) == (0, 6, False)
    assert len(catalog_dataset.catalog.topics.lost_ranges(catalog_dataset.id)) == 1
    assert catalog_dataset.catalog.topics.accept_lost(catalog_dataset.id, actor="a person") == 1
    assert catalog_dataset.catalog.topics.accept_lost(catalog_dataset.id, actor="a person") == 0
    assert catalog_dataset.catalog.sources.checkpoints([one.id]) == {one.id: Position(offset=0)}
    skipped = catalog_dataset.catalog.topics.lose(one.id, end=6, skip=True, **lose)
    assert (skipped.skipped, skipped.accepted) == (True, True)
    assert catalog_dataset.catalog.sources.checkpoints([one.id]) == {one.id: Position(offset=6)}
    actions = [found["action"] for found in catalog_dataset.catalog.audit.newest(dataset_ids=[catalog_dataset.id])]
    assert [actions.count(f"{name}") for name in ("offsets_lost", "lost_offsets_accepted", "lost_offsets_skipped")] == [1, 1, 1]


def test_lost_offsets_are_not_skipped_for_another(catalog_dataset: CatalogDataset, source: SourceRecord) -> None:
    (one, _) = opened(catalog_dataset, source)
    held, other = session(catalog_dataset), session(catalog_dataset)
    catalog_dataset.catalog.topics.assign(held, [one.id])
    with pytest.raises(ConflictError, match="no longer at offset 0"):
        catalog_dataset.catalog.topics.lose(one.id, start=0, end=4, reason="gone", session_id=other, skip=True, actor="test")
    with pytest.raises(ConflictError, match="no longer at offset 1"):
        catalog_dataset.catalog.topics.lose(one.id, start=1, end=4, reason="gone", session_id=held, skip=True, actor="test")
    assert catalog_dataset.catalog.topics.lost_ranges(catalog_dataset.id) == []


def test_a_pause_is_told_when_it_begins_and_ends(catalog_dataset: CatalogDataset, source: SourceRecord) -> None:
    for reason in ("too much", "still too much", "", ""):
        catalog_dataset.catalog.sources.pause(source.id, reason)
        assert catalog_dataset.catalog.sources.ensure(catalog_dataset.id, source.kind, source.address).paused == reason
    actions = [found["action"] for found in reversed(catalog_dataset.catalog.audit.newest(dataset_ids=[catalog_dataset.id]))]
    assert [one for one in actions if one.startswith("landing_")] == ["landing_paused", "landing_resumed"]
