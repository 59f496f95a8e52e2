"""The landing transaction: all of a batch or nothing, once, on both databases."""

from __future__ import annotations

from dataclasses import replace

import pytest

from timestore_assets.catalog.records import Counters, DeadLetterFile, IdempotencyKey, SchemaChange
from timestore_assets.model.errors import ConflictError
from timestore_assets.model.position import Position
from timestore_assets.model.schema import Column
from timestore_assets.model.types import DOUBLE, INT64
from timestore_assets_tests.catalog_ground import HOUR, Ground, day


def everything(ground: Ground) -> tuple[object, ...]:
    """All that a commit could change."""
    catalog = ground.catalog
    return (
        catalog.datasets(),
        ground.live(),
        catalog.partitions(ground.id),
        catalog.sources(ground.id),
        ground.source_partition(),
        catalog.dead_letter_files(ground.id),
        len(catalog.audit()),
        catalog.known_objects(),
        catalog.throughput(ground.id, seconds=3600),
    )


def test_a_batch_shows_at_the_next_version_with_its_checkpoint_and_counters(ground: Ground) -> None:
    segment = ground.segment(3, rows=7, source_ids=(5,), sorted_by=("origin", "time"), semantic_key=("EWR",), content_hash="ab")
    assert ground.land("a", segment) == 1
    (found,) = ground.live()
    assert {field: getattr(found, field) for field in segment.__slots__} == {
        field: getattr(segment, field) for field in segment.__slots__
    }
    assert (found.dataset_id, found.added_version, found.removed_version, found.storage) == (ground.id, 1, None, "default")
    assert ground.source_partition().position == Position(offset=7, line=7)
    assert ground.counters() == Counters(read=7, landed=7)
    assert ground.catalog.manifest_version(ground.id) == 1


def test_of_two_sessions_at_one_checkpoint_the_second_writes_nothing(ground: Ground) -> None:
    first, second = (
        ground.batch(ground.source_partition(), ground.segment()),
        ground.batch(ground.source_partition(), ground.segment()),
    )
    ground.catalog.commit_landing(first)
    before = everything(ground)
    with pytest.raises(ConflictError, match="checkpoint"):
        ground.catalog.commit_landing(second)
    assert everything(ground) == before


@pytest.mark.parametrize("shift", [Position(offset=1, line=0), Position(offset=0, line=1)])
def test_the_whole_position_is_compared(ground: Ground, shift: Position) -> None:
    batch = ground.batch(ground.source_partition(), ground.segment())
    batch = replace(batch, spans=(replace(batch.spans[0], start=shift),))
    with pytest.raises(ConflictError):
        ground.catalog.commit_landing(batch)


def test_a_used_idempotency_key_rolls_the_batch_back(ground: Ground) -> None:
    key = IdempotencyKey(key="k1", digest="d1")
    ground.land("a", idempotency_keys=(key, IdempotencyKey(key="k2", digest="d2")))
    before = everything(ground)
    batch = ground.batch(
        ground.source_partition("b"), ground.segment(), idempotency_keys=(IdempotencyKey(key="k3", digest="d"), key)
    )
    announced = ground.catalog.known_objects() - before[7]  # type: ignore[operator]
    with pytest.raises(ConflictError, match="idempotency"):
        ground.catalog.commit_landing(batch)
    assert ground.catalog.known_objects() - announced == before[7]
    assert everything(ground)[:7] == before[:7]
    assert ground.catalog.known_keys(ground.id, ["k1", "k2", "k3"]) == {"k1": "d1", "k2": "d2"}


def test_many_keys_at_once(ground: Ground) -> None:
    keys = [IdempotencyKey(key=f"k{i}", digest=str(i)) for i in range(1300)]
    ground.land(idempotency_keys=tuple(keys))
    assert ground.catalog.known_keys(ground.id, [key.key for key in keys]) == {key.key: key.digest for key in keys}


def test_keys_belong_to_a_dataset(ground: Ground) -> None:
    from timestore_assets_tests.catalog_ground import WEATHER

    other = Ground.of(ground.catalog, replace(WEATHER, name="other"))
    key = IdempotencyKey(key="same", digest="d")
    assert ground.land(idempotency_keys=(key,)) == other.land(idempotency_keys=(key,)) == 1


