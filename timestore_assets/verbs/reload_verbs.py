"""What has landed is landed again from its source: files, and what approved requests ask for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from timestore_assets.catalog.backfill_records import APPROVED, Backfill
from timestore_assets.model.counters import NO_COUNTS, Counters
from timestore_assets.model.errors import InputError, TimestoreError
from timestore_assets.model.row_selector import TopicRows
from timestore_assets.verbs.landing_verbs import LandingVerbs
from timestore_assets.verbs.retraction_verbs import RetractionVerbs

if TYPE_CHECKING:
    from timestore_assets.landing.files.land_report import FileReport, LandingListener
    from timestore_assets.model.dataset import FileSource
    from timestore_assets.sources.files.input_file import InputFile


@dataclass(frozen=True, kw_only=True, slots=True)
class FilesReloaded:
    """What one call did. `gone`: addresses at which nothing is any more; their rows stay as they are."""

    dataset: str
    files: tuple[FileReport, ...]
    gone: tuple[str, ...]
    counters: Counters
    manifest_version: int

    @property
    def left(self) -> tuple[str, ...]:
        """Why files did not land, a sentence each."""
        others = [one for one in self.files if one.state not in ("landed", "duplicate")]
        return (
            *(f"{address} is not there any more; its rows stay as they are" for address in self.gone),
            *(f"{one.address} is {one.state}{f': {one.reason}' if one.reason else ''}" for one in others),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestCarriedOut:
    """What one call did for an approved request. `left`: why not all of it could be done, a sentence each."""

    backfill: int
    counters: Counters
    left: tuple[str, ...]


class ReloadVerbs(LandingVerbs, RetractionVerbs):
    """Files land again; the verb for topics is `reload_topic`."""

    def reload_files(
        self,
        name: str,
        files: Sequence[str],
        *,
        source: str | None = None,
        progress: LandingListener | None = None,
        actor: str = "command line",
    ) -> FilesReloaded:
        """Land files again that have landed: the rows of what is there now take the place of the old ones, all of a file at once.

        Until then the old ones are shown. A file that was changed since is taken as `on_change` says. Killed in between, whatever
        lands the source's files goes on with it.

        Args:
            files: addresses, or paths that a person names. source: address of the source that they are of, where that is known.

        Raises:
            InputError: nothing is known of one; nothing was changed. RefusedError: its content has landed from elsewhere.
        """
        dataset, _ = self._in_use(name)
        given = [self._known_file(name, file, source) for file in dict.fromkeys(files)]
        gone = tuple(file.address for _, _, file in given if file.looks() is None)
        found = [(source_id, of, file) for source_id, of, file in given if file.address not in gone]
        for source_id, _, file in found:
            self.catalog.file_reloads.ask(source_id, file.address, actor=actor)
        reports = [
            self.land_source(name, of, [file for _, its, file in found if its == of], progress=progress, actor=actor)
            for of in dict.fromkeys(of for _, of, _ in found)
        ]
        return FilesReloaded(
            dataset=dataset.name,
            files=tuple(file for report in reports for file in report.files),
            gone=gone,
            counters=sum((report.counters for report in reports), NO_COUNTS),
            manifest_version=self.catalog.manifest.version(self.resolve(name)[1].id),
        )

    def reload_progress(self, name: str, request: Mapping[str, Any], *, since: datetime) -> tuple[int, int] | None:
        """How many files of a reload have landed since, or records of its window been read, and of how many; None: not known yet.

        `request`: with `files`, or a `topic`.
        """
        dataset, record = self.resolve(name)
        if request.get("files"):
            files = [{"address": address} for address in request["files"]]
            left = self.catalog.backfills.files_left(record.id, files, since=since)
            return len(files) - len(left), len(files)
        source = next((one for one in dataset.kafka_sources if request.get("topic") in one.topics), None)
        if source is None:
            return None
        parts = self.catalog.reloads.at_work(self.catalog.sources.ensure(record.id, source.kind, source.address).id)
        read = sum(part.position.offset - part.first for part in parts)
        return (read, sum(part.end - part.first for part in parts)) if parts else None

    def _known_file(self, name: str, given: str, wanted: str | None) -> tuple[int, FileSource, InputFile]:
        """The source of a file that has landed, by its id and as it is declared, and the file."""
        dataset, record = self.resolve(name)
        for source in dataset.file_sources:
            if wanted not in (None, source.address):
                continue
            known = self.catalog.sources.ensure(record.id, source.kind, source.address)
            for address in self._addresses(name, given):
                if self.catalog.files.at(known.id, address) is not None:
                    return known.id, source, self.source_files(source).file(address)
        raise InputError(f"dataset {name!r} has landed no file {given!r} from a source that it declares now")

    def carry_out_reloads(
        self, name: str, *, stop: threading.Event | None = None, actor: str = "command line"
    ) -> list[RequestCarriedOut]:
        """Land again what approved requests of a dataset ask for, and end those of which nothing is left.

        What can't be had any more is told, and its request stays. Broken off it goes on with what is left.
        """
        _, record = self.resolve(name)
        approved = [one for one in self.catalog.backfills.listed(dataset_ids=[record.id], states=APPROVED) if one.is_reload]
        done = [self._carry_out(name, one, stop or threading.Event(), actor) for one in approved]
        if done:
            self.catalog.backfills.settle(record.id)
        return done

    def _carry_out(self, name: str, backfill: Backfill, stop: threading.Event, actor: str) -> RequestCarriedOut:
        progress = self.catalog.backfills.progress(backfill)
        left, counters = list[str](), NO_COUNTS

        def files(source: str | None, addresses: Sequence[str]) -> Counters:
            report = self.reload_files(name, addresses, source=source, actor=actor)
            left.extend(report.left)
            return report.counters

        work: list[Callable[[], Counters]] = [
            partial(files, file.get("source"), [str(file["address"])]) for file in progress.files
        ]
        for one in progress.ranges:
            rows = TopicRows(topic=one["topic"], number=one["partition"], start=one["from"], end=one["to"])
            work.append(partial(self._window_again, name, rows, stop, actor))
        for step in work:
            if stop.is_set():
                left.append("it was stopped; the same command goes on")
                break
            try:
                counters += step()
            except TimestoreError as error:
                left.append(str(error))
        if backfill.others:
            left.append(f"{backfill.others:,} values came by requests or replays, and no source has them any more")
        return RequestCarriedOut(backfill=backfill.id, counters=counters, left=tuple(left))

    def _window_again(self, name: str, rows: TopicRows, stop: threading.Event, actor: str) -> Counters:
        return self.reload_topic(name, rows, stop=stop, actor=actor).counters
