"""What datasets are called in OpenLineage, by its naming conventions: local files, buckets, topics, and our own tables.

No name has a user, a password or a query of an address in it (I10).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from timestore_assets.model.dataset import FileSource, HttpSource, KafkaSource, Source

if TYPE_CHECKING:
    from timestore_assets.settings import Settings

_WILD = frozenset("*?[{")
_KAFKA_PORT = 9092


@dataclass(frozen=True, kw_only=True, slots=True)
class LineageName:
    """Namespace and name of a dataset."""

    namespace: str
    name: str


def table_name(settings: Settings, dataset: str) -> LineageName:
    """One of our own."""
    return LineageName(namespace=settings.openlineage_namespace, name=dataset)


def source_names(settings: Settings, dataset: str, source: Source) -> Sequence[LineageName]:
    """What a source reads: a folder or prefix, topics, or what programs send."""
    match source:
        case FileSource():
            return [_folder(settings, source.prefix)]
        case KafkaSource():
            return [LineageName(namespace=_cluster(settings, source), name=topic) for topic in source.topics]
        case HttpSource():
            return [table_name(settings, f"{dataset}{source.address}")]


def undeclared_names(settings: Settings, dataset: str, kind: str, address: str) -> Sequence[LineageName]:
    """What a source reads that is declared no more, by its kind and address in the catalog."""
    if kind == "files":
        return [_folder(settings, address)]
    if kind == "kafka":
        return source_names(settings, dataset, KafkaSource(topics=tuple(address.split(","))))
    return [table_name(settings, f"{dataset}{address}")] if address else []


def _folder(settings: Settings, prefix: str) -> LineageName:
    """Without the parts that stand for several folders or files."""
    scheme, _, rest = prefix.rpartition("://")
    parts = rest.split("/")
    plain = next((index for index, part in enumerate(parts) if _WILD & set(part)), len(parts))
    path = "/".join(parts[:plain]).rstrip("/")
    if not scheme:
        return LineageName(namespace="file", name=(settings.home_folder / Path(path)).as_posix() or "/")
    bucket, _, key = path.partition("/")
    bucket = bucket.rpartition("@")[2]
    account = settings.azure_account or os.environ.get("AZURE_STORAGE_ACCOUNT_NAME")
    if scheme == "az" and account:
        return LineageName(namespace=f"abfss://{bucket}@{account}.dfs.core.windows.net", name=key or "/")
    return LineageName(namespace=f"{scheme}://{bucket}", name=key or "/")


def _cluster(settings: Settings, source: KafkaSource) -> str:
    """By the first of its bootstrap servers."""
    servers = source.bootstrap_servers or settings.kafka_bootstrap_servers or _embedded(settings)
    first = servers.split(",")[0].strip().rpartition("://")[2].rpartition("@")[2]
    return f"kafka://{first}" if ":" in first else f"kafka://{first}:{_KAFKA_PORT}"


def _embedded(settings: Settings) -> str:
    from timestore_assets.model.errors import MissingExtraError

    try:
        from timestore_assets.sources.kafka.embedded import published_servers
    except MissingExtraError:
        return "localhost"
    return published_servers(settings.home_folder) or "localhost"
