"""DuckDB alone: one table in its own file."""

from __future__ import annotations

import os
from pathlib import Path

import duckdb
import pyarrow as pa

from benchmarks.suite.cpu_queries import CpuQuery
from benchmarks.suite.engines.engine import MEMORY_BYTES, FileKind, InProcess, Window


class DuckDBTable(InProcess):
    """With the same memory and threads as this project takes."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._con = connection(folder, folder / "table.duckdb")

    def load(self, file: Path, kind: FileKind, window: Window) -> int:
        self._con.execute(f"CREATE TABLE cpu AS SELECT * FROM {rows_of(file, kind)}")
        self._con.execute("CHECKPOINT")
        return counted(self._con, "cpu")

    def settle(self) -> None:
        """Sorted as this project sorts: by day, host and time."""
        self._con.execute("CREATE TABLE tidy AS SELECT * FROM cpu ORDER BY time::DATE, hostname, time")
        self._con.execute("DROP TABLE cpu")
        self._con.execute("ALTER TABLE tidy RENAME TO cpu")
        self._con.execute("CHECKPOINT")

    def ask(self, query: CpuQuery, *, note: str) -> pa.Table:
        return self._con.sql(f"{query.sql()} -- {note}").to_arrow_table()

    def version(self) -> str:
        return str(duckdb.__version__)

    def close(self) -> None:
        self._con.close()


def connection(folder: Path, path: Path | str) -> duckdb.DuckDBPyConnection:
    """DuckDB with the limits of this project."""
    threads = int(os.environ.get("TIMESTORE_THREADS", 0)) or len(os.sched_getaffinity(0))
    con = duckdb.connect(
        str(path), config={"memory_limit": f"{MEMORY_BYTES}B", "threads": threads, "temp_directory": str(folder / "spill")}
    )
    con.execute("SET TimeZone='UTC'")
    return con


def rows_of(file: Path, kind: FileKind) -> str:
    """What reads a file's rows in SQL. Of CSV the types are told: a service called 1 is a text."""
    if kind == "parquet":
        return f"read_parquet('{file}')"
    from benchmarks.suite.cpu_queries import TAGS, VALUES

    kinds = {"time": "TIMESTAMP"} | dict.fromkeys(TAGS, "VARCHAR") | dict.fromkeys(VALUES, "BIGINT")
    columns = ", ".join(f"'{name}': '{type}'" for name, type in kinds.items())
    return f"read_csv('{file}', header=true, columns={{{columns}}})"


def counted(con: duckdb.DuckDBPyConnection, table: str) -> int:
    row = con.execute(f"SELECT count(*) FROM {table}").fetchone()
    assert row is not None
    return int(row[0])


def made(folder: Path) -> DuckDBTable:
    return DuckDBTable(folder)
