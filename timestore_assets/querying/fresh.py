"""Rows that are not landed yet, as a query takes them: beside the segments of the version it pins, each of them once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from timestore_assets.catalog.records import TopicPartition
from timestore_assets.querying.streaming import Streaming
from timestore_assets.storage.held import HeldSegment

OFF = Streaming(buffer_state="off", merged_rows=0, watermark=None, fresh=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class FreshRows:
    """`segments`: deltas in memory, by partition. `streaming`: what the answer says about them."""

    segments: tuple[HeldSegment, ...] = ()
    streaming: Streaming = OFF


class Fresh(Protocol):
    """What had been read of a dataset's topics at one moment, which was before the version of the answer is pinned.

    In that order nothing is missing and nothing is there twice: a record that was read and landed before the pin lies below
    the pinned checkpoint, one that lands after it does not, and what was let go of as landed was so before this moment.
    """

    def beyond(self, topics: Sequence[TopicPartition], *, start: datetime | None, end: datetime | None) -> FreshRows:
        """The rows of `[start, end)` from these checkpoints on, which must be newer than this moment."""
