"""The checks that only datasets with topics have: lost offsets, and whether landing goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dagster as dg

from timestore_assets.model.dataset import Dataset
from timestore_assets.model.window import format_time
from timestore_assets.orchestration.finding import SHOWN, Finding, table

if TYPE_CHECKING:
    from timestore_assets.catalog.records import DatasetRecord
    from timestore_assets.warehouse import Warehouse


def lost_offsets_finding(warehouse: Warehouse, dataset: Dataset, record: DatasetRecord) -> Finding:
    """I7: offsets that the brokers deleted unread are visible until somebody takes note of them."""
    ranges = warehouse.catalog.lost_ranges(record.id)
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
        return Finding(check="lost_offsets", passed=True, summary=text, metadata=metadata)
    first = open_[0]
    more = f", and {len(open_) - 1} more" if len(open_) > 1 else ""
    waits = any(not one.skipped for one in open_)
    metadata["what_to_do"] = dg.MetadataValue.md(
        f"`timestore stream {dataset.name} --accept-lost-offsets` takes note of them and goes on behind; "
        "`on_lost_offsets: continue` in the declaration does so from now on. "
        "A longer retention of the topic keeps it from happening again."
    )
    return Finding(
        check="lost_offsets",
        passed=False,
        severity=dg.AssetCheckSeverity.ERROR,
        summary=f"{first.reason} ({first.start:,} up to {first.end:,}){more}" + ("; landing waits there" if waits else ""),
        metadata=metadata,
    )


def stream_finding(warehouse: Warehouse, dataset: Dataset, record: DatasetRecord) -> Finding:
    """Whether landing from topics is paused, how quick it is and how far event time has come."""
    sources = [one for one in warehouse.catalog.sources(record.id) if one.kind == "kafka"]
    rates = warehouse.catalog.throughput(record.id, seconds=60.0)
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
        return Finding(check="stream", passed=False, summary=text, metadata=metadata)
    text = f"its watermark is {format_time(known[0])}" if known else "no topic has a watermark yet"
    return Finding(check="stream", passed=True, summary=f"{dataset.name} lands as it comes; {text}", metadata=metadata)
