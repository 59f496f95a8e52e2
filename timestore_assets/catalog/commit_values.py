"""What a commit says: how far its source comes, what its records became, and which objects hold them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from secrets import token_hex
from typing import Any, Literal

from timestore_assets.catalog.records import DeadLetterFile, DeadLetterKind
from timestore_assets.model.counters import Counters
from timestore_assets.model.position import Position
from timestore_assets.model.retraction import NOTHING, Retracted
from timestore_assets.model.schema import Schema
from timestore_assets.model.segment import NewSegment
from timestore_assets.model.window import Partition


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """How far a commit moves the checkpoint of one source partition, and for topics what the watermark needs."""

    source_partition_id: int
    start: Position
    """Where the checkpoint must be now."""
    end: Position
    newest: datetime | None = None
    """Newest event time among the records."""
    quiet: timedelta | None = None
    """New total of the time that the partition had nothing more to read, None to leave it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WatermarkRule:
    """Whose newest event times make a source's watermark: the minimum over some source partitions."""

    over: tuple[int, ...]
    """Source partitions that are waited for."""
    idle: timedelta
    """Those that have been quiet for so long are left out."""
    cap: datetime
    """No watermark is later (clocks from the future)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """The record that made a schema change."""

    position: int
    """In its source partition, as `__position`."""
    line: int | None = None
    """1-based, where the source has lines."""
    source_partition_id: int | None = None
    """None: the only one of the commit's spans."""
    sample: str | None = None
    """The beginning of the value, None where it may be a secret."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SchemaChange:
    """What a new schema version changes."""

    kind: Literal[
        "column_added",
        "type_widened",
        "nullability_relaxed",
        "column_renamed",
        "column_transformed",
        "column_dropped",
        "column_restored",
    ]
    column: str
    """As it is called since, or was until then."""
    before: str | None
    """Its type as text, its name for a renamed one, "required" of `nullability_relaxed`; None for one that was not there."""
    after: str | None
    """Likewise, "nullable" of `nullability_relaxed`; None for one that is not there any more."""
    evidence: Evidence | None = field(default=None, compare=False)
    """None where no record made it but a person."""

    def plain(self) -> dict[str, str | None]:
        """The change as JSON values, without what made it."""
        return {"kind": self.kind, "column": self.column, "before": self.before, "after": self.after}


@dataclass(frozen=True, kw_only=True, slots=True)
class IdempotencyKey:
    """A key that a record or a request may be sent with again."""

    key: str
    digest: str
    """Of the content the key stood for, so that a re-use for other content can be told."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NewIngestion:
    """What a request brought, settled by the commit that lands it."""

    id: str
    key: str | None
    """Its idempotency key."""
    digest: str
    """Of its body."""
    outcome: Mapping[str, Any]
    """What is answered, plain JSON values; the manifest version is added by the commit."""
    actor: str
    announced: bool = False
    """Its row is there already and waits (`Ingestions.announce`), so that it is settled and not inserted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FileProgress:
    """A batch of a file, or of a part of one. A content that replaces others becomes visible as a whole, with its last batch."""

    span: Span
    file_id: int
    last: bool
    """The file has landed with this batch; of a file in parts, when its other parts are there too."""
    replaces: tuple[int, ...] = ()
    """Source partitions whose rows leave with the last batch. Until then the segments wait."""

    @property
    def spans(self) -> tuple[Span, ...]:
        return (self.span,)

    @property
    def is_visible(self) -> bool:
        """Whether the batch's rows are shown at once, with all of the file that waited."""
        return self.last or not self.replaces

    @property
    def retracts(self) -> tuple[int, ...]:
        """Source partitions whose rows leave with this batch."""
        return self.replaces if self.last else ()


@dataclass(frozen=True, kw_only=True, slots=True)
class TopicProgress:
    """A batch of one or several partitions of a topic."""

    spans: tuple[Span, ...]
    """The session must hold these partitions (`StoredTopics.assign`), so that a zombie can't win against its successor."""
    watermark: WatermarkRule | None = None
    """What the source's watermark is raised by; None leaves it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestOutcomes:
    """Records that requests brought, and what becomes of the requests."""

    span: Span
    ingestions: tuple[NewIngestion, ...] = ()
    """Requests that are remembered; a key that another request has used by now is a conflict."""
    requests: tuple[tuple[int, str], ...] = ()
    """Position of the first record of each request, rising, and its id."""

    @property
    def spans(self) -> tuple[Span, ...]:
        return (self.span,)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplaySettlement:
    """Dead letters judged once more. No checkpoint moves; the counters say how dispositions change: some are negative, and
    nothing is read.
    """

    dead_letter_ids: tuple[int, ...]
    """Dead-letter files that are settled; a conflict when one is already."""
    kind: DeadLetterKind = "refused"
    """Of these files; a conflict when one has another by now."""
    read_again: Mapping[int, Sequence[tuple[int, int]]] = field(default_factory=dict)
    """By source partition the windows that reloads had taken over when these were judged; a conflict when there are others."""

    @property
    def spans(self) -> tuple[Span, ...]:
        return ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ReloadProgress:
    """A batch of a window of a topic that is read again. What it brings becomes visible as a whole, with its last batch."""

    spans: tuple[Span, ...]
    """Of the reload's own source partitions; those of the topic stay where they are."""
    waits_for: int
    """The source partition for whose end all segments wait."""
    last: bool
    replaces: Retracted = NOTHING
    """The window's rows of before, which leave with the last batch."""
    losing: tuple[datetime, ...] = ()
    """Starts of the partitions that hold such rows."""
    replays_until: int | None = None
    """The newest replay that these two know of, see `reloads.Replays`; with the last batch a conflict when there is a newer."""


