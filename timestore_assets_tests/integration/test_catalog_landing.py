"""The landing transaction: all of a batch or nothing, once, on both databases."""

from __future__ import annotations

from dataclasses import replace

import pytest

from timestore_assets.catalog.commit_values import IdempotencyKey, RequestOutcomes, SchemaChange
from timestore_assets.catalog.records import DeadLetterFile
from timestore_assets.model.counters import Counters
from timestore_assets.model.errors import ConflictError
from timestore_assets.model.position import Position
from timestore_assets.model.retraction import whole
from timestore_assets.model.schema import Column
from timestore_assets.model.types import DOUBLE, INT64
from timestore_assets_tests.support.catalog_dataset import HOUR, CatalogDataset, day


def everything(catalog_dataset: CatalogDataset) -> tuple[object, ...]:
    """All that a commit could change."""
    catalog = catalog_dataset.catalog
    return (
        catalog.datasets.all(),
        catalog_dataset.live(),
        catalog.partitions.of(catalog_dataset.id),
        catalog.sources.of(catalog_dataset.id),
        catalog_dataset.source_partition(),
        catalog.dead_letters.of(catalog_dataset.id),
        len(catalog.audit.newest()),
        catalog.objects.known(),
        catalog.sources.throughput(catalog_dataset.id, seconds=3600),
    )


def test_a_batch_shows_at_the_next_version_with_its_checkpoint_and_counters(catalog_dataset: CatalogDataset) -> None:
    segment = catalog_dataset.segment(
        3, rows=7, source_ids=(5,), sorted_by=("origin", "time"), semantic_key=("EWR",), content_hash="ab"
    )
    assert catalog_dataset.land("a", segment) == 1
    (found,) = catalog_dataset.live()
    assert {field: getattr(found, field) for field in segment.__slots__} == {
        field: getattr(segment, field) for field in segment.__slots__
    }
    assert (found.dataset_id, found.added_version, found.removed_version, found.storage) == (
        catalog_dataset.id,
        1,
        None,
        "default",
    )
    assert catalog_dataset.source_partition().position == Position(offset=7, line=7)
    assert catalog_dataset.counters() == Counters(read=7, landed=7)
    assert catalog_dataset.catalog.manifest.version(catalog_dataset.id) == 1


def test_of_two_sessions_at_one_checkpoint_the_second_writes_nothing(catalog_dataset: CatalogDataset) -> None:
    first, second = (
        catalog_dataset.batch(catalog_dataset.source_partition(), catalog_dataset.segment()),
        catalog_dataset.batch(catalog_dataset.source_partition(), catalog_dataset.segment()),
    )
    catalog_dataset.catalog.commits.land(first)
    before = everything(catalog_dataset)
    with pytest.raises(ConflictError, match="checkpoint"):
        catalog_dataset.catalog.commits.land(second)
    assert everything(catalog_dataset) == before


@pytest.mark.parametrize("shift", [Position(offset=1, line=0), Position(offset=0, line=1)])
def test_the_whole_position_is_compared(catalog_dataset: CatalogDataset, shift: Position) -> None:
    batch = catalog_dataset.batch(catalog_dataset.source_partition(), catalog_dataset.segment())
    batch = replace(batch, progress=RequestOutcomes(span=replace(batch.spans[0], start=shift)))
    with pytest.raises(ConflictError):
        catalog_dataset.catalog.commits.land(batch)


