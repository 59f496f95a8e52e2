"""Pages of an answer: each is of the same manifest version and begins exactly behind the one before."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from timestore_assets.catalog.instants import from_micros
from timestore_assets.model.errors import InputError
from timestore_assets.model.question import Question
from timestore_assets.querying.answer import Answer
from timestore_assets.service.query.answer_width import LAST_TIME

_TICK = timedelta(microseconds=1)
MAX_BYTES = 64_000_000
"""A page ends early rather than become much larger in memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PageStart:
    """Where a page begins."""

    digest: str
    """Of the question."""
    version: int
    """Manifest version of all pages."""
    time: int | None
    """Of the last row given, in microseconds since 1970, None for figures of buckets and groups."""
    skip: int
    """How many rows from there on (of all, without a time) were given already."""
    given: int
    """How many were given in all."""


def digest_of(text: str) -> str:
    """What tells one question from another."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def cursor_of(place: PageStart) -> str:
    plain = [place.digest, place.version, place.time, place.skip, place.given]
    return base64.urlsafe_b64encode(json.dumps(plain, separators=(",", ":")).encode()).decode().rstrip("=")


def place_of(cursor: str, *, digest: str) -> PageStart:
    """The place that a cursor stands for.

    Raises:
        InputError: it is none of ours, or belongs to another question.
    """
    try:
        plain = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
        found, version, time, skip, given = plain
        numbers = (version, skip, given, *(() if time is None else (time,)))
        valid = isinstance(found, str) and all(type(one) is int and abs(one) < 2**62 for one in numbers)
        valid = valid and min(version, skip, given) >= 0 and bool(time is None or from_micros(time))
    except (ValueError, TypeError, OverflowError, RecursionError):
        valid = False
    if not valid:
        raise InputError("this cursor is none of this service; begin again without one")
    if found != digest:
        raise InputError("this cursor belongs to another question; ask the same one, or begin again without a cursor")
    return PageStart(digest=found, version=version, time=time, skip=skip, given=given)


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswerPage:
    """Rows, and where the next page begins, None after the last."""

    schema: pa.Schema
    batches: list[pa.RecordBatch]
    next: PageStart | None


def page_question(question: Question, place: PageStart | None, *, size: int, time: str) -> Question:
    """The question that gives a page and one row more. `time`: the dataset's time column, which tells where it ends."""
    given, skip = (place.given, place.skip) if place else (0, 0)
    left = size + 1 if question.limit is None else min(size + 1, max(question.limit - given, 0))
    asked = replace(question, limit=skip + left, as_of=place.version if place else question.as_of)
    if question.aggregates:
        return asked
    if place is not None and place.time is not None:
        asked = _from(asked, from_micros(place.time))
    if asked.columns is not None and time not in asked.columns:
        asked = replace(asked, columns=(*asked.columns, time))
    return asked


def _from(question: Question, time: datetime) -> Question:
    """The question from the rows of that time on, in its own direction."""
    if not question.descending:
        return replace(question, start=time)
    # what ends the range is no part of it, and nothing is later than the last time there is
    return question if time == LAST_TIME else replace(question, end=time + _TICK)


def read_page(answer: Answer, place: PageStart, *, size: int, time: str | None, shown: int | None) -> AnswerPage:
    """The page out of the answer to its question.

    `place`: where it begins, with the version that it is of. `time`: name of the time column, None for figures.
    `shown`: how many of the columns were asked for, None for all.
    """
    rows, more = _taken(answer.batches(), skip=place.skip, size=size)
    count = sum(batch.num_rows for batch in rows)
    following = _following(rows, place, count, time) if more and count else None
    schema = answer.schema
    if shown is not None and shown < len(schema):
        names = schema.names[:shown]
        rows, schema = [batch.select(names) for batch in rows], pa.schema([schema.field(name) for name in names])
    return AnswerPage(schema=schema, batches=rows, next=following)


def read_ahead(batches: Iterator[pa.RecordBatch]) -> tuple[list[pa.RecordBatch], bool]:
    """The first batches, as much as a page may hold, and whether these are all."""
    taken: list[pa.RecordBatch] = []
    held = 0
    for batch in batches:
        taken.append(batch)
        held += batch.nbytes
        if held >= MAX_BYTES:
            return taken, False
    return taken, True


def _taken(batches: Iterator[pa.RecordBatch], *, skip: int, size: int) -> tuple[list[pa.RecordBatch], bool]:
    """Up to `size` rows behind the first `skip`, and whether there are more."""
    taken: list[pa.RecordBatch] = []
    count = held = 0
    for batch in batches:
        rest = batch.slice(min(skip, batch.num_rows))
        skip -= batch.num_rows - rest.num_rows
        if not rest.num_rows:
            continue
        if count >= size or held >= MAX_BYTES:
            return taken, True
        taken.append(rest.slice(0, size - count))
        count, held = count + taken[-1].num_rows, held + taken[-1].nbytes
        if taken[-1].num_rows < rest.num_rows:
            return taken, True
    return taken, False


def _following(rows: list[pa.RecordBatch], place: PageStart, count: int, time: str | None) -> PageStart:
    given = place.given + count
    if time is None:
        return replace(place, skip=place.skip + count, given=given)
    last = rows[-1].column(time)[-1]
    same = sum(pc.sum(pc.equal(batch.column(time), last)).as_py() or 0 for batch in rows)
    micros = last.cast(pa.int64()).as_py()
    # rows of this time that an earlier page gave are counted from the same place
    before = place.skip if micros == place.time else 0
    return replace(place, time=micros, skip=before + same, given=given)
