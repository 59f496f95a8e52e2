"""A small dataset in a catalog, with landing and build commits in one line each; no data files are needed for them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.commit_values import (
    BuildCommit,
    FileProgress,
    LandingCommit,
    NewIngestion,
    RequestOutcomes,
    SourceProgress,
    Span,
)
from timestore_assets.catalog.records import DatasetRecord, FileRecord, SourcePartition, SourceRecord
from timestore_assets.model.counters import Counters
from timestore_assets.model.dataset import Dataset, FileSource
from timestore_assets.model.position import Position
from timestore_assets.model.schema import Column, Schema
from timestore_assets.model.segment import ColumnStats, NewSegment, Segment
from timestore_assets.model.types import DOUBLE, STRING, TIMESTAMP
from timestore_assets.model.window import Partition, Window

START = datetime(2013, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
WEATHER = Dataset(
    name="weather",
    schema=Schema(
        columns=(
            Column(name="time", type=TIMESTAMP),
            Column(name="origin", type=STRING),
            Column(name="temp", type=DOUBLE, nullable=True),
        )
    ),
    time="time",
    start=START,
    sources=(FileSource(prefix="inbox/weather"),),
)


def day(number: int) -> Partition:
    """The partition of the `number`th day, counted from 0."""
    return Partition(window=Window.DAY, start=START + timedelta(days=number))


def progress(
    catalog: Catalog, partition: SourcePartition, span: Span, *, publish: bool = True, retract: Sequence[int] = ()
) -> SourceProgress:
    """How a batch brings a source partition on: as one of a file when its rows wait or replace others, else as a request's."""
    if publish and not retract:
        return RequestOutcomes(span=span)
    seen = {"address": partition.name, "sha256": partition.name, "etag": partition.name}
    file = catalog.files.observe(partition.source_id, **seen, size=1, replace=True)
    # before the last batch it only matters that it replaces something
    return FileProgress(span=span, file_id=file.id, last=publish, replaces=tuple(retract) or (partition.id,))


