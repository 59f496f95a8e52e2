"""When the database is full, locked, gone or breaks in the middle of a commit."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import event, text

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.model.errors import (
    InputError,
    StorageFullError,
    UnavailableError,
    UnknownOutcomeError,
)
from timestore_assets.model.segment import ColumnStats
from timestore_assets_tests.support.catalog_dataset import CatalogDataset
from timestore_assets_tests.support.catalogs import PostgresServer, fresh_database, sqlite_url


@pytest.fixture
def on_postgres(postgres: PostgresServer, postgres_template: str) -> Iterator[CatalogDataset]:
    with fresh_database(postgres, template=postgres_template) as url:
        catalog = Catalog.open(url)
        yield CatalogDataset.of(catalog)
        catalog.close()


def engine(catalog_dataset: CatalogDataset) -> Any:
    return catalog_dataset.catalog.database.engine


def terminate_others(catalog_dataset: CatalogDataset) -> None:
    """Break every connection to the database but a new one of our own."""
    url = engine(catalog_dataset).url
    with psycopg.connect(host=url.query["host"], dbname=url.database, user=url.username, autocommit=True) as admin:
        mine = "datname = current_database() AND pid <> pg_backend_pid()"
        admin.execute(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {mine}".encode())


def test_a_full_disk_publishes_nothing(sqlite_catalog_url: str) -> None:
    catalog = Catalog.open(sqlite_catalog_url)
    catalog_dataset = CatalogDataset.of(catalog)
    catalog_dataset.land()
    wide = {f"column {i}": ColumnStats(min="a" * 60, max="z" * 60) for i in range(100)}
    segments = catalog_dataset.many([0] * 50, stats=wide)
    # SQLite reports a file at its page limit as it reports a full disk
    with engine(catalog_dataset).connect() as connection:
        pages = connection.execute(text("PRAGMA page_count")).scalar_one()

    @event.listens_for(engine(catalog_dataset), "checkout")
    def limit(driver: sqlite3.Connection, *_: object) -> None:
        driver.execute(f"PRAGMA max_page_count = {pages + 20}")

    with pytest.raises(StorageFullError, match="no room left for catalog"):
        catalog_dataset.land("a", *segments)
    event.remove(engine(catalog_dataset), "checkout", limit)
    assert len(catalog_dataset.live()) == 1
    assert catalog_dataset.source_partition().position.offset == 10
    catalog.close()
    again = Catalog.open(sqlite_catalog_url)
    again.commits.land(catalog_dataset.batch(catalog_dataset.source_partition(), *segments))
    again.close()


def test_a_lock_held_too_long_is_one_clear_sentence(tmp_path: Path, sqlite_catalog_url: str) -> None:
    catalog = Catalog.open(sqlite_catalog_url, patience=0.1)
    catalog_dataset = CatalogDataset.of(catalog)
    other = sqlite3.connect(tmp_path / "catalog.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(UnavailableError, match="stayed locked by another process"):
        catalog_dataset.source_partition("new")
    assert catalog_dataset.live() == []
    other.execute("ROLLBACK")
    other.close()
    assert catalog_dataset.land() == 1
    catalog.close()


def test_a_writer_waits_for_another(tmp_path: Path, sqlite_catalog_url: str) -> None:
    catalog = Catalog.open(sqlite_catalog_url, patience=30)
    catalog_dataset = CatalogDataset.of(catalog)
    other = sqlite3.connect(tmp_path / "catalog.sqlite", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.3, lambda: other.execute("COMMIT"))
    timer.start()
    assert catalog_dataset.land() == 1
    timer.join(10)
    other.close()
    catalog.close()


def test_a_postgresql_lock_held_too_long(on_postgres: CatalogDataset) -> None:
    url = engine(on_postgres).url.render_as_string(hide_password=False)
    hurried = Catalog.open(url, patience=0.2)
    batch = on_postgres.batch(on_postgres.source_partition(), on_postgres.segment())
    with engine(on_postgres).connect() as holder, holder.begin():
        holder.execute(text("SELECT id FROM datasets FOR UPDATE"))
        with pytest.raises(UnavailableError, match="stayed locked"):
            hurried.commits.land(batch)
    assert hurried.commits.land(batch) == 1
    hurried.close()


def test_an_unreachable_server_is_named_without_the_password() -> None:
    with pytest.raises(UnavailableError) as caught:
        Catalog.open("postgresql://ada:s3cret-word@127.0.0.1:1/things")
    assert "things on PostgreSQL at 127.0.0.1:1" in str(caught.value)
    assert "s3cret-word" not in str(caught.value) + repr(caught.value.__cause__)


def test_a_database_that_does_not_exist(postgres: PostgresServer) -> None:
    with pytest.raises(UnavailableError, match='"nowhere" does not exist'):
        Catalog.open(postgres.url("nowhere"))


@pytest.mark.parametrize("url", ["mysql://x/y", "sqlite://", "sqlite:///:memory:", "not a url", "postgresql://host:port/x"])
def test_urls_that_can_not_be_a_catalog(url: str) -> None:
    with pytest.raises(InputError):
        Catalog.open(url)


def test_files_that_are_no_catalog(tmp_path: Path) -> None:
    text_file = tmp_path / "notes.txt"
    text_file.write_text("This is no database, but it is long enough to have a header of a hundred bytes. " * 20)
    with pytest.raises(InputError, match="not a database"):
        Catalog.open(sqlite_url(text_file))
    with pytest.raises(UnavailableError):
        Catalog.open(sqlite_url(tmp_path))
    with pytest.raises(UnavailableError, match="folder"):
        Catalog.open(sqlite_url(text_file / "catalog.sqlite"))


def test_a_restarted_server_is_noticed(on_postgres: CatalogDataset) -> None:
    on_postgres.land()
    terminate_others(on_postgres)
    assert on_postgres.land() == 2
    terminate_others(on_postgres)
    assert len(on_postgres.live()) == 2


def break_commits(
    catalog_dataset: CatalogDataset, *, times: int, before: Callable[[], None] | None = None, done: bool
) -> list[int]:
    """Let the next COMMITs break off, after they were done or instead; returns a list that grows with each."""
    dialect = engine(catalog_dataset).dialect
    commit, broken = dialect.do_commit, []

    def do_commit(connection: Any) -> None:
        if len(broken) >= times:
            commit(connection)
            return
        broken.append(1)
        if done:
            commit(connection)
        if before is not None:
            before()
        connection.driver_connection.close()
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    dialect.do_commit = do_commit
    return broken


def test_a_commit_that_was_done_is_not_repeated(on_postgres: CatalogDataset) -> None:
    batch = on_postgres.batch(on_postgres.source_partition(), on_postgres.segment())
    broken = break_commits(on_postgres, times=1, done=True)
    assert on_postgres.catalog.commits.land(batch) == 1
    assert broken == [1]
    assert (on_postgres.rows(), on_postgres.counters().read) == (10, 10)


def test_a_commit_that_was_not_done_is_repeated(on_postgres: CatalogDataset) -> None:
    batch = on_postgres.batch(on_postgres.source_partition(), on_postgres.segment())
    broken = break_commits(on_postgres, times=1, done=False)
    assert on_postgres.catalog.commits.land(batch) == 1
    assert broken == [1]
    assert (on_postgres.rows(), on_postgres.counters().read) == (10, 10)


@pytest.mark.parametrize("done", [True, False])
def test_builds_and_settled_files_are_not_repeated_either(on_postgres: CatalogDataset, done: bool) -> None:
    file = on_postgres.observe("a", "1")
    on_postgres.land_file(file)
    live, sealed = on_postgres.live(), on_postgres.sealed()
    break_commits(on_postgres, times=1, done=done)
    assert on_postgres.build(0, live, sealed) == 2
    break_commits(on_postgres, times=1, done=done)
    on_postgres.catalog.files.settle(file.id, "quarantined", counters=on_postgres.counters())
    assert on_postgres.counters().read == 20


def test_a_commit_that_can_not_be_settled_is_unknown(on_postgres: CatalogDataset) -> None:
    on_postgres.catalog.database.reconnect_seconds = 0.1
    batch = on_postgres.batch(on_postgres.source_partition(), on_postgres.segment())
    gone: list[bool] = []

    @event.listens_for(engine(on_postgres), "do_connect")
    def refuse(*_: object) -> None:
        if gone:
            raise psycopg.OperationalError("connection refused")

    def vanish() -> None:
        gone.append(True)
        engine(on_postgres).dispose(close=False)

    break_commits(on_postgres, times=1, before=vanish, done=True)
    with pytest.raises(UnknownOutcomeError, match="may or may not"):
        on_postgres.catalog.commits.land(batch)
    gone.clear()
    assert on_postgres.rows() == 10


def test_deadlocks_are_tried_again(on_postgres: CatalogDataset) -> None:
    database = on_postgres.catalog.database
    tries: list[int] = []
    both = threading.Barrier(2, timeout=30)

    def cross(first: int, second: int) -> Callable[[Any], None]:
        def work(connection: Any) -> None:
            tries.append(first)
            connection.execute(text("UPDATE sources SET held = held + 1 WHERE id = :id"), {"id": first})
            if len(tries) <= 2:
                both.wait()
            connection.execute(text("UPDATE sources SET held = held + 1 WHERE id = :id"), {"id": second})

        return work

    one, two = on_postgres.source.id, on_postgres.catalog.sources.ensure(on_postgres.id, "files", "other").id
    thread = threading.Thread(target=lambda: database.write(cross(two, one)))
    thread.start()
    database.write(cross(one, two))
    thread.join(30)
    assert len(tries) == 3
    assert [source.counters.held for source in on_postgres.catalog.sources.of(on_postgres.id)] == [2, 2]