def test_a_used_idempotency_key_rolls_the_batch_back(catalog_dataset: CatalogDataset) -> None:
    key = IdempotencyKey(key="k1", digest="d1")
    catalog_dataset.land("a", idempotency_keys=(key, IdempotencyKey(key="k2", digest="d2")))
    before = everything(catalog_dataset)
    batch = catalog_dataset.batch(
        catalog_dataset.source_partition("b"),
        catalog_dataset.segment(),
        idempotency_keys=(IdempotencyKey(key="k3", digest="d"), key),
    )
    announced = catalog_dataset.catalog.objects.known() - before[7]  # type: ignore[operator] # what `known` gave before
    with pytest.raises(ConflictError, match="idempotency"):
        catalog_dataset.catalog.commits.land(batch)
    assert catalog_dataset.catalog.objects.known() - announced == before[7]
    assert everything(catalog_dataset)[:7] == before[:7]
    assert catalog_dataset.catalog.commits.known_keys(catalog_dataset.id, ["k1", "k2", "k3"]) == {"k1": "d1", "k2": "d2"}


def test_many_keys_at_once(catalog_dataset: CatalogDataset) -> None:
    keys = [IdempotencyKey(key=f"k{i}", digest=str(i)) for i in range(1300)]
    catalog_dataset.land(idempotency_keys=tuple(keys))
    assert catalog_dataset.catalog.commits.known_keys(catalog_dataset.id, [key.key for key in keys]) == {
        key.key: key.digest for key in keys
    }


def test_keys_belong_to_a_dataset(catalog_dataset: CatalogDataset) -> None:
    from timestore_assets_tests.support.catalog_dataset import WEATHER

    other = CatalogDataset.of(catalog_dataset.catalog, replace(WEATHER, name="other"))
    key = IdempotencyKey(key="same", digest="d")
    assert catalog_dataset.land(idempotency_keys=(key,)) == other.land(idempotency_keys=(key,)) == 1


def test_without_its_intent_a_batch_is_refused(catalog_dataset: CatalogDataset) -> None:
    segment = catalog_dataset.segment()
    catalog_dataset.catalog.sessions.end(catalog_dataset.session)
    assert [one.name for one in catalog_dataset.catalog.objects.collect_intents(older_than=-HOUR)] == [segment.name]
    with pytest.raises(ConflictError, match="collected"):
        catalog_dataset.land("a", segment)
    assert catalog_dataset.live() == []


def test_objects_must_have_been_announced(catalog_dataset: CatalogDataset) -> None:
    batch = catalog_dataset.batch(catalog_dataset.source_partition(), catalog_dataset.unannounced())
    with pytest.raises(ConflictError, match="collected"):
        catalog_dataset.catalog.commits.land(batch)
    assert catalog_dataset.live() == []


@pytest.mark.parametrize("counters", [Counters(read=10, landed=9), Counters(read=0, landed=10, dead_letters=-10)])
def test_counters_that_do_not_add_up_are_refused(catalog_dataset: CatalogDataset, counters: Counters) -> None:
    with pytest.raises(ValueError, match="add up"):
        catalog_dataset.land(counters=counters)


def test_counters_add_up_over_batches_and_sources(catalog_dataset: CatalogDataset) -> None:
    catalog_dataset.land("a", catalog_dataset.segment(rows=6), rows=8)
    catalog_dataset.land("a", counters=Counters(read=10, landed=3, duplicates=4, late_dropped=2, held=1))
    assert catalog_dataset.counters() == Counters(read=18, landed=9, duplicates=4, late_dropped=2, held=1, dead_letters=2)
    assert catalog_dataset.counters().balanced


def test_nothing_visible_leaves_the_version(catalog_dataset: CatalogDataset) -> None:
    name = "weather/dead/1.parquet"
    catalog_dataset.catalog.sessions.announce(catalog_dataset.session, [name])
    letters = DeadLetterFile(name=name, rows=4, bytes=900, reasons={"bad_value": 3, "ragged": 1})
    batch = catalog_dataset.batch(catalog_dataset.source_partition(), rows=4, dead_letter_files=(letters,))
    assert catalog_dataset.catalog.commits.land(batch) == 0
    ((source, found, at),) = catalog_dataset.catalog.dead_letters.of(catalog_dataset.id)
    assert (source.id, replace(found, id=0)) == (catalog_dataset.source.id, letters)
    assert at.tzinfo is not None
    assert catalog_dataset.counters() == Counters(read=4, dead_letters=4)
    assert name in catalog_dataset.catalog.objects.known()


