"""One Parquet file into a partitioned table: this project beside DuckDB's COPY, DuckLake, dlt and delta-rs, in one run.

    python benchmarks/bulk_peers.py --rows 10_000_000

Every contender writes Parquet by day (dlt: as a Delta table) from the same file, whose rows are in no order, each in a process of
its own, in turns, so that what else the machine does meets all of them. The others are installed into an environment of this
benchmark's own, below `--environments`, from the package index that pip is set up with. DuckLake is an extension that DuckDB
downloads; where it can't be had it is left out, and said so.

What they do differs. Landing identifies the file, checks every value, keeps where each row is from, syncs segments to disk and
commits to a catalog; COPY only writes files; DuckLake and delta-rs commit to a catalog or log; dlt reads, normalises and loads.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from suite.environments import environment

DAYS = 30

LAND = """
from datetime import UTC, datetime
from timestore_assets.catalog.catalog import Catalog
from timestore_assets.sources.folders import local_file
from timestore_assets.landing.files.lander import Lander
from timestore_assets.model.dataset import Dataset, FileSource
from timestore_assets.model.schema import Checks, Column, Schema
from timestore_assets.model.types import parse_type
from timestore_assets.model.window import Window
from timestore_assets.segments.engine import EngineLimits
from timestore_assets.segments.publishing import WriteContext
from timestore_assets.storage.local import LocalStore
from timestore_assets.storage.targets import Storage

kinds = {"ts": "timestamp", "device": "string", "temp": "double", "n": "int32", "x": "double", "y": "double", "ok": "bool"}
checks = {"temp": Checks(ge=-60, le=140), "n": Checks(ge=0)}
columns = tuple(Column(name=name, type=parse_type(kind), checks=checks.get(name, Checks())) for name, kind in kinds.items())
start = datetime(2024, 1, 1, tzinfo=UTC)
dataset = Dataset(name="bulk", schema=Schema(columns=columns), time="ts", start=start, window=Window.DAY)
catalog = Catalog.open(f"sqlite:///{folder / 'catalog.db'}")
store = LocalStore(folder / "data", staging_root=folder / "data" / ".staging")
limits = EngineLimits(memory_bytes=1_000_000_000, threads=os.cpu_count() or 1, temp_dir=folder / "temp")
begin()
lander = Lander(WriteContext(catalog=catalog, storage=Storage.of(store), limits=limits, holder="benchmark"))
report = lander.land_files(dataset, FileSource(prefix="inbox"), [local_file(file, folder)], actor="benchmark")
rows = report.counters.landed
"""

COPY = """
import duckdb

begin()
con = duckdb.connect()
target = folder / "out"
done = con.execute(
    f"COPY (SELECT *, CAST(ts AS DATE) AS day FROM '{file}') TO '{target}' (FORMAT parquet, PARTITION_BY (day))"
).fetchone()
rows = done[0]
"""

DUCKLAKE = """
import duckdb

con = duckdb.connect()
try:
    con.execute("INSTALL ducklake; LOAD ducklake")
except duckdb.Error as error:
    missing(str(error).splitlines()[0])
con.execute(f"ATTACH 'ducklake:{folder / 'lake.ducklake'}' AS lake (DATA_PATH '{folder / 'data'}')")
con.execute(f"CREATE TABLE lake.bulk AS SELECT * FROM '{file}' LIMIT 0")
con.execute("ALTER TABLE lake.bulk SET PARTITIONED BY (year(ts), month(ts), day(ts))")
begin()
con.execute(f"INSERT INTO lake.bulk SELECT * FROM '{file}'")
rows = con.execute("SELECT count(*) FROM lake.bulk").fetchone()[0]
"""

DELTA = """
import pyarrow as pa
import pyarrow.dataset as ds
from deltalake import DeltaTable, write_deltalake

begin()
source = ds.dataset(file)
day = ds.field("ts").cast(pa.date32())
scanner = source.scanner(columns={name: ds.field(name) for name in source.schema.names} | {"day": day})
write_deltalake(str(folder / "table"), scanner.to_reader(), partition_by=["day"])
rows = sum(DeltaTable(str(folder / "table")).get_add_actions(flatten=True)["num_records"].to_pylist())
"""

DLT = """
import dlt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable

os.environ["DLT_DATA_DIR"] = str(folder / "dlt")


