"""How much the planner costs: the same questions asked through it and of DuckDB on the same files, in one run.

`python benchmarks/query.py [--rows 119000] [--rounds 7]` prints medians in milliseconds and their ratios:

* 168 hourly partitions of `--rows` rows, as `.duckdb` and as Parquet segments: a time-bucket aggregate and a scan of one key;
* 2,000 daily partitions of 1,000 rows as Parquet: the same two;
* planning over 10,000 catalogued segments.

"DuckDB" is a connection with the same limits that has the files attached already (or reads them by `read_parquet`), and the
SQL that one would write by hand. Both give Arrow tables.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.commit_values import LandingCommit, RequestOutcomes, Span
from timestore_assets.catalog.records import DatasetRecord
from timestore_assets.model.aggregate_text import parse_aggregates
from timestore_assets.model.counters import Counters
from timestore_assets.model.dataset import Dataset, Dedupe
from timestore_assets.model.position import Position
from timestore_assets.model.question import Question, parse_every
from timestore_assets.model.schema import Column, Schema
from timestore_assets.model.segment import ColumnStats, NewSegment
from timestore_assets.model.types import DOUBLE, INT64, STRING, TIMESTAMP, literal
from timestore_assets.model.window import Window
from timestore_assets.querying.reading.querier import Querier
from timestore_assets.segments.engine import EngineLimits, connect
from timestore_assets.segments.writer import write_duckdb, write_parquet
from timestore_assets.storage.local import LocalStore
from timestore_assets.storage.object_store import Upload
from timestore_assets.storage.targets import Storage

START = datetime(2024, 1, 1, tzinfo=UTC)
DEVICES = 500
COLUMNS = (
    Column(name="device", type=STRING),
    Column(name="ts", type=TIMESTAMP),
    Column(name="value", type=DOUBLE, nullable=True),
    Column(name="flow", type=DOUBLE, nullable=True),
    Column(name="status", type=INT64, nullable=True),
)
AGGREGATES = parse_aggregates("avg:value,max:value,count")


@dataclass(frozen=True, kw_only=True)
class Case:
    """A dataset in its place: `files` are its segments' paths in order."""

    name: str
    dataset: Dataset
    record: DatasetRecord
    querier: Querier
    limits: EngineLimits
    files: list[Path]
    format: str

    def ask(self, **question: Any) -> int:
        with self.querier.ask(self.dataset, self.record, Question(dataset=self.dataset.name, **question)) as answer:
            return int(answer.table().num_rows)


def dataset(name: str, window: Window) -> Dataset:
    keys = Dedupe(keys=("device", "ts"))
    return Dataset(name=name, schema=Schema(columns=COLUMNS), time="ts", start=START, window=window, dedupe=keys)


def build(folder: Path, name: str, window: Window, *, partitions: int, rows: int, format: str) -> Case:
    """Write sealed segments and their catalog rows."""
    declared = dataset(name, window)
    catalog = Catalog.open(f"sqlite:///{folder / (name + '.sqlite')}")
    store = LocalStore(folder / "data", staging_root=folder / "data" / ".staging")
    limits = EngineLimits(memory_bytes=2_000_000_000, threads=2, temp_dir=folder / "spill")
    record = catalog.datasets.register(declared, actor="benchmark")
    segments, uploads, staging = [], [], store.staging("benchmark")
    with connect(limits) as con:
        start = START
        for number in range(partitions):
            end = window.after(start)
            query = rows_sql(start, (end - start) / rows, rows)
            path = staging / f"{number}.{format}"
            if format == "duckdb":
                file = write_duckdb(con, query, path, view=name, visible=declared.schema.names)
            else:
                file = write_parquet(con, query, path)
            partition = window.partition(start)
            uploads.append(Upload(staged=path, name=f"{name}/{partition.path_name}/sealed-{number}.{format}"))
            segments.append(
                segment(uploads[-1].name, start, end, rows=file.rows, size=file.bytes, format=format, stats=file.stats)
            )
            start = end
    commit(catalog, record, segments)
    store.promote(uploads)
    files = [store.local_path(upload.name) for upload in uploads]
    querier = Querier(catalog, Storage.of(store), limits, holder="benchmark")
    return Case(name=name, dataset=declared, record=record, querier=querier, limits=limits, files=files, format=format)


def rows_sql(start: datetime, step: timedelta, rows: int) -> str:
    """Rows sorted by device and time, as a build leaves them."""
    first = f"TIMESTAMP '{start.replace(tzinfo=None)}'"
    time = f"{first} + to_microseconds(CAST(i * {step / timedelta(microseconds=1)} AS BIGINT))"
    return (
        f"SELECT format('device-{{:03d}}', i % {DEVICES}) AS device, {time} AS ts,"
        " sin(i) * 20 AS value, random() AS flow, i % 7 AS status, 1::BIGINT AS __source, i AS __position, 1::BIGINT AS __session"
        f" FROM range({rows}) t(i) ORDER BY device, ts"
    )


def segment(name: str, start: datetime, end: datetime, *, rows: int, size: int, format: str, stats: Any) -> NewSegment:
    return NewSegment(
        name=name,
        partition_start=start,
        kind="sealed",
        format=format,
        rows=rows,
        bytes=size,
        min_time=start,
        max_time=end - timedelta(microseconds=1),
        schema_version=1,
        semantic_key=(),
        deduplicated=True,
        source_ids=(1,),
        stats=stats,
    )


