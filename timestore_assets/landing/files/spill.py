"""Rows gathered for one wide commit, kept on disk by partition until they are written as one large file for each.

Many small partitions share one.

A writer open for each partition would hold a row group of each in memory, or write thousands of small ones; here one file is
open, and memory holds the rows of one batch and, later, a row group or two for each thread.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import pyarrow as pa

from timestore_assets.segments.partition_rows import Clusters
from timestore_assets.segments.shared_file import ROW_GROUP_ROWS, SharedFile, WindowBlock, together, write_shared
from timestore_assets.segments.writer import WrittenFile, write_delta_file
from timestore_assets.storage.disk_errors import not_written

_Readers = SimpleQueue[pa.ipc.RecordBatchFileReader]


class Spill:
    """Rows of one schema by partition, in order of arrival. One thread at a time; close it."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._path, self._names = path, schema.names
        self._runs: dict[int, list[int]] = {}
        self._rows: Counter[int] = Counter()
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
                self._rows[number] += rows
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
        time: str,
        unprunable: Sequence[str],
        field_ids: Mapping[str, int],
        threads: int,
        may_share: Callable[[], bool] = lambda: True,
    ) -> list[WrittenFile | SharedFile]:
        """Write everything as one file for each partition, or for many small ones. Nothing can be added after.

        `finished`: makes stored rows of gathered ones. `time`: name of the time column. `may_share`: as `write_segments`.

        Raises:
            StorageFullError, UnavailableError: as `write_delta_files`; it may be called again, with another folder.
        """
        numbers = sorted(self._runs)
        groups = together([self._rows[number] for number in numbers], self._names)
        groups = groups if groups and may_share() else []
        shared = {place for group in groups for place in group}
        own = [[number] for place, number in enumerate(numbers) if place not in shared]
        writing = _Writing(finished=finished, unprunable=unprunable, field_ids=field_ids, time=time)

        def write(job: tuple[int, list[int]], readers: _Readers) -> WrittenFile | SharedFile:
            at, members = job
            reader, path = readers.get(), folder / f"{at}.parquet"
            try:
                if at < len(own):
                    return writing.own(self._tables(reader, members), path)
                return writing.shared(self._blocks(reader, members), path)
            finally:
                readers.put(reader)

        jobs = list(enumerate([*own, *([numbers[place] for place in group] for group in groups)]))
        try:
            self.close()
            folder.mkdir(parents=True, exist_ok=True)
            with ExitStack() as stack:
                readers = self._readers(stack, max(1, min(threads, len(jobs))))
                pool = stack.enter_context(ThreadPoolExecutor(readers.qsize()))
                return list(pool.map(lambda job: write(job, readers), jobs))
        except OSError as error:
            raise not_written(self._path.parent, "gathering rows", error) from error

    def _tables(self, reader: pa.ipc.RecordBatchFileReader, numbers: Iterable[int]) -> Iterator[pa.Table]:
        """The rows of partitions, one after the other, in order of arrival."""
        for number in numbers:
            for index in self._runs[number]:
                yield pa.Table.from_batches([reader.get_batch(index)])

    def _blocks(self, reader: pa.ipc.RecordBatchFileReader, numbers: Sequence[int]) -> Iterator[WindowBlock]:
        """The same, of about a row group at a time."""
        ends = np.cumsum([self._rows[number] for number in numbers])
        for group in np.split(np.arange(len(numbers)), np.flatnonzero(np.diff(ends // ROW_GROUP_ROWS)) + 1):
            members = [numbers[place] for place in group]
            starts = np.cumsum([0, *(self._rows[number] for number in members)])
            yield WindowBlock(table=pa.concat_tables(self._tables(reader, members)), starts=starts)

    def _readers(self, stack: ExitStack, count: int) -> _Readers:
        """A reader for each thread: they keep where they are in the file."""
        readers: _Readers = SimpleQueue()
        for _ in range(count):
            # not mapped into memory: mapped pages would count as the process's own
            readers.put(pa.ipc.open_file(stack.enter_context(pa.OSFile(str(self._path), "rb"))))
        return readers


@dataclass(frozen=True, kw_only=True, slots=True)
class _Writing:
    """How rows become files."""

    finished: Callable[[pa.Table], pa.Table]
    time: str
    unprunable: Sequence[str]
    field_ids: Mapping[str, int]

    def own(self, tables: Iterator[pa.Table], path: Path) -> WrittenFile:
        """One partition's."""
        return write_delta_file(map(self.finished, tables), path, unprunable=self.unprunable, field_ids=self.field_ids)

    def shared(self, blocks: Iterator[WindowBlock], path: Path) -> SharedFile:
        """That of many."""
        made = (WindowBlock(table=self.finished(block.table), starts=block.starts) for block in blocks)
        return write_shared(made, path, time=self.time, unprunable=self.unprunable, field_ids=self.field_ids)
