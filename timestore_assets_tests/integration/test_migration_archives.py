"""What a dropped column held is in files, whole, before anything that has it may be collected; on either catalog."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from timestore_assets.catalog.archives import Archive
from timestore_assets.migrating.archive_files import FolderWriter
from timestore_assets.migrating.archive_place import InFolder
from timestore_assets.model.errors import InputError, RefusedError
from timestore_assets.upkeep.collect import collect
from timestore_assets.warehouse import Warehouse
from timestore_assets_tests.support.archived_rooms import DROPPED, RECORDS, ROOMS, land
from timestore_assets_tests.support.http_service import open_warehouse
from timestore_assets_tests.support.migrations import cast, drop, manifest, transform


@pytest.fixture
def rooms(tmp_path: Path, catalog_url: str) -> Iterator[Warehouse]:
    """Six rows in three days; the first day is built."""
    with open_warehouse(tmp_path, {ROOMS.name: ROOMS}, catalog_url=catalog_url) as warehouse:
        land(warehouse, tmp_path, "first", RECORDS)
        list(warehouse.build(ROOMS.name, [ROOMS.partition("2013-01-01")], close=True))
        yield warehouse


def archives(warehouse: Warehouse) -> list[Archive]:
    return warehouse.catalog.archives.of(warehouse.resolve(ROOMS.name)[1].id)


def values(folder: Path) -> dict[str, list[str]]:
    """Values by file, each file having the keys and the origin beside them."""
    found = {}
    for path in sorted(folder.iterdir()):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        assert all(list(row) == ["ts", "station", "note", "__source", "__position", "__session"] for row in rows)
        found[path.name] = [row["note"] for row in rows]
    return found


EXPECTED = {f"rooms-2013-01-0{day}-note.jsonl": [f"note {day} 0", f"note {day} 1"] for day in (1, 2, 3)}


def collected(warehouse: Warehouse) -> None:
    """Build everything anew and collect whatever nothing holds."""
    list(warehouse.build(ROOMS.name, [ROOMS.partition(f"2013-01-0{day}") for day in (1, 2, 3)], close=True))
    collect(warehouse.catalog, warehouse.storage, intent_grace=timedelta(0), keep_versions=timedelta(0))


def test_archives_hold_the_values_with_keys_and_checksums(rooms: Warehouse, tmp_path: Path) -> None:
    done = rooms.migrate(manifest("rooms", *DROPPED), archive_to=InFolder(folder=tmp_path / "kept"), actor="ann")
    assert done.is_archived and len(done.archives) == 3
    assert values(tmp_path / "kept") == EXPECTED
    for one in archives(rooms):
        content = Path(one.storage, one.name).read_bytes()
        assert (one.rows, one.bytes, one.sha256) == (2, len(content), hashlib.sha256(content).hexdigest())
    assert rooms.verify(ROOMS.name).ok
    collected(rooms)
    assert rooms.migrate(manifest("rooms", *DROPPED), archive_to=InFolder(folder=tmp_path / "kept"), actor="ann").archives == []


def test_one_that_was_broken_off_goes_on(rooms: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put, calls = FolderWriter.put, list[str]()

    def broken(*arguments: Any, **named: str) -> Any:
        calls.append(named["partition"])
        made = put(*arguments, **named)
        if len(calls) == 2:
            raise KeyboardInterrupt  # the file is there, and not recorded
        return made

    monkeypatch.setattr(FolderWriter, "put", broken)
    with pytest.raises(KeyboardInterrupt):
        rooms.migrate(manifest("rooms", *DROPPED), archive_to=InFolder(folder=tmp_path / "kept"), actor="ann")
    monkeypatch.undo()
    assert len(archives(rooms)) == 1 and rooms.resolve("rooms")[1].schema.find("note") is None
    land(rooms, tmp_path, "later", [{**RECORDS[0], "note": "too late"}])
    collected(rooms)
    left = rooms.migrate(manifest("rooms", *DROPPED), actor="ann")
    assert not left.is_archived and not left.archives
    done = rooms.migrate(manifest("rooms", *DROPPED), archive_to=InFolder(folder=tmp_path / "kept"), actor="ann")
    assert done.is_archived and len(done.archives) == 2
    assert values(tmp_path / "kept") == EXPECTED
    assert [one["details"]["files"] for one in rooms.catalog.audit.newest() if one["action"] == "columns_archived"] == [3]


def test_another_file_of_that_name_is_left(rooms: Warehouse, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    other = tmp_path / "kept" / "rooms-2013-01-02-note.jsonl"
    other.write_text("mine\n")
    with pytest.raises(InputError, match="holds something else"):
        rooms.migrate(manifest("rooms", *DROPPED), archive_to=InFolder(folder=tmp_path / "kept"), actor="ann")
    assert other.read_text() == "mine\n"
    done = rooms.migrate(manifest("rooms", *DROPPED), archive_to=InFolder(folder=tmp_path / "elsewhere"), actor="ann")
    assert done.is_archived and len(values(tmp_path / "elsewhere")) == 2


def test_without_a_folder_nothing_is_dropped(rooms: Warehouse) -> None:
    with pytest.raises(RefusedError, match="nothing says where"):
        rooms.migrate(manifest("rooms", *DROPPED), actor="ann")
    assert rooms.resolve("rooms")[1].schema.find("note") is not None
    with pytest.raises(InputError, match="nothing to archive"):
        rooms.try_migration(manifest("rooms", transform("note", "upper(note)"), drop("note", archive=True)))


def test_damaged_and_missing_archives_are_found(rooms: Warehouse, tmp_path: Path) -> None:
    rooms.migrate(
        manifest("rooms", drop("note", archive=True), cast("temp", "float")),
        archive_to=InFolder(folder=tmp_path / "kept"),
        actor="ann",
    )
    first, second, _ = (Path(one.storage, one.name) for one in archives(rooms))
    first.write_bytes(first.read_bytes().replace(b"note 1 0", b"note 1 9"))
    second.unlink()
    assert {one.object for one in rooms.verify(ROOMS.name).findings} == {first.name, second.name}


def test_a_dropped_dataset_waits_for_no_archive(rooms: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FolderWriter, "put", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        rooms.migrate(manifest("rooms", *DROPPED), archive_to=InFolder(folder=tmp_path / "kept"), actor="ann")
    rooms.drop("rooms", actor="ann")
    collect(rooms.catalog, rooms.storage, intent_grace=timedelta(0), keep_versions=timedelta(0))
    left = [one.name for one in rooms.storage.target("default").list() if one.name.startswith("rooms/")]
    assert left == [] and rooms.catalog.dropped.forget() == 0
