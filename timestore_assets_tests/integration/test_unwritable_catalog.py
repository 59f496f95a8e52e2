"""Reading needs no writing: on a full or read-only disk questions are answered."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.snapshot_pin import UNPINNED, SnapshotPin
from timestore_assets.model.errors import UnavailableError, UnwritableError
from timestore_assets.model.question import Question
from timestore_assets.settings import Settings
from timestore_assets.storage.targets import open_storage
from timestore_assets.warehouse import Warehouse
from timestore_assets_tests.support.catalog_dataset import HOUR, CatalogDataset
from timestore_assets_tests.support.http_service import WEATHER, open_warehouse, serving
from timestore_assets_tests.support.landing_warehouse import empty_catalog
from timestore_assets_tests.support.outages import give_up_soon


def mount(*options: str) -> bool:
    return subprocess.run(["mount", *options], capture_output=True, timeout=10, check=False).returncode == 0


@dataclass(frozen=True, kw_only=True)
class Disk:
    """A small disk. `seen`: where it is looked at once it takes no more, as open files forbid that at its own place."""

    home: Path
    seen: Path
    kind: str

    def close(self) -> None:
        if self.kind == "read-only":
            assert mount("--bind", str(self.home), str(self.seen)) and mount("-o", "remount,bind,ro", str(self.seen))
            return
        with (self.home / "filler").open("wb", buffering=0) as filler, pytest.raises(OSError, match="No space left"):
            while True:
                filler.write(b"x" * 4096)

    def open(self) -> None:
        if self.kind == "read-only":
            assert mount("-o", "remount,bind,rw", str(self.seen))
        else:
            (self.home / "filler").unlink()


@pytest.fixture(params=["full", "read-only"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    home, seen = tmp_path / "home", tmp_path / "seen"
    home.mkdir()
    seen.mkdir()
    if not mount("-t", "tmpfs", "-o", "size=16m", "tmpfs", str(home)):
        pytest.skip("no right to mount a small file system here")
    yield Disk(home=home, seen=home if request.param == "full" else seen, kind=request.param)
    for folder in (seen, home):
        subprocess.run(["umount", "-l", str(folder)], capture_output=True, timeout=10, check=False)


def land(warehouse: Warehouse, folder: Path, number: int = 3) -> None:
    path = folder / "in.jsonl"
    rows = [{"ts": f"2024-03-01T00:00:0{second}Z", "station": "a", "temp": 1} for second in range(number)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert warehouse.land(WEATHER.name, [path]).counters.landed == number


def stations(warehouse: Warehouse) -> tuple[list[str], tuple[str, ...]]:
    with warehouse.ask(Question(dataset=WEATHER.name, columns=("station",))) as answer:
        return answer.table().column("station").to_pylist(), answer.warnings


def test_every_question_is_answered_by_a_process_that_starts_then(
    disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_up_soon(monkeypatch)
    with open_warehouse(disk.home) as warehouse:
        land(warehouse, tmp_path)
    disk.close()
    settings = Settings(home=disk.seen)
    datasets = {WEATHER.name: WEATHER, "never": replace(WEATHER, name="never")}
    catalog = Catalog.open(settings.catalog_url)
    with Warehouse(settings, catalog=catalog, storage=open_storage(settings), datasets=datasets) as reader:
        reader.refresh()
        assert stations(reader) == (["a"] * 3, (UNPINNED,))
        with reader.sql("SELECT count(*) AS n FROM weather") as answer:
            assert (answer.table().to_pylist(), answer.warnings) == ([{"n": 3}], (UNPINNED,))
        assert [reader.status(name).totals.rows for name in sorted(datasets)] == [0, 3]
        assert reader.verify(WEATHER.name).ok
        assert [found.rows for found in reader.partitions(WEATHER.name)] == [3]
        assert reader.needed_builds(WEATHER.name) is not None
        with pytest.raises(UnavailableError, match=r"can't be written|no room left"):
            land(reader, tmp_path)


def test_a_service_answers_then(disk: Disk, tmp_path: Path) -> None:
    with open_warehouse(disk.home) as warehouse:
        land(warehouse, tmp_path)
        disk.close()
        with (
            open_warehouse(disk.seen) if disk.kind == "read-only" else nullcontext(warehouse) as seen,
            serving(seen) as catalog_dataset,
        ):
            answer = catalog_dataset.client.post("/datasets/weather/query", json={})
            assert (answer.status_code, answer.json()["warnings"], len(answer.json()["rows"])) == (200, [UNPINNED], 3)
            for path in ("/datasets", "/datasets/weather", "/admin/datasets/weather/manifest", "/health"):
                assert catalog_dataset.client.get(path).status_code == 200, path
            sql = catalog_dataset.client.post("/sql", json={"sql": "SELECT 1 FROM weather"}, headers={"Accept": "text/csv"})
            assert (sql.status_code, UNPINNED in sql.headers["X-Timestore-Warnings"]) == (200, True)


def test_writing_goes_on_as_soon_as_the_disk_takes_it(disk: Disk, tmp_path: Path) -> None:
    with open_warehouse(disk.home) as warehouse:
        land(warehouse, tmp_path)
    disk.close()
    with open_warehouse(disk.seen) as warehouse:
        assert stations(warehouse)[1] == (UNPINNED,)
        disk.open()
        assert stations(warehouse) == (["a"] * 3, ())
        assert warehouse.land(WEATHER.name, [tmp_path / "in.jsonl"]).counters.landed == 0


def test_a_log_that_cannot_be_read_is_no_silent_loss(disk: Disk) -> None:
    path = disk.home / "catalog.sqlite"
    shutil.copy(empty_catalog(), path)
    writer = sqlite3.connect(path)
    writer.execute("CREATE TABLE newer (x)")
    copies = {name: (disk.home / name).read_bytes() for name in ("catalog.sqlite", "catalog.sqlite-wal")}
    writer.close()
    for name, content in copies.items():
        (disk.home / name).write_bytes(content)
    disk.close()
    with pytest.raises(UnavailableError, match=r"changes in catalog.sqlite-wal that can't be read"):
        Catalog.open(f"sqlite:///{disk.seen / 'catalog.sqlite'}")


def test_a_catalog_that_would_have_to_be_migrated_says_so(disk: Disk) -> None:
    path = disk.home / "catalog.sqlite"
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA journal_mode=WAL")
        other.execute("CREATE TABLE other (x)")
    disk.close()
    with pytest.raises(UnavailableError, match="the catalog has no tables yet and can't be brought to revision"):
        Catalog.open(f"sqlite:///{disk.seen / 'catalog.sqlite'}")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_the_right_to_write_is_read(tmp_path: Path) -> None:
    with open_warehouse(tmp_path / "home") as warehouse:
        land(warehouse, tmp_path)
    (tmp_path / "home").chmod(0o555)
    with open_warehouse(tmp_path / "home") as reader:
        assert stations(reader) == (["a"] * 3, (UNPINNED,))


def test_a_version_read_without_a_pin_is_given_up_once_it_was_collected(catalog_dataset: CatalogDataset) -> None:
    catalog = catalog_dataset.catalog
    catalog_dataset.land()
    real, catalog.versions.pin = catalog.versions.pin, refusing  # type: ignore[assignment, method-assign] # as on a full disk
    try:
        pin = SnapshotPin(catalog, catalog_dataset.id, version=None, holder="reader", ttl=HOUR)
    finally:
        catalog.versions.pin = real  # type: ignore[method-assign] # put back
    pin.renew()
    assert (pin.version, pin.risk) == (1, UNPINNED)
    catalog_dataset.build(0, catalog_dataset.live(), catalog_dataset.sealed())
    catalog.sessions.end(catalog_dataset.session)
    pin.confirm()
    assert len(catalog.objects.collect_segments(superseded_before=datetime.now(UTC) + timedelta(hours=1))) == 1
    for look in (pin.confirm, pin.renew):
        with pytest.raises(UnavailableError, match="was collected meanwhile"):
            look()
    pin.release()


def refusing(*_: object, **__: object) -> None:
    raise UnwritableError("takes no writes")