@dlt.resource(name="bulk", table_format="delta", columns={"day": {"partition": True}})
def bulk():
    for batch in pq.ParquetFile(file).iter_batches(500_000):
        table = pa.Table.from_batches([batch])
        yield table.append_column("day", pc.cast(table.column("ts"), pa.date32()))


begin()
pipeline = dlt.pipeline(
    "bulk", pipelines_dir=str(folder / "pipelines"), dataset_name="bulk",
    destination=dlt.destinations.filesystem(bucket_url=(folder / "data").as_uri()),
)
pipeline.run(bulk(), loader_file_format="parquet")
table = DeltaTable(str(folder / "data" / "bulk" / "bulk"))
rows = sum(pa.table(table.get_add_actions(flatten=True)).column("num_records").to_pylist())
"""

CONTENDERS = {"land": LAND, "copy": COPY, "ducklake": DUCKLAKE, "delta-rs": DELTA, "dlt": DLT}

FRAME = """
import json, os, resource, sys, time
from pathlib import Path

file, folder = Path(sys.argv[1]), Path(sys.argv[2])
started = 0.0


def begin():
    global started
    started = time.perf_counter()


def missing(why):
    print(json.dumps({{"missing": why}}))
    raise SystemExit


{work}
print(json.dumps({{
    "seconds": time.perf_counter() - started, "rows": rows,
    "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000,
}}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--only", nargs="*", choices=sorted(CONTENDERS), help="these contenders; all by default")
    parser.add_argument("--environments", type=Path, help="where the others are, or get, installed; below --folder by default")
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder by default")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        _compare(options, Path(folder))


def _compare(options: argparse.Namespace, folder: Path) -> None:
    file = folder / "input.parquet"
    _make_input(file, options.rows)
    print(f"{options.rows:,} rows x 7 columns, {file.stat().st_size / 1e6:.0f} MB of Parquet, {DAYS} days", flush=True)
    names = [name for name in CONTENDERS if not options.only or name in options.only]
    made = {name: environment(options.environments or folder, name) for name in names}
    for name, one in made.items():
        if one.missing:
            print(f"{name:9} left out: {one.missing}", flush=True)
    names = [name for name in names if not made[name].missing]
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for number in range(options.repetitions):
        for name in list(found):
            result = _run(made[name].python, name, file, folder / f"{name}-{number}")
            if "missing" in result:
                print(f"{name:9} left out: {result['missing']}", flush=True)
                del found[name]
            else:
                assert result["rows"] == options.rows, (name, result)
                found[name].append(result)
    _report(options, found)


def _report(options: argparse.Namespace, found: dict[str, list[dict[str, float]]]) -> None:
    land = statistics.median(result["seconds"] for result in found["land"]) if "land" in found else None
    for name, results in found.items():
        seconds = statistics.median(result["seconds"] for result in results)
        every = ", ".join(f"{result['seconds']:.2f}" for result in results)
        ratio = f"landing is {seconds / land:.2f} times as fast" if land and name != "land" else ""
        peak = max(result["peak_mb"] for result in results)
        print(f"{name:9} {seconds:6.2f} s  {options.rows / seconds / 1e6:5.2f} M rows/s  peak {peak:5.0f} MB  {ratio} ({every})")


def _run(python: str, name: str, file: Path, folder: Path) -> dict[str, float]:
    folder.mkdir()
    script = folder / "work.py"
    script.write_text(FRAME.format(work=CONTENDERS[name]))
    done = subprocess.run(
        [python, str(script), str(file), str(folder)], stdout=subprocess.PIPE, text=True, timeout=1800, check=True
    )
    subprocess.run(["rm", "-rf", str(folder)], check=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    time.sleep(0.5)  # what was removed is not written out any more
    return result


def _make_input(path: Path, rows: int) -> None:
    import duckdb

    span = DAYS * 86_400_000_000
    with duckdb.connect() as con:
        con.execute(
            f"""COPY (SELECT TIMESTAMP '2024-01-01' + to_microseconds((random() * {span - 1})::BIGINT) AS ts,
                'dev' || (random() * 1000)::INT AS device, random() * 100 AS temp, (random() * 1000)::INT AS n,
                random() AS x, random() * 5 AS y, random() > 0.5 AS ok FROM range({rows})) TO '{path}' (FORMAT parquet)"""
        )


if __name__ == "__main__":
    main()
