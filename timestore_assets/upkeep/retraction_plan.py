"""What a retraction would hide: a selector becomes ranges of source partitions, and the rows in them are counted.

What is counted are rows that a pinned manifest version shows, before deduplication of those that are not built. Their greatest
session bounds each range, and a topic's range ends at its checkpoint, so that nothing which lands later is hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby

import duckdb

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.records import DatasetRecord, FileRecord, TopicPartition
from timestore_assets.catalog.retractions import NewRetraction
from timestore_assets.catalog.snapshot_pin import SnapshotPin
from timestore_assets.model.dataset import Dataset, KafkaSource
from timestore_assets.model.errors import InputError, RefusedError
from timestore_assets.model.retraction import NOTHING, Retracted, Retraction, whole
from timestore_assets.model.row_selector import Bound, FileRows, RequestRows, RowSelector, SessionRows, TopicRows
from timestore_assets.model.schema import POSITION_COLUMN, SESSION_COLUMN, SOURCE_COLUMN, Schema
from timestore_assets.model.segment import Segment
from timestore_assets.model.source_kinds import lands_files
from timestore_assets.model.window import Partition
from timestore_assets.segments.engine import EngineLimits, connect
from timestore_assets.segments.reader import opened
from timestore_assets.segments.retracted_rows import hidden_by, may_hold
from timestore_assets.storage.targets import Storage

OffsetsAt = Callable[[KafkaSource, str, Sequence[int], datetime], Mapping[int, int]]
"""Of these partitions of a source's topic the first offset of that time or later; those without such a record are missing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RetractionPlan:
    """What a retraction hides, and what there is to know about it."""

    wanted: NewRetraction
    files: tuple[str, ...] = ()
    """Addresses of the files that are retracted as wholes."""
    superseded_rows: int = 0
    """Rows that builds have removed as duplicates in sealed partitions that it concerns. Those of them that rows retracted now
    had superseded are gone from there, and come back only when their own files or records land again."""
    proof: tuple[int, ...] = ()
    """Ids of the segments that hold the rows."""

    @property
    def rows(self) -> int:
        return sum(self.wanted.rows.values())