def test_without_its_intent_a_batch_is_refused(ground: Ground) -> None:
    segment = ground.segment()
    ground.catalog.end_session(ground.session)
    assert [one.name for one in ground.catalog.expired_intents(older_than=-HOUR)] == [segment.name]
    with pytest.raises(ConflictError, match="collected"):
        ground.land("a", segment)
    assert ground.live() == []


def test_objects_must_have_been_announced(ground: Ground) -> None:
    batch = ground.batch(ground.source_partition(), ground.segment(), intents=())
    with pytest.raises(ValueError, match="without an intent"):
        ground.catalog.commit_landing(batch)


@pytest.mark.parametrize("counters", [Counters(read=10, landed=9), Counters(read=0, landed=10, dead_letters=-10)])
def test_counters_that_do_not_add_up_are_refused(ground: Ground, counters: Counters) -> None:
    with pytest.raises(ValueError, match="add up"):
        ground.land(counters=counters)


def test_counters_add_up_over_batches_and_sources(ground: Ground) -> None:
    ground.land("a", ground.segment(rows=6), rows=8)
    ground.land("a", counters=Counters(read=10, landed=3, duplicates=4, late_dropped=2, held=1))
    assert ground.counters() == Counters(read=18, landed=9, duplicates=4, late_dropped=2, held=1, dead_letters=2)
    assert ground.counters().balanced


def test_nothing_visible_leaves_the_version(ground: Ground) -> None:
    name = "weather/dead/1.parquet"
    ground.catalog.announce(ground.session, [name])
    letters = DeadLetterFile(name=name, rows=4, bytes=900, reasons={"bad_value": 3, "ragged": 1})
    batch = ground.batch(ground.source_partition(), rows=4, dead_letter_files=(letters,), intents=(name,))
    assert ground.catalog.commit_landing(batch) == 0
    ((source, found, at),) = ground.catalog.dead_letter_files(ground.id)
    assert (source.id, replace(found, id=0)) == (ground.source.id, letters)
    assert at.tzinfo is not None
    assert ground.counters() == Counters(read=4, dead_letters=4)
    assert name in ground.catalog.known_objects()


def test_one_commit_writes_one_audit_row(ground: Ground) -> None:
    before = len(ground.catalog.audit())
    ground.land("a", *(ground.segment(i) for i in range(5)))
    newest, *_ = rows = ground.catalog.audit(dataset_ids=[ground.id])
    assert len(rows) == before + 1
    assert (newest["action"], newest["dataset"], newest["manifest_version"]) == ("landed", "weather", 1)
    assert newest["details"]["counters"]["read"] == 50
    assert newest["details"]["partitions"] == [day(i).key for i in range(5)]
    assert ground.catalog.audit(limit=1) == [newest]


def test_waiting_segments_appear_all_together(ground: Ground) -> None:
    waiting = [ground.segment(0), ground.segment(1)]
    assert [ground.land("a", segment, publish=False) for segment in waiting] == [0, 0]
    assert ground.live() == [] == ground.catalog.partitions(ground.id)
    assert {segment.name for segment in waiting} <= ground.catalog.known_objects()
    assert ground.land("b", ground.segment(5)) == 1
    assert ground.land("a", ground.segment(2)) == 2
    assert [segment.added_version for segment in ground.live()] == [2, 2, 2, 1]
    assert ground.rows(version=1) == 10
    assert [one.partition for one in ground.catalog.partitions(ground.id)] == [day(0), day(1), day(2), day(5)]


def test_a_retraction_hides_a_source_partition_from_its_version_on(ground: Ground) -> None:
    old = ground.source_partition("old")
    ground.land("old", ground.segment(0, source_ids=(old.id,)))
    ground.land("other", ground.segment(1))
    assert ground.land("new", ground.segment(2), retract=(old.id,)) == 3
    assert ground.catalog.retracted(ground.id) == {old.id}
    assert ground.catalog.retracted(ground.id, version=2) == frozenset()
    assert ground.catalog.retracted(ground.id, version=3) == {old.id}
    assert [one.retracted for one in ground.catalog.partitions(ground.id)] == [True, False, False]


