"""What things are called in Dagster: asset keys, jobs, sensors, pools and run tags, in one place so that nobody guesses."""

from __future__ import annotations

import re
from typing import assert_never

import dagster as dg

from timestore_assets.model.dataset import Dataset, FileSource, HttpSource, KafkaSource, Source

BUILD_POOL = "timestore_build"
LANDING_POOL = "timestore_landing"
STREAM_POOL = "timestore_stream"
"""Sessions on topics run for minutes; in a pool of their own they keep no file waiting."""
IO_MANAGER = "timestore_io"
FILES_SENSOR = "timestore_files"
OBJECTS_SENSOR = "timestore_objects"
TOPICS_SENSOR = "timestore_topics"
BUILDS_SENSOR = "timestore_builds"
BACKFILLS_SENSOR = "timestore_backfills"
RELAY_SENSOR = "timestore_relay"
RELOAD_SENSOR = "timestore_reload"
"""Has Dagster load its definitions again; rows are reloaded by that of `RELOADS_SENSOR`."""
RELOADS_SENSOR = "timestore_reloads"
ALERTS_SENSOR = "timestore_alerts"
LINEAGE_SENSOR = "timestore_openlineage"
RUN_FAILURES_SENSOR = "timestore_run_failures"
LAND_AGAIN_JOB = "timestore_land_again"
GC_JOB = "timestore_gc"
RETENTION_JOB = "timestore_retention"
VERIFY_JOB = "timestore_verify"
SOURCES_GROUP = "sources"
DATASETS_GROUP = "datasets"

DATASET_TAG = "timestore/dataset"
SHARD_TAG = "timestore/shard"
"""`INDEX/OF` on sessions on topics."""
SHARE_TAG = "timestore/share"
"""`INDEX/OF` on landing runs that share one drop."""
# The UI hides tags of this prefix; these are for the sensors alone.
SOURCE_TAG = ".dagster/timestore_source"
FILES_TAG = ".dagster/timestore_files"
"""Digest of the files a landing run was asked for."""
NEED_TAG = ".dagster/timestore_need"
"""Digest of the partitions, at their versions, that a build run was asked for."""
WORK_TAG = ".dagster/timestore_work"
"""Digest of the checkpoints that a session on topics was asked to go on from."""
REASON_TAG = "timestore/reason"
BACKFILL_TAG = "timestore/backfill"
"""Id of the request that a build run serves, so that the UI shows together what belongs together."""
CLOSE_TAG = "timestore/close"
"""`no` on builds that leave their partitions open; an explicit materialisation has no such tag and seals."""
DATASET_METADATA = "timestore/dataset"
"""Asset metadata that names the dataset behind an asset, where the key does not."""

RANGE_START_TAG = "dagster/asset_partition_range_start"
RANGE_END_TAG = "dagster/asset_partition_range_end"
PARTITION_TAG = "dagster/partition"

_UNSAFE = re.compile(r"[^A-Za-z0-9_]+")


def dataset_key(dataset: Dataset | str) -> dg.AssetKey:
    """The asset of a dataset; by its name alone where it is not declared here."""
    return dg.AssetKey([dataset] if isinstance(dataset, str) else [*dataset.key_prefix, dataset.name])


def source_keys(dataset: Dataset, source: Source) -> tuple[dg.AssetKey, ...]:
    """The external assets of a source: one for a watched folder, one for each topic, one for the HTTP service."""
    match source:
        case FileSource():
            return (prefix_key(dataset, source),)
        case KafkaSource():
            return tuple(topic_key(dataset, topic) for topic in source.topics)
        case HttpSource():
            return (http_key(dataset),)
        case _:
            assert_never(source)


def prefix_key(dataset: Dataset, source: FileSource) -> dg.AssetKey:
    """The external asset of a watched folder: the dataset's name, then the folder (and the glob, when there is one).

    The dataset's name comes first because two datasets may watch the same folder; the graph shows the last part only.
    """
    parts = [part for part in source.prefix.split("/") if part.strip(".")]
    if "://" in source.prefix:
        parts = [safe(part) for part in parts]  # a bucket's URI is mostly signs, which would come out as rows of underscores
    if source.glob != "**/*":
        parts.append(source.glob)
    return _source_key(dataset, safe("_".join(parts)) if parts else "files")


def topic_key(dataset: Dataset, topic: str) -> dg.AssetKey:
    """The external asset of a topic: the dataset's name, then the topic's, which is unique in a dataset."""
    key = _source_key(dataset, topic)
    taken = any(prefix_key(dataset, source) == key for source in dataset.file_sources)
    return _source_key(dataset, f"topic_{topic}") if taken else key


def http_key(dataset: Dataset) -> dg.AssetKey:
    """The external asset of what programs send: the dataset's name, then `http`."""
    taken = {key for source in dataset.sources if not isinstance(source, HttpSource) for key in source_keys(dataset, source)}
    key = _source_key(dataset, "http")
    return _source_key(dataset, "http_requests") if key in taken else key


def _source_key(dataset: Dataset, last: str) -> dg.AssetKey:
    return dg.AssetKey([*dataset.key_prefix, dataset.name, last])


def landing_job(dataset: str) -> str:
    return f"land_{dataset}"


def landing_op(dataset: str) -> str:
    """The job's only step; Dagster wants other names for it than for the job, and for each dataset."""
    return f"land_{dataset}_files"


def stream_job(dataset: str) -> str:
    return f"stream_{dataset}"


def stream_op(dataset: str) -> str:
    """The job's only step."""
    return f"stream_{dataset}_topics"


def safe(text: str) -> str:
    """A text as letters, digits and underscores."""
    return _UNSAFE.sub("_", text).strip("_") or "all"
