"""PostgreSQL as production has it: restarts, cut connections, slow statements, pools, and other things in the database."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import psycopg
import pytest
from sqlalchemy import make_url, text

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.postgres import PostgresLimits
from timestore_assets.model.errors import InputError, UnavailableError, UnknownOutcomeError
from timestore_assets_tests.support.catalog_dataset import CatalogDataset
from timestore_assets_tests.support.catalogs import PostgresServer, fresh_database
from timestore_assets_tests.support.postgres_proxy import Cut, PostgresProxy, postgres_proxy


@pytest.fixture
def url(postgres: PostgresServer, postgres_template: str) -> Iterator[str]:
    with fresh_database(postgres, template=postgres_template) as url:
        yield url


@pytest.fixture
def catalog_dataset(url: str) -> Iterator[CatalogDataset]:
    catalog = Catalog.open(url)
    yield CatalogDataset.of(catalog)
    catalog.close()


@pytest.fixture
def proxy(postgres: PostgresServer) -> Iterator[PostgresProxy]:
    with postgres_proxy(postgres.folder) as proxy:
        yield proxy


@pytest.fixture
def behind_proxy(url: str, proxy: PostgresProxy) -> Iterator[CatalogDataset]:
    catalog = Catalog.open(proxy.url(str(make_url(url).database)))
    yield CatalogDataset.of(catalog)
    catalog.close()


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "waited too long"
        time.sleep(0.02)


def waiting_for_locks(url: str) -> int:
    with psycopg.connect(url, autocommit=True) as admin:
        query = b"SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        (found,) = admin.execute(query).fetchone() or (0,)
        return int(found)


def test_a_server_that_is_stopped_and_started_again_is_waited_for(
    postgres: PostgresServer, catalog_dataset: CatalogDataset
) -> None:
    catalog_dataset.land()
    batch = catalog_dataset.batch(catalog_dataset.source_partition(), catalog_dataset.segment())
    results: list[int] = []
    with postgres.stopped():
        thread = threading.Thread(target=lambda: results.append(catalog_dataset.catalog.commits.land(batch)))
        thread.start()
        thread.join(0.3)
        assert thread.is_alive(), "the commit must wait for the server"
    thread.join(30)
    assert results == [2]
    assert (catalog_dataset.rows(), catalog_dataset.counters().read) == (20, 20)


def test_a_server_that_stays_away_is_one_clear_sentence(postgres: PostgresServer, catalog_dataset: CatalogDataset) -> None:
    catalog_dataset.catalog.database.reconnect_seconds = 0.1
    with postgres.stopped():
        with pytest.raises(UnavailableError, match=r"catalog test_\d+ on PostgreSQL .* can't be reached"):
            catalog_dataset.live()
        catalog_dataset.catalog.database.reconnect_seconds = 3600
        with pytest.raises(UnavailableError):  # the next in line is told at once
            catalog_dataset.live()
    assert catalog_dataset.live() == []


@pytest.mark.parametrize("cut", ["before", "after"])
def test_a_connection_cut_during_commit_is_settled(behind_proxy: CatalogDataset, proxy: PostgresProxy, cut: Cut) -> None:
    batch = behind_proxy.batch(behind_proxy.source_partition(), behind_proxy.segment())
    proxy.cut = cut
    assert behind_proxy.catalog.commits.land(batch) == 1
    assert proxy.cuts == 1
    assert (behind_proxy.rows(), behind_proxy.counters().read) == (10, 10)


def test_a_commit_that_arrives_after_its_connection_broke_is_waited_for(
    behind_proxy: CatalogDataset, proxy: PostgresProxy, url: str
) -> None:
    """Taking it for lost, as its token can't be seen yet, would end in a conflict with ourselves."""
    batch = behind_proxy.batch(behind_proxy.source_partition(), behind_proxy.segment())
    results: list[int] = []
    proxy.cut = "held"
    thread = threading.Thread(target=lambda: results.append(behind_proxy.catalog.commits.land(batch)))
    thread.start()
    wait_for(lambda: waiting_for_locks(url) == 1)
    proxy.release.set()
    thread.join(30)
    assert results == [1]
    assert (behind_proxy.rows(), behind_proxy.counters().read) == (10, 10)


def test_a_connection_cut_in_the_middle_of_a_transaction_is_done_again(
    behind_proxy: CatalogDataset, proxy: PostgresProxy
) -> None:
    batch = behind_proxy.batch(behind_proxy.source_partition(), behind_proxy.segment())
    proxy.cut, proxy.at = "after", b"INSERT INTO segments"
    assert behind_proxy.catalog.commits.land(batch) == 1
    assert proxy.cuts == 1
    assert (behind_proxy.rows(), behind_proxy.counters().read) == (10, 10)


