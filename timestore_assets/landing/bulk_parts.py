"""One part of a file, held by a lease of ours, from where it stands to its end."""

from __future__ import annotations

from collections.abc import Callable

from timestore_assets.landing.batch_landing import BatchLanding, Origin, Tally
from timestore_assets.landing.bulk_landing import LostRaceError, WideLanding
from timestore_assets.landing.bulk_queue import Worker
from timestore_assets.landing.file_landing import Part, effects_of, position_of
from timestore_assets.landing.header import check_header
from timestore_assets.landing.landing_call import LandingCall
from timestore_assets.landing.read_ahead import read_ahead
from timestore_assets.model.errors import BadFileError, ConflictError
from timestore_assets.model.position import Position
from timestore_assets.sources.files.input_file import FileIdentity, InputFile
from timestore_assets.sources.files.open import DEFAULT_MEMORY_BYTES, FileReader, open_reader
from timestore_assets.sources.files.sniff import sniff
from timestore_assets.sources.port import FileBatch

_TRIES = 8
"""How often what was gathered is read again because another session evolved the schema first."""


def open_for_landing(call: LandingCall, worker: Worker, given: InputFile, identity: FileIdentity) -> FileReader:
    """A reader of a file whose batches fit the worker's memory.

    Raises:
        BadFileError: as `sources.files.open.open_reader`.
    """
    known = sniff(given, call.format or call.source.format)
    budget = call.bulk.batch_bytes if known == "parquet" else DEFAULT_MEMORY_BYTES
    return open_reader(
        given,
        call.source,
        format=known,
        memory_bytes=min(budget, worker.memory_bytes // 4),
        chunk_rows=call.chunk_rows or call.bulk.batch_rows,
        etag=identity.etag,
    )


def check_columns(reader: FileReader, landing: BatchLanding) -> None:
    """Refuse a file by its header before any row is read; a file without rows would never be asked.

    Raises:
        BadFileError: its columns don't fit the dataset.
    """
    schema = reader.arrow_schema
    names = reader.header if schema is None else tuple(schema.names)
    if names is not None:
        check_header(names, landing.columns)


class PartLanding:
    """Lands one part of a file. `stopped`: asked between batches whether to leave the rest for another time."""

    def __init__(
        self,
        call: LandingCall,
        worker: Worker,
        part: Part,
        reader: FileReader,
        tally: Tally,
        *,
        stopped: Callable[[], bool],
    ) -> None:
        self._call, self._part, self._reader, self._stopped = call, part, reader, stopped
        self._tally = tally
        self._landing = WideLanding(
            catalog=call.catalog,
            storage=call.storage,
            con=worker.con,
            threads=worker.threads,
            dataset=call.dataset,
            origin=Origin(source_id=part.file.source_id, address=part.file.address, zone=call.source.timezone),
            validator=worker.validator,
            session_id=call.session_id,
            clock=call.clock,
            actor=call.actor,
            tally=tally,
            checkpoints=lambda _: position_of(call.catalog, part),
            commit_bytes=0 if call.chunk_rows or reader.format == "envelopes" else call.bulk.commit_bytes,
        )
        check_columns(reader, self._landing)
        self._rows = 0

    def run(self) -> bool:
        """Land everything to the end of the part; False when it was stopped before.

        Raises:
            BadFileError: the file can't be read on. OvertakenError: another session has gone on with it.
            StorageFullError, UnavailableError: what is committed stays, and the rest goes on from there.
        """
        at = self._part.position
        for _ in range(_TRIES):
            self._rows = self._tally.counters.read  # of what is committed
            try:
                return self._run(at)
            except LostRaceError:
                at = position_of(self._call.catalog, self._part)[self._part.source_partition_id]
            finally:
                self._landing.close()
        name = self._call.dataset.name
        raise ConflictError(f"{self._part.file.address}: the schema of {name!r} kept changing; run it again")

    def _run(self, at: Position) -> bool:
        with read_ahead(self._reader.batches(at, self._part.end)) as batches:
            try:
                for batch in batches:
                    if self._stopped():
                        return False
                    counters = self._landing.feed(batch, effects_of(self._part, batch), last=batch.last)
                    self._rows += counters.read
                    self._tell(batch)
                    del batch
            except BadFileError:
                self._landing.flush()  # what came before the damage lands, however much a commit gathers
                raise
        return True

    def _tell(self, batch: FileBatch) -> None:
        part, reader = self._part, self._reader
        done = reader.bytes_read if part.end is None else reader.stored_bytes(part.start, batch.end)
        self._call.progress.advanced(part.file.address, part.number, done, self._rows)
