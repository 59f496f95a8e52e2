"""Archives in a storage target are objects that the catalog knows: kept, verified, moved, and gone with their dataset."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from timestore_assets.catalog.archives import Archive
from timestore_assets.migrating.archive_files import TargetWriter
from timestore_assets.migrating.archive_place import InFolder, InTarget, place_of
from timestore_assets.model.errors import InputError
from timestore_assets.upkeep.collect import collect
from timestore_assets.upkeep.erase import Eraser
from timestore_assets.upkeep.move_dataset import move
from timestore_assets.warehouse import Warehouse
from timestore_assets_tests.support.archived_rooms import DROPPED, RECORDS, ROOMS, land
from timestore_assets_tests.support.http_service import open_warehouse
from timestore_assets_tests.support.migrations import drop, manifest

PARQUET = InTarget(target="cold", format="parquet")
EXPECTED = [[f"note {day} 0", f"note {day} 1"] for day in (1, 2, 3)]


@pytest.fixture
def rooms(tmp_path: Path, catalog_url: str) -> Iterator[Warehouse]:
    """Six rows in three days, and a storage target `cold` beside the default one."""
    targets = json.dumps({"cold": {"driver": "local", "root": str(tmp_path / "cold")}})
    with open_warehouse(tmp_path, {ROOMS.name: ROOMS}, catalog_url=catalog_url, storage_targets=targets) as warehouse:
        land(warehouse, tmp_path, "first", RECORDS)
        yield warehouse


def archives(warehouse: Warehouse) -> list[Archive]:
    return warehouse.catalog.archives.of(warehouse.resolve(ROOMS.name)[1].id)


def values(warehouse: Warehouse) -> list[list[str]]:
    """Values by partition, as DuckDB reads the objects."""
    found = []
    for one in archives(warehouse):
        with warehouse.storage.reading([one]) as (path,):
            names = duckdb.sql(f"SELECT * FROM '{path}'").columns
            assert names == ["ts", "station", "note", "__source", "__position", "__session"]
            found.append([note for (note,) in duckdb.sql(f"SELECT note FROM '{path}'").fetchall()])
    return found


def objects(warehouse: Warehouse, target: str = "cold") -> list[str]:
    return [one.name for one in warehouse.storage.target(target).list() if "/archives/" in one.name]


def collected(warehouse: Warehouse) -> None:
    collect(warehouse.catalog, warehouse.storage, intent_grace=timedelta(0), keep_versions=timedelta(0))


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_the_collector_and_verify_know_archives_in_a_target(rooms: Warehouse, form: Any) -> None:
    done = rooms.migrate(manifest("rooms", *DROPPED), archive_to=InTarget(target="cold", format=form), actor="ann")
    assert done.is_archived and len(done.archives) == 3
    assert {Path(one.name).suffix for one in done.archives} == {f".{form}"}
    collected(rooms)
    assert sorted(objects(rooms)) == sorted(one.name for one in archives(rooms))
    assert values(rooms) == EXPECTED
    report = rooms.verify(ROOMS.name)
    assert report.ok and report.orphans == ()
    assert rooms.migrate(manifest("rooms", *DROPPED), archive_to=PARQUET, actor="ann").archives == []
    first, second, _ = (rooms.storage.path(one) for one in archives(rooms))
    assert first is not None and second is not None
    first.write_bytes(bytes(reversed(first.read_bytes())))
    second.unlink()
    assert [one.problem for one in rooms.verify(ROOMS.name).findings] == ["digest", "missing"]


def test_one_that_was_broken_off_leaves_nothing_behind_and_goes_on(rooms: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    put, calls = TargetWriter.put, list[str]()

    def broken(*arguments: Any, **named: str) -> Any:
        calls.append(named["partition"])
        made = put(*arguments, **named)
        if len(calls) == 2:
            raise KeyboardInterrupt  # the object is there, and not recorded
        return made

    monkeypatch.setattr(TargetWriter, "put", broken)
    with pytest.raises(KeyboardInterrupt):
        rooms.migrate(manifest("rooms", *DROPPED), archive_to=PARQUET, actor="ann")
    monkeypatch.undo()
    assert len(archives(rooms)) == 1 and len(objects(rooms)) == 2
    assert [(one.is_whole, len(one.files), one.column) for one in rooms.archives("rooms")] == [(False, 1, "note")]
    list(rooms.build(ROOMS.name, [ROOMS.partition(f"2013-01-0{day}") for day in (1, 2, 3)], close=True))
    collected(rooms)
    assert objects(rooms) == [one.name for one in archives(rooms)]
    done = rooms.migrate(manifest("rooms", *DROPPED), archive_to=PARQUET, actor="ann")
    assert done.is_archived and len(done.archives) == 2
    assert values(rooms) == EXPECTED
    (listed,) = rooms.archives("rooms")
    assert (listed.is_whole, listed.schema_version, listed.rows, listed.places) == (True, 2, 6, ("cold",))


def test_moving_a_dataset_brings_its_archives_and_leaves_files_of_folders(rooms: Warehouse, tmp_path: Path) -> None:
    rooms.migrate(manifest("rooms", drop("note", archive=True)), archive_to=PARQUET, actor="ann")
    rooms.migrate(manifest("rooms", drop("temp", archive=True)), archive_to=InFolder(folder=tmp_path / "kept"), actor="ann")
    report = move(rooms.catalog, rooms.storage, rooms.resolve("rooms")[1], "default", holder="test", actor="ann")
    assert report.objects == 3
    assert sorted(one.storage for one in archives(rooms)) == [str(tmp_path / "kept")] * 3 + ["default"] * 3
    collected(rooms)
    assert objects(rooms) == [] and len(objects(rooms, "default")) == 3 and len(list((tmp_path / "kept").iterdir())) == 3
    assert rooms.verify(ROOMS.name).ok
    assert rooms.catalog.moving.held(rooms.resolve("rooms")[1].id).keys() == {"default"}


def test_archives_in_a_target_are_erased_where_that_is_asked_for(rooms: Warehouse) -> None:
    rooms.migrate(manifest("rooms", *DROPPED), archive_to=PARQUET, actor="ann")
    eraser = Eraser(rooms.writing, *rooms.resolve("rooms"), "place = 'nowhere'")
    assert eraser.look().archives == 3
    assert eraser.erase(dead_letters=False, archives=True, actor="ann").removed_archives
    assert objects(rooms) == [] and archives(rooms) == []


def test_they_go_with_a_dataset_that_is_dropped(rooms: Warehouse) -> None:
    rooms.migrate(manifest("rooms", *DROPPED), archive_to=PARQUET, actor="ann")
    dataset_id = rooms.resolve("rooms")[1].id
    rooms.drop("rooms", actor="ann")
    collected(rooms)
    assert objects(rooms) == [] and rooms.catalog.archives.of(dataset_id) == []


def test_a_target_that_is_not_set_up_is_refused_before_anything_is_done(rooms: Warehouse) -> None:
    with pytest.raises(InputError, match="no storage target is named 'warm'"):
        rooms.migrate(manifest("rooms", *DROPPED), archive_to=InTarget(target="warm"), actor="ann")
    assert rooms.resolve("rooms")[1].schema.find("note") is not None


def test_the_manifest_may_say_where_and_whoever_carries_it_out_has_the_last_word(tmp_path: Path) -> None:
    said = manifest("rooms", *DROPPED, execution={"archiveTarget": "cold", "archiveFormat": "parquet"})
    assert place_of(said) == PARQUET
    assert place_of(said, folder=tmp_path) == InFolder(folder=tmp_path, format="parquet")
    assert place_of(said, target="default", format="jsonl") == InTarget(target="default")
    assert said.digest == manifest("rooms", *DROPPED).digest, "where archives go makes it no other migration"
    with pytest.raises(InputError, match="name one of them"):
        place_of(said, folder=tmp_path, target="cold")
    with pytest.raises(InputError, match="archiveDirectory or archiveTarget"):
        manifest("rooms", *DROPPED, execution={"archiveTarget": "cold", "archiveDirectory": "kept"})
