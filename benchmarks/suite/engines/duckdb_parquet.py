"""DuckDB alone: Parquet files that it has written itself, a folder a day."""

from __future__ import annotations

import shutil
from pathlib import Path

import duckdb
import pyarrow as pa

from benchmarks.suite.cpu_queries import CpuQuery
from benchmarks.suite.engines.duckdb_table import connection, counted, rows_of
from benchmarks.suite.engines.engine import FileKind, InProcess, Window


class DuckDBParquet(InProcess):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._con = connection(folder, ":memory:")
        self._window: Window = "day"

    def load(self, file: Path, kind: FileKind, window: Window) -> int:
        self._window = window
        self._copy(rows_of(file, kind), "written")
        self._view("written")
        return counted(self._con, "cpu")

    def settle(self) -> None:
        """Each folder anew, sorted by host and time."""
        self._copy("cpu", "tidy", order="ORDER BY hostname, time")
        self._view("tidy")
        shutil.rmtree(self.folder / "written")

    def ask(self, query: CpuQuery, *, note: str) -> pa.Table:
        return self._con.sql(f"{query.sql()} -- {note}").to_arrow_table()

    def version(self) -> str:
        return str(duckdb.__version__)

    def close(self) -> None:
        self._con.close()

    def _copy(self, rows: str, to: str, order: str = "") -> None:
        began = f"date_trunc('{self._window}', time)"
        selected = f"SELECT *, {began} AS part FROM {rows}"
        if order:
            selected += f" ORDER BY part, {order.removeprefix('ORDER BY ')}"
        self._con.execute(f"COPY ({selected}) TO '{self.folder / to}' (FORMAT parquet, COMPRESSION zstd, PARTITION_BY (part))")

    def _view(self, of: str) -> None:
        files = f"read_parquet('{self.folder / of}/*/*.parquet', hive_partitioning=false)"
        self._con.execute(f"CREATE OR REPLACE VIEW cpu AS SELECT * FROM {files}")


def made(folder: Path) -> DuckDBParquet:
    return DuckDBParquet(folder)
