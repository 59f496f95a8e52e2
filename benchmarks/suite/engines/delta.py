"""delta-rs: a Delta table by day, asked by its own DataFusion."""

from __future__ import annotations

from pathlib import Path

import deltalake
import pyarrow as pa
import pyarrow.dataset as ds
from deltalake import DeltaTable, QueryBuilder, write_deltalake

from benchmarks.suite.cpu_queries import TAGS, VALUES, CpuQuery
from benchmarks.suite.engines.engine import FileKind, InProcess, Window


class Delta(InProcess):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._table = str(folder / "table")
        self._builder: QueryBuilder | None = None

    def load(self, file: Path, kind: FileKind, window: Window) -> int:
        source = ds.dataset(file, format=_csv() if kind == "csv" else "parquet")
        time = ds.field("time").cast(pa.timestamp("us", "UTC"))
        length = {"day": 10, "hour": 13}[window]
        columns = {name: ds.field(name) for name in source.schema.names}
        part = pa.compute.utf8_slice_codeunits(ds.field("time").cast(pa.string()), 0, length)
        scanner = source.scanner(columns=columns | {"time": time, "part": part})
        write_deltalake(self._table, scanner.to_reader(), partition_by=["part"])
        added = pa.table(DeltaTable(self._table).get_add_actions(flatten=True))
        return int(pa.compute.sum(added.column("num_records")).as_py())

    def settle(self) -> None:
        """Its own compaction by the curve of host and time."""
        DeltaTable(self._table).optimize.z_order(["hostname", "time"])

    def ask(self, query: CpuQuery, *, note: str) -> pa.Table:
        if self._builder is None:
            self._builder = QueryBuilder().register("cpu", DeltaTable(self._table))
        # its column of partitions is no part of an answer
        text = query.sql().replace("SELECT *", f"SELECT time, {', '.join((*TAGS, *VALUES))}")
        text = text.replace("(hostname) *", f"(hostname) time, {', '.join((*TAGS, *VALUES))}")
        found = self._builder.execute(f"{text} -- {note}")
        return pa.table(found.read_all() if hasattr(found, "read_all") else found)

    def version(self) -> str:
        return str(deltalake.__version__)


def _csv() -> ds.CsvFileFormat:
    import pyarrow.csv as csv

    kinds = {"time": pa.timestamp("us")} | dict.fromkeys(TAGS, pa.string()) | dict.fromkeys(VALUES, pa.int64())
    return ds.CsvFileFormat(convert_options=csv.ConvertOptions(column_types=kinds))


def made(folder: Path) -> Delta:
    return Delta(folder)
