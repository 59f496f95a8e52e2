"""Queries plan by a replica as far as it has come, and never worse than by the primary."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta

import psycopg
import pytest
from pydantic import SecretStr
from sqlalchemy import make_url

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.open_catalog import open_catalog
from timestore_assets.catalog.replica import Replica
from timestore_assets.catalog.snapshot_pin import UNPINNED, SnapshotPin
from timestore_assets.model.errors import InputError, UnavailableError
from timestore_assets.model.schema import Column, Schema
from timestore_assets.model.types import DOUBLE
from timestore_assets.settings import Settings
from timestore_assets_tests.support.catalog_dataset import WEATHER, CatalogDataset, day
from timestore_assets_tests.support.catalogs import PostgresServer, fresh_database, postgres_server


@dataclass
class Pair:
    """A primary, and a copy of what it was at version 2 that no longer follows it."""

    ground: CatalogDataset
    read: Callable[[], Catalog]
    server: PostgresServer


def database(url: str) -> str:
    return str(make_url(url).database)


@pytest.fixture(scope="module")
def second_server() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture
def pair(postgres: PostgresServer, postgres_template: str, second_server: PostgresServer) -> Iterator[Pair]:
    with ExitStack() as stack:
        url = stack.enter_context(fresh_database(postgres, template=postgres_template))
        behind = stack.enter_context(fresh_database(second_server))
        catalog = Catalog.open(url)
        stack.callback(catalog.close)
        ground = CatalogDataset.of(catalog)
        ground.land("a", *(ground.segment(number) for number in range(3)))
        ground.land("b")
        copy(postgres, database(url), behind)

        def read() -> Catalog:
            nobody = make_url(behind).set(username=None).render_as_string()
            opened = open_catalog(Settings(database_url=SecretStr(url), database_read_url=SecretStr(nobody)))
            stack.callback(opened.close)
            return opened

        yield Pair(ground=ground, read=read, server=second_server)


def copy(server: PostgresServer, name: str, target: str) -> None:
    """Let the target hold what the database holds now."""
    Catalog.open(target).close()
    tables = (
        "datasets",
        "dataset_schemas",
        "sources",
        "source_partitions",
        "sessions",
        "segments",
        "segment_stats",
        "retractions",
    )
    with psycopg.connect(server.url(name)) as source, psycopg.connect(target) as sink:
        for table in tables:
            with (
                source.cursor().copy(f"COPY timestore.{table} TO STDOUT".encode()) as rows,
                sink.cursor().copy(f"COPY timestore.{table} FROM STDIN".encode()) as into,
            ):
                for row in rows:
                    into.write(row)


def replica_of(catalog: Catalog) -> Replica:
    assert catalog.replica is not None
    return catalog.replica


def test_versions_that_the_replica_has_are_read_there(pair: Pair) -> None:
    pair.ground.build(0, [one for one in pair.ground.live() if one.partition_start == day(0).start], pair.ground.sealed(rows=20))
    catalog = pair.read()
    asked = replica_of(catalog)
    for version in (1, 2):
        assert catalog.manifest.segments(pair.ground.id, version=version) == [
            replace(one, removed_version=None) for one in pair.ground.live(version)
        ]
        assert catalog.manifest.count(pair.ground.id, version=version) == len(pair.ground.live(version))
        assert catalog.manifest.retracted(pair.ground.id, version=version) == frozenset()
    assert catalog.datasets.schema(pair.ground.id, 1) == pair.ground.catalog.datasets.schema(pair.ground.id, 1)
    assert (asked.answered, asked.passed_on) == (7, 0)


def test_newer_versions_and_the_newest_come_from_the_primary(pair: Pair) -> None:
    wider = replace(WEATHER, schema=Schema(columns=(*WEATHER.schema.columns, Column(name="dew", type=DOUBLE, nullable=True))))
    pair.ground.catalog.datasets.register(wider, actor="test")
    pair.ground.land("c")
    catalog = pair.read()
    assert len(catalog.manifest.segments(pair.ground.id, version=3)) == 5
    assert catalog.manifest.count(pair.ground.id, version=3) == 5
    assert replica_of(catalog).passed_on == 2
    assert len(catalog.manifest.segments(pair.ground.id)) == 5
    assert catalog.datasets.schema(pair.ground.id, 2).names == (*WEATHER.schema.names, "dew")
    assert replica_of(catalog).answered == 0
    version, lease = catalog.versions.pin(pair.ground.id, version=None, holder="query", ttl=timedelta(minutes=1))
    assert version == 3
    catalog.leases.release(lease)


def test_a_replica_that_is_away_is_left_alone_for_a_while(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    catalog = pair.read()
    asked = replica_of(catalog)
    with pair.server.stopped():
        assert len(catalog.manifest.segments(pair.ground.id, version=2)) == 4
        assert asked.passed_on == 1
    assert "queries plan by the primary for a while" in caplog.text
    assert len(catalog.manifest.segments(pair.ground.id, version=2)) == 4
    assert (asked.answered, asked.passed_on) == (0, 2), "it rests, though it is back"
    asked._rests_until = 0.0
    assert len(catalog.manifest.segments(pair.ground.id, version=2)) == 4
    assert asked.answered == 1


def test_a_replica_without_our_tables_is_passed_over(pair: Pair) -> None:
    with fresh_database(pair.server) as empty:
        catalog = Catalog.open(pair.ground.catalog.database.engine.url.render_as_string(False), read_url=empty)
        assert len(catalog.manifest.segments(pair.ground.id, version=2)) == 4
        assert replica_of(catalog).answered == 0
        catalog.close()


@pytest.mark.parametrize("url", ["sqlite:////tmp/x.db", "no url at all", "postgresql://ada:s3cret@host:port/x"])
def test_what_can_be_no_replica_is_named(url: str, sqlite_catalog_url: str) -> None:
    with pytest.raises(InputError, match="TIMESTORE_DATABASE_READ_URL") as caught:
        Catalog.open(sqlite_catalog_url, read_url=url)
    assert "s3cret" not in str(caught.value)


def test_a_standby_answers_queries_and_takes_no_writes(pair: Pair) -> None:
    """A real hot standby: PostgreSQL refuses its writes in words of its own."""
    behind = replica_of(pair.read())._database.engine.url.render_as_string(hide_password=False)
    with as_standby(pair.server):
        catalog = pair.read()
        assert len(catalog.manifest.segments(pair.ground.id, version=2)) == 4
        assert replica_of(catalog).answered == 1
        mistaken = Catalog.open(behind)
        assert mistaken.datasets.all() != []
        with pytest.raises(UnavailableError, match="takes no writes, as a replica does"):
            mistaken.sessions.begin(pair.ground.id, "landing", holder="test", ttl=timedelta(minutes=1))
        # but it can be read, at the price of a version that nothing protects
        pin = SnapshotPin(mistaken, pair.ground.id, version=None, holder="reader", ttl=timedelta(minutes=1))
        assert (pin.version, pin.risk) == (2, UNPINNED)
        pin.release()
        mistaken.close()


@contextmanager
def as_standby(server: PostgresServer) -> Iterator[None]:
    """The server as a standby that waits for more from a primary, until the block ends."""
    signal = server.folder / "standby.signal"
    with server.stopped():
        signal.touch()
        signal.chmod(0o644)
    try:
        yield
    finally:
        with server.stopped():
            signal.unlink()
