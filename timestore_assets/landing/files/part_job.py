"""One part of a file, held by a lease of ours, from where it stands to its end.

The next batch is read while this one is written: exactly one in flight, so that memory stays bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from timestore_assets.catalog.lease_keeper import HeldLease
from timestore_assets.decoding.column_names import check_header
from timestore_assets.decoding.poison import is_poison
from timestore_assets.decoding.record_fields import formed_names
from timestore_assets.landing.committing.batch_commit import BatchCommit, UnwrittenError
from timestore_assets.landing.committing.newest_landed import itself
from timestore_assets.landing.committing.source_batch import Origin
from timestore_assets.landing.committing.tally import Tally
from timestore_assets.landing.files.context import LandingCall
from timestore_assets.landing.files.file_part import FilePart, PartBatch, position_of
from timestore_assets.landing.files.wide_commit import LostRaceError, WideCommit
from timestore_assets.landing.landing_session import Worker
from timestore_assets.landing.preparing.earlier_values import as_sent
from timestore_assets.model.errors import BadFileError, ConflictError
from timestore_assets.model.position import Position
from timestore_assets.retry import CONFLICT
from timestore_assets.sources.batches import FileBatch
from timestore_assets.sources.files.format_detection import sniff
from timestore_assets.sources.files.input_file import FileIdentity, InputFile
from timestore_assets.sources.files.open_reader import DEFAULT_MEMORY_BYTES, FileReader, open_reader
from timestore_assets.sources.files.path_columns import path_values

T = TypeVar("T")


@contextmanager
def read_ahead(items: Iterator[T]) -> Iterator[Iterator[T]]:
    """Iterate over `items`, the next of which is always already being made in another thread.

    An error while making one is raised when it would have been given. Leaving waits for the one in flight.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as pool:
        yield _ahead(items, pool)


def _ahead(items: Iterator[T], pool: ThreadPoolExecutor) -> Iterator[T]:
    following: Future[tuple[T] | None] = pool.submit(_take, items)
    while (taken := following.result()) is not None:
        following = pool.submit(_take, items)
        yield taken[0]
        del taken  # or this batch would stay in memory while the one after the next is read


def _take(items: Iterator[T]) -> tuple[T] | None:
    for item in items:
        return (item,)
    return None


_COPIES = 6
"""Of a batch at the same time: it is read ahead, judged, rearranged and encoded."""


def open_for_landing(call: LandingCall, worker: Worker, given: InputFile, identity: FileIdentity) -> FileReader:
    """A reader of a file whose batches fit the worker's memory.

    Raises:
        BadFileError: as `sources.files.open_reader.open_reader`.
    """
    known = sniff(given, call.format or call.source.format, encoding=call.source.csv.encoding)
    budget = call.bulk.batch_bytes if known == "parquet" else DEFAULT_MEMORY_BYTES
    return open_reader(
        given,
        call.source,
        format=known,
        memory_bytes=min(budget, worker.memory_bytes // _COPIES),
        whole_bytes=worker.memory_bytes // 4,
        chunk_rows=call.chunk_rows or call.bulk.batch_rows,
        etag=identity.etag,
    )


def check_columns(reader: FileReader, landing: BatchCommit, call: LandingCall, address: str) -> None:
    """Refuse a file by its header before any row is read; a file without rows would never be asked.

    Raises:
        BadFileError: its columns don't fit the dataset.
    """
    schema = reader.arrow_schema
    names = reader.header if schema is None else tuple(schema.names)
    if names is not None:
        path, judge = path_values(address, call.source.path_columns), landing.judge
        check_header(formed_names(names, judge.form, path, as_sent(judge.dataset.schema)), landing.columns)


class PartLanding:
    """Lands one part of a file, as long as its lease is ours."""

    def __init__(self, call: LandingCall, worker: Worker, part: FilePart, reader: FileReader, lease: HeldLease) -> None:
        self._call, self._part, self._reader, self._lease = call, part, reader, lease
        source, address = call.source, part.file.address
        origin = Origin(
            source_id=part.file.source_id,
            address=address,
            session_id=call.session.id,
            actor=call.actor,
            zone=source.timezone,
            form=source.form,
            path=path_values(address, source.path_columns),
            schema_version=part.file.schema_version,
        )
        self._commit = BatchCommit(
            call.context, worker, call.dataset, origin, checkpoints=lambda _: position_of(call.catalog, part)
        )
        if self._commit.judge.order is not None:
            self._commit.judge.order.begin([itself(part.source_partition_id)], is_new=part.position == part.start)
        one_by_one = call.chunk_rows or reader.format == "envelopes"
        self._landing = WideCommit(self._commit, commit_bytes=0 if one_by_one else call.bulk.commit_bytes)
        check_columns(reader, self._commit, call, address)
        self._rows = 0

    @property
    def tally(self) -> Tally:
        """What was committed so far."""
        return self._commit.tally

    def run(self, *, stopped: Callable[[], bool]) -> bool:
        """Land everything to the end of the part; False when it was stopped before.

        `stopped`: asked between batches whether to leave the rest for another time.

        Raises:
            BadFileError: the file can't be read on. OvertakenError, LeaseLostError: another session has gone on with it.
            StorageFullError, UnavailableError: what is committed stays, and the rest goes on from there.
        """
        at = self._part.position
        for _ in CONFLICT.tries():
            self._rows = self.tally.counters.read  # of what is committed
            try:
                return self._run(at, stopped)
            except LostRaceError:
                at = position_of(self._call.catalog, self._part)[self._part.source_partition_id]
            except UnwrittenError:
                self._landing.go_on_one_by_one()
                at = position_of(self._call.catalog, self._part)[self._part.source_partition_id]
            finally:
                self._landing.close()
        name = self._call.dataset.name
        raise ConflictError(f"{self._part.file.address}: the schema of {name!r} kept changing; run it again")

    def _run(self, at: Position, stopped: Callable[[], bool]) -> bool:
        with read_ahead(self._reader.batches(at, self._part.end)) as batches:
            while (batch := self._next(batches)) is not None:
                if stopped():
                    return False
                self._call.context.retry.run(self._lease.check)
                counters = self._landing.feed(PartBatch(part=self._part, batch=batch))
                self._rows += counters.read
                self._tell(batch)
                del batch
        return True

    def _next(self, batches: Iterator[FileBatch]) -> FileBatch | None:
        """The next batch, None at the end. What came before a damage lands, however much a commit gathers."""
        try:
            return next(batches, None)
        except BadFileError:
            self._landing.flush()
            raise
        except Exception as error:
            if is_poison(error):
                self._landing.flush()
            raise

    def _tell(self, batch: FileBatch) -> None:
        part, reader = self._part, self._reader
        done = reader.bytes_read if part.end is None else reader.stored_bytes(part.start, batch.end)
        self._call.progress.advanced(part.file.address, part.number, done, self._rows)
