"""Polars: lazy frames over Parquet that it has written itself, a file a day."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import polars as pl
import pyarrow as pa

from benchmarks.suite.cpu_queries import TAGS, VALUES, CpuQuery
from benchmarks.suite.engines.engine import FileKind, InProcess, Window


class Frames(InProcess):
    def load(self, file: Path, kind: FileKind, window: Window) -> int:
        rows = pl.scan_parquet(file) if kind == "parquet" else pl.scan_csv(file, schema=_kinds())
        part = pl.col("time").dt.strftime({"day": "%Y-%m-%d", "hour": "%Y-%m-%dT%H"}[window])
        target = pl.PartitionBy(self.folder / "written", key=part.alias("part"), include_key=False)
        rows.sink_parquet(target, mkdir=True)
        return int(
            pl.scan_parquet(self.folder / "written/**/*.parquet", hive_partitioning=False).select(pl.len()).collect().item()
        )

    def settle(self) -> None:
        (self.folder / "tidy").mkdir()
        for number, folder in enumerate(sorted((self.folder / "written").iterdir())):
            rows = pl.scan_parquet(folder / "*.parquet", hive_partitioning=False).sort("hostname", "time")
            rows.sink_parquet(self.folder / "tidy" / f"{number:05}.parquet")

    def ask(self, query: CpuQuery, *, note: str) -> pa.Table:
        rows = pl.scan_parquet(self.folder / "tidy/*.parquet", hive_partitioning=False)
        return _asked(rows, query).collect().to_arrow()

    def version(self) -> str:
        return str(pl.__version__)


def _asked(rows: pl.LazyFrame, query: CpuQuery) -> pl.LazyFrame:
    time = pl.col("time")
    start, end = pl.lit(datetime.fromisoformat(query.start)), pl.lit(datetime.fromisoformat(query.end))
    bucket = time.dt.truncate({"minute": "1m", "hour": "1h"}[query.every]).alias("bucket")
    if query.kind == "last":
        return rows.sort("time").group_by("hostname").last().select("time", *TAGS, *VALUES)
    if query.kind == "newest":
        most = pl.col("usage_user").max().alias("max_usage_user")
        return rows.filter(time < end).group_by(bucket).agg(most).sort("bucket", descending=True).limit(5)
    rows = rows.filter(time >= start, time < end)
    if query.hosts:
        rows = rows.filter(pl.col("hostname").is_in(query.hosts))
    if query.kind == "high":
        return rows.filter(pl.col("usage_user") > 90)
    if query.kind == "most":
        most = [pl.col(value).max().alias(f"max_{value}") for value in query.values]
        return rows.group_by(bucket).agg(most).sort("bucket")
    means = [pl.col(value).mean().alias(f"mean_{value}") for value in query.values]
    return rows.group_by(bucket, "hostname").agg(means).sort("bucket", "hostname")


def _kinds() -> pl.Schema:
    return pl.Schema({"time": pl.Datetime("us")} | dict.fromkeys(TAGS, pl.String) | dict.fromkeys(VALUES, pl.Int64))


def made(folder: Path) -> Frames:
    return Frames(folder)