@dataclass
class CatalogDataset:
    """A registered dataset with one source and one session."""

    catalog: Catalog
    record: DatasetRecord
    source: SourceRecord
    session: int
    numbers: Any = field(default_factory=itertools.count)

    @classmethod
    def of(cls, catalog: Catalog, dataset: Dataset = WEATHER) -> CatalogDataset:
        record = catalog.datasets.register(dataset, actor="test")
        source = catalog.sources.ensure(record.id, "files", dataset.sources[0].address)
        session = catalog.sessions.begin(record.id, "landing", holder="test", ttl=HOUR)
        return cls(catalog=catalog, record=record, source=source, session=session)

    @property
    def id(self) -> int:
        return self.record.id

    def source_partition(self, name: str = "a") -> SourcePartition:
        return self.catalog.sources.partition(self.source.id, name)

    def segment(self, number: int = 0, rows: int = 10, **changes: Any) -> NewSegment:
        """A new segment in the `number`th day, announced."""
        segment = self.unannounced(number, rows, **changes)
        self.catalog.sessions.announce(self.session, [segment.name])
        return segment

    def many(self, numbers: Iterable[int], rows: int = 10, **changes: Any) -> list[NewSegment]:
        """A segment in each of these days, announced together."""
        made = [self.unannounced(number, rows, **changes) for number in numbers]
        self.catalog.sessions.announce(self.session, [segment.name for segment in made])
        return made

    def unannounced(self, number: int = 0, rows: int = 10, **changes: Any) -> NewSegment:
        name = f"weather/{self.session}/{next(self.numbers)}.parquet"
        start = day(number).start
        segment = NewSegment(
            name=name,
            partition_start=start,
            kind="delta",
            format="parquet",
            rows=rows,
            bytes=rows * 100,
            min_time=start + HOUR,
            max_time=start + 2 * HOUR,
            schema_version=1,
            stats={"temp": ColumnStats(min=-1.5, max=30.25, nulls=1)},
        )
        return replace(segment, **changes)

    def batch(self, partition: SourcePartition, *segments: NewSegment, rows: int | None = None, **changes: Any) -> LandingCommit:
        """A batch of as many one-byte records as the segments have rows, from the partition's checkpoint on."""
        landed = sum(segment.rows for segment in segments)
        read = landed if rows is None else rows
        position = partition.position
        commit = LandingCommit(
            dataset_id=self.id,
            session_id=self.session,
            source_id=self.source.id,
            progress=RequestOutcomes(
                span=Span(
                    source_partition_id=partition.id,
                    start=position,
                    end=Position(offset=position.offset + read, line=position.line + read),
                )
            ),
            counters=Counters(read=read, landed=landed, dead_letters=read - landed),
            segments=segments,
        )
        return replace(commit, **changes)

    def file_batch(
        self,
        file: FileRecord,
        partition: SourcePartition,
        *segments: NewSegment,
        rows: int | None = None,
        last: bool = True,
        end: Position | None = None,
        **changes: Any,
    ) -> LandingCommit:
        """The same as a batch of a file, to its end or as far as `end`."""
        commit = self.batch(partition, *segments, rows=rows, **changes)
        (span,) = commit.spans
        progress = FileProgress(span=replace(span, end=end or span.end), file_id=file.id, last=last, replaces=file.replaces)
        return replace(commit, progress=progress)

    def land(
        self, name: str = "a", *segments: NewSegment, publish: bool = True, retract: Sequence[int] = (), **changes: Any
    ) -> int:
        """Land segments (one of ten rows in the first day, when none are given) from a source partition; the new version."""
        partition = self.source_partition(name)
        commit = self.batch(partition, *(segments or (self.segment(),)), **changes)
        if not publish or retract:
            (span,) = commit.spans
            commit = replace(commit, progress=progress(self.catalog, partition, span, publish=publish, retract=retract))
        return self.catalog.commits.land(commit)

    def land_of_requests(self, *ingestions: NewIngestion, name: str = "a", **changes: Any) -> int:
        """Land a segment that requests brought."""
        commit = self.batch(self.source_partition(name), self.segment(), **changes)
        (span,) = commit.spans
        return self.catalog.commits.land(replace(commit, progress=RequestOutcomes(span=span, ingestions=ingestions)))

    def observe(self, address: str, content: str, *, replace: bool = False, source: SourceRecord | None = None) -> FileRecord:
        where = (source or self.source).id
        return self.catalog.files.observe(
            where, address=address, sha256=content, etag=f"etag-{content}", size=100, replace=replace
        )

    def land_file(self, file: FileRecord, *segments: NewSegment, last: bool = True, **changes: Any) -> int:
        """Land a batch of a file the way a session does: unpublished and then retracting, when it replaces another."""
        assert file.source_partition_id is not None
        partition = SourcePartition(id=file.source_partition_id, source_id=file.source_id, name="", position=file.position)
        options = {"source_id": file.source_id} | changes
        return self.catalog.commits.land(self.file_batch(file, partition, *(segments or (self.segment(),)), last=last, **options))

    def sealed(self, number: int = 0, rows: int = 10, **changes: Any) -> NewSegment:
        return self.segment(number, rows, kind="sealed", deduplicated=True, **changes)

    def build(self, number: int, replaces: list[Segment], *segments: NewSegment, seal: bool = True, **changes: Any) -> int:
        """Replace segments of the `number`th day; rows that are gone count as superseded."""
        gone = sum(segment.rows for segment in replaces) - sum(segment.rows for segment in segments)
        commit = BuildCommit(
            dataset_id=self.id,
            session_id=self.session,
            partition=day(number),
            replaces=tuple(segment.id for segment in replaces),
            segments=segments,
            seal=seal,
            superseded_rows=gone,
            content_hash="c0ffee",
        )
        return self.catalog.commits.build(replace(commit, **changes))

    def live(self, version: int | None = None) -> list[Segment]:
        return self.catalog.manifest.segments(self.id, version=version)

    def names(self, version: int | None = None) -> list[str]:
        return [segment.name for segment in self.live(version)]

    def rows(self, version: int | None = None) -> int:
        return sum(segment.rows for segment in self.live(version))

    def state(self, number: int = 0) -> str:
        found = self.catalog.partitions.find(self.id, day(number))
        assert found is not None
        return found.state

    def counters(self) -> Counters:
        return next(source.counters for source in self.catalog.sources.of(self.id) if source.id == self.source.id)
