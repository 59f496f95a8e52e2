"""A storage target belongs to one warehouse, and to its newest catalog: whoever else comes is refused, and nothing is lost."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.model.errors import CatalogReplacedError, OwnershipError
from timestore_assets.ownership.marks import OwnershipMark, put_mark, read_marks
from timestore_assets.ownership.target_claim import adopt, claim, confirm
from timestore_assets.storage.local import LocalStore
from timestore_assets.storage.object_store import ObjectStore
from timestore_assets.storage.targets import Storage
from timestore_assets.upkeep.collect import collect_orphans
from timestore_assets_tests.support.bucket_settings import remote_settings, remote_store
from timestore_assets_tests.support.object_servers import S3Server
from timestore_assets_tests.support.owned_targets import Backups, Owned, names, put

pytestmark = pytest.mark.xdist_group("s3")


@pytest.fixture(params=["sqlite", "postgresql"])
def backups(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backups]:
    if request.param == "sqlite":
        made = Backups(tmp_path, None, str(request.getfixturevalue("sqlite_template")))
    else:
        made = Backups(tmp_path, request.getfixturevalue("postgres"), request.getfixturevalue("postgres_template"))
    yield made
    made.close()


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "data", staging_root=tmp_path / "data" / ".staging")


@pytest.fixture
def bucket(s3_bucket: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    return remote_store(remote_settings(s3_bucket, tmp_path, monkeypatch, storage_root="some/where"))


def assert_refused(owned: Owned, match: str) -> None:
    """Landing, looking and collecting all refuse, and nothing has gone."""
    before = owned.names()
    with pytest.raises(OwnershipError, match=match):
        owned.land("refused")
    with pytest.raises(OwnershipError, match=match):
        confirm(owned.catalog, Storage.of(owned.store), "default")
    with pytest.raises(OwnershipError, match=match):
        owned.collect()
    with pytest.raises(OwnershipError, match=match):
        owned.collect(everything=True)
    assert owned.names() == before


def assert_strangers_are_refused(backups: Backups, store: ObjectStore) -> None:
    with Owned.at(backups.fresh(), store) as first:
        kept = {first.land("a"), first.land("b")}
        with Owned.at(backups.fresh(), store) as other:
            assert_refused(other, r"belongs to warehouse .*TIMESTORE_DATABASE_URL.*timestore storage adopt default")
        assert first.collect().orphaned_files == 0
        assert first.names() == kept


def test_another_catalog_is_refused(backups: Backups, store: LocalStore) -> None:
    assert_strangers_are_refused(backups, store)


def test_another_catalog_is_refused_in_a_bucket(backups: Backups, bucket: ObjectStore) -> None:
    assert_strangers_are_refused(backups, bucket)


def assert_older_is_refused_until_it_adopts(backups: Backups, store: ObjectStore) -> None:
    url = backups.fresh()
    with Owned.at(url, store) as owned:
        before = owned.land("before")
    backup = backups.copy(url)
    with Owned.at(url, store) as owned:
        after = owned.land("after")
    with Owned.at(backup, store) as restored:
        assert_refused(restored, r"older than what lies in .*restoring a backup.*timestore storage adopt default")
        report = adopt(restored.catalog, Storage.of(store), "default", actor="test")
        assert (report.known_files, report.unknown_files, report.missing_files) == (1, 1, 0)
        again = restored.land("again")
        withheld = restored.collect().withheld
        assert [(one.reason, one.files) for one in withheld] == [("younger", 1)]
        assert restored.names() == {before, after, again}
        assert restored.collect(everything=True).orphaned_files == 1
        assert restored.names() == {before, again}
    with Owned.at(url, store) as younger:
        assert_refused(younger, "older than what lies in")


def test_a_catalog_restored_from_a_backup_is_refused_until_it_adopts(backups: Backups, store: LocalStore) -> None:
    assert_older_is_refused_until_it_adopts(backups, store)


def test_a_catalog_restored_from_a_backup_is_refused_in_a_bucket(backups: Backups, bucket: ObjectStore) -> None:
    assert_older_is_refused_until_it_adopts(backups, bucket)


def test_a_new_catalog_is_refused_over_objects_without_a_mark(backups: Backups, store: LocalStore) -> None:
    put(store, "weather/of-an-earlier-version.parquet")
    with Owned.at(backups.fresh(), store) as other:
        with pytest.raises(OwnershipError, match=r"1 objects that .* does not know.*timestore storage adopt default"):
            other.land("refused")
        with pytest.raises(OwnershipError):
            other.collect()
    assert names(store) == {"weather/of-an-earlier-version.parquet"}
    assert read_marks(store) == []


def test_a_catalog_that_knows_what_lies_there_takes_it_over_in_silence(backups: Backups, store: LocalStore) -> None:
    """As after an update from a version without marks; a leftover among what is known does not matter."""
    url = backups.fresh()
    with Owned.at(url, store) as owned:
        known = {owned.land("a"), owned.land("b")}
        store.delete(mark.name for mark in read_marks(store))
        put(store, "weather/leftover.parquet")
    with Owned.at(url, store) as updated:
        known.add(updated.land("c"))
        assert updated.collect().orphaned_files == 1
        assert updated.names() == known


def test_an_empty_folder_in_place_of_the_target_is_refused(backups: Backups, store: LocalStore, tmp_path: Path) -> None:
    """As when a disk is not mounted."""
    with Owned.at(backups.fresh(), store) as owned:
        owned.land("a")
        owned.store = LocalStore(tmp_path / "unmounted", staging_root=tmp_path / "unmounted" / ".staging")
        with pytest.raises(OwnershipError, match=r"holds none of the 1 objects .*is it mounted"):
            owned.land("b")


def test_a_crash_between_the_catalog_and_the_mark_refuses_nobody(backups: Backups, store: LocalStore) -> None:
    with Owned.at(backups.fresh(), store) as owned:
        owned.catalog.identity.claimed("default")
        owned.catalog.identity.draw("default")  # and killed before the first mark
        owned.land("a")
        owned.catalog.identity.draw("default")  # and killed before a later one
        owned.land("b")
        confirm(owned.catalog, Storage.of(store), "default")


def test_an_adoption_that_was_broken_off_is_done_again(backups: Backups, store: LocalStore) -> None:
    with Owned.at(backups.fresh(), store) as first:
        first.land("a")
    with Owned.at(backups.fresh(), store) as other:
        mine = other.catalog.identity.claimed("default").warehouse
        put_mark(store, OwnershipMark(warehouse=mine, generation=7))  # and killed before the other's marks were removed
        with pytest.raises(OwnershipError, match="belongs to warehouse"):
            other.land("refused")
        report = adopt(other.catalog, Storage.of(store), "default", actor="test")
        assert report.generation > 7
        other.land("b")
    assert {mark.warehouse for mark in read_marks(store)} == {mine}


def test_processes_that_begin_side_by_side_are_never_refused(backups: Backups, store: LocalStore) -> None:
    url = backups.fresh()
    catalogs = [Catalog.open(url) for _ in range(4)]
    try:
        with ThreadPoolExecutor(4) as pool:
            for _ in range(5):
                list(pool.map(lambda catalog: claim(catalog, Storage.of(store), "default", afresh=True), catalogs))
    finally:
        for catalog in catalogs:
            catalog.close()
    marks = read_marks(store)
    assert len({mark.warehouse for mark in marks}) == 1
    assert marks[-1].generation == 20
    assert len(marks) < 10, "older marks are removed"
    assert names(store) == set()


def test_a_process_looks_once_and_then_relies_on_it_for_a_while(backups: Backups, store: LocalStore) -> None:
    storage = Storage.of(store)
    with Owned.at(backups.fresh(), store) as owned:
        for _ in range(3):
            claim(owned.catalog, storage, "default")
        assert [mark.generation for mark in read_marks(store)] == [1]


def test_the_collector_keeps_unknown_files_that_outnumber_the_known_ones(backups: Backups, store: LocalStore) -> None:
    with Owned.at(backups.fresh(), store) as owned:
        known = owned.land("a")
        strays = {f"weather/stray-{n}.parquet" for n in range(3)}
        for name in strays:
            put(store, name)
        report = owned.collect()
        assert [(one.reason, one.files, one.known_files) for one in report.withheld] == [("more_than_known", 3, 1)]
        assert owned.names() == {known, *strays}
        assert owned.collect(everything=True).orphaned_files == 3
        assert owned.names() == {known}


def test_the_collector_keeps_unknown_files_that_outweigh_the_known_ones(backups: Backups, store: LocalStore) -> None:
    with Owned.at(backups.fresh(), store) as owned:
        owned.land("a")
        owned.land("b")
        put(store, "weather/large.parquet", b"x" * 10_000)
        assert [one.reason for one in owned.collect().withheld] == ["more_than_known"]


def test_the_collector_keeps_files_that_are_younger_than_all_that_the_catalog_knows(backups: Backups, store: LocalStore) -> None:
    with Owned.at(backups.fresh(), store) as owned:
        known = {owned.land("a"), owned.land("b")}
        newest = owned.catalog.identity.newest()
        assert newest is not None
        for name, age in (("leftover", -60), ("younger", 3600)):
            put(store, f"weather/{name}.parquet")
            moment = newest.timestamp() + age
            os.utime(store.local_path(f"weather/{name}.parquet"), (moment, moment))
        later = datetime.now(UTC) + timedelta(days=1)
        report = collect_orphans(owned.catalog, Storage.of(store), "default", before=later)
        assert (report.files, report.withheld and report.withheld.files) == (1, 1)
        assert owned.names() == {*known, "weather/younger.parquet"}


def test_a_catalog_that_is_set_back_under_a_process_is_noticed(backups: Backups, store: LocalStore) -> None:
    url = backups.fresh()
    with Owned.at(url, store) as owned:
        owned.land("a")
        with closing(Catalog.open(url)) as other:
            _set_back(other)
        with pytest.raises(CatalogReplacedError, match="set back to an older state"):
            owned.land("b")
        with pytest.raises(CatalogReplacedError):
            owned.catalog.datasets.all()


def _set_back(catalog: Catalog) -> None:
    catalog.database.write(lambda connection: connection.execute(text("UPDATE warehouse SET generation = 0")))
