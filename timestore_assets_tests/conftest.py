"""Fixtures that many test files share: a PostgreSQL server started when first asked for, and catalogs on both databases."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from timestore_assets.catalog.sql import SqlCatalog
from timestore_assets_tests import catalogs
from timestore_assets_tests.catalog_ground import Ground

# a background job starts with Ctrl-C ignored and hands that on to its children, some of which the tests interrupt
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def postgres() -> Iterator[catalogs.PostgresServer]:
    with catalogs.postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_template(postgres: catalogs.PostgresServer) -> Iterator[str]:
    with catalogs.postgres_template(postgres) as name:
        yield name


@pytest.fixture(scope="session")
def postgres_catalog_url(postgres: catalogs.PostgresServer, postgres_template: str) -> Iterator[str]:
    with catalogs.fresh_database(postgres, template=postgres_template) as url:
        yield url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return catalogs.sqlite_template(tmp_path_factory.mktemp("catalog"))


@pytest.fixture
def sqlite_catalog_url(tmp_path: Path, sqlite_template: Path) -> str:
    return catalogs.sqlite_url(Path(shutil.copy(sqlite_template, tmp_path / "catalog.sqlite")))


@pytest.fixture(params=["sqlite", "postgresql"])
def catalog_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of an empty, migrated catalog: every test that takes it runs on both databases."""
    url: str = request.getfixturevalue(f"{'postgres' if request.param == 'postgresql' else 'sqlite'}_catalog_url")
    yield url
    if request.param == "postgresql":
        # ten times quicker than a database for each test
        catalogs.empty(url)


@pytest.fixture
def catalog(catalog_url: str) -> Iterator[SqlCatalog]:
    opened = SqlCatalog.open(catalog_url)
    yield opened
    opened.close()


@pytest.fixture
def ground(catalog: SqlCatalog) -> Ground:
    return Ground.of(catalog)
