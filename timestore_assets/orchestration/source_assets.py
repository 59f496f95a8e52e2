"""Sources in the asset graph: watched folders, topics and the HTTP service as external assets.

What lands from them is reported there.
"""

from __future__ import annotations

from datetime import datetime
from typing import assert_never

import dagster as dg

from timestore_assets.model.dataset import Dataset, FileFormat, FileSource, HttpSource, KafkaSource, Source
from timestore_assets.model.record_form import POINT, RecordForm
from timestore_assets.model.text_encoding import UTF_8
from timestore_assets.model.window import format_time
from timestore_assets.orchestration.dagster_names import SOURCES_GROUP, http_key, prefix_key, topic_key

_STORES = {"s3": "s3", "gs": "gcs", "az": "azure"}


def source_specs(dataset: Dataset, source: Source) -> list[dg.AssetSpec]:
    """The assets of one source: a folder is one, every topic is one, and the HTTP service is one."""
    match source:
        case FileSource():
            return [_prefix_spec(dataset, source)]
        case KafkaSource():
            return [_topic_spec(dataset, source, topic) for topic in source.topics]
        case HttpSource():
            return [_http_spec(dataset, source)]
        case _:
            assert_never(source)


def _prefix_spec(dataset: Dataset, source: FileSource) -> dg.AssetSpec:
    return dg.AssetSpec(
        prefix_key(dataset, source),
        description=f"{_what(source)} below {source.prefix}, landed into {dataset.name} as they appear.",
        metadata=_prefix_metadata(source),
        kinds={_STORES.get(source.scheme or "", "file")} | ({source.format} - {"auto"}),
        group_name=dataset.group or SOURCES_GROUP,
        owners=dataset.owners,
    )


def _http_spec(dataset: Dataset, source: HttpSource) -> dg.AssetSpec:
    return dg.AssetSpec(
        http_key(dataset),
        description=f"What programs send to `/datasets/{dataset.name}/ingest`, landed into {dataset.name} before it is answered.",
        metadata={"path": f"/datasets/{dataset.name}/ingest", "address": source.address},
        kinds={"http"},
        group_name=dataset.group or SOURCES_GROUP,
        owners=dataset.owners,
    )


def _topic_spec(dataset: Dataset, source: KafkaSource, topic: str) -> dg.AssetSpec:
    return dg.AssetSpec(
        topic_key(dataset, topic),
        description=f"Topic `{topic}`, landed into {dataset.name} by sessions that its sensor asks for.",
        metadata={"topic": topic, **_topic_metadata(dataset, source)},
        kinds={"kafka", source.format},
        group_name=dataset.group or SOURCES_GROUP,
        owners=dataset.owners,
    )


def _topic_metadata(dataset: Dataset, source: KafkaSource) -> dict[str, str | float]:
    start = source.start
    metadata: dict[str, str | float] = {
        "topics": ", ".join(source.topics),
        "format": source.format,
        "group": source.group_of(dataset.name),
        "start": format_time(start) if isinstance(start, datetime) else start,
        "shards": str(source.shards),
        "isolation": source.isolation,
        "on_lost_offsets": source.on_lost_offsets,
        "idle_seconds": source.idle.total_seconds(),
        "address": source.address,
    }
    optional = {
        "bootstrap_servers": source.bootstrap_servers,
        "dead_letter_topic": source.dead_letter_topic,
        "timezone": source.timezone,
    }
    optional |= _form_metadata(source.form)
    return {**metadata, **{name: value for name, value in optional.items() if value}}


_FORMATS: dict[FileFormat, str] = {
    "auto": "",
    "csv": "CSV",
    "jsonl": "JSON lines",
    "json": "JSON",
    "envelopes": "NDJSON envelope",
    "parquet": "Parquet",
    "arrow": "Arrow IPC",
    "orc": "ORC",
    "avro": "Avro",
    "spreadsheet": "Spreadsheet",
}


def _what(source: FileSource) -> str:
    kind = _FORMATS[source.format]
    files = f"{kind} files" if kind else "Files"
    return files if source.glob == "**/*" else f"{files} that match `{source.glob}`"


def _prefix_metadata(source: FileSource) -> dict[str, str]:
    metadata = {"prefix": source.prefix, "glob": source.glob, "format": source.format, "address": source.address}
    if source.scheme is not None:
        metadata["bucket"], _, metadata["bucket_prefix"] = source.prefix.partition("://")[2].partition("/")
    if source.csv.nulls:
        metadata["nulls"] = ", ".join(source.csv.nulls)
    if source.timezone:
        metadata["timezone"] = source.timezone
    if source.csv.encoding != UTF_8:
        metadata["encoding"] = source.csv.encoding
    if source.path:
        metadata["path"] = ".".join(source.path)
    if source.sheet is not None:
        metadata["sheet"] = source.sheet
    if source.path_columns:
        metadata["path_columns"] = source.path_columns if source.path_columns == "hive" else ", ".join(source.path_columns)
    return {**metadata, **{name: text for name, text in _form_metadata(source.form).items() if text}}


def _form_metadata(form: RecordForm) -> dict[str, str | None]:
    ways = [f"{one.column}: {one.unit or one.format or 'ISO 8601'}" for one in form.times]
    decimal = form.marks.decimal if form.marks != POINT else None
    fields = ", ".join(f"{path.column}: {path.text}" for path in form.fields)
    return {"times": ", ".join(ways), "fields": fields, "decimal": decimal, "wrapper": form.wrapper}
