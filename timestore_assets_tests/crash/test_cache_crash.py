"""The read cache under kill -9, in the middle of fills and evictions: no wrong byte, no overrun, nothing left for ever."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import duckdb

from timestore_assets.storage.cache.read_cache import ReadCache
from timestore_assets_tests.support.cache_child import FolderStore, kept_bytes, read_some
from timestore_assets_tests.support.counting_store import files_of_readers

MAX_BYTES = 1_500_000
KILLS = 40


def made_objects(folder: Path) -> None:
    chance = random.Random(1)
    folder.mkdir()
    for number in range(12):
        (folder / f"{number:02d}.duckdb").write_bytes(chance.randbytes(chance.randint(1, 400_000)))
    columns = ", ".join(f"random() AS {name}" for name in "abcdef")
    with duckdb.connect() as con:
        for number in range(4):
            con.execute(f"COPY (SELECT {columns} FROM range(30000)) TO '{folder}/{number}.parquet' (ROW_GROUP_SIZE 6000)")


def test_killed_at_any_moment_nothing_wrong_is_read_kept_or_left(tmp_path: Path) -> None:
    objects, folder = tmp_path / "objects", tmp_path / "cache"
    made_objects(objects)
    command = [
        sys.executable,
        "-m",
        "timestore_assets_tests.support.cache_child",
        str(objects),
        str(folder),
        str(MAX_BYTES),
        str(KILLS),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stdout + done.stderr
    cache = ReadCache(folder, MAX_BYTES, range_bytes=0)
    assert 0 < kept_bytes(folder) <= MAX_BYTES
    for columns in (["a", "b"], ["c"], ["f", "d"]):
        read_some(cache, FolderStore(folder=objects), sorted(os.listdir(objects)), columns)
    assert kept_bytes(folder) <= MAX_BYTES
    for half_removed in (folder / "readers").iterdir():
        os.utime(half_removed, (0, 0))  # a sweep was killed too; what it left goes a minute later
    cache.sweep()
    assert files_of_readers(cache) == []
    assert cache.unkept_bytes() == 0
    del cache
    assert list((folder / "readers").iterdir()) == []
