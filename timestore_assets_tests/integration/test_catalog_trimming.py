"""The catalog in its third year is as small as in its first, and what makes landing exactly once is never forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select

from timestore_assets.catalog.records import Counters, DeadLetterFile, IdempotencyKey, NewIngestion, SourcePartition
from timestore_assets.catalog.sql import SqlCatalog
from timestore_assets.catalog.tables import metadata
from timestore_assets.model.errors import ConflictError
from timestore_assets.storage.port import Upload
from timestore_assets.upkeep.collect import collect
from timestore_assets.upkeep.ledgers import LedgerAges, TrimReport, trim
from timestore_assets_tests.catalog_ground import HOUR, Ground
from timestore_assets_tests.storage_ground import StorageGround, storage_ground

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
def storage(tmp_path: Path) -> Iterator[StorageGround]:
    with storage_ground(tmp_path) as made:
        yield made


def age(catalog: SqlCatalog, by: timedelta) -> None:
    """Let time pass: every moment in the catalog becomes that much earlier."""
    micros = by // timedelta(microseconds=1)
    with catalog._database.engine.connect() as connection, connection.begin():
        for table in metadata.sorted_tables:
            moved = {name: table.c[name] - micros for name in TIMES & set(table.c.keys())}
            if table.name == "landed_rows":
                moved = {"second": table.c.second - micros // 1_000_000}
            if moved:
                connection.execute(table.update().values(moved))


def sizes(catalog: SqlCatalog) -> dict[str, int]:
    with catalog._database.engine.connect() as connection:
        counts = {table.name: select(func.count()).select_from(table) for table in metadata.sorted_tables}
        return {name: connection.execute(counted).scalar_one() for name, counted in counts.items()}


def rows(catalog: SqlCatalog, table: str) -> int:
    return sizes(catalog)[table]


def dead_letters(ground: Ground, name: str) -> int:
    """A committed dead-letter file of five records; its id."""
    ground.catalog.announce(ground.session, [name])
    file = DeadLetterFile(name=name, rows=5, bytes=100, reasons={"bad_value": 5})
    segment = ground.segment(rows=5)
    batch = ground.batch(ground.source_partition(f"dead-{name}"), segment, rows=10)
    ground.catalog.commit_landing(replace(batch, dead_letter_files=(file,), intents=(segment.name, name)))
    return max(found.id for _, found, _ in ground.catalog.dead_letter_files(ground.id))


def replayed(ground: Ground, dead_letter_id: int) -> None:
    """Its records land after all."""
    segment = ground.segment(rows=5)
    batch = ground.batch(ground.source_partition(), segment)
    moved = Counters(landed=5, dead_letters=-5)
    ground.catalog.commit_landing(replace(batch, spans=(), counters=moved, replays=(dead_letter_id,)))


def half_a_year(ground: Ground, number: int) -> None:
    """Something of everything that leaves rows behind."""
    catalog, name = ground.catalog, f"h{number}"
    ground.session = catalog.begin_session(ground.id, "landing", holder="test", ttl=HOUR)
    keyed = NewIngestion(id=name, key=name, digest="d", outcome={}, actor="token:a")
    ground.land(name, ingestions=(keyed,), idempotency_keys=(IdempotencyKey(key=name, digest="d"),))
    ground.land_file(ground.observe("changing", f"{name}a", replace=True))
    ground.land_file(ground.observe("changing", f"{name}b", replace=True))
    replayed(ground, dead_letters(ground, f"weather/{name}.dead"))
    lose_some(ground, number)
    catalog.pin(ground.id, version=None, holder="a query that died", ttl=-HOUR)
    catalog.announce(ground.session, [f"weather/{name}.unfinished"])
    everything = ground.live()
    ground.build(0, everything, ground.sealed(rows=10), retracted_rows=0)
    catalog.end_session(ground.session)


def lose_some(ground: Ground, number: int) -> None:
    catalog = ground.catalog
    source = catalog.source(ground.id, "kafka", "weather")
    (one,) = catalog.open_topic(source.id, cluster_id="c", topic="weather", epoch=1, topic_id="t", starts={0: 0})
    catalog.claim(ground.session, [one.id])
    at = catalog.checkpoints([one.id])[one.id].offset
    catalog.lose(one.id, start=at, end=at + 5, reason="gone", session_id=ground.session, skip=True, actor="test")


def test_after_three_years_it_is_as_small_as_after_one(ground: Ground, storage: StorageGround) -> None:
    seen = []
    for number in range(6):
        half_a_year(ground, number)
        age(ground.catalog, HALF_YEAR)
        collect(ground.catalog, storage.storage, intent_grace=HOUR, keep_versions=timedelta(days=7))
        seen.append(sizes(ground.catalog))
    grown = {name for name in seen[1] if seen[5][name] > seen[1][name]}
    assert grown <= FOR_EVER, {name: [size[name] for size in seen] for name in grown}
    assert {
        seen[5][name] for name in ("sessions", "intents", "leases", "outbox", "ingestions", "lost_offsets", "landed_rows")
    } == {0}
    assert {row["action"] for row in ground.catalog.audit(limit=1000)}.isdisjoint({"landed", "built"})


def test_trimming_goes_in_short_steps(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("timestore_assets.catalog.trimming.AT_ONCE", 2)
    for _ in range(5):
        ground.catalog.end_session(ground.catalog.begin_session(ground.id, "landing", holder="x", ttl=HOUR))
        ground.land()
    age(ground.catalog, HALF_YEAR)
    assert ground.catalog.trimming.audit(older_than=HOUR) == 5
    assert ground.catalog.trimming.sessions(older_than=HOUR) == 6
    assert [row["action"] for row in ground.catalog.audit()] == ["dataset_registered"]


def test_nothing_of_the_last_hour_goes_whatever_is_asked_for(ground: Ground, storage: StorageGround) -> None:
    half_a_year(ground, 0)
    before = sizes(ground.catalog)
    report = trim(ground.catalog, storage.storage, LedgerAges(audit=NOW, ingestions=HOUR, settled=-HALF_YEAR, keys=-HALF_YEAR))
    assert report == TrimReport()
    assert sizes(ground.catalog) == before


def test_a_content_is_a_duplicate_for_ever(ground: Ground, storage: StorageGround) -> None:
    ground.land_file(ground.observe("a", "1"))
    ground.catalog.end_session(ground.session)
    age(ground.catalog, 6 * HALF_YEAR)
    assert trim(ground.catalog, storage.storage, LedgerAges(keys=HOUR)).sessions == 1
    assert ground.observe("b", "1").state == "duplicate"
    assert ground.observe("a", "1").state == "landed"


def test_a_checkpoint_stays_whatever_has_gone_around_it(ground: Ground, storage: StorageGround) -> None:
    ground.land("a")
    position = ground.source_partition("a").position
    ground.catalog.end_session(ground.session)
    age(ground.catalog, 6 * HALF_YEAR)
    trim(ground.catalog, storage.storage, LedgerAges(keys=HOUR))
    assert ground.source_partition("a").position == position
    ground.session = ground.catalog.begin_session(ground.id, "landing", holder="again", ttl=HOUR)
    behind = SourcePartition(
        id=ground.source_partition("a").id, source_id=ground.source.id, name="a", position=replace(position, offset=0)
    )
    with pytest.raises(ConflictError):
        ground.catalog.commit_landing(ground.batch(behind, ground.segment()))


def test_keys_stay_for_ever_unless_a_time_is_set_and_never_less_than_their_answers(
    ground: Ground, storage: StorageGround
) -> None:
    answered = NewIngestion(id="one", key="answered", digest="d", outcome={}, actor="a")
    keys = tuple(IdempotencyKey(key=key, digest="d") for key in ("answered", "archived"))
    ground.land("a", ingestions=(answered,), idempotency_keys=keys)
    age(ground.catalog, timedelta(days=5))
    week = LedgerAges(keys=timedelta(days=2))
    assert trim(ground.catalog, storage.storage, LedgerAges()).idempotency_keys == 0
    assert trim(ground.catalog, storage.storage, week).idempotency_keys == 0, "answers are kept for a week"
    assert ground.catalog.trimming.idempotency_keys(older_than=HOUR) == 1
    assert set(ground.catalog.known_keys(ground.id, ["answered", "archived"])) == {"answered"}
    age(ground.catalog, timedelta(days=3))
    assert trim(ground.catalog, storage.storage, week).idempotency_keys == 1


def test_sessions_that_something_waits_for_stay(ground: Ground) -> None:
    catalog = ground.catalog
    sessions = [
        catalog.begin_session(ground.id, "landing", holder=name, ttl=HOUR) for name in ("intent", "request", "file", "none")
    ]
    catalog.announce(sessions[0], ["weather/x"])
    catalog.ingestions.announce(ground.id, sessions[1], NewIngestion(id="r", key=None, digest="d", outcome={}, actor="a"))
    ground.session = sessions[2]
    ground.land_file(ground.observe("half", "1"), last=False)
    age(catalog, HALF_YEAR)
    alive = catalog.begin_session(ground.id, "landing", holder="alive", ttl=HOUR)
    assert catalog.trimming.sessions(older_than=HOUR) == 2
    catalog.heartbeat(alive, ttl=HOUR)
    for kept in sessions[:3]:
        catalog.heartbeat(kept, ttl=HOUR)
    with pytest.raises(KeyError):
        catalog.heartbeat(sessions[3], ttl=HOUR)


def test_places_of_forgotten_http_sessions_go_and_no_others(ground: Ground) -> None:
    catalog = ground.catalog
    http = catalog.source(ground.id, "http", "weather")
    gone = catalog.begin_session(ground.id, "landing", holder="gone", ttl=HOUR)
    for session in (gone, ground.session):
        catalog.source_partition(http.id, f"session-{session}")
    catalog.source_partition(ground.source.id, f"session-{gone}")
    catalog.end_session(gone)
    age(catalog, HALF_YEAR)
    catalog.heartbeat(ground.session, ttl=HALF_YEAR * 2)
    assert catalog.trimming.source_partitions() == 0
    assert catalog.trimming.sessions(older_than=HOUR) == 1
    assert catalog.trimming.source_partitions() == 1
    assert rows(catalog, "source_partitions") == 2


def test_a_retraction_stays_as_long_as_a_version_needs_it(ground: Ground, storage: StorageGround) -> None:
    ground.land_file(ground.observe("a", "1"))
    ground.land_file(ground.observe("a", "2", replace=True))
    old = ground.live()
    ground.build(0, old, ground.sealed(rows=10), retracted_rows=10, superseded_rows=0)
    ground.catalog.end_session(ground.session)
    _, pin = ground.catalog.pin(ground.id, version=2, holder="reader", ttl=HOUR)
    assert ground.catalog.trimming.retractions() == 0
    collect(ground.catalog, storage.storage, intent_grace=HOUR, keep_versions=NOW)
    assert len(ground.catalog.retracted(ground.id, version=2)) == 1
    ground.catalog.release(pin)
    assert collect(ground.catalog, storage.storage, intent_grace=HOUR, keep_versions=NOW).trimmed.finished_retractions == 1
    assert ground.rows() == 10


def test_objects_of_replayed_dead_letters_go_with_their_rows(ground: Ground, storage: StorageGround) -> None:
    names = ["weather/replayed.dead", "weather/waiting.dead"]
    for name in names:
        staged = storage.store.staging("test") / "file"
        staged.write_bytes(b"x")
        storage.store.promote([Upload(staged=staged, name=name)])
    replayed(ground, dead_letters(ground, names[0]))
    dead_letters(ground, names[1])
    age(ground.catalog, timedelta(days=29))
    assert trim(ground.catalog, storage.storage, LedgerAges()).settled_dead_letters == 0
    age(ground.catalog, timedelta(days=2))
    assert trim(ground.catalog, storage.storage, LedgerAges()).settled_dead_letters == 1
    assert [found.name for found in storage.store.list()] == names[1:]
    assert [file.name for _, file, _ in ground.catalog.dead_letter_files(ground.id, settled=True)] == names[1:]


def test_events_that_a_relay_holds_stay(ground: Ground) -> None:
    ground.catalog.settle_file(ground.observe("a", "1").id, "quarantined", reason="one")
    ground.catalog.settle_file(ground.observe("b", "2").id, "quarantined", reason="two")
    age(ground.catalog, HALF_YEAR)
    (held,) = ground.catalog.claim_events(holder="relay", limit=1, ttl=HOUR)
    assert ground.catalog.trimming.events(older_than=HOUR) == 1
    assert rows(ground.catalog, "outbox") == 1
    ground.catalog.delivered([held.id])
