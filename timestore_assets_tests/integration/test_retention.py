"""Partitions expire, each in one transaction, and move to their tier; nobody is disturbed, and nothing is counted twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from timestore_assets.building.builder import Builder
from timestore_assets.catalog.instants import to_micros
from timestore_assets.catalog.tables import leases, tags
from timestore_assets.landing.dead_letters.replay import Replayer
from timestore_assets.model.dataset import Dedupe, FileSource
from timestore_assets.model.errors import ConflictError, RefusedError
from timestore_assets.model.retention import Retention, Tier
from timestore_assets.model.window import Partition, Window
from timestore_assets.segments import publishing
from timestore_assets.storage.local import LocalStore
from timestore_assets.storage.targets import Storage
from timestore_assets.upkeep.collect import collect
from timestore_assets.upkeep.expiring import RetentionReport, apply_retention, kept_versions, retention_of, would_do
from timestore_assets.upkeep.verify import verify
from timestore_assets_tests.support.landing_warehouse import LandingWarehouse, dataset

pytestmark = pytest.mark.slow

DAY = timedelta(days=1)
NOW = datetime(2013, 1, 11, tzinfo=UTC)
DAYS = [f"2013-01-{day:02}" for day in range(1, 11)]
NONE = timedelta(0)


@pytest.fixture
def warehouse(tmp_path: Path, catalog_url: str) -> Iterator[LandingWarehouse]:
    """Ten days of two rows each."""
    made = LandingWarehouse.at(
        tmp_path, dataset(retention=Retention(max_age=7 * DAY), sources=(FileSource(prefix="inbox"),)), url=catalog_url
    )
    made.land_one("days.csv", "ts,station,temp\n" + "".join(f"{day}T0{hour}:00,JFK,{hour}\n" for day in DAYS for hour in (1, 2)))
    yield made
    made.catalog.close()


def run(warehouse: LandingWarehouse, retention: Retention | None = None, *, storage: Storage | None = None) -> RetentionReport:
    catalog, record = warehouse.catalog, warehouse.record
    if retention is not None:
        catalog.policies.put(record.id, "retention", retention.to_policy(), actor="test")
    return apply_retention(catalog, storage or warehouse.storage, record, now=NOW, holder="test", actor="test")


def day(number: int) -> Partition:
    return Window.DAY.partition(datetime(2013, 1, number, tzinfo=UTC))


def states(warehouse: LandingWarehouse) -> dict[str, str]:
    return {one.partition.key: one.state for one in warehouse.catalog.partitions.of(warehouse.record.id)}


def hold(warehouse: LandingWarehouse, name: str = "lawsuit", *, legal: bool = True) -> int:
    """A tag on the newest version, as the command makes it."""
    record, version = warehouse.record, warehouse.record.manifest_version
    row = {"dataset_id": record.id, "name": name, "version": version, "is_legal_hold": legal, "note": "", "actor": "t", "at": 0}
    ever = to_micros(datetime(9000, 1, 1, tzinfo=UTC))
    lease = {"resource": f"tag:{record.id}:{name}", "holder": "tag", "expires_at": ever, "dataset_id": record.id}
    warehouse.catalog.database.write(lambda c: c.execute(tags.insert(), row))
    warehouse.catalog.database.write(lambda c: c.execute(leases.insert(), {**lease, "version": version}))
    return version


def test_a_look_changes_nothing(warehouse: LandingWarehouse) -> None:
    before = warehouse.record
    report = would_do(warehouse.catalog, before, now=NOW)
    assert [one.partition for one in report.expired] == DAYS[:3]
    assert (report.dry_run, warehouse.record, len(warehouse.rows())) == (True, before, 20)


def test_old_partitions_leave_the_manifest_and_their_files_stay(warehouse: LandingWarehouse) -> None:
    before, objects = warehouse.record.manifest_version, warehouse.objects()
    report = run(warehouse)
    assert [(one.partition, one.rows, one.segments) for one in report.expired] == [(key, 2, 1) for key in DAYS[:3]]
    assert states(warehouse) == {key: "expired" if key in DAYS[:3] else "open" for key in DAYS}
    assert (len(warehouse.rows()), warehouse.objects()) == (14, objects)
    old = warehouse.catalog.manifest.segments(warehouse.record.id, version=before)
    assert sum(segment.rows for segment in old) == 20, "an old version is whole"
    assert warehouse.record.manifest_version == before + 3, "a version for each partition"
    assert not run(warehouse).changed


def test_it_is_audited_and_dagster_is_told_in_the_same_transaction(warehouse: LandingWarehouse) -> None:
    run(warehouse)
    audited = [row for row in warehouse.catalog.audit.newest() if row["action"] == "partition_expired"]
    assert [row["details"]["partition"] for row in audited] == DAYS[2::-1]
    assert audited[0]["details"]["reason"] == "max_age: it ended 7 days ago and is kept for 1w"
    events = [
        event.payload for event in warehouse.catalog.outbox.claim(holder="test", limit=20, ttl=DAY) if "rows" in event.payload
    ]
    assert [(event["partition"], event["rows"], event["manifest_version"]) for event in events] == [
        (key, 2, warehouse.record.manifest_version - 2 + number) for number, key in enumerate(DAYS[:3])
    ]


def test_files_go_after_the_time_that_old_versions_are_kept(warehouse: LandingWarehouse) -> None:
    run(warehouse, Retention(max_age=7 * DAY, keep_versions=DAY))
    catalog, storage = warehouse.catalog, warehouse.storage
    own = kept_versions(catalog)
    assert own == {warehouse.record.id: DAY}
    everything = collect(catalog, storage, intent_grace=NONE, keep_versions=NONE, keep_versions_of=own)
    assert everything.superseded_segments == 0, "the dataset's own time counts"
    catalog.policies.put(warehouse.record.id, "retention", Retention(keep_versions=NONE).to_policy(), actor="test")
    own = kept_versions(catalog)
    assert collect(catalog, storage, intent_grace=NONE, keep_versions=DAY, keep_versions_of=own).superseded_segments == 3
    assert len(warehouse.objects()) == 7
    assert verify(catalog, storage, warehouse.limits, warehouse.record).ok


def test_a_reader_keeps_what_has_expired(warehouse: LandingWarehouse) -> None:
    catalog = warehouse.catalog
    version, lease = catalog.versions.pin(warehouse.record.id, version=None, holder="reader", ttl=DAY)
    run(warehouse)
    warehouse.collect()
    assert len(warehouse.objects()) == 10
    assert len(catalog.manifest.segments(warehouse.record.id, version=version)) == 10
    catalog.leases.release(lease)
    warehouse.collect()
    assert len(warehouse.objects()) == 7


def test_rows_for_an_expired_partition_are_refused_and_counted(warehouse: LandingWarehouse) -> None:
    run(warehouse)
    report = warehouse.land_one("late.csv", "ts,station,temp\n2013-01-02T05:00,JFK,1\n2013-01-05T05:00,JFK,1\n")
    assert (report.counters.landed, report.counters.dead_letters, report.counters.balanced) == (1, 1, True)
    (letter,) = warehouse.letters()
    assert (letter.code, letter.column) == ("expired", "ts")
    assert "2013-01-02" in letter.reason
    assert "lies in a partition that has expired" in letter.reason
    assert states(warehouse)["2013-01-02"] == "expired"


def test_a_session_that_judged_before_it_expired_judges_again(
    warehouse: LandingWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit refuses what has expired since, so the row is counted once, as a dead letter."""
    real, expired = publishing.publish, []

    def publish(*arguments: Any, **options: Any) -> int:
        if not expired:
            expired.append(warehouse.catalog.expiry.expire(warehouse.record.id, day(2), reason="test", actor="test"))
        return real(*arguments, **options)

    monkeypatch.setattr("timestore_assets.landing.committing.batch_commit.publish", publish)
    report = warehouse.land_one("late.csv", "ts,station,temp\n2013-01-02T05:00,JFK,1\n2013-01-05T05:00,JFK,1\n")
    assert expired != [None]
    assert (report.counters.landed, report.counters.dead_letters) == (1, 1)
    assert warehouse.codes() == ["expired"]


