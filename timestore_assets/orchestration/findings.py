"""What an operator has to know about a dataset, read from the catalog: the outcomes of its checks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from timestore_assets.model.dataset import Dataset
from timestore_assets.model.window import format_time
from timestore_assets.orchestration.finding import SHOWN, Finding, table
from timestore_assets.orchestration.stream_findings import lost_offsets_finding, stream_finding

if TYPE_CHECKING:
    from timestore_assets.catalog.records import DatasetRecord, FileRecord
    from timestore_assets.warehouse import Warehouse

_ERROR = dg.AssetCheckSeverity.ERROR


def findings(warehouse: Warehouse, dataset: Dataset, *, now: datetime | None = None) -> Iterator[Finding]:
    """Evaluate every check of a dataset."""
    _, record = warehouse.resolve(dataset.name)
    checks: tuple[Callable[[], Finding], ...] = (
        lambda: schema_finding(warehouse, dataset, record),
        lambda: accounting_finding(warehouse, record),
        lambda: freshness_finding(warehouse, dataset, record, now or datetime.now(UTC)),
        lambda: files_finding(warehouse, dataset, record),
        lambda: dead_letters_finding(warehouse, dataset, record),
    )
    if dataset.kafka_sources:
        checks += (
            lambda: lost_offsets_finding(warehouse, dataset, record),
            lambda: stream_finding(warehouse, dataset, record),
        )
    for check in checks:
        yield check()


def schema_finding(warehouse: Warehouse, dataset: Dataset, record: DatasetRecord) -> Finding:
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
        return Finding(
            check="schema",
            passed=True,
            summary=f"{len(record.schema.columns)} columns, all as declared",
            metadata={"schema_version": record.schema.version},
        )
    write = "\n".join(f"  {row['column']}: {{type: {row['after']}, nullable: true}}" for row in rows)
    names = ", ".join(row["column"] for row in rows[:5]) + (" …" if len(rows) > 5 else "")
    return Finding(
        check="schema",
        passed=False,
        summary=f"{len(rows)} columns are not as declared: {names}. Their values are kept; declare them to acknowledge.",
        metadata={
            "schema_version": record.schema.version,
            "changes": table(rows),
            "history": table(_history(warehouse, record)),
            "what_to_do": dg.MetadataValue.md(f"Write them below `columns:` in the declaration:\n```yaml\n{write}\n```"),
        },
    )


def _history(warehouse: Warehouse, record: DatasetRecord) -> list[dict[str, str]]:
    rows = [
        {
            "version": str(version["version"]),
            "at": _text(version["created_at"]),
            "change": str(change["kind"]),
            "column": str(change["column"]),
            "after": str(change["after"]),
        }
        for version in warehouse.catalog.schema_history(record.id)
        for change in version["changes"]
    ]
    return rows[:SHOWN]


def accounting_finding(warehouse: Warehouse, record: DatasetRecord) -> Finding:
    """I2: nothing that was read is unaccounted for, per source."""
    rows, unaccounted = [], 0
    for source in warehouse.catalog.sources(record.id):
        counters = source.counters
        settled = counters.landed + counters.duplicates + counters.late_dropped + counters.held + counters.dead_letters
        unaccounted += abs(counters.read - settled)
        rows.append(
            {
                "source": source.address,
                "read": counters.read,
                "landed": counters.landed,
                "duplicates": counters.duplicates,
                "late_dropped": counters.late_dropped,
                "held": counters.held,
                "dead_letters": counters.dead_letters,
                "unaccounted": counters.read - settled,
            }
        )
    read = sum(row["read"] for row in rows if isinstance(row["read"], int))
    of_all = f"{unaccounted:,} of {read:,}" if unaccounted else f"all {read:,}"
    summary = f"{of_all} records are {'un' if unaccounted else ''}accounted for"
    return Finding(
        check="accounting",
        passed=unaccounted == 0,
        severity=_ERROR,
        summary=summary,
        metadata={"unaccounted": unaccounted, "sources": table(rows)},
    )


def freshness_finding(warehouse: Warehouse, dataset: Dataset, record: DatasetRecord, now: datetime) -> Finding:
    """The newest row, and for topics the watermark, against the clock; a dataset past its `end` is complete, not stale."""
    newest = max((found.max_time for found in warehouse.catalog.partitions(record.id) if found.max_time), default=None)
    if newest is None:
        return Finding(check="freshness", passed=False, summary="nothing has landed yet")
    watermark = min((one.watermark for one in warehouse.catalog.sources(record.id) if one.watermark), default=None)
    metadata = {"newest": dg.MetadataValue.timestamp(newest)}
    if watermark is not None:
        metadata["watermark"] = dg.MetadataValue.timestamp(watermark)
    if dataset.end is not None and dataset.end <= now:
        text = f"ended {dataset.end:%Y-%m-%d}; its newest row is of {format_time(newest)}"
        return Finding(check="freshness", passed=True, summary=text, metadata=metadata)
    start = dataset.window.start_of(now)
    allowed = 2 * (dataset.window.after(start) - start) + dataset.late.allowed
    fresh, passed = now - newest <= allowed, watermark is None or now - watermark <= allowed
    text = f"the newest row is of {format_time(newest)}"
    if not fresh:
        text += f", older than the {_span(allowed)} allowed; is its source still delivering?"
    elif watermark is not None and not passed:
        text += f", but a topic partition is only at {format_time(watermark)}, which keeps what came since from being closed"
    return Finding(check="freshness", passed=fresh and passed, summary=text, metadata=metadata)


def _span(time: timedelta) -> str:
    hours = round(time.total_seconds() / 3600)
    return f"{hours} hours" if hours < 48 else f"{round(hours / 24)} days"


def files_finding(warehouse: Warehouse, dataset: Dataset, record: DatasetRecord) -> Finding:
    """I7: files that were not landed are visible, with the reason."""
    refused: list[FileRecord] = []
    for source in warehouse.catalog.sources(record.id):
        refused += warehouse.catalog.files(source.id, states=("quarantined", "rejected"))
    if not refused:
        return Finding(check="files", passed=True, summary="every file seen was landed or is a duplicate")
    rows = [{"file": file.address, "state": file.state, "reason": file.reason} for file in refused[:SHOWN]]
    first = refused[0]
    return Finding(
        check="files",
        passed=False,
        summary=f"{len(refused)} files were not landed, for instance {first.address}: {first.reason}",
        metadata={"files": len(refused), "refused": table(rows), "what_to_do": _FILES_HELP.format(dataset=dataset.name)},
    )


_FILES_HELP = (
    "Correct a quarantined file and put it in its place again: it is looked at anew. A rejected one changed after it was landed: "
    "give it another name, or declare `on_change: replace` on the source of {dataset}."
)


def dead_letters_finding(warehouse: Warehouse, dataset: Dataset, record: DatasetRecord) -> Finding:
    """Refused records by reason, and where to look at them; what came late is counted beside and is no failure."""
    reasons: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    for _, file, _ in warehouse.catalog.dead_letter_files(record.id):
        kinds[file.kind] += file.rows
        if file.kind == "refused":
            reasons.update(file.reasons)
    late = {name: kinds[name] for name in ("late_dropped", "held") if kinds[name]}
    aside = "".join(f"; {rows:,} {_LATE_WORDS[name]}" for name, rows in late.items())
    look = dg.MetadataValue.md(f"`timestore deadletters list {dataset.name}`")
    if not reasons:
        shown = {**late, "look_inside": look} if late else {}
        return Finding(check="dead_letters", passed=True, summary=f"no record was refused{aside}", metadata=shown)
    total = kinds["refused"]
    by_count = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    return Finding(
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