def test_a_commit_whose_server_does_not_come_back_is_unknown(
    postgres: PostgresServer, behind_proxy: CatalogDataset, proxy: PostgresProxy
) -> None:
    behind_proxy.catalog.database.reconnect_seconds = 0.1
    batch = behind_proxy.batch(behind_proxy.source_partition(), behind_proxy.segment())
    proxy.cut = "held"
    caught: list[BaseException] = []

    def commit() -> None:
        try:
            behind_proxy.catalog.commits.land(batch)
        except UnknownOutcomeError as error:
            caught.append(error)

    thread = threading.Thread(target=commit)
    thread.start()
    wait_for(lambda: proxy.cuts == 1)
    with postgres.stopped():
        thread.join(30)
    assert [str(error).endswith("may or may not have happened (lost)") for error in caught] == [True]
    assert behind_proxy.rows() == 0


def test_a_statement_may_not_take_for_ever(url: str) -> None:
    catalog = Catalog.open(url, limits=PostgresLimits(statement_seconds=0.1))
    with pytest.raises(UnavailableError, match="raise TIMESTORE_DATABASE_STATEMENT_TIMEOUT_SECONDS"):
        catalog.database.read(lambda connection: connection.execute(text("SELECT pg_sleep(20)")))
    catalog.close()


def test_a_transaction_that_was_left_open_frees_what_it_locked(url: str, catalog_dataset: CatalogDataset) -> None:
    stuck = Catalog.open(url, limits=PostgresLimits(statement_seconds=0.2))
    with stuck.database.engine.connect() as connection:
        connection.execute(text("SELECT id FROM datasets FOR UPDATE"))
        assert catalog_dataset.land() == 1
        connection.invalidate()
    stuck.close()


def test_a_pool_is_as_large_as_it_is_said_to_be(url: str) -> None:
    catalog = Catalog.open(url, limits=PostgresLimits(pool_size=1, overflow=1))
    engine = catalog.database.engine
    engine.pool._timeout = 0.1  # type: ignore[attr-defined] # of a QueuePool, to wait less
    with engine.connect(), engine.connect(), pytest.raises(UnavailableError, match="too many connections"):
        catalog.datasets.all()
    assert catalog.datasets.all() == []
    catalog.close()


def test_two_schemas_and_other_tables_in_one_database(postgres: PostgresServer) -> None:
    with fresh_database(postgres) as url:
        with psycopg.connect(url, autocommit=True) as other:
            other.execute("CREATE TABLE datasets (mine text)")
            other.execute("CREATE TABLE alembic_version (version_num text)")
            other.execute("INSERT INTO alembic_version VALUES ('somebody else''s')")
        one, two = (Catalog.open(url, schema=schema) for schema in ("one", "two"))
        first, second = CatalogDataset.of(one), CatalogDataset.of(two)
        first.land()
        assert (first.rows(), second.rows()) == (10, 0)
        second.land()
        second.land()
        assert (len(first.live()), len(second.live())) == (1, 2)
        one.close()
        two.close()
        with psycopg.connect(url, autocommit=True) as other:
            assert other.execute("SELECT count(*) FROM public.datasets").fetchone() == (0,)
            assert other.execute("SELECT version_num FROM public.alembic_version").fetchone() == ("somebody else's",)


def test_a_user_who_may_not_make_the_schema_is_told_and_may_use_one_made_for_them(postgres: PostgresServer) -> None:
    with fresh_database(postgres) as url:
        as_guest = make_url(url).set(username="guest").render_as_string(hide_password=False)
        with psycopg.connect(url, autocommit=True) as admin:
            admin.execute("CREATE ROLE guest LOGIN")
            with pytest.raises(InputError, match=r"permission denied for database .* check TIMESTORE_DATABASE_URL"):
                Catalog.open(as_guest)
            admin.execute("CREATE SCHEMA timestore AUTHORIZATION guest")
        catalog = Catalog.open(as_guest)
        assert catalog.datasets.all() == []
        catalog.close()
        with psycopg.connect(url, autocommit=True) as admin:
            admin.execute("DROP OWNED BY guest")
            admin.execute("DROP ROLE guest")


def test_a_schema_that_needs_quoting_is_refused(url: str) -> None:
    with pytest.raises(InputError, match="can't be the catalog's schema"):
        Catalog.open(url, schema='x"; DROP SCHEMA timestore; --')
