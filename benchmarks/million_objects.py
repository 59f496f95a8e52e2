"""What ticks of a sensor cost over a bucket of very many objects: time and memory, with time in the path and without.

    python benchmarks/million_objects.py --objects 1_000_000

The objects are hard links in the folder of an S3 server in a process of its own, a thousand a day up to today. All but those of
the first tick are settled in the catalog, as after years of landing, so that every listed key is looked up there.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

A_DAY = 1000
LINKS = 30_000
"""Of one file; file systems bound it."""
CONTENT = b"device,at,value\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where to work, on a file system with extended attributes")
    options = parser.parse_args()
    days = max(1, options.objects // A_DAY)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder, _server(Path(folder)) as server:
        began = time.monotonic()
        names = _make_objects(server, Path(folder) / "objects" / server.bucket, days)
        print(f"{len(names):,} objects made in {time.monotonic() - began:.0f} s", flush=True)
        for below in ("", "{window:%Y/%m/%d}/"):
            # each in a process of its own: what one has allocated would hide what the next one needs
            context = multiprocessing.get_context("spawn")
            child = context.Process(target=_measure, args=(server, Path(folder) / f"home{len(below)}", below, names, days))
            child.start()
            child.join()
            if child.exitcode:
                sys.exit(child.exitcode)


@contextmanager
def _server(folder: Path) -> Iterator[Any]:
    """Versity's gateway over a folder that can be filled without it."""
    from timestore_assets_tests.support.kafka_cluster import HOST, free_ports
    from timestore_assets_tests.support.object_server_binaries import versitygw
    from timestore_assets_tests.support.object_servers import S3Server
    from timestore_assets_tests.support.watched_process import wait_until, watched

    port, root = free_ports(1)[0], folder / "objects"
    root.mkdir()
    server = S3Server(
        endpoint=f"http://{HOST}:{port}", bucket="many", product="versitygw", access_key="access", secret_key="secret"
    )
    access = ["--access", server.access_key, "--secret", server.secret_key]
    command = [str(versitygw()), *access, "--port", f"{HOST}:{port}", "--keep-alive", "--quiet", "posix", str(root)]
    with watched(command, log=folder / "log") as process:
        wait_until(lambda: _answers(server.endpoint), process, log=folder / "log", seconds=30.0)
        server.make_bucket()
        yield server


def _answers(endpoint: str) -> bool:
    import httpx

    try:
        httpx.get(endpoint, timeout=1.0)
    except httpx.TransportError:
        return False
    return True


def _make_objects(server: Any, root: Path, days: int) -> list[str]:
    import obstore

    store, names = server.store(), list[str]()
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    for number in range(days):
        folder = f"{today - timedelta(days=days - 1 - number):%Y/%m/%d}"
        (root / "raw" / folder).mkdir(parents=True)
        for one in range(A_DAY):
            if len(names) % LINKS == 0:
                seed = root / "seeds" / str(len(names))
                obstore.put(store, f"seeds/{len(names)}", CONTENT)
            names.append(f"{folder}/{one:04}.csv")
            os.link(seed, root / "raw" / names[-1])
    return names


def _measure(server: Any, home: Path, below: str, names: list[str], days: int) -> None:
    import pytest

    from timestore_assets_tests.support.bucket_source import declaration, folder, put, reach
    from timestore_assets_tests.support.dagster_deployment import dagster_deployment

    start = datetime.now(UTC) - timedelta(days=days)
    text = declaration(server, below).replace("start: 2024-01-01", f"start: {start:%Y-%m-%d}")
    with pytest.MonkeyPatch.context() as environment:
        reach(server, environment)
        with dagster_deployment(home, text) as there:
            print(f"\n{there.source.prefix}")
            before = _peak()
            seconds, found = _timed(lambda: there.tick("timestore_objects"))
            files = len(found.run_requests[0].run_config["ops"]["land_readings_files"]["config"]["files"])
            print(f"  a tick that finds {files:,} new files: {seconds:.2f} s, {_peak() - before:.0f} MB more memory")
            etag = folder(server).file(names[0]).identify().etag
            _settle(there, names, etag)
            before, cursor = _peak(), None
            for which in ("first", "later"):
                cursor = _round(there, which, cursor)
            print(f"  memory at its peak: {_peak():.0f} MB, {_peak() - before:.0f} MB more than before the rounds")
            put(server, f"{datetime.now(UTC):%Y/%m/%d}/late.csv", CONTENT)
            _until_found(there, cursor)
            folder(server).file(f"{datetime.now(UTC):%Y/%m/%d}/late.csv").delete()


def _round(there: Any, which: str, cursor: str | None) -> str:
    """Tick until the listing has been all round and begins again."""
    seconds, done = list[float](), False
    while not done:
        took, found = _timed(lambda at=cursor: there.tick("timestore_objects", at))
        seconds.append(took)
        cursor, done = found.cursor, "this round is" not in str(found.skip_message)
    ticks = f"{len(seconds)} tick{'s' if len(seconds) > 1 else ''}"
    median = f"median {statistics.median(seconds):.2f} s, longest {max(seconds):.2f} s"
    print(f"  {which} quiet round: {ticks}, {sum(seconds):.1f} s in all, {median}\n    {found.skip_message}", flush=True)
    return str(cursor)


def _until_found(there: Any, cursor: str | None) -> None:
    for ticks in range(1, 1000):
        found = there.tick("timestore_objects", cursor)
        cursor = found.cursor
        if found.run_requests:
            print(f"  an object of today that has come in is asked for by tick {ticks}")
            break


def _settle(there: Any, names: list[str], etag: str) -> None:
    """The files as landed, straight into the tables: landing so many would take hours and is not what is measured."""
    with there.warehouse() as warehouse:
        _, record = warehouse.resolve("readings")
        source = warehouse.catalog.sources.ensure(record.id, there.source.kind, there.source.address)
    values = {
        "dataset_id": record.id, "source_id": source.id, "sha256": "x", "etag": etag, "bytes": len(CONTENT), "state": "landed",
        "reason": "", "replaces": "[]", "newest": 1, "created_at": 0, "updated_at": 0,
    }  # fmt: skip
    with sqlite3.connect(there.home / "catalog.sqlite") as connection:
        columns, marks = ", ".join(values), ", ".join("?" * len(values))
        statement = f"INSERT INTO files (address, {columns}) VALUES (?, {marks})"
        connection.executemany(statement, ((name, *values.values()) for name in names))


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.monotonic()
    found = work()
    return time.monotonic() - began, found


def _peak() -> float:
    """Most memory this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


if __name__ == "__main__":
    main()
