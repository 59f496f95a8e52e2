"""VictoriaMetrics: line protocol in, MetricsQL out, for the queries that it can say."""

from __future__ import annotations

import json
import os
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.suite.cpu_queries import CpuQuery
from benchmarks.suite.engines import servers
from benchmarks.suite.engines.engine import FileKind, InProcess, NotOfferedError, Window
from benchmarks.suite.engines.lines import lines_of


class Victoria(InProcess):
    """Its windows end where they are asked for, so a bucket is asked for one millisecond before the next begins."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._stack = ExitStack()
        self._server = self._stack.enter_context(servers.running("victoriametrics", os.environ["BENCH_SERVER"], folder))

    def load(self, file: Path, kind: FileKind, window: Window) -> int:
        if kind == "csv" or window == "hour":
            raise NotOfferedError("it takes lines of its own protocol, which the queries' part measures")
        rows = 0
        for batch in pq.ParquetFile(file).iter_batches(10_000):
            self._server.call("POST", f"{self._server.write_path}?precision=ms", lines_of(batch, divisor=1000))
            rows += batch.num_rows
        return rows

    def settle(self) -> None:
        self._server.call("GET", "/internal/force_flush")

    def ask(self, query: CpuQuery, *, note: str) -> pa.Table:
        if query.kind not in ("most", "mean"):
            raise NotOfferedError("PromQL gives series and no rows")
        length = 60 if query.every == "minute" else 3600
        series: list[dict[str, Any]] = []
        for began, ended, seconds in _stretches(query, length):
            series += self._range(_text(query, seconds), began + seconds, ended, length)
        return _table(query, series)

    def _range(self, text: str, first: int, last: int, step: int) -> list[dict[str, Any]]:
        """A value for each step; each belongs to the window that ends a millisecond behind it."""
        asked = {"query": text, "start": first - 0.001, "end": last - 0.001, "step": step, "nocache": 1}
        answer = json.loads(self._server.call("GET", "/api/v1/query_range?" + urlencode(asked)))
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def version(self) -> str:
        return "1.136.23"

    def cpu(self) -> float:
        return time.process_time() + self._server.cpu()

    def close(self) -> None:
        self._stack.close()


def _stretches(query: CpuQuery, length: int) -> list[tuple[int, int, int]]:
    """The window in stretches of buckets of one length: the rest of the first, whole ones, the beginning of the last."""
    start, end = (int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) for text in (query.start, query.end))
    first, last = -(-start // length) * length, end // length * length
    found = [(start, first, first - start), (first, last, length), (last, end, end - last)]
    return [(began, ended, seconds) for began, ended, seconds in found if began < ended]


def _text(query: CpuQuery, seconds: int) -> str:
    names = "|".join(query.values)
    among = f", hostname=~'{'|'.join(query.hosts)}'" if query.hosts else ""
    series = f"{{__name__=~'cpu_({names})'{among}}}[{seconds}s]"
    # without this MetricsQL drops the name, and with it what tells the values apart
    if query.kind == "most":
        return f"max(max_over_time({series}) keep_metric_names) by (__name__)"
    return f"avg(avg_over_time({series}) keep_metric_names) by (__name__, hostname)"


def _table(query: CpuQuery, series: list[dict[str, Any]]) -> pa.Table:
    prefix = "max" if query.kind == "most" else "mean"
    length = 60 if query.every == "minute" else 3600
    rows: dict[tuple[int, str], dict[str, float]] = {}
    for one in series:
        name = f"{prefix}_{one['metric']['__name__'].removeprefix('cpu_')}"
        for at, value in one["values"]:
            bucket = int(at) // length * length
            rows.setdefault((bucket, one["metric"].get("hostname", "")), {})[name] = float(value)
    keys = sorted(rows)
    columns: dict[str, Any] = {"bucket": pa.array([at * 1_000_000 for at, _ in keys], pa.timestamp("us"))}
    if query.kind == "mean":
        columns["hostname"] = [host for _, host in keys]
    for value in query.values:
        found = [rows[key].get(f"{prefix}_{value}") for key in keys]
        columns[f"{prefix}_{value}"] = pa.array(found, pa.float64())
    return pa.table(columns)


def made(folder: Path) -> Victoria:
    return Victoria(folder)
