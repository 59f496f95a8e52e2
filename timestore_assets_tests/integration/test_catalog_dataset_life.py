"""Datasets that are dropped, renamed and retired in the catalog, on both databases: whole or not at all, and for everybody."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.service_records import SavedQuery
from timestore_assets.catalog.tables import (
    dataset_schemas,
    dead_letter_files,
    files,
    idempotency_keys,
    partitions,
    segment_stats,
    segments,
    source_partitions,
    sources,
)
from timestore_assets.model.errors import ConflictError, DroppedError, InputError, RetiredError, StaleVersionError
from timestore_assets.model.segment import ObjectName
from timestore_assets_tests.support.catalog_dataset import HOUR, WEATHER, CatalogDataset

WAIT_SECONDS = 60.0


def drop(ground: CatalogDataset, **options: Any) -> None:
    ground.catalog.life.drop(ground.id, actor="tester", **options)


def rows_of(catalog: Catalog, *tables: Any) -> dict[str, int]:
    def count(connection: Any) -> dict[str, int]:
        return {one.name: connection.execute(select(func.count()).select_from(one)).scalar_one() for one in tables}

    return catalog.database.read(count)


def test_a_dropped_dataset_is_nowhere_to_be_seen(catalog_dataset: CatalogDataset) -> None:
    catalog = catalog_dataset.catalog
    catalog_dataset.land()
    catalog.saved_queries.put(
        SavedQuery(name="hot", sql="SELECT 1", parameters={}, datasets=("weather",), description="", actor="me")
    )
    told = catalog.life.belongings(catalog_dataset.id)
    assert (told.rows, told.bytes, told.segments, told.partitions, told.queries) == (10, 1000, 1, 1, ("hot",))
    drop(catalog_dataset)
    assert catalog.datasets.find("weather") is None and catalog.datasets.all() == []
    assert catalog_dataset.live() == []
    (former,) = catalog.life.former()
    assert (former.name, former.now_named) == ("weather", None)
    newest = catalog.audit.newest(limit=1)[0]
    assert (newest["dataset"], newest["action"], newest["details"]["rows"]) == ("weather", "dataset_dropped", 10)


def test_the_relay_is_told_of_the_drop_and_of_nothing_before(catalog_dataset: CatalogDataset) -> None:
    catalog_dataset.land()
    drop(catalog_dataset)
    (event,) = catalog_dataset.catalog.outbox.claim(holder="relay", limit=10, ttl=HOUR)
    assert (event.dataset, event.kind, event.payload["rows"]) == ("weather", "dataset_dropped", 10)


def test_what_was_under_way_commits_nothing(catalog_dataset: CatalogDataset) -> None:
    catalog = catalog_dataset.catalog
    catalog_dataset.land("landed")
    landing = catalog_dataset.batch(catalog_dataset.source_partition("a"), catalog_dataset.segment())
    sealed, live = catalog_dataset.sealed(), catalog_dataset.live()
    drop(catalog_dataset)
    with pytest.raises(DroppedError, match="'weather' was dropped"):
        catalog.commits.land(landing)
    with pytest.raises(DroppedError):
        catalog_dataset.build(0, live, sealed)
    with pytest.raises(DroppedError):
        catalog_dataset.observe("a.csv", "content")
    with pytest.raises(DroppedError):
        catalog.versions.pin(catalog_dataset.id, version=None, holder="late", ttl=HOUR)
    with pytest.raises(DroppedError):
        drop(catalog_dataset)
    # the session has ended with it, so what it announced is the collector's
    assert {one.name for one in catalog.objects.collect_intents(older_than=timedelta(0))} == {
        *(segment.name for segment in landing.segments),
        sealed.name,
    }


def test_declared_again_it_begins_empty_and_lands_the_same_again(catalog_dataset: CatalogDataset) -> None:
    catalog = catalog_dataset.catalog
    file = catalog_dataset.observe("a.csv", "content")
    catalog_dataset.land_file(file)
    drop(catalog_dataset)
    again = CatalogDataset.of(catalog)
    assert again.id != catalog_dataset.id and again.record.manifest_version == 0 and again.live() == []
    assert catalog.life.former() == []
    seen = again.observe("a.csv", "content")
    assert (seen.state, seen.position.offset) == ("pending", 0)
    again.land_file(seen)
    assert again.rows() == 10 and again.counters().landed == 10
    assert catalog.life.ids("weather") == [catalog_dataset.id, again.id] and catalog.life.ids("weathe") == []


def test_who_declared_it_before_does_not_bring_it_back(catalog_dataset: CatalogDataset) -> None:
    catalog, before = catalog_dataset.catalog, datetime.now(UTC) - HOUR
    drop(catalog_dataset)
    with pytest.raises(DroppedError, match=r"'weather' was dropped at \d{4}-"):
        catalog.datasets.register(WEATHER, actor="late", written=before)
    assert catalog.datasets.all() == []
    catalog.datasets.register(WEATHER, actor="new", written=datetime.now(UTC) + HOUR)
    # it is there again, for those too that declared it before
    assert catalog.datasets.register(WEATHER, actor="late", written=before).name == "weather"


def test_the_declaration_over_http_goes_with_it_in_the_version_that_was_seen(catalog: Catalog) -> None:
    for number in range(2):
        attributes = {"name": "weather", "description": str(number)}
        catalog.declarations.put("weather", attributes, actor="me", dataset=replace(WEATHER, description=str(number)))
    record = catalog.datasets.find("weather")
    assert record is not None
    with pytest.raises(StaleVersionError, match="is at version 2, not at version 1"):
        catalog.life.drop(record.id, actor="tester", if_version=1)
    assert catalog.datasets.find("weather") is not None
    catalog.life.drop(record.id, actor="tester", if_version=2)
    assert catalog.declarations.listed() == []


def test_a_reader_reads_on_and_the_collector_waits_for_it(catalog_dataset: CatalogDataset) -> None:
    catalog = catalog_dataset.catalog
    catalog_dataset.land()
    (segment,) = catalog_dataset.live()
    version, lease = catalog.versions.pin(catalog_dataset.id, version=None, holder="reader", ttl=HOUR)
    drop(catalog_dataset)
    assert catalog.dropped.collect_objects() == [] and catalog.dropped.forget() == 0
    assert catalog_dataset.names(version) == [segment.name]
    assert catalog.datasets.schema(catalog_dataset.id, segment.schema_version).names == WEATHER.schema.names
    assert catalog.leases.renew(lease, ttl=HOUR) is not None
    assert segment.name in catalog.objects.known()
    catalog.leases.release(lease)
    gone = ObjectName("default", segment.name)
    assert catalog.dropped.collect_objects() == [gone]
    assert catalog.objects.collected() == [gone], "a collection that is killed now is finished by the next"


def test_everything_of_it_is_forgotten_in_the_end_and_nothing_of_others(catalog_dataset: CatalogDataset) -> None:
    catalog = catalog_dataset.catalog
    other = CatalogDataset.of(catalog, replace(WEATHER, name="other"))
    for ground in (catalog_dataset, other):
        ground.land_file(ground.observe("a.csv", "content"))
        ground.land("b", publish=False)
    tables = (segments, segment_stats, sources, source_partitions, files, partitions, dataset_schemas, dead_letter_files,
              idempotency_keys)  # fmt: skip
    both = rows_of(catalog, *tables)
    drop(catalog_dataset)
    while catalog.dropped.collect_objects(limit=1):
        pass
    assert catalog.dropped.forget() > 0
    assert rows_of(catalog, *tables) == {name: number // 2 for name, number in both.items()}
    assert other.rows() == 10
    assert [row["action"] for row in catalog.audit.newest(limit=1)] == ["dataset_dropped"]


def test_dropping_and_landing_at_once_leaves_nothing_half(catalog_dataset: CatalogDataset) -> None:
    batches = [
        catalog_dataset.batch(catalog_dataset.source_partition(str(number)), catalog_dataset.segment(number % 3))
        for number in range(8)
    ]
    refused: list[str] = []
    begun = threading.Barrier(3)

    def land(mine: list[Any]) -> None:
        begun.wait(WAIT_SECONDS)
        for batch in mine:
            try:
                catalog_dataset.catalog.commits.land(batch)
            except DroppedError as error:
                refused.append(str(error))

    threads = [threading.Thread(target=land, args=(batches[at::2],)) for at in range(2)]
    for thread in threads:
        thread.start()
    begun.wait(WAIT_SECONDS)
    drop(catalog_dataset)
    for thread in threads:
        thread.join(WAIT_SECONDS)
    landed = 8 - len(refused)
    details = catalog_dataset.catalog.audit.newest(limit=100)
    (told,) = [row["details"] for row in details if row["action"] == "dataset_dropped"]
    assert told["rows"] == 10 * landed, "each commit came before the drop and was counted, or was refused"
    assert catalog_dataset.live() == []


def test_declaring_and_dropping_at_once(catalog_dataset: CatalogDataset) -> None:
    """Whoever registers while it is dropped gets the one before or the next, and no error."""
    catalog, found = catalog_dataset.catalog, list[int]()
    begun = threading.Barrier(2)

    def declare() -> None:
        begun.wait(WAIT_SECONDS)
        found.extend(catalog.datasets.register(replace(WEATHER, description=str(at)), actor="test").id for at in range(5))

    thread = threading.Thread(target=declare)
    thread.start()
    begun.wait(WAIT_SECONDS)
    drop(catalog_dataset)
    thread.join(WAIT_SECONDS)
    assert len(found) == 5 and found == sorted(found)


def test_a_renamed_dataset_keeps_all_it_has(catalog_dataset: CatalogDataset) -> None:
    catalog = catalog_dataset.catalog
    file = catalog_dataset.observe("a.csv", "content")
    catalog_dataset.land_file(file)
    names = catalog_dataset.names()
    under_way = catalog_dataset.batch(catalog_dataset.source_partition("b"), catalog_dataset.segment())
    catalog.life.rename(catalog_dataset.id, "climate", actor="tester")
    record = catalog.datasets.find("climate")
    assert record is not None and catalog.datasets.find("weather") is None
    assert (record.id, record.definition["name"], catalog_dataset.names()) == (catalog_dataset.id, "climate", names)
    assert catalog_dataset.observe("a.csv", "content").state == "landed"
    catalog.commits.land(under_way)
    # registering it under its new name changes nothing more
    assert catalog.datasets.register(replace(WEATHER, name="climate"), actor="test") == catalog.datasets.find("climate")
    assert [row["action"] for row in catalog.audit.newest(limit=2)] == ["landed", "dataset_renamed"]


def test_the_old_name_may_be_used_again_but_not_by_who_used_it_before(catalog_dataset: CatalogDataset) -> None:
    catalog, before = catalog_dataset.catalog, datetime.now(UTC) - HOUR
    catalog_dataset.land()
    catalog.life.rename(catalog_dataset.id, "climate", actor="tester")
    with pytest.raises(DroppedError, match="'weather' is called 'climate' since"):
        catalog.datasets.register(WEATHER, actor="late", written=before)
    again = CatalogDataset.of(catalog)
    assert again.rows() == 0 and catalog_dataset.rows() == 10
    with pytest.raises(ConflictError, match="there is a dataset 'weather' already"):
        catalog.life.rename(catalog_dataset.id, "weather", actor="tester")
    with pytest.raises(InputError, match="has that name already"):
        catalog.life.rename(catalog_dataset.id, "climate", actor="tester")


def test_there_and_back_again(catalog_dataset: CatalogDataset) -> None:
    catalog = catalog_dataset.catalog
    catalog.life.rename(catalog_dataset.id, "climate", actor="tester")
    catalog.life.rename(catalog_dataset.id, "weather", actor="tester")
    assert [(one.name, one.now_named) for one in catalog.life.former()] == [("climate", "weather")]


@pytest.mark.parametrize("is_dropped", [False, True])
def test_a_name_in_between_that_is_used_again_leads_no_older_name_to_its_new_dataset(
    catalog_dataset: CatalogDataset, is_dropped: bool
) -> None:
    catalog = catalog_dataset.catalog
    catalog.life.rename(catalog_dataset.id, "climate", actor="tester")
    if is_dropped:
        drop(catalog_dataset)
    else:
        catalog.life.rename(catalog_dataset.id, "sky", actor="tester")
    catalog.datasets.register(replace(WEATHER, name="climate"), actor="tester")
    assert [(one.name, one.now_named) for one in catalog.life.former()] == [("weather", None if is_dropped else "sky")]


def test_a_declaration_over_http_follows_its_name(catalog: Catalog) -> None:
    catalog.declarations.put("weather", {"name": "weather"}, actor="me", dataset=WEATHER)
    record = catalog.datasets.find("weather")
    assert record is not None
    catalog.life.rename(record.id, "climate", actor="tester", if_version=1)
    (kept,) = catalog.declarations.listed()
    assert (kept.name, kept.attributes, kept.version, kept.actor) == ("climate", {"name": "climate"}, 2, "tester")


def test_nothing_lands_in_a_retired_dataset_and_it_can_be_built(catalog_dataset: CatalogDataset) -> None:
    catalog = catalog_dataset.catalog
    catalog_dataset.land()
    batch = catalog_dataset.batch(catalog_dataset.source_partition("b"), catalog_dataset.segment())
    assert catalog.life.retire(catalog_dataset.id, actor="tester")
    assert not catalog.life.retire(catalog_dataset.id, actor="tester"), "it is already"
    assert catalog.life.retired() == {"weather"}
    record = catalog.datasets.find("weather")
    assert record is not None and record.is_retired
    with pytest.raises(RetiredError, match="`timestore retire weather --undo`"):
        catalog.commits.land(batch)
    catalog_dataset.build(0, catalog_dataset.live(), catalog_dataset.sealed())
    assert catalog_dataset.state() == "sealed"
    assert catalog.life.retire(catalog_dataset.id, actor="tester", undo=True)
    catalog.commits.land(batch)
    assert catalog_dataset.rows() == 20 and catalog.life.retired() == frozenset()
    actions = [row["action"] for row in catalog.audit.newest(limit=10)]
    assert [one for one in actions if "retired" in one] == ["dataset_unretired", "dataset_retired"]
