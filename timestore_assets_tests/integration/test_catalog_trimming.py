"""The catalog in its third year is as small as in its first, and what makes landing exactly once is never forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.commit_values import IdempotencyKey, NewIngestion, ReplaySettlement
from timestore_assets.catalog.records import DeadLetterFile, SourcePartition
from timestore_assets.catalog.table_columns import metadata
from timestore_assets.model.counters import Counters
from timestore_assets.model.errors import ConflictError, RefusedError
from timestore_assets.storage.object_store import Upload
from timestore_assets.upkeep.collect import LedgerAges, TrimReport, collect, trim
from timestore_assets_tests.support.catalog_dataset import HOUR, CatalogDataset
from timestore_assets_tests.support.segment_store import SegmentStore, segment_store

NOW = timedelta(0)
HALF_YEAR = timedelta(days=183)
TIMES = {"at", "created_at", "updated_at", "added_at", "removed_at", "started_at", "expires_at", "ended_at", "found_at"} | {
    "settled_at",
    "claimed_until",
    "requested_at",
}
FOR_EVER = {"files", "source_partitions", "partitions", "audit", "idempotency_keys", "dataset_schemas"}
"""Tables that keep something of all times: identities, checkpoints, what people did."""


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[SegmentStore]:
    with segment_store(tmp_path) as made:
        yield made


def age(catalog: Catalog, by: timedelta) -> None:
    """Let time pass: every moment in the catalog becomes that much earlier."""
    micros = by // timedelta(microseconds=1)
    with catalog.database.engine.connect() as connection, connection.begin():
        for table in metadata.sorted_tables:
            moved = {name: table.c[name] - micros for name in TIMES & set(table.c.keys())}
            if table.name == "landed_rows":
                moved = {"second": table.c.second - micros // 1_000_000}
            if moved:
                connection.execute(table.update().values(moved))


def sizes(catalog: Catalog) -> dict[str, int]:
    with catalog.database.engine.connect() as connection:
        counts = {table.name: select(func.count()).select_from(table) for table in metadata.sorted_tables}
        return {name: connection.execute(counted).scalar_one() for name, counted in counts.items()}


def rows(catalog: Catalog, table: str) -> int:
    return sizes(catalog)[table]


def dead_letters(catalog_dataset: CatalogDataset, name: str) -> int:
    """A committed dead-letter file of five records; its id."""
    catalog_dataset.catalog.sessions.announce(catalog_dataset.session, [name])
    file = DeadLetterFile(name=name, rows=5, bytes=100, reasons={"bad_value": 5})
    segment = catalog_dataset.segment(rows=5)
    batch = catalog_dataset.batch(catalog_dataset.source_partition(f"dead-{name}"), segment, rows=10)
    catalog_dataset.catalog.commits.land(replace(batch, dead_letter_files=(file,)))
    return max(found.id for _, found, _ in catalog_dataset.catalog.dead_letters.of(catalog_dataset.id))


def replayed(catalog_dataset: CatalogDataset, dead_letter_id: int) -> None:
    """Its records land after all."""
    segment = catalog_dataset.segment(rows=5)
    batch = catalog_dataset.batch(catalog_dataset.source_partition(), segment)
    moved = Counters(landed=5, dead_letters=-5)
    catalog_dataset.catalog.commits.land(
        replace(batch, progress=ReplaySettlement(dead_letter_ids=(dead_letter_id,)), counters=moved)
    )


def half_a_year(catalog_dataset: CatalogDataset, number: int) -> None:
    """Something of everything that leaves rows behind."""
    catalog, name = catalog_dataset.catalog, f"h{number}"
    catalog_dataset.session = catalog.sessions.begin(catalog_dataset.id, "landing", holder="test", ttl=HOUR)
    keyed = NewIngestion(id=name, key=name, digest="d", outcome={}, actor="token:a")
    catalog_dataset.land_of_requests(keyed, name=name, idempotency_keys=(IdempotencyKey(key=name, digest="d"),))
    catalog_dataset.land_file(catalog_dataset.observe("changing", f"{name}a", replace=True))
    catalog_dataset.land_file(catalog_dataset.observe("changing", f"{name}b", replace=True))
    replayed(catalog_dataset, dead_letters(catalog_dataset, f"weather/{name}.dead"))
    lose_some(catalog_dataset, number)
    catalog.versions.pin(catalog_dataset.id, version=None, holder="a query that died", ttl=-HOUR)
    catalog.sessions.announce(catalog_dataset.session, [f"weather/{name}.unfinished"])
    everything = catalog_dataset.live()
    catalog_dataset.build(0, everything, catalog_dataset.sealed(rows=10), retracted_rows=0)
    catalog.sessions.end(catalog_dataset.session)


def lose_some(catalog_dataset: CatalogDataset, number: int) -> None:
    catalog = catalog_dataset.catalog
    source = catalog.sources.ensure(catalog_dataset.id, "kafka", "weather")
    (one,) = catalog.topics.open(source.id, cluster_id="c", topic="weather", epoch=1, topic_id="t", starts={0: 0})
    catalog.topics.assign(catalog_dataset.session, [one.id])
    at = catalog.sources.checkpoints([one.id])[one.id].offset
    catalog.topics.lose(one.id, start=at, end=at + 5, reason="gone", session_id=catalog_dataset.session, skip=True, actor="test")


def test_after_three_years_it_is_as_small_as_after_one(catalog_dataset: CatalogDataset, storage: SegmentStore) -> None:
    seen = []
    for number in range(6):
        half_a_year(catalog_dataset, number)
        age(catalog_dataset.catalog, HALF_YEAR)
        collect(catalog_dataset.catalog, storage.storage, intent_grace=HOUR, keep_versions=timedelta(days=7))
        seen.append(sizes(catalog_dataset.catalog))
    grown = {name for name in seen[1] if seen[5][name] > seen[1][name]}
    assert grown <= FOR_EVER, {name: [size[name] for size in seen] for name in grown}
    assert {
        seen[5][name] for name in ("sessions", "intents", "leases", "outbox", "ingestions", "lost_offsets", "landed_rows")
    } == {0}
    assert {row["action"] for row in catalog_dataset.catalog.audit.newest(limit=1000)}.isdisjoint({"landed", "built"})


def test_trimming_goes_in_short_steps(catalog_dataset: CatalogDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("timestore_assets.catalog.trimming.AT_ONCE", 2)
    for _ in range(5):
        catalog_dataset.catalog.sessions.end(
            catalog_dataset.catalog.sessions.begin(catalog_dataset.id, "landing", holder="x", ttl=HOUR)
        )
        catalog_dataset.land()
    age(catalog_dataset.catalog, HALF_YEAR)
    assert catalog_dataset.catalog.trimming.audit(older_than=HOUR) == 5
    assert catalog_dataset.catalog.trimming.sessions(older_than=HOUR) == 6
    assert [row["action"] for row in catalog_dataset.catalog.audit.newest()] == ["dataset_registered"]


def test_nothing_of_the_last_hour_goes_whatever_is_asked_for(catalog_dataset: CatalogDataset, storage: SegmentStore) -> None:
    half_a_year(catalog_dataset, 0)
    before = sizes(catalog_dataset.catalog)
    report = trim(
        catalog_dataset.catalog, storage.storage, LedgerAges(audit=NOW, ingestions=HOUR, settled=-HALF_YEAR, keys=-HALF_YEAR)
    )
    assert report == TrimReport()
    assert sizes(catalog_dataset.catalog) == before


def test_a_content_is_a_duplicate_for_ever(catalog_dataset: CatalogDataset, storage: SegmentStore) -> None:
    catalog_dataset.land_file(catalog_dataset.observe("a", "1"))
    catalog_dataset.catalog.sessions.end(catalog_dataset.session)
    age(catalog_dataset.catalog, 6 * HALF_YEAR)
    assert trim(catalog_dataset.catalog, storage.storage, LedgerAges(keys=HOUR)).sessions == 1
    assert catalog_dataset.observe("b", "1").state == "duplicate"
    assert catalog_dataset.observe("a", "1").state == "landed"


def test_a_checkpoint_stays_whatever_has_gone_around_it(catalog_dataset: CatalogDataset, storage: SegmentStore) -> None:
    catalog_dataset.land("a")
    position = catalog_dataset.source_partition("a").position
    catalog_dataset.catalog.sessions.end(catalog_dataset.session)
    age(catalog_dataset.catalog, 6 * HALF_YEAR)
    trim(catalog_dataset.catalog, storage.storage, LedgerAges(keys=HOUR))
    assert catalog_dataset.source_partition("a").position == position
    catalog_dataset.session = catalog_dataset.catalog.sessions.begin(catalog_dataset.id, "landing", holder="again", ttl=HOUR)
    behind = SourcePartition(
        id=catalog_dataset.source_partition("a").id,
        source_id=catalog_dataset.source.id,
        name="a",
        position=replace(position, offset=0),
    )
    with pytest.raises(ConflictError):
        catalog_dataset.catalog.commits.land(catalog_dataset.batch(behind, catalog_dataset.segment()))


def test_keys_stay_for_ever_unless_a_time_is_set_and_never_less_than_their_answers(
    catalog_dataset: CatalogDataset, storage: SegmentStore
) -> None:
    answered = NewIngestion(id="one", key="answered", digest="d", outcome={}, actor="a")
    keys = tuple(IdempotencyKey(key=key, digest="d") for key in ("answered", "archived"))
    catalog_dataset.land_of_requests(answered, idempotency_keys=keys)
    age(catalog_dataset.catalog, timedelta(days=5))
    week = LedgerAges(keys=timedelta(days=2))
    assert trim(catalog_dataset.catalog, storage.storage, LedgerAges()).idempotency_keys == 0
    assert trim(catalog_dataset.catalog, storage.storage, week).idempotency_keys == 0, "answers are kept for a week"
    assert catalog_dataset.catalog.trimming.idempotency_keys(older_than=HOUR) == 1
    assert set(catalog_dataset.catalog.commits.known_keys(catalog_dataset.id, ["answered", "archived"])) == {"answered"}
    age(catalog_dataset.catalog, timedelta(days=3))
    assert trim(catalog_dataset.catalog, storage.storage, week).idempotency_keys == 1


def test_sessions_that_something_waits_for_stay(catalog_dataset: CatalogDataset) -> None:
    catalog = catalog_dataset.catalog
    sessions = [
        catalog.sessions.begin(catalog_dataset.id, "landing", holder=name, ttl=HOUR)
        for name in ("intent", "request", "file", "none")
    ]
    catalog.sessions.announce(sessions[0], ["weather/x"])
    catalog.ingestions.announce(
        catalog_dataset.id, sessions[1], NewIngestion(id="r", key=None, digest="d", outcome={}, actor="a")
    )
    catalog_dataset.session = sessions[2]
    catalog_dataset.land_file(catalog_dataset.observe("half", "1"), last=False)
    age(catalog, HALF_YEAR)
    alive = catalog.sessions.begin(catalog_dataset.id, "landing", holder="alive", ttl=HOUR)
    assert catalog.trimming.sessions(older_than=HOUR) == 2
    catalog.sessions.heartbeat(alive, ttl=HOUR)
    for kept in sessions[:3]:
        catalog.sessions.heartbeat(kept, ttl=HOUR)
    with pytest.raises(KeyError):
        catalog.sessions.heartbeat(sessions[3], ttl=HOUR)


def test_places_of_forgotten_http_sessions_go_and_no_others(catalog_dataset: CatalogDataset) -> None:
    catalog = catalog_dataset.catalog
    http = catalog.sources.ensure(catalog_dataset.id, "http", "weather")
    gone = catalog.sessions.begin(catalog_dataset.id, "landing", holder="gone", ttl=HOUR)
    for session in (gone, catalog_dataset.session):
        catalog.sources.partition(http.id, f"session-{session}")
    catalog.sources.partition(catalog_dataset.source.id, f"session-{gone}")
    catalog.sessions.end(gone)
    age(catalog, HALF_YEAR)
    catalog.sessions.heartbeat(catalog_dataset.session, ttl=HALF_YEAR * 2)
    assert catalog.trimming.source_partitions() == 0
    assert catalog.trimming.sessions(older_than=HOUR) == 1
    assert catalog.trimming.source_partitions() == 1
    assert rows(catalog, "source_partitions") == 2


def test_a_retraction_stays_as_long_as_a_version_needs_it(catalog_dataset: CatalogDataset, storage: SegmentStore) -> None:
    catalog_dataset.land_file(catalog_dataset.observe("a", "1"))
    catalog_dataset.land_file(catalog_dataset.observe("a", "2", replace=True))
    old = catalog_dataset.live()
    catalog_dataset.build(0, old, catalog_dataset.sealed(rows=10), retracted_rows=10, superseded_rows=0)
    catalog_dataset.catalog.sessions.end(catalog_dataset.session)
    _, pin = catalog_dataset.catalog.versions.pin(catalog_dataset.id, version=2, holder="reader", ttl=HOUR)
    assert catalog_dataset.catalog.trimming.retractions() == 0
    collect(catalog_dataset.catalog, storage.storage, intent_grace=HOUR, keep_versions=NOW)
    assert len(catalog_dataset.catalog.manifest.retracted(catalog_dataset.id, version=2)) == 1
    catalog_dataset.catalog.leases.release(pin)
    assert (
        collect(catalog_dataset.catalog, storage.storage, intent_grace=HOUR, keep_versions=NOW).trimmed.finished_retractions == 1
    )
    assert catalog_dataset.rows() == 10


def test_what_a_lease_holds_is_whole_for_every_reader_and_nothing_retracted_comes_back(
    catalog_dataset: CatalogDataset, storage: SegmentStore
) -> None:
    catalog_dataset.land_file(catalog_dataset.observe("a", "1"))
    catalog_dataset.land_file(catalog_dataset.observe("a", "2", replace=True))
    version, first = catalog_dataset.catalog.versions.pin(catalog_dataset.id, version=None, holder="reader", ttl=HOUR)
    rows_then, hidden = (
        catalog_dataset.names(version),
        catalog_dataset.catalog.manifest.retracted(catalog_dataset.id, version=version),
    )
    assert len(hidden) == 1
    catalog_dataset.build(0, catalog_dataset.live(), catalog_dataset.sealed(rows=10), retracted_rows=10, superseded_rows=0)
    for _ in range(2):  # what came and went after it may be collected, and takes the collected version past it
        catalog_dataset.build(0, catalog_dataset.live(), catalog_dataset.sealed(rows=10))
    catalog_dataset.catalog.sessions.end(catalog_dataset.session)
    collect(catalog_dataset.catalog, storage.storage, intent_grace=HOUR, keep_versions=NOW)
    with pytest.raises(RefusedError, match="has been collected"):
        catalog_dataset.catalog.versions.pin(catalog_dataset.id, version=version + 1, holder="too late", ttl=HOUR)
    again, second = catalog_dataset.catalog.versions.pin(catalog_dataset.id, version=version, holder="another reader", ttl=HOUR)
    catalog_dataset.catalog.leases.release(first)
    collect(catalog_dataset.catalog, storage.storage, intent_grace=HOUR, keep_versions=NOW)
    assert (
        again,
        catalog_dataset.names(version),
        catalog_dataset.catalog.manifest.retracted(catalog_dataset.id, version=version),
    ) == (
        version,
        rows_then,
        hidden,
    )
    catalog_dataset.catalog.leases.release(second)
    collect(catalog_dataset.catalog, storage.storage, intent_grace=HOUR, keep_versions=NOW)
    assert rows(catalog_dataset.catalog, "retractions") == 0
    with pytest.raises(RefusedError, match="has been collected"):
        catalog_dataset.catalog.versions.pin(catalog_dataset.id, version=version, holder="too late", ttl=HOUR)


def test_objects_of_replayed_dead_letters_go_with_their_rows(catalog_dataset: CatalogDataset, storage: SegmentStore) -> None:
    names = ["weather/replayed.dead", "weather/waiting.dead"]
    for name in names:
        staged = storage.store.staging("test") / "file"
        staged.write_bytes(b"x")
        storage.store.promote([Upload(staged=staged, name=name)])
    replayed(catalog_dataset, dead_letters(catalog_dataset, names[0]))
    dead_letters(catalog_dataset, names[1])
    age(catalog_dataset.catalog, timedelta(days=29))
    assert trim(catalog_dataset.catalog, storage.storage, LedgerAges()).settled_dead_letters == 0
    age(catalog_dataset.catalog, timedelta(days=2))
    assert trim(catalog_dataset.catalog, storage.storage, LedgerAges()).settled_dead_letters == 1
    assert [found.name for found in storage.store.list()] == names[1:]
    assert [file.name for _, file, _ in catalog_dataset.catalog.dead_letters.of(catalog_dataset.id, settled=True)] == names[1:]


def test_events_that_a_relay_holds_stay(catalog_dataset: CatalogDataset) -> None:
    catalog_dataset.catalog.files.settle(catalog_dataset.observe("a", "1").id, "quarantined", reason="one")
    catalog_dataset.catalog.files.settle(catalog_dataset.observe("b", "2").id, "quarantined", reason="two")
    age(catalog_dataset.catalog, HALF_YEAR)
    (held,) = catalog_dataset.catalog.outbox.claim(holder="relay", limit=1, ttl=HOUR)
    assert catalog_dataset.catalog.trimming.events(older_than=HOUR) == 1
    assert rows(catalog_dataset.catalog, "outbox") == 1
    catalog_dataset.catalog.outbox.delivered([held.id])
