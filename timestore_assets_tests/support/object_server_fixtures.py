"""Fixtures of real object stores: one server of each kind for a session, an empty bucket for each test."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from timestore_assets_tests.support import object_server_start as start
from timestore_assets_tests.support.object_server_binaries import NoObjectServerError, azurite, fake_gcs_server, fetching, missing
from timestore_assets_tests.support.object_servers import AzureServer, GcsServer, ObjectServer, S3Server
from timestore_assets_tests.support.rough_store import RoughStore, rough_store

REAL_S3 = [pytest.mark.xdist_group("s3")]
REAL_AZURE = [pytest.mark.xdist_group("azure")]
REAL_GCS = [pytest.mark.xdist_group("gcs")]
"""Marks of tests that use one of them: one worker holds them all, so that one server is enough."""

OBJECT_SERVERS = [pytest.param(kind, marks=marks) for kind, marks in (("s3", REAL_S3), ("azure", REAL_AZURE), ("gcs", REAL_GCS))]

_PROGRAMS = {"s3_server": "versitygw", "gcs_server": "fake-gcs-server", "azure_server": "azurite"}
_numbers = itertools.count(1)


@contextlib.contextmanager
def fetched_beside(items: Iterable[pytest.Item]) -> Iterator[None]:
    """While entered, the programs that these tests need and that aren't here are fetched.

    Building one takes minutes, in which other tests can run.
    """
    wanted = missing(sorted({program for item in items for program in programs_of(item)}))
    with fetching(wanted) if wanted else contextlib.nullcontext():
        yield


def programs_of(item: pytest.Item) -> set[str]:
    """Those that a test needs, by its fixtures or its group."""
    group = item.get_closest_marker("xdist_group")
    named = {*getattr(item, "fixturenames", ()), f"{group.args[0]}_server" if group else ""}
    return {program for fixture, program in _PROGRAMS.items() if fixture in named}


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    with start.s3_server() as server:
        yield server


@pytest.fixture(scope="session")
def azure_server() -> Iterator[AzureServer]:
    _skip_without(azurite)
    with start.azure_server() as server:
        yield server


@pytest.fixture(scope="session")
def gcs_server() -> Iterator[GcsServer]:
    _skip_without(fake_gcs_server)
    with start.gcs_server() as server:
        yield server


@pytest.fixture
def s3_bucket(s3_server: S3Server) -> S3Server:
    """The S3 server with an empty bucket of the test's own."""
    return s3_server.with_bucket(_name())


@pytest.fixture(params=OBJECT_SERVERS)
def object_server(request: pytest.FixtureRequest) -> ObjectServer:
    """A server with an empty bucket of the test's own: every test that takes it runs on each kind of store."""
    server: ObjectServer = request.getfixturevalue(f"{request.param}_server")
    return server.with_bucket(_name())


@pytest.fixture
def rough_s3(s3_bucket: S3Server) -> Iterator[RoughStore]:
    """An empty bucket of the S3 server behind a proxy whose faults the test sets."""
    with rough_store(s3_bucket) as store:
        yield store


def _name() -> str:
    return f"bucket-{next(_numbers)}"


def _skip_without(program: Callable[[], Path]) -> None:
    try:
        program()
    except NoObjectServerError as reason:
        pytest.skip(f"not proven: {reason}")
