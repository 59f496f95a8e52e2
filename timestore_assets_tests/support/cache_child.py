"""Processes that fill and evict one read cache and are killed at any moment: `python -m … OBJECTS CACHE MAX_BYTES KILLS`.

It imports once and forks, so that dozens of kills take seconds. Exit code 1 when a reader saw something wrong, or the bound
was passed; the reason is printed.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
from obstore.store import LocalStore

from timestore_assets.storage.cache.read_cache import ReadCache
from timestore_assets.storage.object_store import ObjectRequest

WORKERS = 3
PIECE = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class FolderStore:
    """Fetchable over the objects of a folder; a download is written in pieces, so that there is time to die in between."""

    folder: Path
    key: str = "folder"
    concurrency: int = 3

    def download(self, name: str, to: Path) -> None:
        content = bytes(LocalStore(self.folder).get(name).bytes())
        with to.open("xb") as file:
            for at in range(0, len(content), PIECE):
                file.write(content[at : at + PIECE])
                file.flush()

    def ranges(self, name: str, spans: Sequence[tuple[int, int]]) -> list[bytes]:
        starts, ends = zip(*spans, strict=True)
        return [bytes(found) for found in LocalStore(self.folder).get_ranges(name, starts=starts, ends=ends)]


def read_some(cache: ReadCache, store: FolderStore, names: Sequence[str], columns: Sequence[str]) -> None:
    """Read objects by the cache, and compare what it gives with what they are."""
    chosen = frozenset(columns)
    wanted = [ObjectRequest(name=name, bytes=(store.folder / name).stat().st_size, columns=chosen) for name in names]
    with cache.reading(store, wanted) as paths:
        for name, path in zip(names, paths, strict=True):
            if name.endswith(".parquet"):
                found, expected = (pq.read_table(one, columns=columns, use_threads=False) for one in (path, store.folder / name))
                assert found.equals(expected), f"{name} {columns}"
            else:
                assert path.read_bytes() == (store.folder / name).read_bytes(), name


def _work(folder: Path, cache_folder: Path, max_bytes: int, seed: int) -> None:
    chance = random.Random(seed)
    names = sorted(path.name for path in folder.iterdir())
    cache = ReadCache(cache_folder, max_bytes, range_bytes=0)
    while True:
        columns = chance.sample(["a", "b", "c", "d", "e", "f"], chance.randint(1, 2))
        read_some(cache, FolderStore(folder=folder), chance.sample(names, chance.randint(1, 4)), columns)


def _started(folder: Path, cache_folder: Path, max_bytes: int, seed: int) -> int:
    child = os.fork()
    if child == 0:
        try:
            _work(folder, cache_folder, max_bytes, seed)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    return child


def kept_bytes(cache_folder: Path) -> int:
    """Bytes of the disk that kept files take now."""
    found = 0
    for path in (cache_folder / "objects").glob("*/*"):
        try:
            found += path.stat().st_blocks * 512
        except FileNotFoundError:
            continue  # evicted since the folder was read
    return found


def main(folder: Path, cache_folder: Path, max_bytes: int, kills: int) -> int:
    """The exit code."""
    chance = random.Random(kills)
    workers: list[int] = []
    try:
        for number in range(kills):
            while len(workers) < WORKERS:
                workers.append(_started(folder, cache_folder, max_bytes, seed=1000 * number + len(workers)))
            time.sleep(chance.uniform(0.01, 0.12))
            if kept_bytes(cache_folder) > max_bytes:
                print("more is kept than may be")
                return 1
            if not _killed(workers.pop(chance.randrange(WORKERS))):
                return 1
    finally:
        was_working = [_killed(worker) for worker in workers]
    return 0 if all(was_working) else 1


def _killed(worker: int) -> bool:
    """Kill a worker; whether it was at work."""
    os.kill(worker, signal.SIGKILL)
    _, status = os.waitpid(worker, 0)
    return os.waitstatus_to_exitcode(status) == -signal.SIGKILL


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