def test_nothing_lands_in_a_retracted_source_partition(ground: Ground) -> None:
    ground.land("old")
    zombie = ground.batch(ground.source_partition("old"), ground.segment())
    ground.land("new", retract=(zombie.spans[0].source_partition_id,))
    with pytest.raises(ConflictError, match="replaced"):
        ground.catalog.commit_landing(zombie)


def test_waiting_segments_of_a_retracted_source_never_appear(ground: Ground) -> None:
    half = ground.segment(0)
    ground.land("half", half, publish=False)
    ground.land("new", ground.segment(1), retract=(ground.source_partition("half").id,))
    assert half.name not in ground.names()
    assert half.name in ground.catalog.known_objects()


def test_a_schema_change_makes_the_next_version(ground: Ground) -> None:
    added = Column(name="wind", type=INT64, nullable=True, origin="inferred")
    evolved = replace(ground.record.schema.with_columns(added), version=2)
    change = SchemaChange(kind="column_added", column="wind", before=None, after="int64")
    segment = ground.segment(schema_version=2)
    ground.land("a", segment, schema=evolved, base_schema_version=1, schema_changes=(change,))
    record = ground.catalog.dataset("weather")
    assert record is not None and record.schema == evolved
    assert ground.catalog.schema(ground.id, 1) == ground.record.schema
    newest, oldest = ground.catalog.schema_history(ground.id)
    assert (newest["version"], oldest["version"]) == (2, 1)
    assert newest["changes"] == [{"kind": "column_added", "column": "wind", "before": None, "after": "int64"}]
    kinds = [event.kind for event in ground.catalog.claim_events(holder="relay", limit=10, ttl=HOUR)]
    assert kinds == ["schema_changed", "files_landed"]


def test_a_batch_decoded_by_an_older_schema_is_refused(ground: Ground) -> None:
    wider = Column(name="temp2", type=DOUBLE, nullable=True)
    evolved = replace(ground.record.schema.with_columns(wider), version=2)
    ground.land("a", schema=evolved, base_schema_version=1)
    before = everything(ground)
    for changes in ({"base_schema_version": 1}, {"schema": evolved}):
        batch = ground.batch(ground.source_partition(), **changes)
        with pytest.raises(ConflictError, match="schema"):
            ground.catalog.commit_landing(batch)
    assert everything(ground) == before
    assert ground.land("a", base_schema_version=2) == 2


def test_throughput_counts_what_just_landed(ground: Ground) -> None:
    ground.land("a", ground.segment(rows=600))
    ground.land("a", ground.segment(rows=600))
    assert ground.catalog.throughput(ground.id, seconds=3600) == {ground.source.id: pytest.approx(1200 / 3600)}
    assert ground.catalog.throughput(ground.id, seconds=60)[ground.source.id] == pytest.approx(20)


def test_many_segments_in_one_commit(ground: Ground) -> None:
    segments = ground.many(number % 50 for number in range(700))
    ground.land("a", *segments)
    found = ground.live()
    assert {segment.name: segment.stats for segment in found} == {segment.name: segment.stats for segment in segments}
    assert [(one.partition_start, one.id) for one in found] == sorted((one.partition_start, one.id) for one in found)


def test_unknown_ids_are_bugs(ground: Ground) -> None:
    for call in (
        lambda: ground.catalog.manifest_version(99999),
        lambda: ground.catalog.schema(ground.id, 9),
        lambda: ground.catalog.announce(99999, ["x"]),
        lambda: ground.catalog.heartbeat(99999, ttl=HOUR),
        lambda: ground.catalog.source_partition(99999, "x"),
        lambda: ground.catalog.settle_file(99999, "quarantined"),
        lambda: ground.catalog.source(99999, "files", "x"),
        lambda: ground.catalog.begin_session(99999, "landing", holder="x", ttl=HOUR),
        lambda: ground.catalog.request_builds(99999, [day(0)], reason="x"),
        lambda: ground.catalog.pin(99999, version=None, holder="x", ttl=HOUR),
    ):
        with pytest.raises(KeyError):
            call()
