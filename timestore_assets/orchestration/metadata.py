"""What Dagster shows about a built partition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from timestore_assets.model.types import literal
from timestore_assets.orchestration.table_schema import table_schema

if TYPE_CHECKING:
    from timestore_assets.building.report import BuildReport
    from timestore_assets.catalog.records import DatasetRecord, PartitionRecord
    from timestore_assets.model.schema import Schema
    from timestore_assets.model.segment import Segment
    from timestore_assets.model.window import Partition
    from timestore_assets.warehouse import Warehouse

_SHOWN_FILES = 3
Metadata = Mapping[str, Any]


def build_metadata(warehouse: Warehouse, record: DatasetRecord, report: BuildReport, declared: Schema) -> Metadata:
    """Metadata of one partition's materialisation, from its build's report."""
    return {
        **_figures(report),
        "seconds": round(report.seconds, 3),
        **file_metadata(warehouse, record, report.partition),
        **_evolved(record, declared),
    }


def partition_metadata(warehouse: Warehouse, record: DatasetRecord, partition: Partition, declared: Schema | None) -> Metadata:
    """The same, from the catalog, for a partition that was built outside Dagster; empty when it holds nothing."""
    found = warehouse.catalog.partition(record.id, partition)
    if found is None:
        return {}
    return {**_figures(found), **file_metadata(warehouse, record, partition), **_evolved(record, declared)}


def _figures(found: BuildReport | PartitionRecord) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "dagster/row_count": found.rows,
        "bytes": found.bytes,
        "segments": found.segments,
        "superseded_rows": found.superseded_rows,
        "state": found.state,
        "manifest_version": found.manifest_version,
        "schema_version": found.schema_version,
    }
    if found.content_hash is not None:
        figures["content_hash"] = found.content_hash
    bounds = {"min_time": found.min_time, "max_time": found.max_time}
    return {**figures, **{name: dg.MetadataValue.timestamp(time) for name, time in bounds.items() if time is not None}}


def file_metadata(warehouse: Warehouse, record: DatasetRecord, partition: Partition) -> Metadata:
    """Where a partition's files are and what to type to look into them."""
    segments = warehouse.catalog.segments(record.id, partition=partition, with_stats=False)
    if not segments:
        return {}
    paths = [path for path in map(warehouse.storage.path, segments[:_SHOWN_FILES]) if path is not None]
    found: dict[str, Any] = {
        "dagster/uri": warehouse.storage.address(segments[0]),
        "look_inside": dg.MetadataValue.md(_look_inside(record.name, partition, segments, paths)),
    }
    if paths:  # as text too: the UI hides Markdown behind a click
        found["open_with"] = _open_with(record.name, segments[0], paths[0])
    return found


def _look_inside(dataset: str, partition: Partition, segments: Sequence[Segment], paths: Sequence[Path]) -> str:
    lines = []
    for segment, path in zip(segments, paths, strict=False):
        if segment.format == "duckdb":
            lines += [f"duckdb -readonly {_shell(path)}", f"FROM {dataset} LIMIT 5;", ""]
        else:
            lines += ["duckdb", f"FROM {literal(str(path))} LIMIT 5;", ""]
    if paths and len(segments) > _SHOWN_FILES:
        lines.append(f"# and {len(segments) - _SHOWN_FILES} more files")
    query = f"timestore query {dataset} --from {_bound(partition.start)} --to {_bound(partition.end)} --limit 5"
    return "\n".join(["```", *lines, query, "```"])


def _open_with(dataset: str, segment: Segment, path: Path) -> str:
    if segment.format == "duckdb":
        return f'duckdb -readonly {_shell(path)} -c "FROM {dataset} LIMIT 5"'
    return f'duckdb -c "FROM {literal(str(path))} LIMIT 5"'


def _shell(path: Path) -> str:
    text = str(path)
    return text if " " not in text else f"'{text}'"


def _bound(time: datetime) -> str:
    return f"{time:%Y-%m-%d}" if time.hour == 0 else f"{time:%Y-%m-%dT%H:%MZ}"


def _evolved(record: DatasetRecord, declared: Schema | None) -> dict[str, Any]:
    """The columns, where they are no longer those of the asset's definition; else they would be stored with every event."""
    if declared is None or record.schema.columns == declared.columns:
        return {}
    return {"dagster/column_schema": table_schema(record.schema)}
