"""Dead letters to the topic that their source declares, for whoever mends them where they come from.

At least once: a file is marked as forwarded only after the brokers have acknowledged all of its records, so a failure or a crash
before that produces some of them again. The catalog is the truth about what was refused; the topic is a copy.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from secrets import token_hex
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from confluent_kafka import KafkaException

from timestore_assets.catalog.port import Catalog
from timestore_assets.catalog.records import DatasetRecord, DeadLetterFile, Lease, SourceRecord
from timestore_assets.model.dataset import KafkaSource
from timestore_assets.model.errors import TimestoreError, UnavailableError
from timestore_assets.model.window import format_time
from timestore_assets.sources.kafka.delivery import PREFIX, Delivery, Headers, Outgoing, producer_of
from timestore_assets.storage.port import Readable

TIMEOUT_SECONDS = 30.0
_TTL = timedelta(seconds=20)
_ROWS_READ = 500


def forward(
    catalog: Catalog,
    storage: Readable,
    dataset: DatasetRecord,
    source: KafkaSource,
    client_config: Mapping[str, object],
    *,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> int:
    """Produce the refused records of a source that wait for it to its dead-letter topic; returns how many.

    Value and key are the original ones; to the original headers come `timestore.reason`, `.code`, `.topic`, `.partition`,
    `.offset` and `.timestamp` (RFC 3339, UTC), as text. A value that is too large for the topic is cut to 64 KiB and says so by
    `timestore.shortened`. While one session of the source is at it, others leave it to that one and return 0. Memory is bounded
    by 32 MB of records under way and one row group of a file.

    Args:
        catalog: says which files wait. A source without a dead-letter topic has none.
        store: holds them.
        dataset: whose dead letters they are.
        source: of `dataset`, as declared now.
        client_config: options of confluent-kafka that lead to the cluster.
        timeout_seconds: without any acknowledgement for so long, it gives up.

    Raises:
        UnavailableError: the brokers don't take them, or an object can't be read; files not finished stay marked.
    """
    if source.dead_letter_topic is None or not _waiting(catalog, dataset, source):
        return 0
    origin = catalog.source(dataset.id, source.kind, source.address)
    with _claimed(catalog, origin) as claim:
        if claim is None:
            return 0
        producer = producer_of(client_config, timeout_seconds)
        delivery = Delivery(topic=source.dead_letter_topic, producer=producer, timeout_seconds=timeout_seconds, tick=claim.keep)
        try:
            # what was listed before the claim may have been forwarded by its last holder
            for file in _waiting(catalog, dataset, source):
                for record in _records(catalog, storage, origin, file):
                    delivery.produce(record)
                delivery.finish()
                catalog.forwarded([file.id])
        except KafkaException as error:
            raise delivery.failed(error.args[0]) from None
        finally:
            delivery.abandon()
        return delivery.done


def _waiting(catalog: Catalog, dataset: DatasetRecord, source: KafkaSource) -> list[DeadLetterFile]:
    return [
        file
        for origin, file, _ in catalog.dead_letter_files(dataset.id)
        if file.forward and (origin.kind, origin.address) == (source.kind, source.address)
    ]


@dataclass(kw_only=True)
class _Claim:
    """Keeps other sessions of the source from producing the same. Losing it costs a repetition, so nothing stops for that."""

    catalog: Catalog
    lease: Lease
    _renewed: float = field(default_factory=time.monotonic, init=False)

    def keep(self) -> None:
        if time.monotonic() - self._renewed > _TTL.total_seconds() / 4:
            self.lease = self.catalog.renew(self.lease, ttl=_TTL) or self.lease
            self._renewed = time.monotonic()


@contextmanager
def _claimed(catalog: Catalog, origin: SourceRecord) -> Iterator[_Claim | None]:
    lease = catalog.acquire(f"dead_letter_topic:{origin.id}", holder=token_hex(8), ttl=_TTL)
    claim = None if lease is None else _Claim(catalog=catalog, lease=lease)
    try:
        yield claim
    finally:
        if claim is not None:
            # an error that is under way matters more, and a lease expires by itself
            with suppress(TimestoreError):
                catalog.release(claim.lease)


def _records(catalog: Catalog, storage: Readable, origin: SourceRecord, file: DeadLetterFile) -> Iterator[Outgoing]:
    places = {one.id: (one.topic, one.number) for one in catalog.topic_partitions(origin.id)}
    try:
        with storage.reading([file]) as (path,), pq.ParquetFile(path) as opened:
            for piece in opened.iter_batches(batch_size=_ROWS_READ):
                yield from (_record(row, places) for row in piece.to_pylist())
    except (OSError, pa.ArrowException) as error:
        raise UnavailableError(f"dead letters {file.name} can't be read: {error}; `timestore verify` says more") from None


def _record(row: Mapping[str, Any], places: Mapping[int, tuple[str, int]]) -> Outgoing:
    # a topic that was deleted and made again since is known by its source's address alone
    topic, number = places.get(row["source_partition"], (row["source"], None))
    about = {
        "reason": row["reason"],
        "code": row["code"],
        "topic": topic,
        "partition": None if number is None else str(number),
        "offset": str(row["position"]),
        "timestamp": format_time(row["timestamp"]) if row["timestamp"] else None,
    }
    original = [(one["name"], one["value"]) for one in row["headers"] or ()]
    added: Headers = [(f"{PREFIX}{name}", None if value is None else value.encode()) for name, value in about.items()]
    return Outgoing(value=row["raw"], key=row["key"], headers=[*original, *added])
