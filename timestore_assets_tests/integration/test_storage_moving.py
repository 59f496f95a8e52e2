"""Moving a dataset to another storage target: nothing is lost, nobody is disturbed, and it can be cut off anywhere."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.records import DatasetRecord, DeadLetterFile
from timestore_assets.landing.committing import batch_judge
from timestore_assets.model.errors import ConflictError, InputError, MissingObjectError
from timestore_assets.segments.reader import opened
from timestore_assets.storage.local import LocalStore
from timestore_assets.storage.object_store import Upload
from timestore_assets.storage.targets import Storage
from timestore_assets.upkeep import move_dataset
from timestore_assets.upkeep.collect import collect
from timestore_assets.upkeep.move_dataset import MoveReport, move, plan_move
from timestore_assets.upkeep.verify import verify
from timestore_assets_tests.support.catalog_dataset import day
from timestore_assets_tests.support.http_service import service
from timestore_assets_tests.support.segment_store import segment_store
from timestore_assets_tests.support.upkeep_warehouse import UpkeepWarehouse


class Moved:
    """A dataset in the target `default` of a catalog that has `archive` too."""

    def __init__(self, upkeep_warehouse: UpkeepWarehouse, folder: Path) -> None:
        self.ground, self.catalog = upkeep_warehouse, upkeep_warehouse.catalog
        self.archive = LocalStore(folder / "archive", staging_root=folder / "archive" / ".staging")
        self.storage = Storage({"default": lambda: upkeep_warehouse.store, "archive": lambda: self.archive})

    def move(self, target: str = "archive") -> MoveReport:
        return move(self.catalog, self.storage, self.record, target, holder="test", actor="tester")

    @property
    def record(self) -> DatasetRecord:
        found = self.catalog.datasets.find("weather")
        assert found is not None
        return found

    def collect(self, grace: timedelta = timedelta(0)) -> None:
        collect(self.catalog, self.storage, intent_grace=grace, keep_versions=timedelta(days=1))

    def rows(self) -> int:
        live = self.catalog.manifest.segments(self.ground.ground.id)
        schema = self.record.schema
        with opened(self.ground.written.con, live, storage=self.storage, schema=schema, schema_of=lambda _: schema) as source:
            [[found]] = self.ground.written.con.execute(f"SELECT count(*) FROM {source}").fetchall()
        return int(found)

    def names(self, store: LocalStore) -> list[str]:
        return [found.name for found in store.list()]


@pytest.fixture
def moved(tmp_path: Path, sqlite_catalog_url: str) -> Iterator[Moved]:
    catalog = Catalog.open(sqlite_catalog_url)
    with segment_store(tmp_path) as storage:
        upkeep_warehouse = UpkeepWarehouse(catalog, storage)
        for number in range(3):
            upkeep_warehouse.land(number, 10)
        upkeep_warehouse.seal(1)
        yield Moved(upkeep_warehouse, tmp_path)
    catalog.close()


def test_everything_moves_and_the_content_stays(moved: Moved) -> None:
    version = moved.catalog.manifest.version(moved.ground.ground.id)
    held = moved.catalog.moving.held(moved.ground.ground.id)
    report = moved.move()
    assert (report.objects, report.bytes, report.gone) == (4, held["default"].bytes, 0)
    assert moved.catalog.moving.held(moved.ground.ground.id) == {"archive": held["default"]}
    assert moved.rows() == 30
    assert moved.catalog.manifest.version(moved.ground.ground.id) == version
    assert verify(moved.catalog, moved.storage, moved.ground.limits, moved.record).ok
    assert moved.record.storage == "archive"
    [audited] = [row for row in moved.catalog.audit.newest() if row["action"] == "objects_moved"]
    size = held["default"].bytes
    assert audited["details"] == {"to": "archive", "from": {"default": {"objects": 4, "bytes": size}}}
    assert audited["actor"] == "tester"


def test_a_dry_run_says_what_would_move_and_changes_nothing(moved: Moved) -> None:
    plan = plan_move(moved.catalog, moved.storage, moved.record, "archive")
    assert (plan.objects, plan.new_objects_go_to) == (4, "default")
    assert plan.held == moved.catalog.moving.held(moved.ground.ground.id)
    assert moved.names(moved.archive) == []
    with pytest.raises(InputError, match="no storage target is named 'nowhere'"):
        plan_move(moved.catalog, moved.storage, moved.record, "nowhere")


def test_old_copies_stay_for_readers_and_are_collected_later(moved: Moved) -> None:
    before = moved.catalog.manifest.segments(moved.ground.ground.id)
    for path in moved.ground.store.root.rglob("*.parquet"):
        os.utime(path, (0, 0))
    moved.move()
    moved.collect(grace=timedelta(hours=1))
    assert len(moved.names(moved.ground.store)) == 4
    with moved.storage.reading(before) as paths:
        assert all(path.is_file() for path in paths)
    moved.collect()
    assert moved.names(moved.ground.store) == []
    assert len(moved.names(moved.archive)) == 4
    assert moved.rows() == 30


def test_there_and_back_again_while_the_collector_runs(moved: Moved) -> None:
    for target in ("archive", "default", "archive", "default"):
        moved.move(target)
        moved.collect()
        assert moved.rows() == 30
    assert moved.names(moved.archive) == []
    assert len(moved.names(moved.ground.store)) == 4
    assert all(name.count(".moved-") == 1 for name in moved.names(moved.ground.store))


def test_moving_again_finds_nothing_to_do(moved: Moved) -> None:
    moved.move()
    assert moved.move() == MoveReport(dataset="weather", target="archive")


@pytest.mark.parametrize("step", ["announce", "promote", "switch"])
def test_cut_off_anywhere_it_goes_on(moved: Moved, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    monkeypatch.setattr(move_dataset, "BATCH_OBJECTS", 2)
    owner = {"announce": moved.catalog.sessions, "promote": moved.archive, "switch": moved.catalog.moving}[step]
    work, calls = getattr(owner, step), []

    def cut_off(*arguments: object, **options: object) -> object:
        calls.append(step)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return work(*arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(owner, step, cut_off)
        with pytest.raises(KeyboardInterrupt):
            moved.move()
    assert moved.rows() == 30
    moved.move()
    moved.collect()
    assert moved.rows() == 30
    assert moved.names(moved.ground.store) == []
    assert len(moved.names(moved.archive)) == 4


def test_a_build_under_way_is_not_disturbed(moved: Moved) -> None:
    planned = [one for one in moved.ground.ground.live() if one.partition_start == day(0).start]
    moved.move()
    sealed = moved.ground.segment(0, 10)
    moved.ground.ground.build(0, planned, sealed, content_hash="0" * 32)
    assert moved.rows() == 30
    assert [one.storage for one in moved.ground.ground.live()] == ["default", "archive", "archive"]


def test_a_switch_leaves_alone_what_has_changed_meanwhile(moved: Moved) -> None:
    catalog, dataset = moved.catalog, moved.ground.ground.id
    session = catalog.sessions.begin(dataset, "move", holder="test", ttl=timedelta(minutes=1))
    first = catalog.moving.elsewhere(dataset, "archive", limit=10)
    moved.move()
    names = [f"{file.name}.late" for file in first]
    catalog.sessions.announce(session, names, storage="archive")
    copies = dict(zip(first, names, strict=True))
    assert catalog.moving.switch(session, copies, dataset_id=dataset, target="archive", actor="late") == []
    assert moved.rows() == 30
    with pytest.raises(ConflictError):
        again = dict.fromkeys(catalog.moving.elsewhere(dataset, "default", limit=1), "never announced")
        catalog.moving.switch(session, again, dataset_id=dataset, target="default", actor="late")
    assert moved.rows() == 30


def test_a_lost_object_stops_it_by_name(moved: Moved) -> None:
    lost = moved.catalog.manifest.segments(moved.ground.ground.id)[0]
    moved.ground.store.delete([lost.name])
    with pytest.raises(
        MissingObjectError, match=rf"object {lost.name} of dataset 'weather' is missing from storage target default"
    ):
        moved.move()


def test_dead_letters_move_too(moved: Moved) -> None:
    staged = moved.ground.store.staging("test") / "letters"
    shutil.copyfile(__file__, staged)
    size = staged.stat().st_size
    letters = DeadLetterFile(name="weather/dead.parquet", rows=1, bytes=size, reasons={"bad_value": 1})
    upkeep_warehouse = moved.ground.ground
    moved.catalog.sessions.announce(upkeep_warehouse.session, [letters.name])
    moved.ground.store.promote([Upload(staged=staged, name=letters.name)])
    commit = upkeep_warehouse.batch(upkeep_warehouse.source_partition("d"), rows=1, dead_letter_files=(letters,))
    moved.catalog.commits.land(commit)
    moved.move()
    [(_, found, _)] = moved.catalog.dead_letters.of(moved.ground.ground.id)
    assert found.storage == "archive"
    with moved.storage.reading([found]) as [path]:
        assert path.read_bytes() == Path(__file__).read_bytes()
    assert moved.catalog.moving.held(upkeep_warehouse.id).keys() == {"archive"}


def test_a_service_follows_without_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_judge, "_LOOK_SECONDS", 0.0)
    targets = json.dumps({"disk": {"driver": "local", "root": "disk"}})
    with service(tmp_path / "home", storage_targets=targets) as there:
        name, record = "/datasets/weather", there.warehouse.resolve("weather")[1]

        def post(day: int) -> None:
            row = {"ts": f"2013-01-{day:02d}T00:00:00Z", "station": "JFK", "temp": day}
            assert there.client.post(f"{name}/ingest", json=[row]).json()["landed"] == 1

        def places() -> list[str]:
            return [one.storage for one in there.warehouse.catalog.manifest.segments(record.id)]

        post(1)
        first = there.client.post(f"{name}/query", json={"timeRange": {"end": "2013-01-02T00:00:00Z"}}).json()["rows"]
        assert there.client.put(f"/admin{name}/storage-target", json={"target": "disk"}).is_success
        post(2)
        assert places() == ["default", "disk"]
        warehouse = there.warehouse
        record = warehouse.resolve("weather")[1]
        assert move(warehouse.catalog, warehouse.storage, record, "disk", holder="test", actor="tester").objects == 1
        collect(warehouse.catalog, warehouse.storage, intent_grace=timedelta(0), keep_versions=timedelta(0))
        assert places() == ["disk", "disk"]
        assert there.client.post(f"{name}/query", json={"timeRange": {"end": "2013-01-02T00:00:00Z"}}).json()["rows"] == first
        assert len(there.client.post(f"{name}/query", json={}).json()["rows"]) == 2
