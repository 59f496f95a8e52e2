"""The outcomes of a dataset's checks, read from the catalog, before they become one of Dagster's two kinds of event.

Only datasets with topics have the checks for lost offsets and for whether landing goes on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from timestore_assets.catalog.schema_events import cause_sentence
from timestore_assets.dataset_status import behind_notice
from timestore_assets.migrating.present_declaration import present_attributes, present_lines
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.window import format_time
from timestore_assets.orchestration.schema_event_metadata import change_rows, to_declare

if TYPE_CHECKING:
    from timestore_assets.catalog.catalog import Catalog
    from timestore_assets.catalog.records import DatasetRecord, FileRecord
    from timestore_assets.warehouse import Warehouse


SHOWN = 20
"""Rows of a table in a check's metadata."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckOutcome:
    """What a check found."""

    check: str
    """Its name."""
    passed: bool
    summary: str
    """One sentence."""
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.WARN
    metadata: Mapping[str, Any] = field(default_factory=dict)


def table(rows: list[Any]) -> dg.TableMetadataValue:
    """Rows as Dagster shows them; it can't derive columns from none."""
    return dg.MetadataValue.table([dg.TableRecord(row) for row in rows], schema=None if rows else dg.TableSchema(columns=[]))


def lost_offsets_finding(catalog: Catalog, dataset: Dataset, record: DatasetRecord) -> CheckOutcome:
    """I7: offsets that the brokers deleted unread are visible until somebody takes note of them."""
    ranges = catalog.topics.lost_ranges(record.id)
    open_ = [one for one in ranges if not one.accepted]
    rows = [
        {
            "topic": one.topic,
            "partition": one.number,
            "from": one.start,
            "up_to": one.end,
            "offsets": one.end - one.start,
            "found_at": format_time(one.found_at),
            "state": "skipped" if one.skipped else "accepted" if one.accepted else "open",
        }
        for one in ranges[:SHOWN]
    ]
    metadata: dict[str, Any] = {"lost_offsets": sum(one.end - one.start for one in ranges)}
    if ranges:
        metadata["ranges"] = table(rows)
    if not open_:
        text = f"{len(ranges)} ranges were lost and taken note of" if ranges else "no offsets were deleted before they were read"
        return CheckOutcome(check="lost_offsets", passed=True, summary=text, metadata=metadata)
    first = open_[0]
    more = f", and {len(open_) - 1} more" if len(open_) > 1 else ""
    waits = any(not one.skipped for one in open_)
    metadata["what_to_do"] = dg.MetadataValue.md(
        f"`timestore stream {dataset.name} --accept-lost-offsets` takes note of them and goes on behind; "
        "`on_lost_offsets: continue` in the declaration does so from now on. "
        "A longer retention of the topic keeps it from happening again."
    )
    return CheckOutcome(
        check="lost_offsets",
        passed=False,
        severity=dg.AssetCheckSeverity.ERROR,
        summary=f"{first.reason} ({first.start:,} up to {first.end:,}){more}" + ("; landing waits there" if waits else ""),
        metadata=metadata,
    )


def stream_finding(catalog: Catalog, dataset: Dataset, record: DatasetRecord) -> CheckOutcome:
    """Whether landing from topics is paused, how quick it is and how far event time has come."""
    sources = [one for one in catalog.sources.of(record.id) if one.reads_topics]
    rates = catalog.sources.throughput(record.id, seconds=60.0)
    rows = [
        {
            "source": one.address,
            "watermark": format_time(one.watermark) if one.watermark else "",
            "landed_per_second": round(rates.get(one.id, 0.0), 1),
            "paused": one.paused,
        }
        for one in sources
    ]
    paused = [one for one in sources if one.paused]
    known = sorted(one.watermark for one in sources if one.watermark)
    metadata: dict[str, Any] = {"sources": table(rows)}
    if known:
        metadata["watermark"] = dg.MetadataValue.timestamp(known[0])
    if paused:
        text = f"landing from {paused[0].address} is paused: {paused[0].paused}"
        return CheckOutcome(check="stream", passed=False, summary=text, metadata=metadata)
    text = f"its watermark is {format_time(known[0])}" if known else "no topic has a watermark yet"
    return CheckOutcome(check="stream", passed=True, summary=f"{dataset.name} lands as it comes; {text}", metadata=metadata)


_ERROR = dg.AssetCheckSeverity.ERROR


