"""Records of a topic as a batch that is landed, with the newest event times in it, which the watermark is made of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from timestore_assets.catalog.commit_values import IdempotencyKey, Span, TopicProgress, WatermarkRule
from timestore_assets.landing.preparing.prepare import Prepared
from timestore_assets.sources.batches import Batch


@dataclass(frozen=True, kw_only=True, slots=True)
class TopicBatch:
    """A batch of one or several partitions of a topic, see `SourceBatch`."""

    batch: Batch
    spans: tuple[Span, ...]
    time: str
    """The dataset's time column."""
    until: datetime
    """Event times after it say nothing about what is to come."""
    watermark: WatermarkRule | None = None
    """What the source's watermark is raised by; None leaves it."""
    late_before: datetime | None = None
    keys: tuple[IdempotencyKey, ...] = ()
    actor: str | None = None

    def progress(self, prepared: Prepared, /) -> TopicProgress:
        """With the newest event time that landed from each partition."""
        spans = self.spans
        if self.watermark is not None and prepared.source_partitions is not None and prepared.rows.num_rows:
            newest = newest_times(prepared.rows.column(self.time), prepared.source_partitions, until=self.until)
            spans = tuple(replace(span, newest=newest.get(span.source_partition_id)) for span in spans)
        return TopicProgress(spans=spans, watermark=self.watermark)

    def confirm(self) -> None:
        """Where its partitions stand says all."""


def newest_times(times: pa.ChunkedArray, source_partitions: pa.ChunkedArray, *, until: datetime) -> dict[int, datetime]:
    """The newest time of each source partition. Times after `until` are left out: they say nothing about what is to come."""
    limit = pa.scalar(until.astimezone(UTC).replace(tzinfo=None), pa.timestamp("us"))
    table = pa.table({"source": source_partitions, "time": times})
    found = table.filter(pc.less_equal(times, limit)).group_by("source").aggregate([("time", "max")]).to_pydict()
    return {source: time.replace(tzinfo=UTC) for source, time in zip(found["source"], found["time_max"], strict=True)}
