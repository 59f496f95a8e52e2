"""Rows as TSBS's cpu-only case has them (https://github.com/timescale/tsbs): ten tags of each host, ten values every ten seconds.

What TSBS documents is kept: a host's tags are drawn once, each evenly among its choices; each value walks at random, by a step
of the normal distribution (0, 1), from a start anywhere in 0 to 100, is held within 0 and 100, and written as a whole number.
All hosts report at each time. The numbers themselves are not TSBS's: another generator draws them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from benchmarks.suite.cpu_queries import TAGS, VALUES

START = datetime(2016, 1, 1, tzinfo=UTC)
DATACENTERS = {
    "us-east-1": "abce",
    "us-west-1": "ab",
    "us-west-2": "abc",
    "eu-west-1": "abc",
    "eu-central-1": "ab",
    "ap-southeast-1": "ab",
    "ap-southeast-2": "ab",
    "ap-northeast-1": "ac",
    "sa-east-1": "abc",
}
CHOICES = {
    "rack": [str(number) for number in range(100)],
    "os": ["Ubuntu16.10", "Ubuntu16.04LTS", "Ubuntu15.10"],
    "arch": ["x64", "x86"],
    "team": ["SF", "NYC", "LON", "CHI"],
    "service": [str(number) for number in range(20)],
    "service_version": ["0", "1"],
    "service_environment": ["production", "staging", "test"],
}
SCHEMA = pa.schema(
    [("time", pa.timestamp("us")), *((tag, pa.string()) for tag in TAGS), *((value, pa.int64()) for value in VALUES)]
)
_ROWS_AT_A_TIME = 200_000


@dataclass(frozen=True, kw_only=True)
class CpuData:
    """What is made: `rows`, of so many hosts, whose times are `interval` apart; the same for the same seed."""

    rows: int
    hosts: int = 100
    interval: timedelta = timedelta(seconds=10)
    seed: int = 1

    @property
    def end(self) -> datetime:
        """Of the first time that has no rows any more."""
        return START + self.interval * -(-self.rows // self.hosts)

    def tables(self) -> Iterator[pa.Table]:
        """The rows in order of time, some hundred thousand at a time."""
        chance = np.random.default_rng(self.seed)
        tags = _tags(chance, self.hosts)
        walks = chance.uniform(0, 100, (self.hosts, len(VALUES)))
        left, steps_at_a_time = self.rows, max(1, _ROWS_AT_A_TIME // self.hosts)
        step = 0
        while left > 0:
            steps = min(steps_at_a_time, -(-left // self.hosts))
            values, walks = _walk(chance, walks, steps)
            made = self._table(tags, values, step)
            yield made.slice(0, left)
            left -= made.num_rows
            step += steps

    def write(self, path: Path, kind: Literal["parquet", "csv"]) -> None:
        """One file of all rows."""
        if kind == "parquet":
            with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
                for table in self.tables():
                    writer.write_table(table)
            return
        with pyarrow.csv.CSVWriter(path, SCHEMA) as writer:
            for table in self.tables():
                writer.write_table(table)

    def _table(self, tags: dict[str, pa.Array], values: np.ndarray, first_step: int) -> pa.Table:
        steps = len(values)
        microseconds = int(self.interval.total_seconds() * 1_000_000)
        began = int(START.timestamp() * 1_000_000)
        times = np.repeat(began + (first_step + np.arange(steps)) * microseconds, self.hosts)
        hosts = pa.array(np.tile(np.arange(self.hosts), steps))
        columns = [pa.array(times).cast(pa.timestamp("us")), *(tags[tag].take(hosts) for tag in TAGS)]
        columns += [pa.array(values[:, :, number].reshape(-1)) for number in range(len(VALUES))]
        return pa.Table.from_arrays(columns, schema=SCHEMA)


def _tags(chance: np.random.Generator, hosts: int) -> dict[str, pa.Array]:
    """Each host's tags, by tag."""
    regions = list(DATACENTERS)
    own = [regions[number] for number in chance.integers(0, len(regions), hosts)]
    centers = [f"{region}{DATACENTERS[region][chance.integers(0, len(DATACENTERS[region]))]}" for region in own]
    found = {"hostname": [f"host_{number}" for number in range(hosts)], "region": own, "datacenter": centers}
    for tag, choices in CHOICES.items():
        found[tag] = [choices[number] for number in chance.integers(0, len(choices), hosts)]
    return {tag: pa.array(texts) for tag, texts in found.items()}


def _walk(chance: np.random.Generator, at: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """The next values of each walk, as they are written, and where the walks have come to."""
    moves = chance.standard_normal((steps, *at.shape))
    values = np.empty(moves.shape, np.int64)
    for number in range(steps):
        values[number] = at
        at = np.clip(at + moves[number], 0.0, 100.0)
    return values, at
