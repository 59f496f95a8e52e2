"""The digest of every object: where it comes from, what it keeps from happening, and how what is damaged can be mended."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from timestore_assets.model.errors import DamagedError
from timestore_assets.model.segment import Placed
from timestore_assets.querying.reading.querier import Querier
from timestore_assets.querying.sql.sandbox import run_sql
from timestore_assets.service.problems import problem_of
from timestore_assets.storage.local import LocalStore
from timestore_assets.storage.targets import Storage
from timestore_assets.upkeep.move_dataset import move
from timestore_assets_tests.support.command_line import CommandLine
from timestore_assets_tests.support.damaged_objects import Damage, DamageableWarehouse

BIT: Damage = ("bit", 0.4, 3)
CUT: Damage = ("cut", 0.5, 0)
DECLARATION = """
type: timestore_assets.Dataset
attributes:
  name: readings
  time: at
  start: 2024-01-01
  columns: {at: timestamp, value: double}
  sources: [http: {}]
"""


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[DamageableWarehouse]:
    ground = DamageableWarehouse.at(tmp_path, rows=50)
    yield ground
    ground.ground.catalog.close()


def digest(store: LocalStore, placed: Placed) -> str:
    return hashlib.sha256(store.local_path(placed.name).read_bytes()).hexdigest()


def test_the_catalog_has_the_digest_of_every_object(warehouse: DamageableWarehouse) -> None:
    warehouse.build(0)
    ground = warehouse.ground
    segments = ground.catalog.manifest.segments(ground.record.id)
    assert {one.kind for one in segments} == {"delta", "sealed"}
    digests = ground.catalog.manifest.digests([one.id for one in segments])
    assert digests == {one.id: digest(ground.store, one) for one in segments}
    letters = [file for _, file, _ in ground.catalog.dead_letters.of(ground.record.id)]
    assert [file.sha256 for file in letters] == [digest(ground.store, file) for file in letters]
    assert warehouse.verify().undigested == 0


def test_pages_that_arrow_writes_have_checksums(warehouse: DamageableWarehouse) -> None:
    name = warehouse.segment(0)
    with warehouse.spoilt(name, BIT), pytest.raises(OSError, match=r"CRC|checksum"):
        pq.read_table(warehouse.ground.store.local_path(name), page_checksum_verification=True)


def test_objects_of_before_there_were_digests_are_checked_as_they_were_and_counted(
    warehouse: DamageableWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = warehouse.ground.catalog
    monkeypatch.setattr(catalog.manifest, "digests", lambda _: {})
    report = warehouse.verify()
    assert (report.ok, report.undigested) == (True, 2)
    assert warehouse.build(0).outcome == "built"


def test_damage_in_one_partition_lets_the_others_be_built(warehouse: DamageableWarehouse) -> None:
    with warehouse.spoilt(warehouse.segment(0), BIT):
        with pytest.raises(DamagedError):
            warehouse.build(0)
        assert warehouse.build(1).state == "sealed"
        assert [found.state for found in warehouse.ground.catalog.partitions.of(warehouse.ground.record.id)] == ["open", "sealed"]
    assert warehouse.build(0).rows == 50


def test_a_file_that_is_replaced_mends_the_damaged_segment_of_its_old_rows(warehouse: DamageableWarehouse) -> None:
    ground = replace(warehouse.ground, source=replace(warehouse.ground.source, on_change="replace"))
    name = warehouse.segment(0)
    ground.store.local_path(name).chmod(0o644)
    ground.store.local_path(name).write_bytes(b"nothing of it is left")
    ground.land_one("0.csv", warehouse.content(0, 50) + "\n")
    assert warehouse.build(0).rows == 50
    assert len(warehouse.rows()) == 100
    assert warehouse.verify().ok


def test_a_damaged_object_does_not_move(warehouse: DamageableWarehouse, tmp_path: Path) -> None:
    ground = warehouse.ground
    archive = LocalStore(tmp_path / "archive", staging_root=tmp_path / "archive" / ".staging")
    storage = Storage({"default": lambda: ground.store, "archive": lambda: archive})
    name = warehouse.segment(0)
    with warehouse.spoilt(name, BIT), pytest.raises(DamagedError, match=f"object {name} is damaged"):
        move(ground.catalog, storage, ground.record, "archive", holder="test", actor="tester")
    before = ground.catalog.manifest.digests([one.id for one in ground.catalog.manifest.segments(ground.record.id)])
    move(ground.catalog, storage, ground.record, "archive", holder="test", actor="tester")
    segments = ground.catalog.manifest.segments(ground.record.id)
    assert (
        {one.id: digest(archive, one) for one in segments}
        == before
        == ground.catalog.manifest.digests([one.id for one in segments])
    )


def test_sql_over_a_damaged_segment_says_which(warehouse: DamageableWarehouse) -> None:
    ground, name = warehouse.ground, warehouse.segment(0)
    querier = Querier(ground.catalog, ground.storage, ground.limits, holder="test")
    datasets = {"weather": (ground.dataset, ground.record)}
    damaged = pytest.raises(DamagedError, match=f"segment {name} is damaged")
    with warehouse.spoilt(name, CUT), damaged as raised, run_sql(querier, "SELECT * FROM weather", datasets) as answer:
        answer.table()
    querier.close()
    problem, headers = problem_of(raised.value)
    assert (problem.status, problem.code, headers) == (500, "damaged", {})


def test_the_command_line_builds_the_rest_and_ends_with_one(tmp_path: Path) -> None:
    shell = CommandLine(tmp_path)
    folder = shell.home / "defs" / "readings"
    folder.mkdir(parents=True)
    (folder / "defs.yaml").write_text(DECLARATION)
    rows = "\n".join(["at,value", *(f"2024-01-0{day}T00:00:{second:02d}Z,{second}.5" for day in (1, 2) for second in range(60))])
    (tmp_path / "a.csv").write_text(rows + "\n")
    assert shell.inside("land", "readings", "a.csv").code == 0
    first = min((shell.home / "data" / "readings").rglob("delta-*"))
    first.chmod(0o644)
    content = bytearray(first.read_bytes())
    content[len(content) // 2] ^= 1
    first.write_bytes(content)
    built = shell.inside("build", "readings", "--json")
    assert built.code == 1
    assert '"built": 1' in built.out
    assert first.name in built.err
    assert "restore the object from a copy" in built.err
    verified = shell.inside("verify", "readings")
    assert (verified.code, "digest" in verified.out) == (1, True)
