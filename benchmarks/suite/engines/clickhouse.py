"""ClickHouse in the process (chdb): a MergeTree by day, sorted by host and time."""

from __future__ import annotations

from pathlib import Path

import chdb
import pyarrow as pa
from chdb.session import Session

from benchmarks.suite.cpu_queries import TAGS, VALUES, CpuQuery
from benchmarks.suite.engines.engine import FileKind, InProcess, Window


class ClickHouse(InProcess):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._session = Session(str(folder / "clickhouse"))
        self._session.query("CREATE DATABASE IF NOT EXISTS bench ENGINE = Atomic")

    def load(self, file: Path, kind: FileKind, window: Window) -> int:
        columns = ["time DateTime64(6, 'UTC')"]
        columns += [f"{tag} LowCardinality(String)" for tag in TAGS] + [f"{value} Int64" for value in VALUES]
        part = "toYYYYMMDD(time)" if window == "day" else "toStartOfHour(time)"
        self._session.query(
            f"CREATE TABLE bench.cpu ({', '.join(columns)}) ENGINE = MergeTree PARTITION BY {part} ORDER BY (hostname, time)"
        )
        form = "Parquet" if kind == "parquet" else "CSVWithNames"
        told = ", ".join(columns).replace("'", "\\'")
        described = "" if kind == "parquet" else f", '{told}'"
        self._session.query(
            f"INSERT INTO bench.cpu SELECT * FROM file('{file}', {form}{described}) "
            "SETTINGS max_partitions_per_insert_block = 0, throw_on_max_partitions_per_insert_block = 0"
        )
        return int(str(self._session.query("SELECT count() FROM bench.cpu", "CSV")).strip())

    def settle(self) -> None:
        self._session.query("OPTIMIZE TABLE bench.cpu FINAL")

    def ask(self, query: CpuQuery, *, note: str) -> pa.Table:
        return self._session.query(f"{query.sql('bench.cpu')} -- {note}", "ArrowTable")

    def version(self) -> str:
        return str(chdb.engine_version) if hasattr(chdb, "engine_version") else str(chdb.__version__)

    def close(self) -> None:
        self._session.close()


def made(folder: Path) -> ClickHouse:
    return ClickHouse(folder)
