"""InfluxDB 1.x: line protocol in, InfluxQL out. Its answers come as JSON, which is decoded within the time that is measured."""

from __future__ import annotations

import json
import os
import time
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.suite.cpu_queries import TAGS, VALUES, CpuQuery
from benchmarks.suite.engines import servers
from benchmarks.suite.engines.engine import FileKind, InProcess, NotOfferedError, Window
from benchmarks.suite.engines.lines import lines_of


class Influx(InProcess):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._stack = ExitStack()
        self._server = self._stack.enter_context(servers.running("influxdb", os.environ["BENCH_SERVER"], folder))

    def load(self, file: Path, kind: FileKind, window: Window) -> int:
        if kind == "csv" or window == "hour":
            raise NotOfferedError("it takes lines of its own protocol, which the queries' part measures")
        rows = 0
        for batch in pq.ParquetFile(file).iter_batches(10_000):
            self._server.call("POST", f"{self._server.write_path}&precision=u", lines_of(batch))
            rows += batch.num_rows
        return rows

    def ask(self, query: CpuQuery, *, note: str) -> pa.Table:
        series = self._asked(_text(query))
        if query.kind in ("high", "last"):
            return _rows(series)
        values = [f"{_PREFIX[query.kind]}_{value}" for value in query.values]
        columns: dict[str, list[Any]] = {name: [] for name in ("bucket", "hostname", *values)}
        for one in series:
            for at, *found in one["values"]:
                if all(value is None for value in found):
                    continue  # a bucket without rows
                columns["bucket"].append(at)
                columns["hostname"].append(one.get("tags", {}).get("hostname"))
                for name, value in zip(values, found, strict=True):
                    columns[name].append(value)
        if query.kind != "mean":
            del columns["hostname"]
        if query.kind == "newest":
            columns = {name: found[:5] for name, found in columns.items()}
        table = pa.table(columns)
        return table.set_column(0, "bucket", table["bucket"].cast(pa.timestamp("us")))

    def version(self) -> str:
        return "1.8.3"

    def cpu(self) -> float:
        return time.process_time() + self._server.cpu()

    def close(self) -> None:
        self._stack.close()

    def _asked(self, text: str) -> list[dict[str, Any]]:
        answer = json.loads(self._server.call("GET", "/query?" + urlencode({"db": "bench", "epoch": "u", "q": text})))
        result = answer["results"][0]
        if "error" in result:
            raise RuntimeError(result["error"])
        found: list[dict[str, Any]] = result.get("series", [])
        return found


_PREFIX = {"most": "max", "newest": "max", "mean": "mean"}


def _text(query: CpuQuery) -> str:
    window = f"time >= '{_time(query.start)}' AND time < '{_time(query.end)}'"
    among = "(" + " OR ".join(f"hostname = '{host}'" for host in query.hosts) + ") AND " if query.hosts else ""
    every = {"minute": "1m", "hour": "1h"}[query.every]
    if query.kind == "last":
        return "SELECT * FROM cpu GROUP BY hostname ORDER BY time DESC LIMIT 1"
    if query.kind == "high":
        return f"SELECT * FROM cpu WHERE {among}usage_user > 90 AND {window}"
    if query.kind == "newest":
        return f"SELECT max(usage_user) FROM cpu WHERE time < '{_time(query.end)}' GROUP BY time(1m) ORDER BY time DESC LIMIT 5"
    what = ", ".join(f"{'mean' if query.kind == 'mean' else 'max'}({value})" for value in query.values)
    hosts = ", hostname" if query.kind == "mean" else ""
    return f"SELECT {what} FROM cpu WHERE {among}{window} GROUP BY time({every}){hosts} fill(none)"


def _time(text: str) -> str:
    return f"{datetime.fromisoformat(text):%Y-%m-%dT%H:%M:%SZ}"


_NO_ROWS = pa.schema(
    [("time", pa.timestamp("us")), *((tag, pa.string()) for tag in TAGS), *((value, pa.int64()) for value in VALUES)]
).empty_table()


def _rows(series: list[dict[str, Any]]) -> pa.Table:
    """Rows as they were written, with a tag by which they were grouped as a column again."""
    tables = [_NO_ROWS]
    for one in series:
        columns = dict(zip(one["columns"], zip(*one["values"], strict=True), strict=True))
        columns |= {tag: [value] * len(one["values"]) for tag, value in one.get("tags", {}).items()}
        table = pa.table({name: list(columns[name]) for name in ("time", *TAGS, *VALUES)})
        tables.append(table.set_column(0, "time", table["time"].cast(pa.timestamp("us"))))
    return pa.concat_tables(tables)


def made(folder: Path) -> Influx:
    return Influx(folder)
