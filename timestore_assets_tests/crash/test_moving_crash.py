"""A move that is killed, again and again, at every step: what is there stays readable, and another move finishes."""

from __future__ import annotations

import os
import signal
import time
from datetime import timedelta
from pathlib import Path

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.storage.object_store import Upload
from timestore_assets.upkeep.collect import collect
from timestore_assets.upkeep.move_dataset import move
from timestore_assets_tests.support.catalog_dataset import CatalogDataset
from timestore_assets_tests.support.forked_programs import ForkedPrograms
from timestore_assets_tests.support.moving_child import storage_in

SEGMENTS = 12
STEPS = (("announce", 1), ("fetch", 2), ("promote", 2), ("switch", 1), ("promote", 4))


def test_a_killed_move_loses_nothing_and_is_finished_by_the_next(
    programs: ForkedPrograms, tmp_path: Path, sqlite_catalog_url: str
) -> None:
    catalog, storage = Catalog.open(sqlite_catalog_url), storage_in(tmp_path)
    ground = CatalogDataset.of(catalog)
    content = {}
    for number in range(SEGMENTS):
        segment = ground.segment(number)
        staged = storage.target("default").staging("test") / "file"
        content[number] = bytes([number]) * segment.bytes
        staged.write_bytes(content[number])
        storage.target("default").promote([Upload(staged=staged, name=segment.name)])
        ground.land(str(number), segment)
    catalog.sessions.end(ground.session)

    def check() -> None:
        with storage.reading(catalog.manifest.segments(ground.id)) as paths:
            assert {number: path.read_bytes() for number, path in enumerate(paths)} == content

    for step, calls in STEPS:
        kill(programs, tmp_path, step, calls)
        check()
    report = move(catalog, storage, ground.record, "disk", holder="test", actor="tester")
    assert 0 < report.objects < SEGMENTS
    time.sleep(0.6)  # by then the leases of the killed sessions have expired
    collect(catalog, storage, intent_grace=timedelta(0), keep_versions=timedelta(0))
    check()
    assert [len(list(storage.target(name).list())) for name in ("default", "disk")] == [0, SEGMENTS]
    left = {int(folder.name.partition("-")[0]) for folder in tmp_path.glob("*/.staging/*")}
    assert left <= {os.getpid()}
    catalog.close()


def kill(programs: ForkedPrograms, folder: Path, step: str, calls: int) -> None:
    done = programs.run("moving_child", str(folder), step, str(calls))
    assert done.returncode == -signal.SIGKILL, done.stderr