SourceProgress = FileProgress | TopicProgress | RequestOutcomes | ReplaySettlement | ReloadProgress
"""How far a landing commit brings its source."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LandingCommit:
    """One batch's effects, all of them or none."""

    dataset_id: int
    session_id: int
    source_id: int
    progress: SourceProgress
    """Checkpoints, compared and set, and what else the kind of source asks for."""
    counters: Counters
    """Dispositions of the batch's records."""
    segments: tuple[NewSegment, ...] = ()
    dead_letter_files: tuple[DeadLetterFile, ...] = ()
    idempotency_keys: tuple[IdempotencyKey, ...] = ()
    """Keys that nothing may have used before: those of records, and of requests."""
    schema: Schema | None = None
    """The evolved schema, None when the batch changed nothing about it."""
    base_schema_version: int | None = None
    """The version that the batch was judged by: compared, unless it is None."""
    schema_changes: tuple[SchemaChange, ...] = ()
    """What is new in `schema`."""
    ignored_columns: Mapping[str, int] = field(default_factory=dict)
    """Values left out by `columns: discard_value`, by column; kept in the audit."""
    discarded_values: Mapping[str, int] = field(default_factory=dict)
    """Values left out by `types: discard_value`, by column; kept in the audit."""
    actor: str = "timestore"
    token: str = field(default_factory=lambda: token_hex(16), init=False, compare=False)
    """Names this one attempt in the audit, so that it can be told whether it happened; `replace` makes another one."""

    @property
    def spans(self) -> tuple[Span, ...]:
        """How checkpoints move."""
        return self.progress.spans

    @property
    def objects(self) -> tuple[str, ...]:
        """Names of its objects, announced before (`Sessions.announce`); their intents are required and removed by the commit."""
        # segments may share one
        return tuple(dict.fromkeys([*(one.name for one in self.segments), *(one.name for one in self.dead_letter_files)]))

    def with_digests(self, digests: Sequence[str]) -> LandingCommit:
        """With those of its objects' bytes: of the segments, then of the files of dead letters."""
        if not self.objects:
            return self
        digest_of = dict(zip(self.objects, digests, strict=True))
        return replace(
            self,
            segments=tuple(replace(named, sha256=digest_of[named.name]) for named in self.segments),
            dead_letter_files=tuple(replace(named, sha256=digest_of[named.name]) for named in self.dead_letter_files),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildCommit:
    """A build's effect on one partition: some segments go, their merged successors come."""

    dataset_id: int
    session_id: int
    partition: Partition
    replaces: tuple[int, ...]
    """Segments that go, all of which must be live."""
    segments: tuple[NewSegment, ...]
    """Segments that come, announced before."""
    seal: bool
    """The partition becomes `sealed` if nothing unbuilt remains in it after the swap."""
    superseded_rows: int = 0
    """Rows removed by deduplication in this build."""
    retracted_rows: int = 0
    """Rows dropped because they had been retracted."""
    erased_rows: int = 0
    """Rows that a person had erased."""
    read_version: int | None = None
    """A manifest version as of which the build knew the retractions. None: it replaces nothing that any could concern."""
    content_hash: str | None = None
    """Of the logical rows, None unless the partition is sealed."""
    tickets: tuple[str, ...] = ()
    """Of migrations that it rewrites rows for."""
    seconds: float = 0.0
    """How long its segments took to make, for estimates; 0 where nobody measured it."""
    report: bool = True
    """Queue a materialisation in the outbox (False when Dagster itself runs the build and yields the event)."""
    actor: str = "timestore"
    token: str = field(default_factory=lambda: token_hex(16), init=False, compare=False)
    """Names this one attempt in the audit, so that it can be told whether it happened; `replace` makes another one."""

    @property
    def objects(self) -> tuple[str, ...]:
        """Names of its objects, announced before."""
        return tuple(one.name for one in self.segments)


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildGroupCommit:
    """Builds of several partitions of one dataset by one session: all of them or none, each with a manifest version of its own.

    Each replaces segments that hold no retracted rows.
    """

    builds: tuple[BuildCommit, ...]

    @property
    def dataset_id(self) -> int:
        return self.builds[0].dataset_id

    @property
    def session_id(self) -> int:
        return self.builds[0].session_id

    @property
    def token(self) -> str:
        """That of the last one, which tells whether all of them happened."""
        return self.builds[-1].token

    @property
    def objects(self) -> tuple[str, ...]:
        """Names of the objects of all, in their order."""
        return tuple(name for build in self.builds for name in build.objects)
