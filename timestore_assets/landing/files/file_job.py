"""One file of a landing call: identified, observed, claimed, cut if it is large, its parts landed, and reported on.

Once its rows are safe, it is kept, deleted or renamed, as the source's `after` says.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import datetime

from timestore_assets.catalog.lease_keeper import HeldLease
from timestore_assets.catalog.records import FileRecord
from timestore_assets.decoding.poison import bad_content, is_poison, log_poison
from timestore_assets.landing.committing.source_batch import OvertakenError
from timestore_assets.landing.committing.tally import Tally
from timestore_assets.landing.files.context import ALONE, LandingCall
from timestore_assets.landing.files.file_part import FilePart
from timestore_assets.landing.files.job_queue import Job, WorkQueue
from timestore_assets.landing.files.land_report import BUSY, FileOutcome, FileReport
from timestore_assets.landing.files.part_job import PartLanding, open_for_landing
from timestore_assets.landing.landing_session import Worker
from timestore_assets.model.counters import Counters
from timestore_assets.model.dataset import FileSource
from timestore_assets.model.errors import BadFileError, LeaseLostError
from timestore_assets.segments.publishing import utc_now
from timestore_assets.sources.files.input_file import FileIdentity, InputFile
from timestore_assets.sources.files.open_reader import part_ends
from timestore_assets.sources.files.path_columns import path_values, with_path
from timestore_assets.sources.folders import outside_identity


def archive(source: FileSource, file: InputFile, etag: str) -> None:
    """Delete or rename a landed file if it still is what was landed. Doing it again, after a crash in between, is fine."""
    if source.after == "keep":
        return
    try:
        if file.status().etag != etag:
            return
        if source.after == "delete":
            file.delete()
        else:
            file.mark_processed()
    except (BadFileError, OSError):
        # the rows are safe and the file is known: it stays where it is, and is only looked at again
        return


_CHANGED = "changed_while_reading"
_EARLIER = -1
"""Stands for the parts that had landed before, where progress is told."""


class FileLanding:
    """Lands one file; `run` is its first job, which adds one for each part to the queue when the file is cut.

    `turn`: files are observed in the order of the list, which is their order of arrival. `done`: given the outcome, once, by
    whichever job ends last.
    """

    def __init__(
        self,
        call: LandingCall,
        given: InputFile,
        *,
        turn: Callable[[], AbstractContextManager[None]],
        queue: WorkQueue,
        done: Callable[[FileOutcome], None],
    ) -> None:
        self._call, self._given = call, given
        self._turn, self._queue, self._done = turn, queue, done
        self._outcome = FileOutcome(report=FileReport(address=given.address, state="pending"))
        self._lock = threading.Lock()
        self._open_parts = 0
        self._troubles: list[FileReport] = []
        self._etag = ""
        self._lease: HeldLease | None = None

    def run(self, worker: Worker) -> None:
        """Do everything up to the first part, and that one."""
        try:
            self._run(worker)
        except Exception as error:
            if self._open_parts or not is_poison(error):
                raise
            # not even the catalog could take it, as with a name that is no text: it is told, and the others go on
            log_poison(self._given.address, error)
            reason = bad_content(self._given.name, error).reason
            self._finish(FileOutcome(report=replace(self._outcome.report, state="quarantined", reason=reason)))

    def _run(self, worker: Worker) -> None:
        identity = self._identified()
        with self._turn():
            parts = () if identity is None else self._taken(worker, identity)
        if identity is None or not parts:
            self._finish(self._outcome)
            return
        self._open_parts = len(parts)
        others = [part for part in parts if part.number > 0]
        self._queue.add_next([self._job(part, identity) for part in self._ordered(others)])
        if len(others) < len(parts) and self._lease is not None:
            self._land(parts[0], identity, worker, self._lease)

    def close(self) -> None:
        """Let go of the file. Its own lease is held until the last part that is landed here has ended."""
        if self._lease is not None:
            self._lease.release()

    def _finish(self, outcome: FileOutcome) -> None:
        self.close()
        self._done(outcome)

    # --- before the first row

    def _identified(self) -> FileIdentity | None:
        """The file's identity; without one its outcome is known."""
        call, given = self._call, self._given
        known = self._known_by_looks()
        if known is not None:
            self._outcome.report = known
            return None
        try:
            with self._blamed():
                identity = with_path(given.identify(), path_values(given.address, call.source.path_columns))
        except BadFileError as error:
            self._outcome.report = self._unidentified(error)
            return None
        self._etag = identity.etag
        call.progress.started(given.address, identity.size)
        return identity

    def _known_by_looks(self) -> FileReport | None:
        """In a shared list: what another run has landed meanwhile need not be read to be known."""
        if self._call.share is None:
            return None
        file = self._call.catalog.files.at(self._call.record.id, self._given.address)
        status = self._given.looks()
        if file is None or status is None or file.etag != status.etag or file.state not in ("landed", "duplicate"):
            return None
        return FileReport(address=file.address, state=file.state, reason=file.reason, bytes=file.bytes)

    def _unidentified(self, error: BadFileError) -> FileReport:
        """Report a file without a content; one that is there but can't be read is recorded by its looks, so that it is seen."""
        call, given = self._call, self._given
        if error.code == _CHANGED:
            return FileReport(address=given.address, state="pending", reason=error.reason)
        identity = outside_identity(given)
        if identity is not None:
            file = call.observe(given.address, identity)
            if file.state != "quarantined":
                call.quarantine(file, error.reason)
        return FileReport(address=given.address, state="quarantined", reason=error.reason)

    def _taken(self, worker: Worker, identity: FileIdentity) -> Sequence[FilePart]:
        """The parts that are left to land, number 0 only while its lease is held; without any the outcome is known."""
        call, given = self._call, self._given
        asked = utc_now()
        file = call.observe(given.address, identity)
        report = FileReport(address=given.address, state=file.state, reason=file.reason, bytes=identity.size)
        self._outcome.report = report
        if file.state in ("landed", "duplicate"):
            archive(call.source, given, identity.etag)
            self._outcome.report = _known(report, file, asked)
        if file.state in ("landed", "duplicate", "rejected"):
            return ()
        self._lease = call.hold(file.source_partition_id)
        if self._lease is None:
            self._outcome.report = replace(report, state="landing", reason=BUSY)
            return [part for part in self._open_chunks(file)[1:] if part.cut_as == file.id]
        # what is known of it may be older than the lease
        asked = utc_now()
        file = call.observe(given.address, identity)
        if file.state not in ("pending", "landing", "quarantined"):
            self._outcome.report = _known(replace(report, state=file.state, reason=file.reason), file, asked)
            return ()
        return self._cut(worker, identity, file)

    def _cut(self, worker: Worker, identity: FileIdentity, file: FileRecord) -> list[FilePart]:
        """What is left of a file whose own lease is held, cut now when it is large and not cut yet."""
        call = self._call
        parts = self._open_chunks(file)
        if not parts and identity.size > call.bulk.chunk_bytes and call.may_cut(file):
            try:
                with self._blamed():
                    ends = part_ends(open_for_landing(call, worker, self._given, identity), chunk_bytes=call.bulk.chunk_bytes)
            except BadFileError as error:
                self._outcome.report = self._refused(FilePart.whole(file), error)
                return []
            if ends:
                call.context.retry.run(lambda: call.catalog.chunks.cut(file.id, ends))
                parts = self._open_chunks(file)
        if not parts:
            return [FilePart.whole(file)]
        return parts[1:] if parts[0].is_done else parts

    def _open_chunks(self, file: FileRecord) -> list[FilePart]:
        """The parts that are not landed whole, with the first one in any case; none when the file is not cut."""
        if file.source_partition_id is None:
            return []
        chunks = self._call.catalog.chunks.of(file.source_partition_id)
        landed = sum(chunk.end.offset - chunk.start.offset for chunk in chunks if chunk.done)
        if landed:
            self._call.progress.advanced(file.address, _EARLIER, file.bytes * landed // chunks[-1].end.offset, 0)
        return [FilePart.of(file, chunk) for chunk in chunks if chunk.number == 0 or not chunk.done]

    def _ordered(self, parts: Sequence[FilePart]) -> list[FilePart]:
        return (self._call.share or ALONE).ordered(parts)

    # --- its parts

    def _job(self, part: FilePart, identity: FileIdentity) -> Job:
        return lambda worker: self._claim(part, identity, worker)

    def _claim(self, part: FilePart, identity: FileIdentity, worker: Worker) -> None:
        """Land a part that nobody else is landing."""
        lease = self._call.hold(part.source_partition_id)
        if lease is None:
            self._ended(Tally(), trouble=replace(self._outcome.report, state="landing", reason=BUSY))
            return
        with lease:
            now = FilePart.of(part.file, self._call.catalog.chunks.of(part.source_partition_id)[part.number])
            if now.is_done:
                self._ended(Tally())
            else:
                self._land(now, identity, worker, lease)

    def _land(self, part: FilePart, identity: FileIdentity, worker: Worker, lease: HeldLease) -> None:
        call, report = self._call, self._outcome.report
        landing: PartLanding | None = None
        trouble: FileReport | None = None
        try:
            with self._blamed():
                reader = open_for_landing(call, worker, self._given, identity)
                landing = PartLanding(call, worker, part, reader, lease)
                is_landed = landing.run(stopped=lambda: self._queue.is_stopped)
            if not is_landed:
                return
        except BadFileError as error:
            trouble = self._refused(part, error)
        except (OvertakenError, LeaseLostError):
            trouble = replace(report, state="landing", reason="another session has gone on with it")
        self._ended(landing.tally if landing is not None else Tally(), trouble=trouble)

    @contextmanager
    def _blamed(self) -> Iterator[None]:
        """Take what nothing expects of a readable file for its fault, so that it alone is put aside."""
        try:
            yield
        except Exception as error:
            if not is_poison(error):
                raise
            log_poison(f"file {self._given.address}", error)
            raise bad_content(self._given.name, error) from error

    def _refused(self, part: FilePart, error: BadFileError) -> FileReport:
        """What it means for the file that it can't be read."""
        report, file = self._outcome.report, part.file
        if error.code == _CHANGED:
            return replace(report, state="landing" if part.position.offset else "pending", reason=error.reason)
        now = self._call.catalog.files.at(file.source_id, file.address)
        if part.end is None or now is None or now.state != "quarantined":
            self._call.quarantine(file, error.reason)
        return replace(report, state="quarantined", reason=error.reason)

    def _ended(self, tally: Tally, *, trouble: FileReport | None = None) -> None:
        """A part has ended; the last one tells what became of the file."""
        with self._lock:
            outcome = self._outcome
            outcome.tally += tally
            if trouble is None:
                outcome.parts += 1
            else:
                self._troubles.append(trouble)
            self._open_parts -= 1
            if self._open_parts:
                return
        self._finish(self._settled())

    def _settled(self) -> FileOutcome:
        outcome, call = self._outcome, self._call
        outcome.report = self._report()
        if outcome.report.state == "landed":
            archive(call.source, self._given, self._etag)
        outcome.report = replace(outcome.report, counters=outcome.tally.counters)
        return outcome

    def _report(self) -> FileReport:
        report = self._outcome.report
        if self._troubles:
            # a busy part says nothing that another trouble would not
            return min(self._troubles, key=lambda one: one.reason == BUSY)
        file = self._call.catalog.files.at(self._call.record.id, report.address)
        if file is not None and file.state == "quarantined":
            return replace(report, state="quarantined", reason=file.reason)
        landed = file is None or file.state != "landing"
        return replace(report, state="landed", reason="") if landed else replace(report, state="landing", reason=BUSY)


def _known(report: FileReport, file: FileRecord, asked: datetime) -> FileReport:
    """What a file whose content was known counts for in this call.

    A copy's records count once, in the call that found it. Landing again from the same address is the same records of the same
    source: they are duplicates to this call and nothing new to the source's counters.
    """
    if file.state == "landed":
        counters = Counters(read=file.counters.read, duplicates=file.counters.read)
        return replace(
            report, state="duplicate", reason="the same content has landed from this address before", counters=counters
        )
    decided_now = file.updated_at is not None and file.updated_at >= asked
    return replace(report, counters=file.counters) if decided_now else report
