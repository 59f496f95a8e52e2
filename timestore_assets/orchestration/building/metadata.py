"""What Dagster shows about a dataset and its built partitions, with the schema as the table under the asset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from timestore_assets.model.column_lineage import ColumnOrigin, column_lineage
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.late_words import lateness_range
from timestore_assets.model.schema import Checks, Column, Schema
from timestore_assets.orchestration.dagster_names import dataset_key, source_keys
from timestore_assets.segments.open_command import open_command

if TYPE_CHECKING:
    from timestore_assets.building.builder import BuildReport
    from timestore_assets.catalog.records import DatasetRecord, PartitionRecord
    from timestore_assets.model.segment import Segment
    from timestore_assets.model.window import Partition
    from timestore_assets.warehouse import Warehouse


def table_schema(schema: Schema, dataset: Dataset | None = None) -> dg.TableSchema:
    """Columns with type, description, unit and constraints; `dataset` marks its time, semantic and dedupe keys."""
    return dg.TableSchema(columns=[_column(column, dataset) for column in schema])


def table_lineage(schema: Schema, dataset: Dataset) -> dg.TableColumnLineage:
    """For each column the fields of the source assets that it comes from, and the columns that its expression reads."""
    own = dataset_key(dataset)

    def upstream(origin: ColumnOrigin) -> list[dg.TableColumnDep]:
        fields = [
            dg.TableColumnDep(asset_key=key, column_name=sent.field)
            for sent in origin.fields
            for key in source_keys(dataset, sent.source)
        ]
        return [*fields, *(dg.TableColumnDep(asset_key=own, column_name=name) for name in origin.columns)]

    origins = column_lineage(dataset, schema)
    return dg.TableColumnLineage(deps_by_column={name: upstream(origin) for name, origin in origins.items()})


def _column(column: Column, dataset: Dataset | None) -> dg.TableColumn:
    tags = _roles(column, dataset)
    if column.unit:
        tags["unit"] = column.unit
    if column.origin == "inferred":
        tags["undeclared"] = ""
    return dg.TableColumn(
        name=column.name,
        type=str(column.type),
        description=_description(column),
        constraints=dg.TableColumnConstraints(
            nullable=column.nullable, unique=False, other=[*_constraints(column.checks), *_default(column)]
        ),
        tags=tags,
    )


def _description(column: Column) -> str | None:
    text = column.description or ("Found in the data; not declared" if column.origin == "inferred" else "")
    if column.unit:
        text = f"{text} [{column.unit}]" if text else f"[{column.unit}]"
    return text or None


def _roles(column: Column, dataset: Dataset | None) -> dict[str, str]:
    if dataset is None:
        return {}
    roles = {
        "time": column.name == dataset.time,
        "partition_by": column.name in dataset.partition_by,
        "dedupe_key": dataset.dedupe is not None and column.name in dataset.dedupe.keys,
    }
    return {role: "" for role, held in roles.items() if held}


def _default(column: Column) -> list[str]:
    return [str(column.default)] if column.default is not None else []


def _constraints(checks: Checks) -> list[str]:
    sentences = []
    if checks.isin is not None:
        sentences.append("one of " + ", ".join(str(value) for value in checks.isin))
    for name, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<")):
        if (bound := getattr(checks, name)) is not None:
            sentences.append(f"{sign} {bound}")
    if checks.matches is not None:
        sentences.append(f"matches {checks.matches}")
    if checks.min_length is not None:
        sentences.append(f"at least {checks.min_length} characters")
    if checks.max_length is not None:
        sentences.append(f"at most {checks.max_length} characters")
    return sentences


_SHOWN_FILES = 3
_WHOLE = "dagster/row_count"
"""Dagster means the whole table by it, whichever partition the event is of."""
Metadata = Mapping[str, Any]


def build_metadata(warehouse: Warehouse, record: DatasetRecord, report: BuildReport, declared: Dataset) -> Metadata:
    """Metadata of one partition's materialisation, from its build's report."""
    return {
        **_figures(report),
        _WHOLE: warehouse.catalog.partitions.rows(record.id),
        "seconds": round(report.seconds, 3),
        **ticket_metadata(report.tickets),
        **file_metadata(warehouse, record, report.partition),
        **late_metadata(warehouse, record, report.partition),
        **_evolved(record, declared),
    }


def ticket_metadata(tickets: Sequence[str]) -> Metadata:
    """Which tickets rows were rewritten for; nothing when for none."""
    return {"tickets": ", ".join(tickets)} if tickets else {}


def partition_metadata(warehouse: Warehouse, record: DatasetRecord, partition: Partition, declared: Dataset | None) -> Metadata:
    """The same, from the catalog, for a partition that was built outside Dagster; empty when it holds nothing."""
    found = warehouse.catalog.partitions.find(record.id, partition)
    if found is None:
        return {}
    rows = {_WHOLE: warehouse.catalog.partitions.rows(record.id)}
    where, late = file_metadata(warehouse, record, partition), late_metadata(warehouse, record, partition)
    return {**_figures(found), **rows, **where, **late, **_evolved(record, declared)}


EMPTY_WINDOW = "no rows arrived in this window"


def empty_metadata(warehouse: Warehouse, record: DatasetRecord) -> Metadata:
    """Of a window in which no rows arrived, so that the curves of a dataset go down to zero there."""
    nothing = dict.fromkeys(("dagster/partition_row_count", "bytes", "segments"), 0)
    # as text here too: the UI shows no description beside a partition
    return {"reason": EMPTY_WINDOW, **nothing, _WHOLE: warehouse.catalog.partitions.rows(record.id), "state": "empty"}


def _figures(found: BuildReport | PartitionRecord) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "dagster/partition_row_count": found.rows,
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
    segments = warehouse.catalog.manifest.segments(record.id, partition=partition, with_stats=False)
    if not segments:
        return {}
    paths = [path for path in map(warehouse.storage.path, segments[:_SHOWN_FILES]) if path is not None]
    metadata: dict[str, Any] = {
        "dagster/uri": warehouse.storage.address(segments[0]),
        "look_inside": dg.MetadataValue.md(_look_inside(record.name, partition, segments, paths)),
    }
    if paths:  # as text too: the UI hides Markdown behind a click
        metadata["open_with"] = open_command(record.name, paths[0], format=segments[0].format)
    return metadata


def late_metadata(warehouse: Warehouse, record: DatasetRecord, partition: Partition) -> Metadata:
    """What came late to a partition so far, as a number to plot and as a table; nothing when all came in time."""
    ledger = warehouse.catalog.late.of(record.id, window=partition.window, partition=partition)
    if not ledger:
        return {}
    rows = [
        dg.TableRecord(
            {
                "source": one.source,
                "disposition": one.disposition,
                "how late": lateness_range(one.lateness),
                "rows": one.rows,
                "last came": f"{one.last_at:%Y-%m-%d %H:%M:%S}",
            }
        )
        for one in ledger
    ]
    return {"late_rows": sum(one.rows for one in ledger), "late": dg.MetadataValue.table(rows)}


def _look_inside(dataset: str, partition: Partition, segments: Sequence[Segment], paths: Sequence[Path]) -> str:
    lines = [open_command(dataset, path, format=segment.format) for segment, path in zip(segments, paths, strict=False)]
    if paths and len(segments) > _SHOWN_FILES:
        lines.append(f"# and {len(segments) - _SHOWN_FILES} more files")
    query = f"timestore query {dataset} --from {_bound(partition.start)} --to {_bound(partition.end)} --limit 5"
    return "\n".join(["```", *lines, query, "```"])


def _bound(time: datetime) -> str:
    return f"{time:%Y-%m-%d}" if time.hour == 0 else f"{time:%Y-%m-%dT%H:%MZ}"


def _evolved(record: DatasetRecord, declared: Dataset | None) -> dict[str, Any]:
    """Columns, and where they come from, where that is no longer as in the asset's definition; each event would store it."""
    if declared is None:
        return {}
    changed: dict[str, Any] = {}
    if record.schema.columns != declared.schema.columns:
        changed["dagster/column_schema"] = table_schema(record.schema)
    if column_lineage(declared, record.schema) != column_lineage(declared, declared.schema):
        changed["dagster/column_lineage"] = table_lineage(record.schema, declared)
    return changed
