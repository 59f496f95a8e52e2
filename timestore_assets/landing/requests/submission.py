"""One request's records on their way into a group commit, and what is answered to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

import numpy as np

from timestore_assets.catalog.service_records import Ingestion
from timestore_assets.landing.preparing.prepare import Prepared
from timestore_assets.model.dataset import Dataset, HttpSource
from timestore_assets.model.errors import ConflictError
from timestore_assets.sources.http.request_body import RequestBody
from timestore_assets.tracing import TraceContext

SHOWN_DEAD_LETTERS = 100


class KeyReusedError(ConflictError):
    """An idempotency key was used before, for other content."""

    def __init__(self, key: str) -> None:
        super().__init__(f"idempotency key {key[:60]!r} was used before for other content; use a new key for every request")


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """A request to land records."""

    id: str
    """Of its ingestion."""
    body: RequestBody
    actor: str
    """Who sent it."""
    key: str | None = None
    asynchronous: bool = False
    """Answered before it is durable."""
    place: TraceContext | None = None
    """Where its trace has come to."""

    @property
    def is_kept(self) -> bool:
        """Whether what became of it can be asked for later."""
        return self.key is not None or self.asynchronous


@dataclass(frozen=True, kw_only=True, slots=True)
class RejectedRow:
    """A record that became a dead letter."""

    row: int
    """Its place in the request, from 0."""
    code: str
    column: str
    """Empty when it is no single one."""
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What became of a request's records: read = landed + duplicates + dead_letters."""

    read: int = 0
    landed: int = 0
    duplicates: int = 0
    dead_letters: int = 0
    refused: tuple[RejectedRow, ...] = ()
    """The first of the dead letters."""
    positions: tuple[int, int, int] | None = None
    """Where its rows are: source partition, position of its first record, and the one after the last; None where none landed."""

    def plain(self) -> dict[str, Any]:
        """As plain JSON values, for the catalog."""
        counts = {name: getattr(self, name) for name in ("read", "landed", "duplicates", "dead_letters")}
        refused = [[one.row, one.code, one.column, one.reason] for one in self.refused]
        return {**counts, "refused": refused} | ({"positions": list(self.positions)} if self.positions else {})

    @classmethod
    def of_plain(cls, values: Mapping[str, Any]) -> Outcome:
        fields = ("row", "code", "column", "reason")
        refused = tuple(RejectedRow(**dict(zip(fields, one, strict=True))) for one in values.get("refused", ()))
        positions = tuple(values["positions"]) if values.get("positions") else None
        return cls(**{**values, "refused": refused, "positions": positions})


@dataclass(frozen=True, kw_only=True, slots=True)
class Landed:
    """Records are durable."""

    id: str
    manifest_version: int
    outcome: Outcome
    actor: str
    """Who sent the request that landed them."""
    repeated: bool = False
    """By an earlier request with the same key, and nothing was written again."""

    def without_values(self) -> Landed:
        """The same with counts only, for those to whom the refused records don't belong."""
        return replace(self, outcome=replace(self.outcome, refused=()))

    @classmethod
    def before(cls, ingestion: Ingestion) -> Landed:
        """The answer that an earlier request got."""
        outcome = Outcome.of_plain(ingestion.outcome)
        version = ingestion.manifest_version or 0
        return cls(id=ingestion.id, manifest_version=version, outcome=outcome, actor=ingestion.actor, repeated=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class Accepted:
    """Records will be landed; the ingestion of this id tells when they are."""

    id: str
    repeated: bool = False


Answer = Landed | Accepted


def again(answer: Answer) -> Answer:
    """The same answer to another request with the same key."""
    return replace(answer, repeated=True)


@dataclass(kw_only=True, eq=False, slots=True)
class Request:
    """A submission while it waits and is landed. `announced`: the catalog knows that it waits. `landed`: it is durable.

    `patient_until`: monotonic time up to which it waits for another process that lands the same key; 0 while there is none.
    """

    submission: Submission
    dataset: Dataset
    source: HttpSource
    answer: Future[Answer] = field(default_factory=Future)
    announced: bool = False
    landed: bool = False
    patient_until: float = 0.0
    _digests: tuple[str, str] | None = None

    @property
    def key(self) -> str | None:
        return self.submission.key

    @property
    def rows(self) -> int:
        return self.submission.body.rows

    @property
    def is_settled(self) -> bool:
        """Whether nothing is left to do for it. An asynchronous one has its answer long before that."""
        return self.landed or (self.answer.done() and not self.announced)

    @property
    def bytes(self) -> int:
        return self.submission.body.size

    def digests(self) -> tuple[str, str]:
        """Of its records, and of all that it says."""
        if self._digests is None:
            records, variant = self.submission.body.digest(), self.submission.body.variant
            whole = records if not variant else sha256(f"{records}{variant}".encode()).hexdigest()
            self._digests = (records, whole)
        return self._digests

    def succeed(self, answer: Answer) -> None:
        """Answer it, unless it has its answer."""
        if not self.answer.done():
            self.answer.set_result(answer)

    def fail(self, error: BaseException) -> None:
        """Answer it with an error, unless it has its answer."""
        if not self.answer.done():
            self.answer.set_exception(error)


def outcomes(prepared: Prepared, bodies: Sequence[RequestBody]) -> list[Outcome]:
    """What became of each of the bodies that a batch was joined of."""
    refused = prepared.row_mask.refused()
    rows = refused.column("row").to_numpy()
    good = None if prepared.row_mask.all_good else np.concatenate([[0], np.cumsum(prepared.row_mask.good())])
    became, start = [], 0
    for body in bodies:
        end = start + body.records.num_rows
        if good is None and not body.bad:
            became.append(Outcome(read=body.rows, landed=end - start))
            start = end
            continue
        first, last = (int(at) for at in np.searchsorted(rows, [start, end]))
        landed = end - start if good is None else int(good[end] - good[start])
        shown = refused.slice(first, min(last - first, SHOWN_DEAD_LETTERS)).to_pylist()
        became.append(
            Outcome(
                read=body.rows,
                landed=landed,
                duplicates=end - start - landed - (last - first),
                dead_letters=last - first + len(body.bad),
                refused=_shown(body, start, shown),
            )
        )
        start = end
    return became


def _shown(body: RequestBody, start: int, refused: Sequence[Mapping[str, Any]]) -> tuple[RejectedRow, ...]:
    if not refused and not body.bad:
        return ()
    places = body.places_of_records()
    own = [RejectedRow(**{**one, "row": int(places[one["row"] - start])}) for one in refused]
    bad = [RejectedRow(row=one.position, code=one.code, column="", reason=one.reason) for one in body.bad[:SHOWN_DEAD_LETTERS]]
    return tuple(sorted((*own, *bad), key=lambda one: one.row)[:SHOWN_DEAD_LETTERS])
