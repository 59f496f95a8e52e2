"""dlt: a pipeline into its DuckDB destination. It loads, and leaves asking to the destination."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import dlt
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq

from benchmarks.suite.cpu_queries import TAGS, VALUES, CpuQuery
from benchmarks.suite.engines.engine import FileKind, InProcess, NotOfferedError, Window


class Pipeline(InProcess):
    def load(self, file: Path, kind: FileKind, window: Window) -> int:
        os.environ["DLT_DATA_DIR"] = str(self.folder / "dlt")
        os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
        path = self.folder / "table.duckdb"
        pipeline = dlt.pipeline(
            "cpu",
            pipelines_dir=str(self.folder / "pipelines"),
            dataset_name="bench",
            destination=dlt.destinations.duckdb(str(path)),
        )
        pipeline.run(dlt.resource(_batches(file, kind), name="cpu"), loader_file_format="parquet")
        with pipeline.sql_client() as client:
            return int(client.execute_sql("SELECT count(*) FROM cpu")[0][0])

    def ask(self, query: CpuQuery, *, note: str) -> pa.Table:
        raise NotOfferedError("it loads; its destination is asked, which is DuckDB")

    def version(self) -> str:
        return str(dlt.__version__)


def _batches(file: Path, kind: FileKind) -> Iterator[pa.Table]:
    if kind == "parquet":
        for batch in pq.ParquetFile(file).iter_batches(500_000):
            yield pa.Table.from_batches([batch])
        return
    kinds = {"time": pa.timestamp("us")} | dict.fromkeys(TAGS, pa.string()) | dict.fromkeys(VALUES, pa.int64())
    options = csv.ConvertOptions(column_types=kinds)
    for batch in csv.open_csv(file, read_options=csv.ReadOptions(block_size=32_000_000), convert_options=options):
        yield pa.Table.from_batches([batch])


def made(folder: Path) -> Pipeline:
    return Pipeline(folder)
