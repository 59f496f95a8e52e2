"""From how many rows on is a `.duckdb` segment worth more than a Parquet one?

Writes the same sorted rows as segments of both formats, with fewer and larger segments each time, and asks two questions of each:
a time-bucket aggregate over everything and a scan for one key. `first` opens the segments with a new connection and asks once, as
a command does; `again` is the best of some more on the same connection with the segments still open, as a service does.

    python benchmarks/segment_format.py [--rows 8000000] [--sort sensor,ts] [--sizes 119000 1000000] [--folder DIR]

Prints one line for each segment size; the constant `DUCKDB_FROM_ROWS` in `timestore_assets/building/formats.py` was read off it.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from timestore_assets.model.schema import Column, Schema
from timestore_assets.model.segment import Segment, SegmentFormat
from timestore_assets.model.types import DOUBLE, INT64, STRING, TIMESTAMP
from timestore_assets.segments.engine import EngineLimits, connect
from timestore_assets.segments.reader import opened
from timestore_assets.segments.writer import write_duckdb, write_parquet
from timestore_assets.storage.local import LocalStore
from timestore_assets.storage.object_store import Upload
from timestore_assets.storage.targets import Storage

SIZES = (1_000, 10_000, 50_000, 119_000, 250_000, 500_000, 1_000_000, 2_000_000)
FORMATS: tuple[SegmentFormat, ...] = ("parquet", "duckdb")
MOST_SEGMENTS = 1_000
REPEATS = 5
START = datetime(2024, 1, 1, tzinfo=UTC)
SCHEMA = Schema(
    columns=(
        Column(name="ts", type=TIMESTAMP),
        Column(name="sensor", type=STRING),
        Column(name="temp", type=DOUBLE),
        Column(name="hum", type=INT64),
        Column(name="load", type=DOUBLE, nullable=True),
    )
)
QUESTIONS = {
    "bucket": "SELECT date_trunc('hour', ts) AS bucket, avg(temp), max(temp) FROM {source} GROUP BY bucket ORDER BY bucket",
    "key": "SELECT count(*), sum(temp) FROM {source} WHERE sensor = 'sensor_17'",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """Seconds and bytes of one format at one segment size; `first` and `again` by question."""

    written: float
    bytes: int
    first: dict[str, float]
    again: dict[str, float]


def rows_sql(first: int, count: int, sort: str) -> str:
    """A segment's rows: 100 sensors, 200 rows a second in all, sorted as a build sorts them."""
    return f"""SELECT TIMESTAMP '2024-01-01' + to_microseconds(i * 5000) AS ts, 'sensor_' || (hash(i) % 100) AS sensor,
        (hash(i + 1) % 10000) / 100.0 AS temp, (hash(i + 2) % 100)::BIGINT AS hum,
        CASE WHEN i % 20 > 0 THEN (hash(i + 3) % 1000) / 7.0 END AS load,
        1::BIGINT AS __source, (i * 120)::BIGINT AS __position, 1::BIGINT AS __session
        FROM range({first}, {first + count}) r(i) ORDER BY {sort}"""


def write(
    con: duckdb.DuckDBPyConnection, store: LocalStore, format: SegmentFormat, size: int, number: int, sort: str = "ts"
) -> list[Segment]:
    """Write `number` segments of `size` rows and give them their names."""
    segments = []
    folder = store.staging("benchmark")
    for i in range(number):
        path = folder / f"{i}.{format}"
        query = rows_sql(i * size, size, sort)
        if format == "parquet":
            written = write_parquet(con, query, path)
        else:
            written = write_duckdb(con, query, path, view="benchmark", visible=SCHEMA.names)
        name = f"{format}/{i:06d}.{format}"
        store.promote([Upload(staged=path, name=name)])
        segments.append(
            Segment(
                name=name,
                partition_start=START,
                kind="sealed",
                format=format,
                rows=written.rows,
                bytes=written.bytes,
                min_time=START,
                max_time=START,
                schema_version=1,
                source_ids=(1,),
                id=i,
                dataset_id=1,
            )
        )
    return segments


@contextmanager
def timed(seconds: list[float]) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds.append(time.perf_counter() - start)


def ask(con: duckdb.DuckDBPyConnection, question: str, source: str) -> None:
    con.execute(QUESTIONS[question].format(source=source)).fetchall()


def measure(limits: EngineLimits, folder: Path, format: SegmentFormat, size: int, number: int, sort: str) -> Measured:
    store = LocalStore(folder, staging_root=folder / ".staging")
    written: list[float] = []
    with connect(limits) as con, timed(written):
        segments = write(con, store, format, size, number, sort)
    first, again = {}, {}
    for question in QUESTIONS:
        once: list[float] = []
        more: list[float] = []
        for _ in range(2):
            with connect(limits) as con:
                begun = time.perf_counter()
                with opened(con, segments, storage=Storage.of(store), schema=SCHEMA, schema_of=lambda _: SCHEMA) as source:
                    ask(con, question, source)
                    once.append(time.perf_counter() - begun)
                    for _ in range(REPEATS):
                        with timed(more):
                            ask(con, question, source)
        first[question], again[question] = min(once), min(more)
    return Measured(written=written[0], bytes=sum(segment.bytes for segment in segments), first=first, again=again)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=8_000_000, help="rows in all, as far as 1,000 segments hold them")
    parser.add_argument("--sort", default="sensor,ts", help="columns that the rows of a segment are sorted by")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="rows of a segment")
    parser.add_argument("--folder", type=Path, default=None, help="where to write; a temporary folder by default")
    arguments = parser.parse_args()
    root = Path(tempfile.mkdtemp(dir=arguments.folder))
    limits = EngineLimits(memory_bytes=2_000_000_000, threads=2, temp_dir=root / "spill")
    columns = "first bucket   first key     again bucket   again key      write s     bytes a row"
    print(f"seconds, parquet | duckdb\n{'rows':>9} {'segments':>8}   {columns}")
    try:
        for size in arguments.sizes:
            number = max(1, min(MOST_SEGMENTS, arguments.rows // size))
            found = {format: measure(limits, root / str(size), format, size, number, arguments.sort) for format in FORMATS}
            print(f"{size:>9,} {number:>8,}   {cells(found, size * number)}", flush=True)
            shutil.rmtree(root / str(size))
    finally:
        shutil.rmtree(root, ignore_errors=True)


def cells(found: dict[SegmentFormat, Measured], rows: int) -> str:
    parquet, database = found["parquet"], found["duckdb"]
    pairs = [
        (getattr(parquet, when)[question], getattr(database, when)[question])
        for when in ("first", "again")
        for question in QUESTIONS
    ]
    pairs += [(parquet.written, database.written), (parquet.bytes / rows, database.bytes / rows)]
    return "  ".join(f"{one:6.3f}|{other:6.3f}" for one, other in pairs)


if __name__ == "__main__":
    main()
