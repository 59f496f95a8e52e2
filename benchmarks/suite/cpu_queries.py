"""The fifteen queries of TSBS's cpu-only case, with hosts and windows of time drawn by a seed.

Nothing here but Python itself: engines of other environments read it too.
"""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

TAGS = (
    "hostname",
    "region",
    "datacenter",
    "rack",
    "os",
    "arch",
    "team",
    "service",
    "service_version",
    "service_environment",
)
VALUES = tuple(
    f"usage_{name}" for name in ("user", "system", "idle", "nice", "iowait", "irq", "softirq", "steal", "guest", "guest_nice")
)
Kind = Literal["most", "mean", "high", "last", "newest"]


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What a query asks; `kind`: how. `hosts`: how many, 0 for all; `hours`: of its window of time; `every`: of its buckets."""

    kind: Kind
    values: int = 1
    hosts: int = 0
    hours: int = 0
    every: Literal["minute", "hour"] = "minute"


SHAPES = {
    "single-groupby-1-1-1": Shape(kind="most", values=1, hosts=1, hours=1),
    "single-groupby-1-1-12": Shape(kind="most", values=1, hosts=1, hours=12),
    "single-groupby-1-8-1": Shape(kind="most", values=1, hosts=8, hours=1),
    "single-groupby-5-1-1": Shape(kind="most", values=5, hosts=1, hours=1),
    "single-groupby-5-1-12": Shape(kind="most", values=5, hosts=1, hours=12),
    "single-groupby-5-8-1": Shape(kind="most", values=5, hosts=8, hours=1),
    "cpu-max-all-1": Shape(kind="most", values=10, hosts=1, hours=8, every="hour"),
    "cpu-max-all-8": Shape(kind="most", values=10, hosts=8, hours=8, every="hour"),
    "double-groupby-1": Shape(kind="mean", values=1, hours=12, every="hour"),
    "double-groupby-5": Shape(kind="mean", values=5, hours=12, every="hour"),
    "double-groupby-all": Shape(kind="mean", values=10, hours=12, every="hour"),
    "high-cpu-1": Shape(kind="high", values=1, hosts=1, hours=12),
    "high-cpu-all": Shape(kind="high", values=1, hours=12),
    "lastpoint": Shape(kind="last"),
    "groupby-orderby-limit": Shape(kind="newest", values=1, hours=1),
}


@dataclass(frozen=True, kw_only=True)
class CpuQuery:
    """One query with its parameters. Times are ISO 8601 without a zone, in UTC; `end` is not part of the window."""

    name: str
    kind: Kind
    every: str
    values: tuple[str, ...]
    hosts: tuple[str, ...]
    start: str
    end: str

    def sql(self, table: str = "cpu") -> str:
        """As SQL that DuckDB, DataFusion and ClickHouse read alike."""
        bucket = f"date_trunc('{self.every}', time)"
        window = f"time >= '{self.start}' AND time < '{self.end}'"
        texts = ", ".join(f"'{host}'" for host in self.hosts)
        among = f"hostname IN ({texts}) AND " if self.hosts else ""
        if self.kind == "most":
            what = ", ".join(f"max({value}) AS max_{value}" for value in self.values)
            return f"SELECT {bucket} AS bucket, {what} FROM {table} WHERE {among}{window} GROUP BY 1 ORDER BY 1"
        if self.kind == "mean":
            what = ", ".join(f"avg({value}) AS mean_{value}" for value in self.values)
            return f"SELECT {bucket} AS bucket, hostname, {what} FROM {table} WHERE {window} GROUP BY 1, 2 ORDER BY 1, 2"
        if self.kind == "high":
            return f"SELECT * FROM {table} WHERE {among}usage_user > 90.0 AND {window}"
        if self.kind == "last":
            return f"SELECT DISTINCT ON (hostname) * FROM {table} ORDER BY hostname, time DESC"
        return (
            f"SELECT {bucket} AS bucket, max(usage_user) AS max_usage_user FROM {table} WHERE time < '{self.end}' "
            "GROUP BY 1 ORDER BY 1 DESC LIMIT 5"
        )

    def attributes(self) -> dict[str, Any]:
        """As JSON, for an engine in another process."""
        return asdict(self)

    @classmethod
    def of(cls, attributes: dict[str, Any]) -> CpuQuery:
        return cls(**{**attributes, "values": tuple(attributes["values"]), "hosts": tuple(attributes["hosts"])})


def drawn(name: str, number: int, *, hosts: int, start: datetime, end: datetime, seed: int = 1) -> CpuQuery:
    """The query's so-manieth draw over data of these hosts and times; the same for the same seed."""
    shape = SHAPES[name]
    chance = random.Random(f"{seed}/{name}/{number}")
    length = timedelta(hours=shape.hours)
    room = max(0, int((end - start - length).total_seconds()))
    began = start + timedelta(seconds=chance.randint(0, room))
    chosen = chance.sample(range(hosts), min(shape.hosts, hosts))
    return CpuQuery(
        name=name,
        kind=shape.kind,
        every=shape.every,
        values=VALUES[: shape.values],
        hosts=tuple(f"host_{host}" for host in chosen),
        start=_written(began),
        end=_written(began + length),
    )


def _written(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S}"