def findings(warehouse: Warehouse, dataset: Dataset, *, now: datetime | None = None) -> Iterator[CheckOutcome]:
    """Evaluate every check of a dataset."""
    catalog, (served, record) = warehouse.catalog, warehouse.resolve(dataset.name)
    checks: tuple[Callable[[], CheckOutcome], ...] = (
        lambda: behind_finding(served, record) if served.is_behind else schema_finding(catalog, dataset, record),
        lambda: accounting_finding(catalog, record),
        *(
            []
            if dataset.freshness.max_age is not None
            else [lambda: freshness_finding(catalog, dataset, record, now or datetime.now(UTC))]
        ),
        lambda: files_finding(catalog, dataset, record),
        lambda: dead_letters_finding(catalog, dataset, record),
    )
    if dataset.kafka_sources:
        checks += (
            lambda: lost_offsets_finding(catalog, dataset, record),
            lambda: stream_finding(catalog, dataset, record),
        )
    for check in checks:
        yield check()


def behind_finding(served: Dataset, record: DatasetRecord) -> CheckOutcome:
    """A declaration of before the columns of today, which the check compares with what was deployed."""
    lines = "\n".join(present_lines(present_attributes(record, served)))
    return CheckOutcome(
        check="schema",
        passed=False,
        summary=behind_notice(record.name),
        metadata={
            "schema_version": record.schema.version,
            "what_to_do": dg.MetadataValue.md(f"Write this into the declaration, and deploy it:\n```yaml\n{lines}\n```"),
        },
    )


def schema_finding(catalog: Catalog, dataset: Dataset, record: DatasetRecord) -> CheckOutcome:
    """Compare the columns in use with the declared ones; declaring a column is how a person acknowledges it."""
    rows: list[dict[str, str]] = []
    for column in record.schema:
        declared = dataset.schema.find(column.name)
        if declared is None:
            rows.append({"change": "column_added", "column": column.name, "before": "", "after": str(column.type)})
        elif declared.type != column.type:
            rows.append(
                {"change": "type_widened", "column": column.name, "before": str(declared.type), "after": str(column.type)}
            )
    if not rows:
        return CheckOutcome(
            check="schema",
            passed=True,
            summary=f"{len(record.schema.columns)} columns, all as declared",
            metadata={"schema_version": record.schema.version},
        )
    names = ", ".join(row["column"] for row in rows[:5]) + (" …" if len(rows) > 5 else "")
    return CheckOutcome(
        check="schema",
        passed=False,
        summary=f"{len(rows)} columns are not as declared: {names}. Their values are kept; declare them to acknowledge.",
        metadata={
            "schema_version": record.schema.version,
            "changes": table(rows),
            "history": table(_history(catalog, record)),
            "what_to_do": dg.MetadataValue.md(to_declare({row["column"]: row["after"] for row in rows})),
        },
    )


def _history(catalog: Catalog, record: DatasetRecord) -> list[dict[str, str]]:
    rows = [
        {"version": str(event["version"]), "at": _text(event["at"]), **row, "cause": cause_sentence(event["cause"])}
        for event in catalog.datasets.schema_events(record.id, limit=SHOWN)
        for row in change_rows(event["changes"], event["cause"])
    ]
    return rows[:SHOWN]


def accounting_finding(catalog: Catalog, record: DatasetRecord) -> CheckOutcome:
    """I2: nothing that was read is unaccounted for, per source."""
    rows, read, unaccounted = [], 0, 0
    for source in catalog.sources.of(record.id):
        counters = source.counters
        read += counters.read
        unaccounted += abs(counters.unaccounted)
        rows.append({"source": source.address, **dict(counters.items()), "unaccounted": counters.unaccounted})
    of_all = f"{unaccounted:,} of {read:,}" if unaccounted else f"all {read:,}"
    summary = f"{of_all} records are {'un' if unaccounted else ''}accounted for"
    return CheckOutcome(
        check="accounting",
        passed=unaccounted == 0,
        severity=_ERROR,
        summary=summary,
        metadata={"unaccounted": unaccounted, "sources": table(rows)},
    )