def test_one_commit_writes_one_audit_row(catalog_dataset: CatalogDataset) -> None:
    before = len(catalog_dataset.catalog.audit.newest())
    catalog_dataset.land("a", *(catalog_dataset.segment(i) for i in range(5)))
    newest, *_ = rows = catalog_dataset.catalog.audit.newest(dataset_ids=[catalog_dataset.id])
    assert len(rows) == before + 1
    assert (newest["action"], newest["dataset"], newest["manifest_version"]) == ("landed", "weather", 1)
    assert newest["details"]["counters"]["read"] == 50
    assert newest["details"]["partitions"] == [day(i).key for i in range(5)]
    assert catalog_dataset.catalog.audit.newest(limit=1) == [newest]


def test_waiting_segments_appear_all_together(catalog_dataset: CatalogDataset) -> None:
    waiting = [catalog_dataset.segment(0), catalog_dataset.segment(1)]
    assert [catalog_dataset.land("a", segment, publish=False) for segment in waiting] == [0, 0]
    assert catalog_dataset.live() == [] == catalog_dataset.catalog.partitions.of(catalog_dataset.id)
    assert {segment.name for segment in waiting} <= catalog_dataset.catalog.objects.known()
    assert catalog_dataset.land("b", catalog_dataset.segment(5)) == 1
    assert catalog_dataset.land("a", catalog_dataset.segment(2)) == 2
    assert [segment.added_version for segment in catalog_dataset.live()] == [2, 2, 2, 1]
    assert catalog_dataset.rows(version=1) == 10
    assert [one.partition for one in catalog_dataset.catalog.partitions.of(catalog_dataset.id)] == [
        day(0),
        day(1),
        day(2),
        day(5),
    ]


def test_a_retraction_hides_a_source_partition_from_its_version_on(catalog_dataset: CatalogDataset) -> None:
    old = catalog_dataset.source_partition("old")
    catalog_dataset.land("old", catalog_dataset.segment(0, source_ids=(old.id,)))
    catalog_dataset.land("other", catalog_dataset.segment(1))
    assert catalog_dataset.land("new", catalog_dataset.segment(2), retract=(old.id,)) == 3
    assert catalog_dataset.catalog.manifest.retracted(catalog_dataset.id) == whole({old.id})
    assert catalog_dataset.catalog.manifest.retracted(catalog_dataset.id, version=2) == frozenset()
    assert catalog_dataset.catalog.manifest.retracted(catalog_dataset.id, version=3) == whole({old.id})
    assert [one.retracted for one in catalog_dataset.catalog.partitions.of(catalog_dataset.id)] == [True, False, False]


def test_nothing_lands_in_a_retracted_source_partition(catalog_dataset: CatalogDataset) -> None:
    catalog_dataset.land("old")
    zombie = catalog_dataset.batch(catalog_dataset.source_partition("old"), catalog_dataset.segment())
    catalog_dataset.land("new", retract=(zombie.spans[0].source_partition_id,))
    with pytest.raises(ConflictError, match="replaced"):
        catalog_dataset.catalog.commits.land(zombie)


def test_waiting_segments_of_a_retracted_source_never_appear(catalog_dataset: CatalogDataset) -> None:
    half = catalog_dataset.segment(0)
    catalog_dataset.land("half", half, publish=False)
    catalog_dataset.land("new", catalog_dataset.segment(1), retract=(catalog_dataset.source_partition("half").id,))
    assert half.name not in catalog_dataset.names()
    assert half.name in catalog_dataset.catalog.objects.known()


