"""Fixtures that many test files share: a PostgreSQL server started when first asked for, and catalogs on both databases."""

from __future__ import annotations

import atexit
import os
import sys


def _end_at_once(worker: int) -> None:
    """End a worker without taking the interpreter apart: all has been reported and closed by now.

    DuckDB's bindings look then for objects that somebody still holds. A daemon thread of any test is enough for a page about
    leaks, which every process would print over the summary of the run.
    """
    if os.getpid() == worker:  # not what a test has forked from it
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


if "PYTEST_XDIST_WORKER" in os.environ:
    atexit.register(_end_at_once, os.getpid())  # before all else is imported, so that it is called after what that registers

# ruff: noqa: E402 - see the line above
import contextlib
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, settings

from timestore_assets.catalog.catalog import Catalog
from timestore_assets_tests.support import catalogs
from timestore_assets_tests.support.catalog_dataset import CatalogDataset
from timestore_assets_tests.support.kafka_brokers import EmbeddedKafka, KafkaCluster, kafka_or_skip
from timestore_assets_tests.support.kafka_jars import NoKafkaError, kafka_jars
from timestore_assets_tests.support.object_server_fixtures import (  # noqa: F401 - pytest finds fixtures by their names here
    azure_server,
    fetched_beside,
    gcs_server,
    object_server,
    programs_of,
    rough_s3,
    s3_bucket,
    s3_server,
)

# finding out which lines only failing examples run means tracing every line of every example
settings.register_profile("timestore", deadline=None, phases=[phase for phase in Phase if phase is not Phase.explain])
settings.load_profile("timestore")

# a background job starts with Ctrl-C ignored and hands that on to its children, some of which the tests interrupt
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Rewriting assertions is half of collecting: what one worker has rewritten the others take, and the next run takes all.

    Containers tell Python to write no bytecode. Here it is written all the same, as `make test` does it for the package.
    """
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, False
    try:
        return (yield)
    finally:
        sys.dont_write_bytecode = before


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A file's tests run on one worker, so that what they share is started once; groups of several files stay as marked.

    Groups with slow tests come first: the last tests of a session are short, and no worker waits long for another. Of those,
    the ones of many tests come before the ones of few, behind which a worker has already been given its next group to wait.
    Those of object stores, whose programs may have to be built, come next.
    """
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))
    stores = {_group(item) for item in items if programs_of(item)}
    slow = {_group(item) for item in items if item.get_closest_marker("slow")}
    first, sizes = slow - stores, Counter(map(_group, items))

    def place(item: pytest.Item) -> tuple[bool, bool, int]:
        group = _group(item)
        return group not in first, group not in stores, -sizes[group] if group in first else 0

    items.sort(key=place)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Programs that selected tests need are fetched beside the first tests, by one worker for all."""
    if os.environ.get("PYTEST_XDIST_WORKER", "gw0") == "gw0" and not session.config.option.collectonly:
        beside = contextlib.ExitStack()
        beside.enter_context(fetched_beside(session.items))
        session.config.add_cleanup(beside.close)


def _group(item: pytest.Item) -> str:
    mark = item.get_closest_marker("xdist_group")
    return str(mark.args[0]) if mark else ""


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
def catalog(catalog_url: str) -> Iterator[Catalog]:
    opened = Catalog.open(catalog_url)
    yield opened
    opened.close()


@pytest.fixture
def catalog_dataset(catalog: Catalog) -> CatalogDataset:
    return CatalogDataset.of(catalog)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """One node of real Apache Kafka that tests share; each makes topics of its own."""
    with kafka_or_skip(folder=tmp_path_factory.mktemp("kafka")) as cluster:
        yield cluster


@pytest.fixture(scope="session", params=["sasl_plain", "scram", "tls"])
def secured_kafka(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """A node that asks clients who they are, in each of the ways, one after the other: the tests of one way share it."""
    with kafka_or_skip(folder=tmp_path_factory.mktemp("secured"), security=request.param) as cluster:
        yield cluster


@pytest.fixture
def kafka_cluster(tmp_path: Path) -> Iterator[Callable[..., KafkaCluster]]:
    """Makes a test's own clusters, by `KafkaCluster`'s arguments, and ends them with it."""
    with contextlib.ExitStack() as stack:

        def make(nodes: int = 1, **how: Any) -> KafkaCluster:
            return stack.enter_context(kafka_or_skip(nodes, folder=tmp_path, **how))

        yield make


@pytest.fixture(scope="session")
def any_kafka(request: pytest.FixtureRequest) -> Iterator[KafkaCluster | EmbeddedKafka]:
    """The shared Apache Kafka, or the embedded broker where that can't be had; `real` says which."""
    try:
        kafka_jars()
    except NoKafkaError:
        with EmbeddedKafka() as embedded:
            yield embedded
    else:
        yield request.getfixturevalue("kafka")
