"""Rows of the audit become runs: a landing session, each partition that is built, each change by people. Pure.

A run has one identity, whatever is told of it twice: of a session by its id, of others by their commit's token.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from timestore_assets.catalog.audit import partitions_of
from timestore_assets.catalog.event_cursors import AuditRow, AuditRows
from timestore_assets.catalog.instants import from_micros, to_micros
from timestore_assets.catalog.sessions import SessionTimes

RunState = Literal["START", "RUNNING", "COMPLETE", "FAIL", "ABORT"]
RunKind = Literal["landing", "replay", "build", "change"]
Change = Literal["ALTER", "OVERWRITE", "DROP", "RENAME"]
"""What a change does to a dataset, as OpenLineage calls it."""

RUNNING_EVERY = timedelta(minutes=1)
"""How often a session that goes on is told of."""
DEAD = timedelta(minutes=10)
"""A session without a heartbeat for so long does not come back."""
_LANDED = {"landed": "landing", "replayed": "replay"}
_CHANGES: Mapping[str, Change] = {
    "schema_migrated": "ALTER",
    "schema_restored": "ALTER",
    "retracted": "OVERWRITE",
    "retraction_undone": "OVERWRITE",
    "rolled_back": "OVERWRITE",
    "rows_erased": "OVERWRITE",
    "dataset_dropped": "DROP",
    "dataset_renamed": "RENAME",
}
"""Of the actions in the audit by which people change what there is; `OVERWRITE`: its rows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """What is known of a run by now. `key`: what identifies it in this warehouse."""

    key: str
    kind: RunKind
    dataset: str
    actor: str
    began: int
    """Microseconds."""
    source: str = ""
    """Address of the source that it lands from."""
    source_kind: str = ""
    counters: Mapping[str, int] = field(default_factory=dict)
    """Dispositions of the records that it read."""
    reasons: Mapping[str, int] = field(default_factory=dict)
    """Records that did not land, by code."""
    rows: int = 0
    """Written."""
    bytes: int = 0
    segments: int = 0
    first_partition: str = ""
    last_partition: str = ""
    superseded: int = 0
    retracted: int = 0
    manifest_version: int | None = None
    action: str = ""
    """Of a change: what was done."""
    former_name: str = ""
    """Of a renamed dataset."""
    told: int = 0
    """When it was last told of, in microseconds."""

    @property
    def change(self) -> Change | None:
        """What a change does to the dataset."""
        return _CHANGES.get(self.action)

    def with_landed(self, row: AuditRow) -> Run:
        """With another commit of the session."""
        details = row.details
        keys = [key for key in (self.first_partition, self.last_partition, *details.get("partitions", ())) if key]
        counters = details.get("counters", {})
        return replace(
            self,
            actor=row.actor,
            counters=_sum(self.counters, counters),
            reasons=_sum(self.reasons, details.get("reasons", {})),
            rows=self.rows + counters.get("landed", 0),
            bytes=self.bytes + details.get("bytes", 0),
            segments=self.segments + details.get("segments", 0),
            first_partition=min(keys, default=""),
            last_partition=max(keys, default=""),
            manifest_version=row.manifest_version,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class RunNews:
    """What is to be told: that a run is in a state, since when, with all that is known of it by then."""

    state: RunState
    at: datetime
    run: Run
    error: str = ""


OpenRuns = Mapping[int, Run]
"""Runs of sessions that have not ended, by session."""


def open_runs_to_plain(runs: OpenRuns) -> dict[str, Any]:
    return {str(session): asdict(run) for session, run in runs.items()}


def open_runs_from_plain(plain: Mapping[str, Any]) -> dict[int, Run]:
    return {int(session): Run(**values) for session, values in plain.items()}


def news_of(
    open_runs: OpenRuns, found: AuditRows, *, before: Mapping[int, SessionTimes], after: Mapping[int, SessionTimes]
) -> tuple[list[RunNews], dict[int, Run]]:
    """What the rows tell, in their order, and the runs that are open behind them.

    Args:
        before: times of the sessions of `open_runs` as they were before the rows were read: what had ended then has all its rows
            among them. after: of those that the rows name.
    """
    runs, told = dict(open_runs), list[RunNews]()
    touched = set[int]()
    for row in found.rows:
        if row.action in _LANDED:
            told += _landed(runs, row, after, touched)
        elif row.action in ("landing_failed", "replay_failed"):
            told += _failed_session(runs, row, after)
        elif row.action in ("built", "build_failed"):
            told += _build(row)
        elif row.action in _CHANGES:
            told += _changed(row)
    for session in list(runs):
        if found.are_all and session in open_runs and session not in before:  # so long ago that the catalog has forgotten it
            run = runs.pop(session)
            told.append(RunNews(state="COMPLETE", at=from_micros(run.told), run=run))
            continue
        told += _stand(runs, session, found, before, is_touched=session in touched)
    return told, runs


def _landed(runs: dict[int, Run], row: AuditRow, times: Mapping[int, SessionTimes], touched: set[int]) -> Iterator[RunNews]:
    session = row.details.get("session")
    if session is None:  # a package of before sessions were named there has written it
        return
    if session not in runs:
        runs[session] = _begun(row, session, times)
        yield RunNews(state="START", at=from_micros(runs[session].began), run=runs[session])
    runs[session] = runs[session].with_landed(row)
    touched.add(session)


def _failed_session(runs: dict[int, Run], row: AuditRow, times: Mapping[int, SessionTimes]) -> Iterator[RunNews]:
    session = row.details["session"]
    run = runs.pop(session, None)
    if run is None:
        run = _begun(row, session, times)
        yield RunNews(state="START", at=from_micros(run.began), run=run)
    yield RunNews(state="FAIL", at=row.at, run=run, error=row.details.get("reason", ""))


def _begun(row: AuditRow, session: int, times: Mapping[int, SessionTimes]) -> Run:
    began = times[session].started_at if session in times else row.at
    kind: RunKind = "replay" if row.action.startswith("replay") else "landing"
    return Run(
        key=f"session/{session}",
        kind=kind,
        dataset=row.dataset,
        actor=row.actor,
        began=to_micros(min(began, row.at)),
        source=row.details.get("source") or "",
        source_kind=row.details.get("source_kind") or "",
        told=to_micros(row.at),
    )


def _build(row: AuditRow) -> Iterator[RunNews]:
    details = row.details
    began = row.at - timedelta(seconds=details.get("seconds", 0))
    key = str(details.get("partition", ""))
    run = Run(
        key=f"build/{row.token or row.id}",
        kind="build",
        dataset=row.dataset,
        actor=row.actor,
        began=to_micros(began),
        rows=details.get("rows", 0),
        bytes=details.get("bytes", 0),
        segments=details.get("segments", 0),
        superseded=details.get("superseded_rows", 0),
        retracted=details.get("retracted_rows", 0),
        first_partition=key,
        last_partition=key,
        manifest_version=row.manifest_version,
    )
    yield RunNews(state="START", at=began, run=run)
    failed = row.action == "build_failed"
    yield RunNews(state="FAIL" if failed else "COMPLETE", at=row.at, run=run, error=details.get("reason", "") if failed else "")


def _changed(row: AuditRow) -> Iterator[RunNews]:
    details, keys = row.details, sorted(partitions_of(row.details))
    run = Run(
        key=f"change/{row.token or row.id}",
        kind="change",
        # by now a dropped one has no name, and a renamed one may have a third
        dataset=str(details.get("dataset") or (row.action == "dataset_renamed" and details.get("to")) or row.dataset),
        actor=row.actor,
        began=to_micros(row.at),
        action=row.action,
        former_name=str(details["from"]) if row.action == "dataset_renamed" else "",
        first_partition=keys[0] if keys else "",
        last_partition=keys[-1] if keys else "",
        manifest_version=row.manifest_version,
    )
    yield RunNews(state="START", at=row.at, run=run)
    yield RunNews(state="COMPLETE", at=row.at, run=run)


def _stand(
    runs: dict[int, Run], session: int, found: AuditRows, before: Mapping[int, SessionTimes], *, is_touched: bool
) -> Sequence[RunNews]:
    """How a session that is open stands: over, dead, or to be told of again."""
    run, times = runs[session], before.get(session)
    if found.are_all and times is not None and times.ended_at is not None:
        del runs[session]
        return [RunNews(state="COMPLETE", at=times.ended_at, run=run)]
    if found.are_all and times is not None and times.expires_at + DEAD < found.now:
        del runs[session]
        return [RunNews(state="ABORT", at=times.expires_at, run=run)]
    if is_touched and found.now - from_micros(run.told) >= RUNNING_EVERY:
        runs[session] = replace(run, told=to_micros(found.now))
        return [RunNews(state="RUNNING", at=found.now, run=runs[session])]
    return []


def _sum(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    total = Counter(one)
    for key, number in other.items():
        total[key] += number
    return dict(total)