def freshness_finding(catalog: Catalog, dataset: Dataset, record: DatasetRecord, now: datetime) -> CheckOutcome:
    """The newest row, and for topics the watermark, against the clock; a dataset past its `end` is complete, not stale."""
    partitions = catalog.partitions.of(record.id)
    newest = max((found.max_time for found in partitions if found.max_time), default=None)
    if newest is None:
        return CheckOutcome(check="freshness", passed=False, summary="nothing has landed yet")
    watermark = min((one.watermark for one in catalog.sources.of(record.id) if one.watermark), default=None)
    metadata = {"newest": dg.MetadataValue.timestamp(newest)}
    if watermark is not None:
        metadata["watermark"] = dg.MetadataValue.timestamp(watermark)
    if dataset.end is not None and dataset.end <= now:
        text = f"ended {dataset.end:%Y-%m-%d}; its newest row is of {format_time(newest)}"
        return CheckOutcome(check="freshness", passed=True, summary=text, metadata=metadata)
    start = dataset.window.start_of(now)
    allowed = 2 * (dataset.window.after(start) - start) + dataset.late.allowed
    arrived = max((found.newest_at for found in partitions if found.newest_at), default=now)
    if watermark is None and arrived - newest > allowed:
        text = f"its rows are of the past: the newest is of {format_time(newest)}; `freshness:` declares what is expected"
        return CheckOutcome(check="freshness", passed=True, summary=text, metadata=metadata)
    fresh, passed = now - newest <= allowed, watermark is None or now - watermark <= allowed
    text = f"the newest row is of {format_time(newest)}"
    if not fresh:
        text += f", older than the {_span(allowed)} allowed; is its source still delivering?"
    elif watermark is not None and not passed:
        text += f", but a topic partition is only at {format_time(watermark)}, which keeps what came since from being closed"
    return CheckOutcome(check="freshness", passed=fresh and passed, summary=text, metadata=metadata)


def _span(time: timedelta) -> str:
    hours = round(time.total_seconds() / 3600)
    return f"{hours} hours" if hours < 48 else f"{round(hours / 24)} days"


def files_finding(catalog: Catalog, dataset: Dataset, record: DatasetRecord) -> CheckOutcome:
    """I7: files that were not landed are visible, with the reason."""
    refused: list[FileRecord] = []
    for source in catalog.sources.of(record.id):
        refused += catalog.files.of(source.id, states=("quarantined", "rejected"))
    if not refused:
        return CheckOutcome(check="files", passed=True, summary="every file seen was landed or is a duplicate")
    rows = [{"file": file.address, "state": file.state, "reason": file.reason} for file in refused[:SHOWN]]
    first = refused[0]
    return CheckOutcome(
        check="files",
        passed=False,
        summary=f"{len(refused)} files were not landed, for instance {first.address}: {first.reason}",
        metadata={"files": len(refused), "refused": table(rows), "what_to_do": _FILES_HELP.format(dataset=dataset.name)},
    )


_FILES_HELP = (
    "Correct a quarantined file and put it in its place again: it is looked at anew. A rejected one changed after it was landed: "
    "give it another name, or declare `on_change: replace` on the source of {dataset}."
)


def dead_letters_finding(catalog: Catalog, dataset: Dataset, record: DatasetRecord) -> CheckOutcome:
    """Refused records by reason, and where to look at them; what came late is counted beside and is no failure."""
    reasons: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    for _, file, _ in catalog.dead_letters.of(record.id):
        kinds[file.kind] += file.rows
        if file.kind == "refused":
            reasons.update(file.reasons)
    late = {name: kinds[name] for name in ("late_dropped", "held") if kinds[name]}
    aside = "".join(f"; {rows:,} {_LATE_WORDS[name]}" for name, rows in late.items())
    command = "late review" if kinds["held"] and not reasons else "deadletters list"
    look = dg.MetadataValue.md(f"`timestore {command} {dataset.name}`")
    if not reasons:
        shown = {**late, "look_inside": look} if late else {}
        return CheckOutcome(check="dead_letters", passed=True, summary=f"no record was refused{aside}", metadata=shown)
    total = kinds["refused"]
    by_count = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    return CheckOutcome(
        check="dead_letters",
        passed=False,
        summary=f"{_records(total)} refused, most for {by_count[0][0]}{aside}",
        metadata={
            "dead_letters": total,
            **late,
            "reasons": table([{"reason": code, "records": rows} for code, rows in by_count[:SHOWN]]),
            "look_inside": look,
        },
    )


_LATE_WORDS = {"late_dropped": "came late and were dropped", "held": "came late and are held"}


def _records(count: int) -> str:
    return "1 record was" if count == 1 else f"{count:,} records were"


def _text(value: Any) -> str:
    return format_time(value) if isinstance(value, datetime) else str(value)