def test_a_schema_change_makes_the_next_version(catalog_dataset: CatalogDataset) -> None:
    added = Column(name="wind", type=INT64, nullable=True, origin="inferred")
    evolved = replace(catalog_dataset.record.schema.with_columns(added), version=2)
    change = SchemaChange(kind="column_added", column="wind", before=None, after="int64")
    segment = catalog_dataset.segment(schema_version=2)
    catalog_dataset.land("a", segment, schema=evolved, base_schema_version=1, schema_changes=(change,))
    record = catalog_dataset.catalog.datasets.find("weather")
    assert record is not None and record.schema == evolved
    assert catalog_dataset.catalog.datasets.schema(catalog_dataset.id, 1) == catalog_dataset.record.schema
    newest, oldest = catalog_dataset.catalog.datasets.schema_history(catalog_dataset.id)
    assert (newest["version"], oldest["version"]) == (2, 1)
    assert newest["changes"] == [{"kind": "column_added", "column": "wind", "before": None, "after": "int64"}]
    kinds = [event.kind for event in catalog_dataset.catalog.outbox.claim(holder="relay", limit=10, ttl=HOUR)]
    assert kinds == ["schema_changed", "files_landed"]


def test_a_batch_decoded_by_an_older_schema_is_refused(catalog_dataset: CatalogDataset) -> None:
    wider = Column(name="temp2", type=DOUBLE, nullable=True)
    evolved = replace(catalog_dataset.record.schema.with_columns(wider), version=2)
    catalog_dataset.land("a", schema=evolved, base_schema_version=1)
    before = everything(catalog_dataset)
    for changes in ({"base_schema_version": 1}, {"schema": evolved}):
        batch = catalog_dataset.batch(catalog_dataset.source_partition(), **changes)
        with pytest.raises(ConflictError, match="schema"):
            catalog_dataset.catalog.commits.land(batch)
    assert everything(catalog_dataset) == before
    assert catalog_dataset.land("a", base_schema_version=2) == 2


def test_throughput_counts_what_just_landed(catalog_dataset: CatalogDataset) -> None:
    catalog_dataset.land("a", catalog_dataset.segment(rows=600))
    catalog_dataset.land("a", catalog_dataset.segment(rows=600))
    assert catalog_dataset.catalog.sources.throughput(catalog_dataset.id, seconds=3600) == {
        catalog_dataset.source.id: pytest.approx(1200 / 3600)
    }
    assert catalog_dataset.catalog.sources.throughput(catalog_dataset.id, seconds=60)[catalog_dataset.source.id] == pytest.approx(
        20
    )


def test_many_segments_in_one_commit(catalog_dataset: CatalogDataset) -> None:
    segments = catalog_dataset.many(number % 50 for number in range(700))
    catalog_dataset.land("a", *segments)
    found = catalog_dataset.live()
    assert {segment.name: segment.stats for segment in found} == {segment.name: segment.stats for segment in segments}
    assert [(one.partition_start, one.id) for one in found] == sorted((one.partition_start, one.id) for one in found)


def test_unknown_ids_are_bugs(catalog_dataset: CatalogDataset) -> None:
    for call in (
        lambda: catalog_dataset.catalog.manifest.version(99999),
        lambda: catalog_dataset.catalog.datasets.schema(catalog_dataset.id, 9),
        lambda: catalog_dataset.catalog.sessions.announce(99999, ["x"]),
        lambda: catalog_dataset.catalog.sessions.heartbeat(99999, ttl=HOUR),
        lambda: catalog_dataset.catalog.sources.partition(99999, "x"),
        lambda: catalog_dataset.catalog.files.settle(99999, "quarantined"),
        lambda: catalog_dataset.catalog.sources.ensure(99999, "files", "x"),
        lambda: catalog_dataset.catalog.sessions.begin(99999, "landing", holder="x", ttl=HOUR),
        lambda: catalog_dataset.catalog.partitions.request_builds(99999, [day(0)], reason="x"),
        lambda: catalog_dataset.catalog.versions.pin(99999, version=None, holder="x", ttl=HOUR),
    ):
        with pytest.raises(KeyError):
            call()
