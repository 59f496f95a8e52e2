"""Topics in the catalog, on SQLite and PostgreSQL: epochs, claims, watermarks, lost offsets, pauses."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from timestore_assets.catalog.records import Counters, LandingCommit, SourceRecord, Span, TopicPartition, WatermarkRule
from timestore_assets.catalog.sql import SqlCatalog
from timestore_assets.model.errors import ConflictError
from timestore_assets.model.position import Position
from timestore_assets_tests.catalog_ground import HOUR, START, Ground

MINUTE = timedelta(minutes=1)


@pytest.fixture
def source(ground: Ground) -> SourceRecord:
    return ground.catalog.source(ground.id, "kafka", "t")


def opened(ground: Ground, source: SourceRecord, starts: dict[int, int] | None = None, **changes: Any) -> list[TopicPartition]:
    how: dict[str, Any] = {"cluster_id": "c", "topic": "t", "epoch": 1, "topic_id": None}
    return ground.catalog.open_topic(source.id, **(how | changes), starts={0: 0, 1: 5} if starts is None else starts)


def session(ground: Ground, *, alive: bool = True) -> int:
    return ground.catalog.begin_session(ground.id, "landing", holder="h", ttl=HOUR if alive else -HOUR)


def span(one: TopicPartition, by: int = 0, **changes: Any) -> Span:
    start, end = Position(offset=one.position), Position(offset=one.position + by)
    return Span(source_partition_id=one.id, start=start, end=end, **changes)


def commit(ground: Ground, source: SourceRecord, session_id: int, *spans: Span, **changes: Any) -> int:
    read = sum(one.end.offset - one.start.offset for one in spans)
    made = LandingCommit(
        dataset_id=ground.id,
        session_id=session_id,
        source_id=source.id,
        spans=spans,
        counters=Counters(read=read, dead_letters=read),
        claimed=True,
    )
    return ground.catalog.commit_landing(replace(made, **changes))


def watermark(ground: Ground, source: SourceRecord) -> datetime | None:
    return ground.catalog.source(ground.id, source.kind, source.address).watermark


def observed(
    ground: Ground,
    source: SourceRecord,
    over: Sequence[TopicPartition],
    *,
    newest: dict[int, datetime] | None = None,
    quiet: dict[int, timedelta] | None = None,
    cap: datetime = START + 1000 * HOUR,
) -> datetime | None:
    """The watermark after a commit that saw these newest times and quiet times, by partition number."""
    newest, quiet = newest or {}, quiet or {}
    held = ground.catalog.begin_session(ground.id, "landing", holder="h", ttl=HOUR)
    ground.catalog.claim(held, [one.id for one in over])
    current = ground.catalog.topic_partitions(source.id)
    spans = [span(one, newest=newest.get(one.number), quiet=quiet.get(one.number)) for one in current]
    rule = WatermarkRule(over=tuple(one.id for one in over), idle=MINUTE, cap=cap)
    commit(ground, source, held, *spans, watermark=rule)
    ground.catalog.end_session(held)
    return watermark(ground, source)


def test_opening_twice_changes_nothing(ground: Ground, source: SourceRecord) -> None:
    first = opened(ground, source)
    assert [(one.number, one.position, one.epoch) for one in first] == [(0, 0, 1), (1, 5, 1)]
    assert opened(ground, source, {0: 77, 1: 88}) == first
    assert [one.position for one in opened(ground, source, {2: 9})] == [0, 5, 9]


def test_opening_at_once(ground: Ground, source: SourceRecord, catalog_url: str) -> None:
    others = [SqlCatalog.open(catalog_url) for _ in range(4)]
    try:
        with ThreadPoolExecutor(4) as pool:
            key: dict[str, Any] = {"cluster_id": "c", "topic": "t", "epoch": 2, "topic_id": "x"}
            starts = dict.fromkeys(range(20), 3)
            found = list(pool.map(lambda one: one.open_topic(source.id, **key, starts=starts), others))
    finally:
        for one in others:
            one.close()
    assert all([part.id for part in one] == [part.id for part in found[0]] for one in found)
    assert len(found[0]) == 20
    assert [one["action"] for one in ground.catalog.audit(dataset_ids=[ground.id])].count("topic_began_anew") == 1


def test_a_new_epoch_hides_the_old_one(ground: Ground, source: SourceRecord) -> None:
    old = opened(ground, source, topic_id="one")
    new = opened(ground, source, {0: 0}, epoch=2, topic_id="two")
    assert [(one.number, one.epoch, one.topic_id) for one in new] == [(0, 2, "two")]
    assert {one.id for one in new}.isdisjoint(one.id for one in old)
    assert ground.catalog.topic_partitions(source.id) == new
    other = opened(ground, source, {0: 4}, cluster_id="d")
    assert ground.catalog.topic_partitions(source.id) == [*new, *other]


def test_an_id_is_kept_once_known(ground: Ground, source: SourceRecord) -> None:
    opened(ground, source)
    assert {one.topic_id for one in opened(ground, source, {}, topic_id="one")} == {"one"}
    assert {one.topic_id for one in opened(ground, source, {}, topic_id="two")} == {"one"}


def test_a_claim_is_refused_while_another_lives(ground: Ground, source: SourceRecord) -> None:
    ids = [one.id for one in opened(ground, source)]
    first, second = session(ground), session(ground)
    assert ground.catalog.claim(first, ids[:1]) == set(ids[:1])
    assert ground.catalog.claim(second, ids) == set(ids[1:])
    assert ground.catalog.claim(first, ids) == set(ids[:1])
    assert [one.session_id for one in ground.catalog.topic_partitions(source.id)] == [first, second]
    ground.catalog.end_session(first)
    assert [one.session_id for one in ground.catalog.topic_partitions(source.id)] == [None, second]
    assert ground.catalog.claim(second, ids) == set(ids)


def test_what_a_dead_session_holds_is_free_until_it_comes_back(ground: Ground, source: SourceRecord) -> None:
    ids = [one.id for one in opened(ground, source)]
    dead = session(ground, alive=False)
    ground.catalog.claim(dead, ids)
    living = session(ground)
    ground.catalog.heartbeat(dead, ttl=HOUR)
    assert ground.catalog.claim(living, ids) == set()
    ground.catalog.heartbeat(dead, ttl=-HOUR)
    assert ground.catalog.claim(living, ids) == set(ids)
    ground.catalog.heartbeat(dead, ttl=HOUR)
    assert ground.catalog.claim(dead, ids) == set()


def test_claims_at_once_are_disjoint(ground: Ground, source: SourceRecord, catalog_url: str) -> None:
    ids = [one.id for one in opened(ground, source, dict.fromkeys(range(40), 0))]
    sessions = [session(ground) for _ in range(4)]
    others = [SqlCatalog.open(catalog_url) for _ in sessions]
    try:
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda pair: pair[0].claim(pair[1], ids), zip(others, sessions, strict=True)))
    finally:
        for one in others:
            one.close()
    assert sorted(one for held in found for one in held) == sorted(ids)


def test_only_the_holder_commits(ground: Ground, source: SourceRecord) -> None:
    one, other = opened(ground, source)
    zombie, living = session(ground, alive=False), session(ground)
    ground.catalog.claim(zombie, [one.id, other.id])
    ground.catalog.claim(living, [other.id])
    with pytest.raises(ConflictError, match="no longer at offset 5"):
        commit(ground, source, zombie, span(one, 3), span(other, 3))
    assert ground.catalog.checkpoints([one.id, other.id]) == {one.id: Position(offset=0), other.id: Position(offset=5)}
    commit(ground, source, living, span(other, 3))
    commit(ground, source, zombie, span(one, 3))  # nobody has taken this one
    assert [found.position for found in ground.catalog.topic_partitions(source.id)] == [3, 8]


def test_the_watermark_is_the_least_newest_time(ground: Ground, source: SourceRecord) -> None:
    parts = opened(ground, source)
    assert observed(ground, source, parts, newest={0: START + 9 * HOUR}) is None  # the other may still deliver anything
    assert observed(ground, source, parts, newest={1: START + 5 * HOUR}) == START + 5 * HOUR
    assert observed(ground, source, parts, newest={1: START + 20 * HOUR}) == START + 9 * HOUR


def test_the_watermark_never_goes_back(ground: Ground, source: SourceRecord) -> None:
    parts = opened(ground, source)
    observed(ground, source, parts, newest={0: START + 9 * HOUR, 1: START + 9 * HOUR})
    grown = opened(ground, source, {2: 0})
    assert observed(ground, source, grown, newest={2: START + HOUR}) == START + 9 * HOUR
    assert observed(ground, source, grown, newest={0: START + 2 * HOUR}) == START + 9 * HOUR
    assert next(one.newest for one in ground.catalog.topic_partitions(source.id)) == START + 9 * HOUR


def test_an_idle_partition_does_not_hold_it(ground: Ground, source: SourceRecord) -> None:
    parts = opened(ground, source)
    newest = {0: START + 9 * HOUR, 1: START + HOUR}
    assert observed(ground, source, parts, newest=newest, quiet={1: MINUTE - timedelta(seconds=1)}) == START + HOUR
    assert observed(ground, source, parts, quiet={1: MINUTE}) == START + 9 * HOUR
    # when all are idle nothing says how far time has come
    assert observed(ground, source, parts, newest={0: START + 12 * HOUR}, quiet={0: MINUTE}) == START + 9 * HOUR


def test_an_idle_partition_without_a_record_does_not_hold_it(ground: Ground, source: SourceRecord) -> None:
    parts = opened(ground, source)
    assert observed(ground, source, parts, newest={0: START + HOUR}, quiet={1: MINUTE}) == START + HOUR


def test_the_watermark_is_capped(ground: Ground, source: SourceRecord) -> None:
    parts = opened(ground, source, {0: 0})
    assert observed(ground, source, parts, newest={0: START + 9 * HOUR}, cap=START + HOUR) == START + HOUR


def test_lost_offsets_are_recorded_once_and_grow(ground: Ground, source: SourceRecord) -> None:
    (one, _) = opened(ground, source)
    held = session(ground)
    ground.catalog.claim(held, [one.id])
    lose: dict[str, Any] = {"start": 0, "reason": "gone", "session_id": held, "actor": "test"}
    assert not ground.catalog.lose(one.id, end=4, skip=False, **lose).skipped
    again = ground.catalog.lose(one.id, end=6, skip=False, **lose)
    assert (again.start, again.end, again.accepted) == (0, 6, False)
    assert len(ground.catalog.lost_ranges(ground.id)) == 1
    assert ground.catalog.accept_lost(ground.id, actor="a person") == 1
    assert ground.catalog.accept_lost(ground.id, actor="a person") == 0
    assert ground.catalog.checkpoints([one.id]) == {one.id: Position(offset=0)}
    skipped = ground.catalog.lose(one.id, end=6, skip=True, **lose)
    assert (skipped.skipped, skipped.accepted) == (True, True)
    assert ground.catalog.checkpoints([one.id]) == {one.id: Position(offset=6)}
    actions = [found["action"] for found in ground.catalog.audit(dataset_ids=[ground.id])]
    assert [actions.count(f"{name}") for name in ("offsets_lost", "lost_offsets_accepted", "lost_offsets_skipped")] == [1, 1, 1]


def test_lost_offsets_are_not_skipped_for_another(ground: Ground, source: SourceRecord) -> None:
    (one, _) = opened(ground, source)
    held, other = session(ground), session(ground)
    ground.catalog.claim(held, [one.id])
    with pytest.raises(ConflictError, match="no longer at offset 0"):
        ground.catalog.lose(one.id, start=0, end=4, reason="gone", session_id=other, skip=True, actor="test")
    with pytest.raises(ConflictError, match="no longer at offset 1"):
        ground.catalog.lose(one.id, start=1, end=4, reason="gone", session_id=held, skip=True, actor="test")
    assert ground.catalog.lost_ranges(ground.id) == []


def test_a_pause_is_told_when_it_begins_and_ends(ground: Ground, source: SourceRecord) -> None:
    for reason in ("too much", "still too much", "", ""):
        ground.catalog.pause(source.id, reason)
        assert ground.catalog.source(ground.id, source.kind, source.address).paused == reason
    actions = [found["action"] for found in reversed(ground.catalog.audit(dataset_ids=[ground.id]))]
    assert [one for one in actions if one.startswith("landing_")] == ["landing_paused", "landing_resumed"]
