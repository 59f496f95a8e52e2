"""A catalog file that is removed, replaced, emptied or set back under a process ends that process's work, reading included."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.model.errors import CatalogReplacedError
from timestore_assets.retry import OUTAGE
from timestore_assets_tests.support.catalog_dataset import CatalogDataset
from timestore_assets_tests.support.http_service import service


@pytest.fixture
def path(sqlite_catalog_url: str) -> Path:
    return Path(sqlite_catalog_url.removeprefix("sqlite:///"))


@pytest.fixture
def catalog_dataset(sqlite_catalog_url: str) -> Iterator[CatalogDataset]:
    catalog = Catalog.open(sqlite_catalog_url)
    yield CatalogDataset.of(catalog)
    catalog.close()


def backup_of(path: Path) -> Path:
    to = path.with_name("backup.sqlite")
    with closing(sqlite3.connect(path)) as source:
        source.execute("VACUUM INTO ?", [str(to)])
    return to


def removed(path: Path) -> None:
    for one in path.parent.glob(f"{path.name}*"):
        one.unlink()


def replaced(path: Path) -> None:
    backup_of(path).replace(path)


@pytest.mark.parametrize("change", [removed, replaced])
def test_nothing_is_read_or_written_any_more(catalog_dataset: CatalogDataset, path: Path, change: Callable[[Path], None]) -> None:
    catalog_dataset.land("a")
    change(path)
    with pytest.raises(CatalogReplacedError, match=r"under this process; .*start it again"):
        catalog_dataset.land("b")
    with pytest.raises(CatalogReplacedError):
        catalog_dataset.catalog.manifest.segments(catalog_dataset.id)
    with pytest.raises(CatalogReplacedError):
        catalog_dataset.catalog.is_current()
    assert path.exists() == (change is replaced), "no empty catalog was made in place of the lost one"


def test_a_file_that_comes_back_is_worked_on(catalog_dataset: CatalogDataset, path: Path) -> None:
    catalog_dataset.land("a")
    away = path.with_name("away")
    away.mkdir()
    for one in list(path.parent.glob(f"{path.name}*")):
        one.rename(away / one.name)
    with pytest.raises(CatalogReplacedError, match="was removed"):
        catalog_dataset.land("b")
    for one in list(away.iterdir()):
        one.rename(path.parent / one.name)
    assert catalog_dataset.land("b") == 2


def test_a_file_whose_write_ahead_log_was_removed_is_worked_on_and_holds_everything(
    catalog_dataset: CatalogDataset, path: Path
) -> None:
    catalog_dataset.land("a")
    for one in path.parent.glob(f"{path.name}-*"):
        one.unlink()
    assert catalog_dataset.land("b") == 2
    # what another process finds after this one was killed
    alone = path.with_name("alone.sqlite")
    alone.write_bytes(path.read_bytes())
    with closing(Catalog.open(f"sqlite:///{alone}")) as other:
        assert other.manifest.version(catalog_dataset.id) == 2


def test_a_file_whose_write_ahead_log_became_another_processs_is_left_alone(catalog_dataset: CatalogDataset, path: Path) -> None:
    catalog_dataset.land("a")
    for one in path.parent.glob(f"{path.name}-*"):
        one.unlink()
    path.with_name(f"{path.name}-wal").write_bytes(b"")
    with pytest.raises(CatalogReplacedError, match="another write-ahead log"):
        catalog_dataset.land("b")
    path.with_name(f"{path.name}-wal").unlink()


def test_what_was_committed_into_a_file_that_is_gone_does_not_count(catalog_dataset: CatalogDataset, path: Path) -> None:
    """The file goes between the look at it and the commit."""

    def work(connection: object) -> None:
        removed(path)

    with pytest.raises(CatalogReplacedError):
        catalog_dataset.catalog.database.write(work)


def test_a_backup_restored_into_the_file_is_noticed(catalog_dataset: CatalogDataset, path: Path) -> None:
    """By SQLite's own means, so that the file stays the same one."""
    backup = backup_of(path)
    catalog_dataset.land("a")
    with closing(sqlite3.connect(backup)) as source, closing(sqlite3.connect(path)) as target:
        source.backup(target)
    with pytest.raises(CatalogReplacedError, match="set back to an older state"):
        catalog_dataset.catalog.datasets.find("weather")
    with pytest.raises(CatalogReplacedError, match="set back to an older state"):
        catalog_dataset.land("b")


def test_tables_that_are_gone_are_a_catalog_that_is_gone(catalog_dataset: CatalogDataset, path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("DROP TABLE files")
    with pytest.raises(CatalogReplacedError, match="its tables are gone"):
        catalog_dataset.catalog.files.pending(catalog_dataset.id)


def test_a_replaced_catalog_is_not_waited_for() -> None:
    def work() -> None:
        raise CatalogReplacedError("replaced")

    with pytest.raises(CatalogReplacedError):
        replace(OUTAGE, sleep=lambda _: pytest.fail("it waited")).run(work)


@pytest.mark.parametrize("change", [removed, replaced])
def test_a_service_acknowledges_nothing_and_says_why(tmp_path: Path, change: Callable[[Path], None]) -> None:
    with service(tmp_path) as catalog_dataset:
        record = {"ts": "2013-01-01T00:00:00Z", "station": "JFK"}
        assert catalog_dataset.client.post("/datasets/weather/ingest", json={"records": [record]}).status_code == 200
        change(tmp_path / "catalog.sqlite")
        for _ in range(2):
            refused = catalog_dataset.client.post("/datasets/weather/ingest", json={"records": [record]})
            assert (refused.status_code, refused.json()["code"]) == (503, "catalog_replaced")
            assert str(tmp_path) not in refused.text
        asked = catalog_dataset.client.post("/datasets/weather/query", json={"columns": ["station"]})
        assert (asked.status_code, asked.json()["code"]) == (503, "catalog_replaced")
        assert catalog_dataset.client.get("/ready").status_code == 503
