"""Questions about segments in an S3 server beside the same ones about local files: cold, warm, and bytes fetched for them.

`python benchmarks/cloud_queries.py [--days 20] [--rows 1000000] [--rounds 5] [--delay-ms 0] [--whole]` prints, for Parquet
and for `.duckdb` segments of `--rows` rows a day, medians in milliseconds and their ratios:

* local: the files of a folder, asked again and again;
* warm: the same objects of the server, all in the read cache; cold: nothing is on this machine;
* fetched: what the server sent for the cold question; needed: the footers and the chunks of the columns that it reads (of a
  `.duckdb` segment the whole file); of: what the segments that it reads take as a whole.

The server is the one that the tests use, in a process of its own on loopback. With `--delay-ms` a proxy in Python stands
before it, which lets every request wait so long, and is itself a brake on what is large.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.commit_values import LandingCommit, RequestOutcomes, Span
from timestore_assets.catalog.records import DatasetRecord
from timestore_assets.model.aggregate_text import parse_aggregates
from timestore_assets.model.counters import Counters
from timestore_assets.model.dataset import Dataset, Dedupe
from timestore_assets.model.position import Position
from timestore_assets.model.question import Question, parse_every
from timestore_assets.model.schema import Column, Schema
from timestore_assets.model.segment import NewSegment
from timestore_assets.model.types import DOUBLE, INT64, STRING, TIMESTAMP
from timestore_assets.model.window import Window
from timestore_assets.querying.reading.querier import Querier
from timestore_assets.segments.engine import EngineLimits, connect
from timestore_assets.segments.writer import write_duckdb, write_parquet
from timestore_assets.settings import Settings
from timestore_assets.storage.cache.column_ranges import needed_bytes
from timestore_assets.storage.cache.read_cache import ReadCache
from timestore_assets.storage.local import LocalStore
from timestore_assets.storage.object_store import Upload
from timestore_assets.storage.remote.remote_store import RemoteStore
from timestore_assets.storage.target_settings import configured_targets
from timestore_assets.storage.targets import Storage
from timestore_assets_tests.support.bucket_settings import credentials, target_settings
from timestore_assets_tests.support.object_server_start import s3_server
from timestore_assets_tests.support.rough_store import rough_store

START = datetime(2024, 1, 1, tzinfo=UTC)
DEVICES = 500
COLUMNS = (
    Column(name="device", type=STRING),
    Column(name="ts", type=TIMESTAMP),
    Column(name="value", type=DOUBLE, nullable=True),
    Column(name="flow", type=DOUBLE, nullable=True),
    Column(name="pressure", type=DOUBLE, nullable=True),
    Column(name="note", type=STRING, nullable=True),
    Column(name="status", type=INT64, nullable=True),
)
CACHE_BYTES = 20_000_000_000


@dataclass(kw_only=True)
class Ground:
    """A dataset of one format, in a folder and in a bucket. `paths`: the local files by object name."""

    dataset: Dataset
    record: DatasetRecord
    local: Querier
    remote: Querier
    cache: ReadCache
    paths: dict[str, Path]

    def ask(self, querier: Querier, question: Question) -> int:
        with querier.ask(self.dataset, self.record, question) as answer:
            return sum(batch.num_rows for batch in answer.batches())

    def forget(self, question: Question) -> None:
        """Nothing is on this machine any more, and nothing is attached; a connection and the plan are there."""
        before = self.remote
        before.close()
        self.cache.shelf.clear()
        self.remote = Querier(before.catalog, before.storage, before.limits, holder=before.holder)
        self.remote.plan(self.dataset, self.record, question)


def questions(dataset: str, days: int) -> list[tuple[str, Question, frozenset[str]]]:
    """Each with the columns that it reads."""
    middle = START + timedelta(days=days // 2)
    one, noon = "device = 'device-042'", middle + timedelta(hours=12)
    return [
        (
            "a day of one device",
            Question(dataset=dataset, start=middle, end=middle + timedelta(days=1), columns=("ts", "value"), where=one),
            frozenset({"ts", "value", "device"}),
        ),
        ("a column of all", Question(dataset=dataset, columns=("value",)), frozenset({"ts", "value"})),
        (
            "hourly means of all",
            Question(dataset=dataset, every=parse_every("1h"), aggregates=parse_aggregates("avg:value,count")),
            frozenset({"ts", "value"}),
        ),
        (
            "a point",
            Question(dataset=dataset, start=noon, end=noon + timedelta(minutes=5), where=one, limit=1),
            frozenset(column.name for column in COLUMNS),
        ),
    ]


def build(folder: Path, remote: RemoteStore, cache: ReadCache, *, days: int, rows: int, format: str) -> Ground:
    """Write sealed segments and their catalog rows, and upload the same files."""
    keys = Dedupe(keys=("device", "ts"))
    declared = Dataset(
        name=f"daily_{format}", schema=Schema(columns=COLUMNS), time="ts", start=START, window=Window.DAY, dedupe=keys
    )
    catalog = Catalog.open(f"sqlite:///{folder / (declared.name + '.sqlite')}")
    local = LocalStore(folder / "data", staging_root=folder / "data" / ".staging")
    limits = EngineLimits(memory_bytes=2_000_000_000, threads=2, temp_dir=folder / "spill")
    record = catalog.datasets.register(declared, actor="benchmark")
    segments = []
    with connect(limits) as con:
        for number in range(days):
            start = START + timedelta(days=number)
            path = local.staging("benchmark") / f"{number}.{format}"
            if format == "duckdb":
                file = write_duckdb(con, rows_sql(start, rows), path, view=declared.name, visible=declared.schema.names)
            else:
                file = write_parquet(con, rows_sql(start, rows), path)
            name = f"{declared.name}/{start:%Y-%m-%d}/sealed-{number}.{format}"
            copy = shutil.copy(path, remote.staging("benchmark") / path.name)
            remote.promote([Upload(staged=Path(copy), name=name)])
            local.promote([Upload(staged=path, name=name)])
            segments.append(
                NewSegment(
                    name=name,
                    partition_start=start,
                    kind="sealed",
                    format=format,
                    rows=file.rows,
                    bytes=file.bytes,
                    min_time=start,
                    max_time=start + timedelta(days=1, microseconds=-1),
                    schema_version=1,
                    semantic_key=(),
                    deduplicated=True,
                    source_ids=(1,),
                    stats=file.stats,
                )
            )
    commit(catalog, record, segments)
    return Ground(
        dataset=declared,
        record=record,
        local=Querier(catalog, Storage.of(local), limits, holder="local"),
        remote=Querier(catalog, Storage.of(remote), limits, holder="remote"),
        cache=cache,
        paths={segment.name: local.local_path(segment.name) for segment in segments},
    )


def rows_sql(start: datetime, rows: int) -> str:
    """Rows of a day, sorted by device and time as a build leaves them."""
    time = f"TIMESTAMP '{start:%Y-%m-%d}' + to_microseconds(CAST(i * {86_400_000_000 / rows} AS BIGINT))"
    return (
        f"SELECT format('device-{{:03d}}', i % {DEVICES}) AS device, {time} AS ts, sin(i) * 20 AS value, random() AS flow,"
        " random() * 1000 AS pressure, 'batch ' || hash(i // 1000) AS note, i % 7 AS status,"
        " 1::BIGINT AS __source, i AS __position, 1::BIGINT AS __session"
        f" FROM range({rows}) t(i) ORDER BY device, ts"
    )


def commit(catalog: Catalog, record: DatasetRecord, segments: Sequence[NewSegment]) -> None:
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


def compare(ground: Ground, rounds: int, days: int) -> None:
    for label, question, columns in questions(ground.dataset.name, days):
        ground.forget(question)
        chosen = ground.local.plan(ground.dataset, ground.record, question).whole.segments
        paths = [ground.paths[segment.name] for segment in chosen]
        needed = sum(needed_bytes(path, columns) if path.suffix == ".parquet" else path.stat().st_size for path in paths)
        assert ground.ask(ground.remote, question) == ground.ask(ground.local, question)
        cold, fetched = [], 0
        for _ in range(rounds):
            ground.forget(question)
            before = ground.cache.counts.fetched_bytes
            cold.append(timed(lambda question=question: ground.ask(ground.remote, question)))
            fetched = ground.cache.counts.fetched_bytes - before
        warm, local = [], []
        for _ in range(rounds):
            warm.append(timed(lambda question=question: ground.ask(ground.remote, question)))
            local.append(timed(lambda question=question: ground.ask(ground.local, question)))
        medians = [statistics.median(times) for times in (local, warm, cold)]
        times = "".join(f"{value:10.1f}" for value in medians)
        ratios = "".join(f"{value / medians[0]:8.2f}" for value in medians[1:])
        sizes = "".join(f"{value / 1e6:10.2f}" for value in (fetched, needed, sum(segment.bytes for segment in chosen)))
        print(f"{ground.dataset.name:<14} {label:<20}{times}{ratios}{sizes}", flush=True)


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1000


@contextmanager
def bucket(folder: Path, delay_ms: float, whole: bool) -> Iterator[tuple[RemoteStore, ReadCache]]:
    """A store in a new bucket of a server that runs for as long, and the cache that it reads by."""
    with ExitStack() as stack:
        server = stack.enter_context(s3_server())
        print(f"server: {server.product}, {delay_ms:g} ms before each request")
        os.environ.update(credentials(server))
        if delay_ms:
            rough = stack.enter_context(rough_store(server))
            rough.delay_seconds = delay_ms / 1000
            server = rough.server
        settings = Settings(home=folder / "home", **target_settings(server))
        cache = ReadCache(settings.cache_folder, CACHE_BYTES, range_bytes=None if whole else settings.query_range_bytes)
        target = configured_targets(settings)["default"]
        yield RemoteStore(target, settings, staging_root=folder / "staging", cache=cache), cache


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--days", type=int, default=20, help="partitions of one segment each")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of each of them")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--delay-ms", type=float, default=0.0, help="what each request to the server waits")
    parser.add_argument("--whole", action="store_true", help="fetch every object whole, never some columns of one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, bucket(Path(name), options.delay_ms, options.whole) as (remote, cache):
        head = "".join(f"{word:>10}" for word in ("local ms", "warm ms", "cold ms"))
        print(f"{'dataset':<14} {'question':<20}{head}{'warm/':>8}{'cold/':>8}{'fetched MB':>10}{'needed':>10}{'of':>10}")
        for format in ("parquet", "duckdb"):
            ground = build(Path(name), remote, cache, days=options.days, rows=options.rows, format=format)
            compare(ground, options.rounds, options.days)
            ground.remote.close()
            ground.local.close()


if __name__ == "__main__":
    main()
