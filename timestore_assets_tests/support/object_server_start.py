"""Starts a real object store on loopback, in a process of its own, and ends it with the block."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from timestore_assets_tests.support import gcs_xml_front
from timestore_assets_tests.support.kafka_cluster import HOST, free_ports
from timestore_assets_tests.support.object_server_binaries import NoObjectServerError, azurite, fake_gcs_server, versitygw
from timestore_assets_tests.support.object_servers import AzureServer, GcsServer, S3Server
from timestore_assets_tests.support.watched_process import wait_until, watched

START_SECONDS = 60.0
BUCKET = "warehouse"
ACCESS_KEY, SECRET_KEY = "AKIATIMESTORETEST", "not-a-secret-of-anybody"


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """Versity's gateway over a folder, or moto where it can't be had; `product` says which, and why."""
    try:
        program, product = str(versitygw()), "versitygw"
    except NoObjectServerError as reason:
        program, product = "", f"moto ({reason})"

    def command(port: int, folder: Path) -> list[str]:
        if not program:
            return [sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(port)]
        access = ["--access", ACCESS_KEY, "--secret", SECRET_KEY]
        return [program, *access, "--port", f"{HOST}:{port}", "--keep-alive", "--quiet", "posix", str(folder)]

    with _running(command) as endpoint:
        server = S3Server(endpoint=endpoint, bucket=BUCKET, product=product, access_key=ACCESS_KEY, secret_key=SECRET_KEY)
        server.make_bucket()
        yield server


@contextmanager
def azure_server() -> Iterator[AzureServer]:
    """Azurite's blob service.

    Raises:
        NoObjectServerError: it can't be had on this machine.
    """
    script = azurite()

    def command(port: int, folder: Path) -> list[str]:
        quiet = ["--silent", "--disableTelemetry", "--skipApiVersionCheck"]
        return ["node", str(script), "--blobHost", HOST, "--blobPort", str(port), "--location", str(folder), *quiet]

    with _running(command) as endpoint:
        server = AzureServer(endpoint=endpoint, bucket=BUCKET, product="azurite")
        server.make_bucket()
        yield server


@contextmanager
def gcs_server() -> Iterator[GcsServer]:
    """fake-gcs-server in memory, with Google's XML API in front of it. Raises: as `azure_server`."""
    program = fake_gcs_server()

    def command(port: int, folder: Path) -> list[str]:
        public = ["-public-host", f"{HOST}:{port}", "-external-url", f"http://{HOST}:{port}"]
        backend = ["-backend", "memory", "-log-level", "error"]
        return [str(program), "-scheme", "http", "-host", HOST, "-port", str(port), *public, *backend]

    def front(port: int, folder: Path) -> list[str]:
        return [sys.executable, gcs_xml_front.__file__, str(port), behind.rpartition(":")[2]]

    with _running(command) as behind, _running(front) as endpoint:
        server = GcsServer(endpoint=endpoint, bucket=BUCKET, product="fake-gcs-server")
        server.make_bucket()
        yield server


@contextmanager
def _running(command: Callable[[int, Path], Sequence[str]]) -> Iterator[str]:
    """The address of the server that the command starts, by a port and an empty folder for its objects."""
    root = Path(tempfile.mkdtemp(prefix="timestore-objects-"))
    folder, log, port = root / "objects", root / "log", free_ports(1)[0]
    folder.mkdir()
    endpoint = f"http://{HOST}:{port}"
    try:
        with watched(command(port, folder), log=log) as process:
            wait_until(lambda: _answers(endpoint), process, log=log, seconds=START_SECONDS)
            yield endpoint
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _answers(endpoint: str) -> bool:
    try:
        httpx.get(endpoint, timeout=1.0)
    except httpx.TransportError:
        return False
    return True
