"""A landing session over files: identify, claim, land from the stored position, settle; a bad file stops nothing else."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial

from timestore_assets.catalog.effective_declaration import effective
from timestore_assets.catalog.records import DatasetRecord, SourceRecord
from timestore_assets.landing.committing.tally import Tally
from timestore_assets.landing.files.context import ALONE, BulkLimits, LandingCall, Share, arrival_decides
from timestore_assets.landing.files.file_job import FileLanding
from timestore_assets.landing.files.job_queue import OrderedSection, WorkQueue
from timestore_assets.landing.files.land_report import CombinedProgress, FileOutcome, FileReport, LandingListener, LandReport
from timestore_assets.landing.landing_session import Worker, WorkingSession, working
from timestore_assets.model.counters import Counters
from timestore_assets.model.dataset import Dataset, FileFormat, FileSource
from timestore_assets.retry import RetryPolicy
from timestore_assets.segments.engine import Engine
from timestore_assets.segments.publishing import WriteContext
from timestore_assets.sources.files.input_file import InputFile
from timestore_assets.sources.files.path_columns import path_values

_LOOK_AGAIN_SECONDS = 0.25
_SHARED_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class _OpenedSource:
    """A session at work on a source, with what its threads work with."""

    session: WorkingSession
    record: SourceRecord
    workers: Sequence[Worker]


class Lander:
    """Lands files into datasets.

    `bulk`: how large files are worked on; the memory and the cores of the context are divided among the threads.
    """

    def __init__(self, context: WriteContext, *, bulk: BulkLimits | None = None) -> None:
        self._context, self._catalog, self._limits = context, context.catalog, context.limits
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
        progress: LandingListener | None = None,
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
            StorageFullError, UnavailableError: landing stopped; what is committed stays and the rest goes on from there.
        """
        started = time.monotonic()
        registered = self._catalog.datasets.register(dataset, actor=actor)
        dataset = effective(dataset, registered)
        with self._opened(dataset, registered, source, files, actor=actor) as opened:
            call = LandingCall(
                context=self._context,
                dataset=dataset,
                source=source,
                record=opened.record,
                session=opened.session,
                format=format,
                chunk_rows=chunk_rows,
                bulk=self._bulk,
                share=share,
                progress=CombinedProgress(progress),
                actor=actor,
            )
            outcomes = self._land_all(call, opened.workers, files)
        return self._report(call, outcomes, seconds=time.monotonic() - started)

    @contextmanager
    def _opened(
        self, dataset: Dataset, registered: DatasetRecord, source: FileSource, files: Sequence[InputFile], *, actor: str
    ) -> Iterator[_OpenedSource]:
        record = self._catalog.sources.ensure(registered.id, source.kind, source.address)
        count = self._worker_count(dataset, files)
        limits = replace(
            self._limits, memory_bytes=self._limits.memory_bytes // count, threads=max(1, self._limits.threads // count)
        )
        with ExitStack() as stack:
            context = replace(self._context, limits=limits)
            session = stack.enter_context(working(context, registered, "landing", actor=actor, source=source.address))
            engines = [session.engine, *(stack.enter_context(closing(Engine(limits))) for _ in range(count - 1))]
            workers = [Worker.of(engine, limits, dataset) for engine in engines]
            yield _OpenedSource(session=session, record=record, workers=workers)

    def _worker_count(self, dataset: Dataset, files: Sequence[InputFile]) -> int:
        """One for a single file that is not going to be cut, which so has all the memory and no threads to wait for."""
        if arrival_decides(dataset):
            return 1
        if len(files) > 1:
            return self._bulk.parallel
        if dataset.is_strict:
            return 1
        status = files[0].looks() if files else None
        return self._bulk.parallel if status is not None and status.size > self._bulk.chunk_bytes else 1

    def _land_all(self, call: LandingCall, workers: Sequence[Worker], files: Sequence[InputFile]) -> list[FileOutcome]:
        """Land every file; those that somebody holds again at the end, as long as `_until_free` says."""
        order = (call.share or ALONE).ordered(range(len(files)))
        outcomes: dict[int, FileOutcome] = {}
        _pass(call, workers, files, order, outcomes)
        policy, read = _until_free(call), 0
        looks = policy.tries()
        next(looks)  # that was the first
        while busy := [index for index in order if outcomes[index].is_busy]:
            before, read = read, sum(outcome.tally.counters.read for outcome in outcomes.values())
            if read > before:
                looks = policy.tries()
            if next(looks, None) is None:
                break
            _pass(call, workers, files, busy, outcomes)
        return [outcomes[index] for index in range(len(files))]

    def _report(self, call: LandingCall, outcomes: Sequence[FileOutcome], *, seconds: float) -> LandReport:
        tally = Tally()
        for outcome in outcomes:
            tally += outcome.tally
        reports = tuple(outcome.report for outcome in outcomes)
        # what earlier calls had done with a file counts for this one, though not in its tally
        reported = tally.reported()
        reported["counters"] = sum((report.counters for report in reports), Counters())
        return LandReport(
            **reported,
            dataset=call.dataset.name,
            files=reports,
            manifest_version=self._catalog.manifest.version(call.record.dataset_id),
            seconds=seconds,
            dead_letter_reasons=dict(tally.reasons),
            ignored_columns=dict(tally.ignored),
            discarded_values=dict(tally.discarded),
            unread_path_columns=self._unread_path_columns(call, reports),
            bytes=sum(outcome.report.bytes for outcome in outcomes if outcome.tally.counters.read),
            parts=sum(outcome.parts for outcome in outcomes),
            segments=tally.segments,
        )

    def _unread_path_columns(self, call: LandingCall, reports: Sequence[FileReport]) -> tuple[str, ...]:
        wanted = call.source.path_columns
        names = {
            name
            for report in reports
            if report.state == "landed" and "=" in report.address
            for name in path_values(report.address).keys() - path_values(report.address, wanted).keys()
        }
        if not names:
            return ()
        record = self._catalog.datasets.find(call.dataset.name)
        return tuple(sorted(names.difference(record.schema.names if record else call.dataset.schema.names)))


def _until_free(call: LandingCall) -> RetryPolicy:
    """How long files that somebody else holds are looked at again while nothing comes of it.

    Alone: until a dead holder's lease would have expired. With others: until nothing has been free for a moment, in which a file
    that somebody has just taken may be cut.
    """
    shared = call.share is not None and not call.share.is_alone
    seconds = _SHARED_SECONDS if shared else call.context.ttl.total_seconds() + 4 * _LOOK_AGAIN_SECONDS
    return RetryPolicy(seconds=seconds, first_wait=_LOOK_AGAIN_SECONDS, longest_wait=_LOOK_AGAIN_SECONDS)


def _pass(
    call: LandingCall,
    workers: Sequence[Worker],
    files: Sequence[InputFile],
    order: Sequence[int],
    outcomes: dict[int, FileOutcome],
) -> None:
    """Look at files once, in that order, and land what is free of them."""
    queue, turns = WorkQueue(), OrderedSection()

    def landing(number: int, index: int) -> FileLanding:
        def done(outcome: FileOutcome) -> None:
            earlier = outcomes.get(index)
            outcomes[index] = outcome if earlier is None else outcome.after(earlier)
            call.progress.done(outcomes[index].report)

        return FileLanding(call, files[index], turn=partial(turns.turn, number), queue=queue, done=done)

    landings = [landing(number, index) for number, index in enumerate(order)]
    queue.add_next([file_landing.run for file_landing in landings])
    try:
        queue.work_off(workers)
    finally:
        for file_landing in landings:
            file_landing.close()
