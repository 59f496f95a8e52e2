"""A landing session over files: identify, claim, land from the stored position, settle; a bad file stops nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from timestore_assets.catalog.port import Catalog
from timestore_assets.catalog.records import Counters, SourceRecord
from timestore_assets.landing.batch_landing import Tally
from timestore_assets.landing.bulk_files import FileLanding, FileOutcome
from timestore_assets.landing.bulk_limits import BulkLimits
from timestore_assets.landing.bulk_progress import ToldProgress
from timestore_assets.landing.bulk_queue import Turns, Worker, WorkQueue
from timestore_assets.landing.keep_alive import TTL
from timestore_assets.landing.landing_call import LandingCall, arrival_decides, utc_now
from timestore_assets.landing.report import LandReport, Progress
from timestore_assets.landing.sharing import ALONE, Share
from timestore_assets.landing.validate import Validator
from timestore_assets.landing.working import WorkingSession, working
from timestore_assets.model.dataset import Dataset, FileFormat, FileSource
from timestore_assets.model.errors import RefusedError
from timestore_assets.sources.files.input_file import InputFile
from timestore_assets.storage.engine import EngineLimits, connect
from timestore_assets.storage.targets import Storage

_LOOK_AGAIN_SECONDS = 0.25
_SHARED_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class _Opened:
    """A session at work on a source, with what its threads work with."""

    session: WorkingSession
    record: SourceRecord
    workers: Sequence[Worker]


class Lander:
    """Lands files into datasets.

    `holder`: who does it, for leases. `ttl`: how long a lease of ours outlives us. `clock`: what time it is, for bounds and
    records. `bulk`: how large files are worked on; the memory and the cores of `limits` are divided among the threads.
    """

    def __init__(
        self,
        catalog: Catalog,
        storage: Storage,
        limits: EngineLimits,
        *,
        holder: str,
        ttl: timedelta = TTL,
        clock: Callable[[], datetime] = utc_now,
        bulk: BulkLimits | None = None,
    ) -> None:
        self._catalog, self._storage, self._limits = catalog, storage, limits
        self._holder, self._ttl, self._clock = holder, ttl, clock
        self._bulk = bulk or BulkLimits()

    def land_files(
        self,
        dataset: Dataset,
        source: FileSource,
        files: Sequence[InputFile],
        *,
        format: FileFormat | None = None,
        chunk_rows: int | None = None,
        share: Share | None = None,
        progress: Progress | None = None,
        actor: str,
    ) -> LandReport:
        """Land files, each from the position where it stands; they count as arrived in the given order.

        Args:
            dataset: registered in the catalog if it is not yet.
            source: the source the files are counted under; its format, dialect and policies hold.
            files: each is known by its address.
            format: overrides the source's.
            chunk_rows: at most so many records a commit; by memory when None.
            share: other runs land the same list: begin elsewhere, take what is free, and end when nothing is. None: wait for
                what others hold until they have landed it or are dead.
            progress: told about files and batches, by one thread at a time.
            actor: who asked, for the audit.

        Raises:
            RefusedError: the dataset asks for what files can't give (`order: strict`).
            StorageFullError, UnavailableError: landing stopped; what is committed stays and the rest goes on from there.
        """
        if dataset.order == "strict":
            raise RefusedError(f"dataset {dataset.name!r} has `order: strict`, which file sources can't keep; write `order: any`")
        started = time.monotonic()
        with self._opened(dataset, source, files, actor) as opened:
            call = LandingCall(
                catalog=self._catalog,
                storage=self._storage,
                clock=self._clock,
                holder=self._holder,
                ttl=self._ttl,
                dataset=dataset,
                source=source,
                record=opened.record,
                session_id=opened.session.id,
                heart=opened.session.heart,
                format=format,
                chunk_rows=chunk_rows,
                bulk=self._bulk,
                share=share,
                progress=ToldProgress(progress),
                actor=actor,
            )
            outcomes = self._land_all(call, opened.workers, files)
        return self._report(call, outcomes, seconds=time.monotonic() - started)

    @contextmanager
    def _opened(self, dataset: Dataset, source: FileSource, files: Sequence[InputFile], actor: str) -> Iterator[_Opened]:
        registered = self._catalog.register(dataset, actor=actor)
        record = self._catalog.source(registered.id, source.kind, source.address)
        count = self._worker_count(dataset, files)
        limits = replace(
            self._limits, memory_bytes=self._limits.memory_bytes // count, threads=max(1, self._limits.threads // count)
        )
        with ExitStack() as stack:
            session = stack.enter_context(
                working(self._catalog, registered.id, "landing", holder=self._holder, ttl=self._ttl, limits=limits)
            )
            connections = [session.con, *(stack.enter_context(closing(connect(limits))) for _ in range(count - 1))]
            workers = [
                Worker(con=con, validator=Validator(dataset), memory_bytes=limits.memory_bytes, threads=limits.threads)
                for con in connections
            ]
            yield _Opened(session=session, record=record, workers=workers)

    def _worker_count(self, dataset: Dataset, files: Sequence[InputFile]) -> int:
        """One for a single file that is not going to be cut, which so has all the memory and no threads to wait for."""
        if arrival_decides(dataset):
            return 1
        if len(files) > 1:
            return self._bulk.parallel
        status = files[0].looks() if files else None
        return self._bulk.parallel if status is not None and status.size > self._bulk.chunk_bytes else 1

    def _land_all(self, call: LandingCall, workers: Sequence[Worker], files: Sequence[InputFile]) -> list[FileOutcome]:
        """Land every file; those that somebody holds again at the end, as `_Patience` says."""
        order = (call.share or ALONE).ordered(range(len(files)))
        outcomes: dict[int, FileOutcome] = {}
        _pass(call, workers, files, order, outcomes)
        patience = _Patience(call)
        while busy := [index for index in order if outcomes[index].is_busy]:
            if not patience.goes_on(outcomes.values()):
                break
            _pass(call, workers, files, busy, outcomes)
        return [outcomes[index] for index in range(len(files))]

    def _report(self, call: LandingCall, outcomes: Sequence[FileOutcome], *, seconds: float) -> LandReport:
        tally = Tally()
        for outcome in outcomes:
            tally.add(outcome.tally)
        reports = tuple(outcome.report for outcome in outcomes)
        return LandReport(
            dataset=call.dataset.name,
            files=reports,
            counters=sum((report.counters for report in reports), Counters()),
            manifest_version=self._catalog.manifest_version(call.record.dataset_id),
            partitions=tuple(key for _, key in sorted(tally.partitions)),
            schema_changes=tuple(tally.changes),
            seconds=seconds,
            dead_letter_reasons=dict(tally.reasons),
            ignored_columns=dict(tally.ignored),
            bytes=sum(outcome.report.bytes for outcome in outcomes if outcome.tally.counters.read),
            parts=sum(outcome.parts for outcome in outcomes),
            segments=tally.segments,
        )


class _Patience:
    """How long files that somebody else holds are looked at again.

    Alone: until a dead holder's lease would have expired. With others: until nothing has been free for a moment, in which a file
    that somebody has just taken may be cut.
    """

    def __init__(self, call: LandingCall) -> None:
        shared = call.share is not None and not call.share.is_alone
        self._seconds = _SHARED_SECONDS if shared else call.ttl.total_seconds() + 4 * _LOOK_AGAIN_SECONDS
        self._until = time.monotonic() + self._seconds
        self._read = 0

    def goes_on(self, outcomes: Iterable[FileOutcome]) -> bool:
        """Whether to look again; waits a little when nothing came of the last look."""
        read = sum(outcome.tally.counters.read for outcome in outcomes)
        progressed, self._read = read > self._read, read
        if progressed:
            self._until = time.monotonic() + self._seconds
        elif time.monotonic() >= self._until:
            return False
        else:
            time.sleep(_LOOK_AGAIN_SECONDS)
        return True


def _pass(
    call: LandingCall,
    workers: Sequence[Worker],
    files: Sequence[InputFile],
    order: Sequence[int],
    outcomes: dict[int, FileOutcome],
) -> None:
    """Look at files once, in that order, and land what is free of them."""
    queue, turns = WorkQueue(), Turns()

    def landing(number: int, index: int) -> FileLanding:
        def done(outcome: FileOutcome) -> None:
            earlier = outcomes.get(index)
            outcomes[index] = outcome if earlier is None else outcome.after(earlier)
            call.progress.done(outcomes[index].report)

        return FileLanding(call, files[index], number=number, turns=turns, queue=queue, done=done)

    landings = [landing(number, index) for number, index in enumerate(order)]
    queue.add_next([one.run for one in landings])
    try:
        queue.work_off(workers)
    finally:
        for one in landings:
            one.close()
