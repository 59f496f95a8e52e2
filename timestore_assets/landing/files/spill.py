"""Rows gathered for one wide commit, kept on disk by partition until they are written as one large file for each.

A writer open for each partition would hold a row group of each in memory, or write thousands of small ones; here one file is
open, and memory holds the rows of one batch and, later, a row group or two for each thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from queue import SimpleQueue

import pyarrow as pa

from timestore_assets.segments.partition_rows import Clusters
from timestore_assets.segments.writer import WrittenFile, write_delta_file
from timestore_assets.storage.disk_errors import not_written


class Spill:
    """Rows of one schema by partition, in order of arrival. One thread at a time; close it."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._path = path
        self._runs: dict[int, list[int]] = {}
        self._count = 0
        self._open = ExitStack()
        try:
            file = self._open.enter_context(pa.OSFile(str(path), "wb"))
            self._writer = self._open.enter_context(pa.ipc.new_file(file, schema))
        except OSError as error:
            self.close()
            raise not_written(path.parent, "gathering rows", error) from error

    def close(self) -> None:
        """Finish the file; again is fine."""
        self._open.close()

    def add(self, table: pa.Table, clusters: Clusters, numbers: Sequence[int]) -> None:
        """Append rows that are in the order of the clusters. `numbers`: which partition each cluster is.

        Raises:
            StorageFullError, UnavailableError: the folder takes no more; the spill is of no use then.
        """
        try:
            for number, (first, rows) in zip(numbers, clusters.spans(), strict=True):
                for batch in table.slice(first, rows).combine_chunks().to_batches():
                    self._writer.write_batch(batch)
                    self._runs.setdefault(number, []).append(self._count)
                    self._count += 1
        except OSError as error:
            raise not_written(self._path.parent, "gathering rows", error) from error

    def write_files(
        self,
        folder: Path,
        *,
        finished: Callable[[pa.Table], pa.Table],
        unprunable: Sequence[str],
        field_ids: Mapping[str, int],
        threads: int,
    ) -> list[WrittenFile]:
        """Write everything as one file for each partition, in order of time. Nothing can be added after.

        `finished`: makes stored rows of gathered ones.

        Raises:
            StorageFullError, UnavailableError: as `write_delta_files`; it may be called again, with another folder.
        """
        jobs = [(folder / f"{at}.parquet", self._runs[number]) for at, number in enumerate(sorted(self._runs))]
        write = partial(_write, finished=finished, unprunable=unprunable, field_ids=field_ids)
        try:
            self.close()
            folder.mkdir(parents=True, exist_ok=True)
            with ExitStack() as stack:
                readers = self._readers(stack, max(1, min(threads, len(jobs))))
                pool = stack.enter_context(ThreadPoolExecutor(readers.qsize()))
                return list(pool.map(lambda job: write(readers, *job), jobs))
        except OSError as error:
            raise not_written(self._path.parent, "gathering rows", error) from error

    def _readers(self, stack: ExitStack, count: int) -> SimpleQueue[pa.ipc.RecordBatchFileReader]:
        """A reader for each thread: they keep where they are in the file."""
        readers: SimpleQueue[pa.ipc.RecordBatchFileReader] = SimpleQueue()
        for _ in range(count):
            # not mapped into memory: mapped pages would count as the process's own
            readers.put(pa.ipc.open_file(stack.enter_context(pa.OSFile(str(self._path), "rb"))))
        return readers


def _write(
    readers: SimpleQueue[pa.ipc.RecordBatchFileReader],
    path: Path,
    runs: Sequence[int],
    *,
    finished: Callable[[pa.Table], pa.Table],
    unprunable: Sequence[str],
    field_ids: Mapping[str, int],
) -> WrittenFile:
    reader = readers.get()
    try:
        tables = (finished(pa.Table.from_batches([reader.get_batch(index)])) for index in runs)
        return write_delta_file(tables, path, unprunable=unprunable, field_ids=field_ids)
    finally:
        readers.put(reader)
