"""Questions whose answer would be too large are refused, with the bucket width that would do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.records import DatasetRecord
from timestore_assets.model.question import Aggregate, Question
from timestore_assets.querying.answer import Answer
from timestore_assets.querying.planning.time_buckets import BucketWidth, buckets, fitting
from timestore_assets.service.problems import TooWideError

Ask = Callable[[Question], Answer]
_TICK = timedelta(microseconds=1)
LAST_TIME = datetime.max.replace(tzinfo=UTC)
"""That there is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswerLimits:
    """How much one answer may be."""

    rows: int
    """Of an answer."""
    buckets: int
    """Of time that one may span."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Extent:
    """What a question touches at most."""

    rows: int
    start: datetime | None
    """Where there can be rows, as `end`; both None when there are none."""
    end: datetime | None

    def fitting(self, most: float) -> BucketWidth | None:
        return fitting(self.start, self.end, most) if self.start and self.end else None


def check_width(
    ask: Ask, catalog: Catalog, record: DatasetRecord, question: Question, limits: AnswerLimits, *, paged: bool
) -> None:
    """Look at what a question would give before it is computed. Segments are counted first, rows only when that is too many.

    `paged`: the answer comes in pages, so that its rows don't matter.

    Raises:
        TooWideError: it would be too much; says how much, and the finest length of bucket that stays below.
    """
    few = paged or (question.limit is not None and question.limit <= limits.rows)
    if few and not question.every and not question.group_by:
        return
    extent = _extent(catalog, record, question)
    if question.every:
        _check_buckets(extent, question, limits)
    if question.aggregates:
        _check_groups(ask, extent, question, limits, few=few)
    elif not few and extent.rows > limits.rows and (rows := _count(ask, question)) > limits.rows:
        grain = extent.fitting(min(limits.rows, limits.buckets))
        raise _too_wide(f"this gives {rows:,} rows, at most {limits.rows:,} are possible", grain, "ask for pages, ")


def _extent(catalog: Catalog, record: DatasetRecord, question: Question) -> _Extent:
    """Of the segments that the range meets; with `fill` the range counts where it has an end."""
    rows, start, last = catalog.manifest.extent(record.id, version=question.as_of, start=question.start, end=question.end)
    # nothing comes after the last time there is
    end = last if last is None or last == LAST_TIME else last + _TICK
    if question.start and (question.fill or (start and start < question.start)):
        start = question.start
    if question.end and (question.fill or (end and end > question.end)):
        end = question.end
    return _Extent(rows=rows, start=start, end=end)


def _check_buckets(extent: _Extent, question: Question, limits: AnswerLimits) -> None:
    if not question.every or not extent.start or not extent.end:
        return
    number = buckets(question.every, extent.start, extent.end)
    if number > limits.buckets:
        said = f"this range has {number:,} buckets, at most {limits.buckets:,} are possible"
        raise _too_wide(said, extent.fitting(limits.buckets))


def _check_groups(ask: Ask, extent: _Extent, question: Question, limits: AnswerLimits, *, few: bool) -> None:
    """Buckets times groups, where these are rows of the answer or have to be made before a limit applies."""
    if not question.group_by or (not question.fill and (few or extent.rows <= limits.rows)):
        return
    groups = _groups(ask, question, most=limits.rows)
    spanned = buckets(question.every, extent.start, extent.end) if question.every and extent.start and extent.end else 1
    if groups * spanned > limits.rows:
        shown = f"more than {limits.rows:,}" if groups > limits.rows else f"{groups:,}"
        said = f"{shown} groups in {spanned:,} buckets give more than {limits.rows:,} rows, which is the most"
        raise _too_wide(said, extent.fitting(limits.rows / groups) if question.every else None, "group by less, ")


def _too_wide(said: str, grain: BucketWidth | None, else_: str = "") -> TooWideError:
    if grain is None:
        return TooWideError(f"{said}; {else_}narrow the range or filter more", suggestion=None)
    suggestion = {"intervalUnit": grain.unit, "intervalSize": grain.size}
    return TooWideError(f"{said}; {else_}narrow the range, or downsample to {grain}", suggestion=suggestion)


def _count(ask: Ask, question: Question) -> int:
    """Rows of the answer, limit aside."""
    counting = replace(question, columns=None, aggregates=(Aggregate(fn="count"),), limit=None)
    with ask(counting) as answer:
        rows = int(answer.table().column(0)[0].as_py())
    return rows if question.limit is None else min(rows, question.limit)


def _groups(ask: Ask, question: Question, *, most: int) -> int:
    """Number of groups; it need not be exact above `most`."""
    counted = (Aggregate(fn="count", alias=" rows"),)
    grouping = replace(question, every=None, timezone=None, fill=None, aggregates=counted, limit=most + 1)
    with ask(grouping) as answer:
        return sum(batch.num_rows for batch in answer.batches())