@dataclass(frozen=True, kw_only=True, slots=True)
class _Chosen:
    """Ranges before the rows in them were looked at."""

    ranges: Retracted
    files: tuple[FileRecord, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Retractor:
    """Looks at one dataset's rows. `offsets_at`: asks the brokers."""

    catalog: Catalog
    storage: Storage
    limits: EngineLimits
    dataset: Dataset
    record: DatasetRecord
    holder: str
    offsets_at: OffsetsAt
    address_of: Callable[[str], Iterable[str]]
    """Addresses that a file which a person names may have in the catalog."""

    def plan(self, selector: RowSelector) -> RetractionPlan:
        """What a retraction of these rows would hide now.

        Raises:
            InputError: nothing is known of what is named. RefusedError: it has no rows, or they can't be told from others.
            UnavailableError: a segment or the broker can't be read.
        """
        with self._rows() as rows:
            chosen = self._chosen(selector, rows)
            found = rows.counted(chosen.ranges)
            if not found.rows and not chosen.files:
                raise RefusedError(f"{self.dataset.name} shows no such rows: {_said(selector)}")
            wanted = NewRetraction(
                selector=selector.plain(),
                ranges=_bounded(chosen.ranges, found.last_sessions),
                rows=found.rows,
                files=tuple(file.id for file in chosen.files),
                read_version=rows.version,
            )
        return RetractionPlan(
            wanted=wanted,
            files=tuple(file.address for file in chosen.files),
            superseded_rows=self._superseded(found.rows),
            proof=found.segments,
        )

    def windows(self, selector: TopicRows) -> list[tuple[TopicPartition, Retraction]]:
        """The topic partitions that a selector names, and what it means of each, as far as it has landed.

        Raises: as `plan`.
        """
        checkpoints = [one for source in self._topic_sources() for one in self.catalog.topics.partitions(source)]
        ranges = {one.source: one for one in self._topic_ranges(selector, checkpoints)}
        return [(one, ranges[one.id]) for one in checkpoints if one.id in ranges]

    def losing(self, ranges: Retracted) -> list[datetime]:
        """Starts of the partitions that show rows of these ranges."""
        with self._rows() as rows:
            return [partition.start for partition in rows.counted(ranges).rows]

    def hidden(self, ranges: Retracted) -> RetractionPlan:
        """How many rows of a retraction that was made are still in segments."""
        with self._rows(retracted=NOTHING) as rows:
            found = rows.counted(ranges)
        wanted = NewRetraction(selector={}, ranges=ranges, rows=found.rows)
        return RetractionPlan(wanted=wanted, proof=found.segments)

    # --- from what is meant to ranges

    def _chosen(self, selector: RowSelector, rows: _ShownRows) -> _Chosen:
        match selector:
            case TopicRows():
                ranges = list(self._topic_ranges(selector, rows.checkpoints))
                return _Chosen(ranges=frozenset([*ranges, *self._reloaded(ranges, rows.checkpoints)]))
            case FileRows():
                return self._file(selector.address)
            case RequestRows():
                return _Chosen(ranges=frozenset({self._request_range(selector.key)}))
            case SessionRows():
                return _Chosen(ranges=rows.of_session(selector.session))

    def _topic_ranges(self, selector: TopicRows, checkpoints: Sequence[TopicPartition]) -> Iterator[Retraction]:
        named = [one for one in checkpoints if one.topic == selector.topic]
        if not named:
            known = ", ".join(sorted({one.topic for one in checkpoints})) or "none"
            raise InputError(f"dataset {self.dataset.name!r} has read no topic {selector.topic!r}; it has read: {known}")
        cluster = max(named, key=lambda one: one.id).cluster_id
        chosen = [one for one in named if one.cluster_id == cluster and selector.number in (None, one.number)]
        if not chosen:
            raise InputError(f"topic {selector.topic!r} has no partition {selector.number} that was read")
        firsts, ends = self._offsets(selector, chosen, selector.start), self._offsets(selector, chosen, selector.end)
        for one in chosen:
            first, end = firsts.get(one.number, 0), min(ends.get(one.number, one.position), one.position)
            if isinstance(selector.start, datetime) and one.number not in firsts:
                continue  # no record is as new as that
            if first < end:
                yield Retraction(source=one.id, first=first, end=end)

    def _topic_sources(self) -> list[int]:
        return [source.id for source in self.catalog.sources.of(self.record.id) if source.reads_topics]

    def _reloaded(self, ranges: Sequence[Retraction], checkpoints: Sequence[TopicPartition]) -> Iterator[Retraction]:
        """The same offsets where they have landed by a reload."""
        names = {f"{one.cluster_id}/{one.topic}#{one.epoch}/{one.number}": one.id for one in checkpoints}
        for source in self._topic_sources():
            for part in self.catalog.reloads.done(source):
                yield from (replace(one, source=part.id) for one in ranges if one.source == names.get(part.base))

    def _offsets(self, selector: TopicRows, chosen: Sequence[TopicPartition], bound: Bound) -> Mapping[int, int]:
        """The bound as an offset by partition; those that it doesn't bound are missing."""
        if bound is None:
            return {}
        numbers = [one.number for one in chosen]
        if not isinstance(bound, datetime):
            if selector.number is None:
                raise InputError(f"offsets are those of one partition: name it, as in --source {selector.topic}/0")
            return dict.fromkeys(numbers, bound)
        source = next((one for one in self.dataset.kafka_sources if selector.topic in one.topics), None)
        if source is None:
            raise InputError(f"no source declares topic {selector.topic!r} any more, so no broker can be asked; give offsets")
        return self.offsets_at(source, selector.topic, numbers, bound)

    def _file(self, named: str) -> _Chosen:
        for source in self.catalog.sources.of(self.record.id):
            for address in dict.fromkeys(self.address_of(named)) if lands_files(source.kind) else ():
                file = self.catalog.files.at(source.id, address)
                if file is not None:
                    return self._file_ranges(file)
        raise InputError(f"dataset {self.dataset.name!r} knows no file {named!r}; `timestore status` names its sources")

    def _file_ranges(self, file: FileRecord) -> _Chosen:
        if file.state == "duplicate":
            raise RefusedError(f"{file.address} brought no rows ({file.reason}); name that one")
        if file.state not in ("landed", "landing", "quarantined") or file.source_partition_id is None:
            raise RefusedError(f"{file.address} has no rows: it is {file.state}" + (f" ({file.reason})" if file.reason else ""))
        chunks = self.catalog.chunks.of(file.source_partition_id)
        parts = {file.source_partition_id, *(chunk.source_partition_id for chunk in chunks)}
        return _Chosen(ranges=whole(parts), files=(file,))

    def _request_range(self, key: str) -> Retraction:
        request = self.catalog.ingestions.with_keys(self.record.id, [key]).get(key)
        if request is None or request.state != "landed":
            raise InputError(
                f"no request with the key {key!r} is remembered any more, or it has not landed; use the session instead"
            )
        place = request.outcome.get("positions")
        if place is None:
            raise RefusedError(
                f"the request of key {key!r} brought no rows, or an older version landed it; use the session instead"
            )
        source, first, end = place
        return Retraction(source=source, first=first, end=end)

    # --- rows

    @contextmanager
    def _rows(self, *, retracted: Retracted | None = None) -> Iterator[_ShownRows]:
        """The rows of the newest version, pinned. `retracted`: what is left out, by default what readers leave out."""
        pin = SnapshotPin(self.catalog, self.record.id, version=None, holder=self.holder, with_topics=True)
        try:
            hidden = self.catalog.manifest.retracted(self.record.id, version=pin.version) if retracted is None else retracted
            segments = self.catalog.manifest.segments(self.record.id, version=pin.version, with_stats=False)
            with connect(self.limits) as con:
                yield _ShownRows(self, con, pin, segments, hidden)
        finally:
            pin.release()

    def _superseded(self, rows: Mapping[Partition, int]) -> int:
        if self.dataset.dedupe is None:
            return 0
        known = self.catalog.partitions.of(self.record.id)
        return sum(one.superseded_rows for one in known if rows.get(one.partition) and one.state in ("sealed", "stale"))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    rows: Mapping[Partition, int]
    last_sessions: Mapping[int, int]
    """Greatest session of the rows of each source partition."""
    segments: tuple[int, ...]


class _ShownRows:
    """The rows of a pinned version, as far as their provenance goes; partition by partition, so that memory is bounded."""

    def __init__(
        self, of: Retractor, con: duckdb.DuckDBPyConnection, pin: SnapshotPin, segments: Sequence[Segment], retracted: Retracted
    ) -> None:
        self._of, self._con, self._pin, self._segments, self._retracted = of, con, pin, segments, retracted
        self.checkpoints, self.version = pin.topics, pin.version

    def counted(self, ranges: Retracted) -> _Found:
        """How many rows of these ranges there are."""
        rows: dict[Partition, int] = {}
        last: dict[int, int] = {}
        read: list[int] = []
        query = (
            f"SELECT {SOURCE_COLUMN}, count(*), max({SESSION_COLUMN}) FROM {{}} WHERE {hidden_by(ranges) if ranges else False}"
        )
        for partition, segments in self._by_partition(ranges):
            for source, number, session in self._asked(segments, f"{query} GROUP BY ALL"):
                rows[partition] = rows.get(partition, 0) + number
                last[source] = max(session, last.get(source, session))
            if partition in rows:
                read += [segment.id for segment in segments]
        return _Found(rows=rows, last_sessions=last, segments=tuple(read))

    def of_session(self, session: int) -> Retracted:
        """The ranges that hold rows of this session, and of no earlier one."""
        places = f"{SOURCE_COLUMN}, min({POSITION_COLUMN}), max({POSITION_COLUMN})"
        own = f"SELECT {places} FROM {{}} WHERE {SESSION_COLUMN} = {session}"
        bounds: dict[int, tuple[int, int]] = {}
        for _, segments in self._by_partition(None):
            for source, low, high in self._asked(segments, f"{own} GROUP BY ALL"):
                first, last = bounds.get(source, (low, high))
                bounds[source] = min(first, low), max(last, high)
        spans = {Retraction(source=one, first=low, end=high + 1, last_session=session) for one, (low, high) in bounds.items()}
        return frozenset(part for span in spans for part in self._without_earlier(span, session))

    def _without_earlier(self, span: Retraction, session: int) -> Iterator[Retraction]:
        """The parts of a range between which rows of earlier sessions lie, as after a topic partition went to and fro."""
        holding = [segment for segment in self._segments if may_hold(segment, frozenset({span}))]
        inside = f"FROM {{}} WHERE {hidden_by(frozenset({span}))}"
        ((earlier,),) = self._asked(holding, f"SELECT count(*) FILTER ({SESSION_COLUMN} < {session}) {inside}")
        if not earlier:
            yield span
            return
        before = f"count(*) FILTER ({SESSION_COLUMN} < {session}) OVER (ORDER BY {POSITION_COLUMN}) AS earlier"
        numbered = f"SELECT {POSITION_COLUMN} AS at, {SESSION_COLUMN} AS by, {before} {inside}"
        parts = f"SELECT min(at), max(at) + 1 FROM ({numbered}) WHERE by = {session} GROUP BY earlier ORDER BY 1"
        for first, end in self._asked(holding, parts):
            yield replace(span, first=first, end=end)

    def _by_partition(self, ranges: Retracted | None) -> Iterator[tuple[Partition, list[Segment]]]:
        """Segments that may hold rows of the ranges, or of any with None."""
        window = self._of.dataset.window
        for start, group in groupby(self._segments, key=lambda segment: segment.partition_start):
            segments = [one for one in group if ranges is None or may_hold(one, ranges)]
            if segments:
                self._pin.renew_if_due()
                yield window.partition(start), segments

    def _asked(self, segments: Sequence[Segment], query: str) -> list[tuple[int, ...]]:
        of = self._of
        with opened(
            self._con,
            segments,
            storage=of.storage,
            schema=of.record.schema,
            schema_of=self._schema_of,
            retracted=self._retracted,
            columns=(),
            stored=True,
        ) as source:
            return self._con.execute(query.format(source)).fetchall()

    def _schema_of(self, version: int) -> Schema:
        return self._of.catalog.datasets.schema(self._of.record.id, version)


def _bounded(ranges: Retracted, last_sessions: Mapping[int, int]) -> Retracted:
    """Whole source partitions as they are, since they are closed; of ranges those with rows, up to their last session."""
    return frozenset(
        one if one.is_whole else replace(one, last_session=last_sessions[one.source])
        for one in ranges
        if one.is_whole or one.source in last_sessions
    )


def missing(rows: Mapping[str, int], still: Mapping[Partition, int]) -> int:
    """How many of the rows that a retraction hid, by partition key, are in no segment any more."""
    found = {partition.key: number for partition, number in still.items()}
    return sum(max(0, number - found.get(key, 0)) for key, number in rows.items())


def _said(selector: RowSelector) -> str:
    return ", ".join(f"{name} {value}" for name, value in selector.plain().items() if value is not None)
