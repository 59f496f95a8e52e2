"""Each kind of damage is found by name, and only what is safe to put right is put right."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from timestore_assets.catalog.instants import to_micros
from timestore_assets.catalog.stored_objects import count_move
from timestore_assets.catalog.stored_segments import stats_text
from timestore_assets.catalog.tables import archives, datasets, leases, segment_stats, segments, tags
from timestore_assets.model.segment import ColumnStats, Segment
from timestore_assets.storage.object_store import Upload
from timestore_assets.upkeep.repair import RepairReport, repair
from timestore_assets_tests.support.damaged_objects import Damage, DamageableWarehouse
from timestore_assets_tests.support.landing_warehouse import START, LandingWarehouse, dataset

NONE = timedelta(0)
EVER = to_micros(START.replace(year=9000))
FLIPPED: Damage = ("bit", 0.5, 3)
WRONG = stats_text({"temp": ColumnStats(min=500.0, max=600.0)})
TRUNCATED: Damage = ("cut", 0.5, 0)


@pytest.fixture
def warehouse(tmp_path: Path, catalog_url: str) -> Iterator[DamageableWarehouse]:
    """Two days, the first one sealed."""
    made = DamageableWarehouse(ground=LandingWarehouse.at(tmp_path, dataset(), url=catalog_url))
    for number in range(2):
        made.ground.land_one(f"{number}.csv", made.content(number, 50))
    made.build(0)
    yield made
    made.ground.catalog.close()


def write(warehouse: DamageableWarehouse, statement: Any, *parameters: Any) -> None:
    """Change the catalog behind its back; who remembers segments reads them anew."""
    catalog, dataset_id = warehouse.ground.catalog, warehouse.ground.record.id
    catalog.database.write(lambda c: c.execute(statement, *parameters))
    catalog.database.write(lambda c: count_move(c, dataset_id, actor="test", now=0))


def live(warehouse: DamageableWarehouse, number: int = 0) -> Segment:
    [found] = warehouse.ground.catalog.manifest.segments(warehouse.ground.record.id, partition=warehouse.partition(number))
    return found


def mend(warehouse: DamageableWarehouse, *, execute: bool = True) -> RepairReport:
    ground = warehouse.ground
    options: dict[str, Any] = {"grace": NONE, "execute": execute, "actor": "test"}
    return repair(ground.catalog, ground.storage, ground.limits, ground.record, warehouse.verify(), **options)


def archive(warehouse: DamageableWarehouse, content: bytes = b'{"temp": 1}\n' * 9, *, storage: str = "default") -> str:
    ground, name = warehouse.ground, "weather/_archives/weather-2013-01-01-temp.jsonl"
    if storage == "default":
        staged = ground.store.staging("test") / "archive"
        staged.write_bytes(content)
        ground.store.promote([Upload(staged=staged, name=name)])
    else:
        (Path(storage) / name).parent.mkdir(parents=True)
        (Path(storage) / name).write_bytes(content)
    row = {
        "dataset_id": ground.record.id, "schema_version": 1, "column_id": 3, "partition_start": to_micros(START),
        "storage": storage,
        "name": name, "rows": 9, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(), "created_at": 0,
    }  # fmt: skip
    write(warehouse, archives.insert(), row)
    return name


def tag(warehouse: DamageableWarehouse, version: int) -> None:
    ground = warehouse.ground
    row = {
        "dataset_id": ground.record.id,
        "name": "release",
        "version": version,
        "is_legal_hold": False,
        "note": "",
        "actor": "t",
    }
    write(warehouse, tags.insert(), {**row, "at": 0})
    lease = {"resource": f"tag:{ground.record.id}:release", "holder": "tag", "expires_at": EVER, "dataset_id": ground.record.id}
    write(warehouse, leases.insert(), {**lease, "version": version})


def problems(warehouse: DamageableWarehouse) -> set[tuple[str, str]]:
    return {(finding.object, finding.problem) for finding in warehouse.verify().findings}


def test_nothing_is_wrong_with_what_is_as_it_was(warehouse: DamageableWarehouse) -> None:
    archive(warehouse)
    tag(warehouse, 1)
    assert warehouse.verify().ok
    report = mend(warehouse, execute=False)
    assert [(one.kind, one.number, one.done) for one in report.repairs] == [("events", 1, False)]
    assert report.left == ()


@pytest.mark.parametrize(
    ("number", "damage", "found"),
    [(0, FLIPPED, "digest"), (1, FLIPPED, "digest"), (0, TRUNCATED, "digest"), (1, TRUNCATED, "bytes")],
)
def test_damaged_bytes_are_found_and_left_to_a_person(
    warehouse: DamageableWarehouse, number: int, damage: Damage, found: str
) -> None:
    name = warehouse.segment(number)
    with warehouse.spoilt(name, damage):
        assert (name, found) in problems(warehouse)
        report = mend(warehouse)
        assert any(left.startswith(f"{name}: {found}: restore the object") for left in report.left)
        assert "statistics" not in {one.kind for one in report.repairs}
    assert warehouse.verify().ok


def test_a_missing_file(warehouse: DamageableWarehouse) -> None:
    name = warehouse.segment(1)
    warehouse.ground.store.local_path(name).unlink()
    assert problems(warehouse) == {(name, "missing")}
    assert mend(warehouse).left == (
        f"{name}: missing: restore the object from the bucket's versions or a backup, or land its source again",
    )


def test_a_row_count_that_is_off(warehouse: DamageableWarehouse) -> None:
    segment = live(warehouse, 1)
    write(warehouse, update(segments).where(segments.c.id == segment.id).values(rows=segment.rows + 1))
    assert problems(warehouse) == {(segment.name, "rows")}
    assert len(mend(warehouse).left) == 1


def test_statistics_that_are_off_are_written_anew(warehouse: DamageableWarehouse) -> None:
    """Also for who remembers the segment: pruning by the wrong ones would leave rows out."""
    segment, before = live(warehouse), warehouse.rows()
    wrong = update(segment_stats).where(segment_stats.c.segment_id == segment.id)
    write(warehouse, wrong.values(stats=WRONG))
    write(warehouse, update(segments).where(segments.c.id == segment.id).values(max_time=to_micros(segment.min_time)))
    assert problems(warehouse) == {(segment.name, "statistics"), (segment.name, "times")}
    assert mend(warehouse, execute=False).repairs[0].number == 1
    assert not warehouse.verify().ok, "nothing was changed"
    assert live(warehouse).stats["temp"].min == 500.0
    report = mend(warehouse)
    assert ("statistics", 1, True) in [(one.kind, one.number, one.done) for one in report.repairs]
    assert report.left == ()
    assert warehouse.verify().ok
    assert live(warehouse).stats["temp"] == segment.stats["temp"]
    assert (live(warehouse).max_time, warehouse.rows()) == (segment.max_time, before)
    assert {row["action"] for row in warehouse.ground.catalog.audit.newest(limit=2)} == {
        "statistics_rewritten", "events_queued_again",
    }  # fmt: skip


def test_statistics_of_a_file_that_is_not_proved_stay(warehouse: DamageableWarehouse) -> None:
    segment = live(warehouse)
    write(
        warehouse, update(segments).where(segments.c.id == segment.id).values(sha256=None, max_time=to_micros(segment.min_time))
    )
    assert mend(warehouse).left == (f"{segment.name}: times: its bytes can't be proved; build its partition again",)
    assert problems(warehouse) == {(segment.name, "times")}


def test_an_unknown_file_goes(warehouse: DamageableWarehouse) -> None:
    stray = warehouse.ground.root / "data" / "weather" / "stray.parquet"
    stray.write_bytes(b"x")
    assert warehouse.verify().orphans == ("weather/stray.parquet",)
    assert mend(warehouse, execute=False).repairs[0].kind == "orphans"
    assert stray.exists()
    mend(warehouse)
    assert not stray.exists()
    assert warehouse.verify().ok
    assert warehouse.verify().orphans == ()


def test_events_are_queued_again_for_what_is_sealed(warehouse: DamageableWarehouse) -> None:
    outbox = warehouse.ground.catalog.outbox
    outbox.delivered([event.id for event in outbox.claim(holder="lost", limit=100, ttl=timedelta(minutes=1))])
    mend(warehouse)
    assert [(event.kind, event.payload) for event in outbox.claim(holder="test", limit=100, ttl=timedelta(minutes=1))] == [
        ("partition_built", {"partition": "2013-01-01"})
    ]


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (lambda path: path.unlink(), "missing"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "bytes"),
        (lambda path: path.write_bytes(path.read_bytes().replace(b"1", b"2", 1)), "digest"),
    ],
)
def test_an_archive_that_is_off(
    warehouse: DamageableWarehouse, tmp_path: Path, inside: bool, spoil: Callable[[Path], object], found: str
) -> None:
    place = "default" if inside else str(tmp_path / "archives")
    name = archive(warehouse, storage=place)
    assert warehouse.verify().ok
    assert warehouse.verify().orphans == ()
    path = warehouse.ground.store.local_path(name) if inside else Path(place) / name
    path.chmod(0o644)
    spoil(path)
    assert problems(warehouse) == {(name, found)}


def test_an_archive_is_no_orphan_to_the_collector(warehouse: DamageableWarehouse) -> None:
    name = archive(warehouse)
    warehouse.ground.collect()
    assert warehouse.ground.store.local_path(name).exists()


def test_what_a_tag_keeps_is_proved(warehouse: DamageableWarehouse) -> None:
    tag(warehouse, 1)
    (kept,) = warehouse.ground.catalog.manifest.segments(warehouse.ground.record.id, version=1)
    assert kept.name != warehouse.segment(0)
    with warehouse.spoilt(kept.name, FLIPPED):
        (finding,) = warehouse.verify().findings
        assert (finding.object, finding.problem) == (kept.name, "digest")
        assert finding.detail.endswith("(kept by the tag release)")
    warehouse.ground.store.local_path(kept.name).unlink()
    assert problems(warehouse) == {(kept.name, "missing")}


def test_a_tag_whose_version_is_gone(warehouse: DamageableWarehouse) -> None:
    tag(warehouse, 1)
    write(warehouse, update(datasets).values(floor_version=2))
    assert problems(warehouse) == {("tag release", "tag")}
    assert mend(warehouse).left == ("tag release: tag: remove the tag: its version is gone",)


def test_a_damage_beside_wrong_statistics_is_no_reason_to_believe_the_file(warehouse: DamageableWarehouse) -> None:
    segment = live(warehouse, 1)
    write(
        warehouse,
        update(segment_stats).where(segment_stats.c.segment_id == segment.id).values(stats=WRONG),
    )
    with warehouse.spoilt(segment.name, FLIPPED):
        assert "statistics" not in {one.kind for one in mend(warehouse).repairs}
