"""Dead letters to the topic that their source declares, for whoever mends them where they come from.

At least once: a file is marked as forwarded only after the brokers have acknowledged all of its records, so a failure or a crash
before that produces some of them again. The catalog is the truth about what was refused; the topic is a copy. A session forwards
from a thread beside it, so that a topic that takes nothing holds no landing back.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from secrets import token_hex
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.lease_keeper import TTL, LeaseKeeper
from timestore_assets.catalog.records import DatasetRecord, DeadLetterFile, SourceRecord
from timestore_assets.extras import extra
from timestore_assets.model.dataset import KafkaSource
from timestore_assets.model.errors import TimestoreError, UnavailableError
from timestore_assets.model.window import format_time
from timestore_assets.sources.kafka.delivery import PREFIX, Delivery, Headers, Outgoing, producer_of
from timestore_assets.storage.object_store import ObjectReader

with extra("kafka"):
    from confluent_kafka import KafkaException

TIMEOUT_SECONDS = 30.0
_ROWS_READ = 500


def forward(
    catalog: Catalog,
    storage: ObjectReader,
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
    origin = catalog.sources.ensure(dataset.id, source.kind, source.address)
    with LeaseKeeper(catalog) as keeper:
        # losing it costs a repetition, so nothing stops for that
        if keeper.hold(f"dead_letter_topic:{origin.id}", holder=token_hex(8), ttl=TTL) is None:
            return 0
        producer = producer_of(client_config, timeout_seconds)
        delivery = Delivery(topic=source.dead_letter_topic, producer=producer, timeout_seconds=timeout_seconds)
        try:
            # what was listed before the lease was held may have been forwarded by its last holder
            for file in _waiting(catalog, dataset, source):
                for record in _records(catalog, storage, origin, file):
                    delivery.produce(record)
                delivery.finish()
                catalog.dead_letters.forwarded([file.id])
        except KafkaException as error:
            raise delivery.failed(error.args[0]) from None
        finally:
            delivery.abandon()
        return delivery.done


def _waiting(catalog: Catalog, dataset: DatasetRecord, source: KafkaSource) -> list[DeadLetterFile]:
    return [
        file
        for origin, file, _ in catalog.dead_letters.of(dataset.id)
        if file.forward and (origin.kind, origin.address) == (source.kind, source.address)
    ]


def _records(catalog: Catalog, storage: ObjectReader, origin: SourceRecord, file: DeadLetterFile) -> Iterator[Outgoing]:
    places = {one.id: (one.topic, one.number) for one in catalog.topics.partitions(origin.id)}
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


_END_SECONDS = 35.0
_AGAIN_SECONDS = 10.0


@contextmanager
def forwarded_beside(forward: Callable[[], int]) -> Iterator[Callable[[], None]]:
    """While entered, a thread forwards what waits whenever it is nudged, and once more at the end; gives the nudge.

    A failure is no failure of landing: the files stay marked, and are tried again some seconds later or by the next session.
    """
    nudged, ended = threading.Event(), threading.Event()

    def run() -> None:
        last = False
        while not last:
            nudged.wait(_AGAIN_SECONDS)
            nudged.clear()
            last = ended.is_set()  # before forwarding: what was committed until the end goes with it
            with suppress(TimestoreError):
                forward()

    thread = threading.Thread(target=run, name="dead-letter-forwarding", daemon=True)
    thread.start()
    try:
        yield nudged.set
    finally:
        ended.set()
        nudged.set()
        thread.join(_END_SECONDS)
