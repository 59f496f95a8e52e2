"""A small dataset in a catalog, with landing and build commits in one line each; no data files are needed for them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from timestore_assets.catalog.records import (
    BuildCommit,
    Counters,
    DatasetRecord,
    FileRecord,
    LandingCommit,
    SourcePartition,
    SourceRecord,
    Span,
)
from timestore_assets.catalog.sql import SqlCatalog
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


@dataclass
class Ground:
    """A registered dataset with one source and one session."""

    catalog: SqlCatalog
    record: DatasetRecord
    source: SourceRecord
    session: int
    numbers: Any = field(default_factory=itertools.count)

    @classmethod
    def of(cls, catalog: SqlCatalog, dataset: Dataset = WEATHER) -> Ground:
        record = catalog.register(dataset, actor="test")
        source = catalog.source(record.id, "files", dataset.sources[0].address)
        session = catalog.begin_session(record.id, "landing", holder="test", ttl=HOUR)
        return cls(catalog=catalog, record=record, source=source, session=session)

    @property
    def id(self) -> int:
        return self.record.id

    def source_partition(self, name: str = "a") -> SourcePartition:
        return self.catalog.source_partition(self.source.id, name)

    def segment(self, number: int = 0, rows: int = 10, **changes: Any) -> NewSegment:
        """A new segment in the `number`th day, announced."""
        segment = self.unannounced(number, rows, **changes)
        self.catalog.announce(self.session, [segment.name])
        return segment

    def many(self, numbers: Iterable[int], rows: int = 10, **changes: Any) -> list[NewSegment]:
        """A segment in each of these days, announced together."""
        made = [self.unannounced(number, rows, **changes) for number in numbers]
        self.catalog.announce(self.session, [segment.name for segment in made])
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
            spans=(
                Span(
                    source_partition_id=partition.id,
                    start=position,
                    end=Position(offset=position.offset + read, line=position.line + read),
                ),
            ),
            counters=Counters(read=read, landed=landed, dead_letters=read - landed),
            segments=segments,
            intents=tuple(segment.name for segment in segments),
        )
        return replace(commit, **changes)

    def land(self, name: str = "a", *segments: NewSegment, **changes: Any) -> int:
        """Land segments (one of ten rows in the first day, when none are given) from a source partition; the new version."""
        return self.catalog.commit_landing(self.batch(self.source_partition(name), *(segments or (self.segment(),)), **changes))

    def observe(self, address: str, content: str, *, replace: bool = False, source: SourceRecord | None = None) -> FileRecord:
        where = (source or self.source).id
        return self.catalog.observe_file(
            where, address=address, sha256=content, etag=f"etag-{content}", size=100, replace=replace
        )

    def land_file(self, file: FileRecord, *segments: NewSegment, last: bool = True, **changes: Any) -> int:
        """Land a batch of a file the way a session does: unpublished and then retracting, when it replaces another."""
        assert file.source_partition_id is not None
        partition = SourcePartition(id=file.source_partition_id, source_id=file.source_id, name="", position=file.position)
        options = {
            "file_id": file.id,
            "file_state": "landed" if last else "landing",
            "publish": last or not file.replaces,
            "retract": file.replaces if last else (),
            "source_id": file.source_id,
        }
        return self.catalog.commit_landing(self.batch(partition, *(segments or (self.segment(),)), **(options | changes)))

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
            intents=tuple(segment.name for segment in segments),
        )
        return self.catalog.commit_build(replace(commit, **changes))

    def live(self, version: int | None = None) -> list[Segment]:
        return self.catalog.segments(self.id, version=version)

    def names(self, version: int | None = None) -> list[str]:
        return [segment.name for segment in self.live(version)]

    def rows(self, version: int | None = None) -> int:
        return sum(segment.rows for segment in self.live(version))

    def state(self, number: int = 0) -> str:
        found = self.catalog.partition(self.id, day(number))
        assert found is not None
        return found.state

    def counters(self) -> Counters:
        return next(source.counters for source in self.catalog.sources(self.id) if source.id == self.source.id)