def test_a_replay_does_not_bring_it_back_until_it_is_opened_again(warehouse: LandingWarehouse) -> None:
    run(warehouse)
    warehouse.land_one("late.csv", "ts,station,temp\n2013-01-02T05:00,JFK,1\n")
    replay = Replayer(warehouse.context)
    assert replay.replay(warehouse.dataset, actor="test").reasons == {"expired": 1}
    assert warehouse.catalog.expiry.reopen(warehouse.record.id, day(2), actor="test")
    assert not warehouse.catalog.expiry.reopen(warehouse.record.id, day(2), actor="test"), "it is open already"
    assert replay.replay(warehouse.dataset, actor="test").landed == 1
    assert states(warehouse)["2013-01-02"] == "open"
    assert warehouse.counters().balanced


def test_builds_leave_it_alone_and_one_under_way_commits_nothing(
    warehouse: LandingWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, catalog, record = publishing.publish, warehouse.catalog, warehouse.record

    def publish(*arguments: Any, **options: Any) -> int:
        catalog.expiry.expire(record.id, day(2), reason="test", actor="test")
        return real(*arguments, **options)

    monkeypatch.setattr("timestore_assets.building.builder.publish", publish)
    catalog.partitions.request_builds(record.id, [day(2)], reason="test")
    with Builder(warehouse.context) as builder:
        report = builder.build(warehouse.dataset, day(2), close=True, actor="test")
        assert (report.state, report.outcome, report.rows) == ("expired", "empty", 0)
        monkeypatch.undo()
        assert builder.build(warehouse.dataset, day(2), close=True, actor="test").state == "expired"
    assert catalog.partitions.requested_builds(record.id) == {}
    assert len(warehouse.rows()) == 18


def test_a_sealed_partition_expires_whole(warehouse: LandingWarehouse) -> None:
    keyed = replace(warehouse.dataset, dedupe=Dedupe(keys=("ts", "station"), keep="last"))
    with Builder(warehouse.context) as builder:
        builder.build(keyed, day(1), close=True, actor="test")
    warehouse.land_one("more.csv", "ts,station,temp\n2013-01-01T09:00,JFK,1\n")
    assert states(warehouse)["2013-01-01"] == "stale"
    assert run(warehouse).expired[0].rows == 3
    found = warehouse.catalog.partitions.find(warehouse.record.id, day(1))
    assert found is not None
    assert (found.state, found.content_hash, found.segments, found.retracted) == ("expired", None, 0, False)


def test_a_legal_hold_keeps_what_its_version_shows(warehouse: LandingWarehouse) -> None:
    hold(warehouse)
    warehouse.land_one("new.csv", "ts,station,temp\n2013-01-01T09:00,JFK,1\n")
    report = run(warehouse)
    assert (report.expired, [(one.partition, one.held_by) for one in report.held]) == (
        (),
        [(key, ("lawsuit",)) for key in DAYS[:3]],
    )
    with pytest.raises(RefusedError, match="kept by the legal hold 'lawsuit'"):
        warehouse.catalog.expiry.expire(warehouse.record.id, day(1), reason="test", actor="test")
    assert len(warehouse.rows()) == 21


def test_a_tag_keeps_the_files_of_its_version_and_not_the_partition(warehouse: LandingWarehouse) -> None:
    version = hold(warehouse, "release", legal=False)
    assert len(run(warehouse).expired) == 3
    warehouse.collect()
    assert sum(segment.rows for segment in warehouse.catalog.manifest.segments(warehouse.record.id, version=version)) == 20
    assert len(warehouse.objects()) == 10


def test_max_bytes_lets_the_oldest_go(warehouse: LandingWarehouse) -> None:
    size = sum(one.bytes for one in warehouse.catalog.partitions.of(warehouse.record.id))
    report = run(warehouse, Retention(max_bytes=size // 2))
    assert [one.partition for one in report.expired] == DAYS[: len(report.expired)]
    assert 4 <= len(report.expired) <= 6
    assert sum(one.bytes for one in warehouse.catalog.partitions.of(warehouse.record.id)) <= size // 2


def test_old_partitions_move_to_their_tier_beside_a_reader(warehouse: LandingWarehouse, tmp_path: Path) -> None:
    cold = LocalStore(tmp_path / "cold", staging_root=tmp_path / "cold" / ".staging")
    storage = Storage({"default": lambda: warehouse.store, "cold": lambda: cold})
    catalog, record = warehouse.catalog, warehouse.record
    before = warehouse.rows()
    version = record.manifest_version
    report = run(warehouse, Retention(tier=(Tier(after=7 * DAY, to="cold"),)), storage=storage)
    assert [(one.partition, one.target, one.objects) for one in report.moved] == [(key, "cold", 1) for key in DAYS[:3]]
    assert warehouse.record.manifest_version == version, "what is there did not change"
    assert {segment.storage for segment in catalog.manifest.segments(record.id, partition=day(1))} == {"cold"}
    assert {segment.storage for segment in catalog.manifest.segments(record.id, partition=day(4))} == {"default"}
    assert (warehouse.record.storage, len(list(cold.list())), len(before)) == ("default", 3, 20)
    assert verify(catalog, storage, warehouse.limits, warehouse.record).ok
    assert not run(warehouse, storage=storage).changed
    collect(catalog, storage, intent_grace=NONE, keep_versions=DAY)
    assert len(list(warehouse.store.list())) == 7
    assert verify(catalog, storage, warehouse.limits, warehouse.record).ok


def test_what_was_set_can_be_taken_back(warehouse: LandingWarehouse) -> None:
    catalog, record = warehouse.catalog, warehouse.record
    set_to = catalog.policies.put(record.id, "retention", Retention().to_policy(), actor="test")
    assert retention_of(catalog, record) == Retention()
    unset = catalog.policies.put(record.id, "retention", None, actor="test", if_version=set_to.version)
    assert (unset.value, unset.version) == (None, 2)
    assert retention_of(catalog, record) == Retention(max_age=7 * DAY)
    assert catalog.audit.newest(limit=1)[0]["action"] == "retention_unset"
    with pytest.raises(ConflictError):
        catalog.policies.put(record.id, "retention", {}, actor="test", if_version=1)
