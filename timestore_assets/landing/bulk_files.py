"""One file of a landing call: identified, observed, claimed, cut if it is large, its parts landed, and reported on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime

from timestore_assets.catalog.records import Counters, FileRecord
from timestore_assets.landing.addresses import outside_identity
from timestore_assets.landing.aftermath import put_away
from timestore_assets.landing.batch_landing import OvertakenError, Tally
from timestore_assets.landing.bulk_parts import PartLanding, open_for_landing
from timestore_assets.landing.bulk_queue import Job, Turns, Worker, WorkQueue
from timestore_assets.landing.file_landing import Part
from timestore_assets.landing.landing_call import LandingCall, utc_now
from timestore_assets.landing.patience import patiently
from timestore_assets.landing.report import FileReport
from timestore_assets.landing.sharing import ALONE
from timestore_assets.model.errors import BadFileError
from timestore_assets.sources.files.cutting import part_ends
from timestore_assets.sources.files.input_file import FileIdentity, InputFile

BUSY = "another session is landing it"
_CHANGED = "changed_while_reading"
_EARLIER = -1
"""Stands for the parts that had landed before, where progress is told."""


@dataclass(kw_only=True)
class FileOutcome:
    """What became of a file in one call. `parts`: how many this call landed to their ends."""

    report: FileReport
    tally: Tally = field(default_factory=Tally)
    parts: int = 0

    @property
    def is_busy(self) -> bool:
        return self.report.reason == BUSY

    def after(self, earlier: FileOutcome) -> FileOutcome:
        """This outcome of a second look, with what was landed before it counted."""
        if not earlier.tally.counters.read:
            return self
        tally = earlier.tally
        if self.report.state == "duplicate":
            # others have landed the rest of it meanwhile
            report = replace(self.report, state="landed", reason="", counters=tally.counters)
        else:
            tally.add(self.tally)
            report = replace(self.report, counters=tally.counters)
        return FileOutcome(report=report, tally=tally, parts=earlier.parts + self.parts)


class FileLanding:
    """Lands one file; `run` is its first job, which adds one for each part to the queue when the file is cut.

    `number`: its place in the list. `turns`: files are observed in the order of the list, which is their order of arrival.
    `done`: given the outcome, once, by whichever job ends last.
    """

    def __init__(
        self,
        call: LandingCall,
        given: InputFile,
        *,
        number: int,
        turns: Turns,
        queue: WorkQueue,
        done: Callable[[FileOutcome], None],
    ) -> None:
        self._call, self._given, self._number = call, given, number
        self._turns, self._queue, self._done = turns, queue, done
        self._outcome = FileOutcome(report=FileReport(address=given.address, state="pending"))
        self._lock = threading.Lock()
        self._open_parts = 0
        self._troubles: list[FileReport] = []
        self._etag = ""
        self._lease = ExitStack()

    def run(self, worker: Worker) -> None:
        """Do everything up to the first part, and that one."""
        identity = self._identified()
        with self._turns.turn(self._number):
            parts = () if identity is None else self._taken(worker, identity)
        if identity is None or not parts:
            self._finish(self._outcome)
            return
        self._open_parts = len(parts)
        others = [part for part in parts if part.number > 0]
        self._queue.add_next([self._job(part, identity) for part in self._ordered(others)])
        if len(others) < len(parts):
            self._land(parts[0], identity, worker)  # under the file's own lease

    def close(self) -> None:
        """Let go of the file. Its own lease is held until the last part that is landed here has ended."""
        self._lease.close()

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
            identity = given.identify()
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
        file = self._call.catalog.file_at(self._call.record.id, self._given.address)
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

    def _taken(self, worker: Worker, identity: FileIdentity) -> Sequence[Part]:
        """The parts that are left to land, number 0 only while its lease is held; without any the outcome is known."""
        call, given = self._call, self._given
        asked = utc_now()
        file = call.observe(given.address, identity)
        report = FileReport(address=given.address, state=file.state, reason=file.reason, bytes=identity.size)
        self._outcome.report = report
        if file.state in ("landed", "duplicate"):
            put_away(call.source, given, identity.etag)
            self._outcome.report = _known(report, file, asked)
        if file.state in ("landed", "duplicate", "rejected"):
            return ()
        held = call.holding(file.source_partition_id)
        if held is None:
            self._outcome.report = replace(report, state="landing", reason=BUSY)
            return [part for part in self._open_chunks(file)[1:] if part.cut_as == file.id]
        self._lease.enter_context(held)
        # what is known of it may be older than the lease
        asked = utc_now()
        file = call.observe(given.address, identity)
        if file.state not in ("pending", "landing", "quarantined"):
            self._outcome.report = _known(replace(report, state=file.state, reason=file.reason), file, asked)
            return ()
        return self._cut(worker, identity, file)

    def _cut(self, worker: Worker, identity: FileIdentity, file: FileRecord) -> list[Part]:
        """What is left of a file whose own lease is held, cut now when it is large and not cut yet."""
        call = self._call
        parts = self._open_chunks(file)
        if not parts and identity.size > call.bulk.chunk_bytes and call.may_cut(file):
            try:
                ends = part_ends(open_for_landing(call, worker, self._given, identity), chunk_bytes=call.bulk.chunk_bytes)
            except BadFileError as error:
                self._outcome.report = self._refused(Part.whole(file), error)
                return []
            if ends:
                patiently(lambda: call.catalog.chunks.cut(file.id, ends))
                parts = self._open_chunks(file)
        if not parts:
            return [Part.whole(file)]
        return parts[1:] if parts[0].is_done else parts

    def _open_chunks(self, file: FileRecord) -> list[Part]:
        """The parts that are not landed whole, with the first one in any case; none when the file is not cut."""
        if file.source_partition_id is None:
            return []
        chunks = self._call.catalog.chunks.of(file.source_partition_id)
        landed = sum(chunk.end.offset - chunk.start.offset for chunk in chunks if chunk.done)
        if landed:
            self._call.progress.advanced(file.address, _EARLIER, file.bytes * landed // chunks[-1].end.offset, 0)
        return [Part.of(file, chunk) for chunk in chunks if chunk.number == 0 or not chunk.done]

    def _ordered(self, parts: Sequence[Part]) -> list[Part]:
        return (self._call.share or ALONE).ordered(parts)

    # --- its parts

    def _job(self, part: Part, identity: FileIdentity) -> Job:
        return lambda worker: self._claim(part, identity, worker)

    def _claim(self, part: Part, identity: FileIdentity, worker: Worker) -> None:
        """Land a part that nobody else is landing."""
        held = self._call.holding(part.source_partition_id)
        if held is None:
            self._ended(Tally(), trouble=replace(self._outcome.report, state="landing", reason=BUSY))
            return
        with held:
            now = Part.of(part.file, self._call.catalog.chunks.of(part.source_partition_id)[part.number])
            if now.is_done:
                self._ended(Tally())
            else:
                self._land(now, identity, worker)

    def _land(self, part: Part, identity: FileIdentity, worker: Worker) -> None:
        call, report, tally = self._call, self._outcome.report, Tally()
        trouble: FileReport | None = None
        try:
            reader = open_for_landing(call, worker, self._given, identity)
            landing = PartLanding(call, worker, part, reader, tally, stopped=lambda: self._queue.is_stopped)
            if not landing.run():
                return
        except BadFileError as error:
            trouble = self._refused(part, error)
        except OvertakenError:
            trouble = replace(report, state="landing", reason="another session has gone on with it")
        self._ended(tally, trouble=trouble)

    def _refused(self, part: Part, error: BadFileError) -> FileReport:
        """What it means for the file that it can't be read."""
        report, file = self._outcome.report, part.file
        if error.code == _CHANGED:
            return replace(report, state="landing" if part.position.offset else "pending", reason=error.reason)
        now = self._call.catalog.file_at(file.source_id, file.address)
        if part.end is None or now is None or now.state != "quarantined":
            self._call.quarantine(file, error.reason)
        return replace(report, state="quarantined", reason=error.reason)

    def _ended(self, tally: Tally, *, trouble: FileReport | None = None) -> None:
        """A part has ended; the last one tells what became of the file."""
        with self._lock:
            outcome = self._outcome
            outcome.tally.add(tally)
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
            put_away(call.source, self._given, self._etag)
        outcome.report = replace(outcome.report, counters=outcome.tally.counters)
        return outcome

    def _report(self) -> FileReport:
        report = self._outcome.report
        if self._troubles:
            # a busy part says nothing that another trouble would not
            return min(self._troubles, key=lambda one: one.reason == BUSY)
        file = self._call.catalog.file_at(self._call.record.id, report.address)
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
