"""What may be put right without losing anything: statistics that mislead pruning, unknown files, events that Dagster lacks.

What a file holds counts only while its bytes are those that were committed; a damaged object is nothing that is put right here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.records import DatasetRecord
from timestore_assets.catalog.repairs import TrueStatistics
from timestore_assets.model.segment import ColumnStats, Segment
from timestore_assets.ownership.target_claim import claim_for_collection
from timestore_assets.segments.engine import EngineLimits, connect
from timestore_assets.segments.statistics import as_time
from timestore_assets.storage.targets import Storage
from timestore_assets.upkeep.collect import collect_orphans
from timestore_assets.upkeep.inspect import SegmentReader, UncachedReader
from timestore_assets.upkeep.verify import VerifyReport
from timestore_assets.upkeep.verify_findings import ADVICE, Problem

Kind = Literal["statistics", "orphans", "events"]
_MENDED: frozenset[Problem] = frozenset({"statistics", "times"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Repair:
    """One kind of repair of a dataset. `number`: of segments, files or partitions. `done`: whether it was carried out."""

    dataset: str
    kind: Kind
    number: int
    detail: str
    done: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class RepairReport:
    """`repairs`: what is safe to do, or was done. `left`: sentences about what a person has to do."""

    dataset: str
    repairs: tuple[Repair, ...]
    left: tuple[str, ...]


def repair(
    catalog: Catalog,
    storage: Storage,
    limits: EngineLimits,
    record: DatasetRecord,
    report: VerifyReport,
    *,
    grace: timedelta,
    execute: bool,
    actor: str,
) -> RepairReport:
    """Say what is safe to put right of what a verification found, and with `execute` do it.

    `grace`: age at which an unknown file counts as abandoned, as in `collect.collect`.

    Raises:
        OwnershipError: a storage target is not this catalog's. UnavailableError: it can't be reached.
    """
    mending = _mending(catalog, record, report)
    sealed = [one.partition.key for one in catalog.partitions.of(record.id) if one.state == "sealed"]
    done = {
        "statistics": _mend(catalog, storage, limits, record, mending, actor=actor) if execute and mending else 0,
        "orphans": _remove(catalog, storage, grace) if execute and report.orphans else 0,
    }
    if execute and sealed:
        catalog.repairs.queue_events(record.id, sealed, actor=actor)
    wanted: list[tuple[Kind, int, str]] = [
        (
            "statistics",
            done["statistics"] if execute else len(mending),
            "segments, of which statistics are written anew",
        ),
        (
            "orphans",
            done["orphans"] if execute else len(report.orphans),
            "unknown files, which go once they are old enough",
        ),
        ("events", len(sealed), "built partitions, of which Dagster is told where it lacks them"),
    ]
    return RepairReport(
        dataset=record.name,
        repairs=tuple(
            Repair(dataset=record.name, kind=kind, number=number, detail=detail, done=execute)
            for kind, number, detail in wanted
            if number
        ),
        left=(
            *_left(report, {segment.name for segment in mending}),
            *_too_young(len(report.orphans) - done["orphans"] if execute else 0),
        ),
    )


def _mending(catalog: Catalog, record: DatasetRecord, report: VerifyReport) -> list[Segment]:
    """Segments of which nothing but the statistics is wrong, and whose bytes are proved to be those that were committed."""
    problems = _by_object(report)
    wrong = [
        segment
        for segment in catalog.manifest.segments(record.id)
        if problems.get(segment.name) and problems[segment.name] <= _MENDED
    ]
    proved = catalog.manifest.digests([segment.id for segment in wrong])
    return [segment for segment in wrong if segment.id in proved]


def _by_object(report: VerifyReport) -> Mapping[str, set[Problem]]:
    found: dict[str, set[Problem]] = defaultdict(set)
    for finding in report.findings:
        found[finding.object].add(finding.problem)
    return found


def _mend(
    catalog: Catalog, storage: Storage, limits: EngineLimits, record: DatasetRecord, segments: Sequence[Segment], *, actor: str
) -> int:
    objects, found = UncachedReader(storage), dict[int, TrueStatistics]()
    with connect(limits) as con:
        reader = SegmentReader(con=con, storage=objects, catalog=catalog, record=record)
        for segment in segments:
            try:
                facts = reader.facts(segment)
            finally:
                objects.forget()
            times = facts.stats[reader.time_column(segment)]
            found[segment.id] = TrueStatistics(
                stats={**segment.stats, **_known(segment, facts.stats)}, min_time=as_time(times.min), max_time=as_time(times.max)
            )
    return catalog.repairs.rewrite_statistics(record.id, found, actor=actor)


def _known(segment: Segment, found: Mapping[str, ColumnStats]) -> dict[str, ColumnStats]:
    return {name: stats for name, stats in found.items() if name in segment.stats}


def _remove(catalog: Catalog, storage: Storage, grace: timedelta) -> int:
    for target in storage.names:
        claim_for_collection(catalog, storage, target)
    before = datetime.now(UTC) - grace
    return sum(collect_orphans(catalog, storage, target, before=before).files for target in storage.names)


def _too_young(files: int) -> Iterable[str]:
    if files > 0:
        yield f"{files:,} unknown files stay for now: they are too young, or another catalog may name them; see `timestore gc`"


def _left(report: VerifyReport, mended: set[str]) -> Iterable[str]:
    for finding in report.findings:
        if finding.object in mended and finding.problem in _MENDED:
            continue
        if finding.problem in _MENDED:
            yield f"{finding.object}: {finding.problem}: its bytes can't be proved; build its partition again"
        else:
            yield f"{finding.object}: {finding.problem}: {ADVICE[finding.problem]}"
