"""What a batch of any source brings to its commit: the records, where they come from, how far they bring it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from timestore_assets.catalog.commit_values import IdempotencyKey, SourceProgress, Span
from timestore_assets.landing.preparing.prepare import Prepared
from timestore_assets.model.errors import ConflictError
from timestore_assets.model.position import Position
from timestore_assets.model.record_form import PLAIN, RecordForm
from timestore_assets.sources.batches import Batch


class OvertakenError(ConflictError):
    """Another session has gone on with what is being read; what it commits counts, nothing of ours does."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """Where the batches of a session come from, and who lands them."""

    source_id: int
    address: str
    """Shown with dead letters."""
    session_id: int
    actor: str
    """For the audit, where a batch names nobody else."""
    zone: str | None = None
    """Of naive times; an IANA name or an offset."""
    form: RecordForm = PLAIN
    """How the records are written."""
    path: Mapping[str, str | None] = field(default_factory=dict)
    """Values of columns that stand in the path of the file."""
    max_record_bytes: int | None = None
    """Longer documents are refused; None: the source has seen to it."""
    schema_version: int | None = None
    """By which the records were written; None: by the one that is current when they are judged."""
    forwards: bool = False
    """Refused records go to the declared topic for them too."""


class SourceBatch(Protocol):
    """A batch as its kind of source gives it."""

    @property
    def batch(self) -> Batch: ...
    @property
    def spans(self) -> tuple[Span, ...]:
        """How checkpoints move."""

    @property
    def late_before(self) -> datetime | None:
        """Records of earlier times are late; None: nothing is."""

    @property
    def keys(self) -> tuple[IdempotencyKey, ...]:
        """Idempotency keys that the whole batch stands for, beside those in its records."""

    @property
    def actor(self) -> str | None:
        """Who sent it, for the audit; None: whoever lands it."""

    def progress(self, prepared: Prepared, /) -> SourceProgress:
        """How far the source has come when the records are committed as they were judged."""

    def confirm(self) -> None:
        """Called when its commit met a conflict, before it is judged again; raises what makes that of no use."""


def starts_of(spans: Sequence[Span]) -> dict[int, Position]:
    """Where checkpoints have to stand for the spans to follow, by source partition."""
    return {span.source_partition_id: span.start for span in spans}