def commit(catalog: Catalog, record: DatasetRecord, segments: list[NewSegment]) -> None:
    source = catalog.sources.ensure(record.id, "files", "benchmark")
    part = catalog.sources.partition(source.id, "benchmark")
    session = catalog.sessions.begin(record.id, "land", holder="benchmark", ttl=timedelta(hours=1))
    names = [one.name for one in segments]
    catalog.sessions.announce(session, names)
    rows = sum(one.rows for one in segments)
    catalog.commits.land(
        LandingCommit(
            dataset_id=record.id,
            session_id=session,
            source_id=source.id,
            progress=RequestOutcomes(span=Span(source_partition_id=part.id, start=part.position, end=Position(offset=rows))),
            counters=Counters(read=rows, landed=rows),
            segments=tuple(segments),
        )
    )
    catalog.sessions.end(session)


@contextmanager
def plain(case: Case) -> Iterator[Callable[[str], int]]:
    """DuckDB on the same files: a function that runs SQL over a view `t` of all of them."""
    with connect(case.limits) as con:
        if case.format == "duckdb":
            for number, path in enumerate(case.files):
                con.execute(f"ATTACH {literal(str(path))} AS file_{number} (READ_ONLY)").fetchall()
            tables = " UNION ALL ".join(f"SELECT * FROM file_{number}.segment" for number in range(len(case.files)))
            con.execute(f"CREATE TEMP VIEW t AS {tables}").fetchall()
        else:
            names = ", ".join(literal(str(path)) for path in case.files)
            con.execute(f"CREATE TEMP VIEW t AS SELECT * FROM read_parquet([{names}])").fetchall()
        yield lambda sql: int(con.sql(sql).to_arrow_table().num_rows)


def compare(case: Case, rounds: int) -> None:
    middle = START + (case.dataset.window.after(START) - START) * (len(case.files) // 2)
    after = case.dataset.window.after(middle)
    inside = f"ts >= '{middle:%Y-%m-%d %H:%M}' AND ts < '{after:%Y-%m-%d %H:%M}'"
    questions: list[tuple[str, dict[str, Any], str]] = [
        (
            "hourly averages",
            {"every": parse_every("1h"), "aggregates": AGGREGATES},
            "SELECT time_bucket(INTERVAL 1 HOUR, ts) AS b, avg(value), max(value), count(*) FROM t GROUP BY b ORDER BY b",
        ),
        (
            "one key",
            {"columns": ("ts", "value"), "where": "device = 'device-042'"},
            "SELECT ts, value FROM t WHERE device = 'device-042' ORDER BY ts",
        ),
        (
            "one partition",
            {"columns": ("ts", "value"), "start": middle, "end": after, "limit": 1000},
            f"SELECT ts, value FROM t WHERE {inside} ORDER BY ts, value LIMIT 1000",
        ),
    ]
    with plain(case) as direct:
        for label, question, sql in questions:
            ours, theirs = [], []
            first = timed(lambda question=question: case.ask(**question))
            assert case.ask(**question) == direct(sql)
            for _ in range(rounds):
                theirs.append(timed(lambda sql=sql: direct(sql)))
                ours.append(timed(lambda question=question: case.ask(**question)))
            mine, plain_ = statistics.median(ours), statistics.median(theirs)
            print(f"{case.name:<16} {label:<16} {mine:9.1f} ms {plain_:9.1f} ms {mine / plain_:6.2f}   first {first:7.1f} ms")


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1000


def planning(folder: Path, rounds: int) -> None:
    """Planning only, over catalog rows without files."""
    declared = dataset("many", Window.HOUR)
    catalog = Catalog.open(f"sqlite:///{folder / 'many.sqlite'}")
    record = catalog.datasets.register(declared, actor="benchmark")
    stats = {"device": ColumnStats(min="a", max="b"), "value": ColumnStats(min=0.0, max=1.0)}
    hours = [START + timedelta(hours=number) for number in range(10_000)]
    commit(
        catalog,
        record,
        [
            segment(f"many/{i}", at, at + timedelta(hours=1), rows=10, size=10, format="parquet", stats=stats)
            for i, at in enumerate(hours)
        ],
    )
    store = LocalStore(folder / "none", staging_root=folder / "none" / ".staging")
    querier = Querier(
        catalog, Storage.of(store), EngineLimits(memory_bytes=500_000_000, threads=2, temp_dir=folder), holder="benchmark"
    )
    cases: list[tuple[str, dict[str, Any]]] = [
        ("everything", {}),
        ("one day", {"start": hours[5000], "end": hours[5024]}),
        ("a value filter", {"where": "value > 2"}),
    ]
    for label, question in cases:
        asked = Question(dataset="many", **question)
        first = timed(lambda asked=asked: querier.plan(declared, record, asked))
        times = [timed(lambda asked=asked: querier.plan(declared, record, asked)) for _ in range(rounds * 3)]
        chosen = querier.plan(declared, record, asked)
        spent = f"{first:6.1f} ms, then {statistics.median(times):6.1f} ms"
        print(f"planning {label:<16} {spent}   {chosen.scanned:,} read, {chosen.pruned:,} pruned")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=119_000, help="rows of each of the 168 hourly partitions")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        planning(folder, options.rounds)
        print(f"{'dataset':<16} {'question':<16} {'timestore':>12} {'DuckDB':>12} {'ratio':>6}")
        for format in ("duckdb", "parquet"):
            case = build(folder, f"hourly_{format}", Window.HOUR, partitions=168, rows=options.rows, format=format)
            compare(case, options.rounds)
            case.querier.close()
        small = build(folder, "small_parquet", Window.DAY, partitions=2000, rows=1000, format="parquet")
        compare(small, options.rounds)
        small.querier.close()


if __name__ == "__main__":
    main()
