"""Judging batches of JSON documents, beside DuckDB's bare `from_json` of the same documents to a typed struct in the same run.

    python benchmarks/json_decoding.py --rows 200_000 [--careful]

The bare reading tells nothing about a bad record: a wrong value is a null, an unknown key is gone, and times lose their offset.
Seconds are of the processor, all threads together, since in a stream the broker and the writing want theirs too. With
`--careful` the same documents are judged without `decoding/json_fast_path` as well, and `without` is how much longer that takes.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import patch

import duckdb
import numpy as np
import pyarrow as pa

from timestore_assets.decoding.json_fast_path import Values, all_unproven
from timestore_assets.landing.preparing.prepare import Rules, prepare
from timestore_assets.landing.preparing.validate import Validator
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.schema import Column, Schema
from timestore_assets.model.types import duckdb_type, literal, parse_type
from timestore_assets.segments.engine import EngineLimits, connect
from timestore_assets.sources.batches import Batch

SENSORS = "ts: timestamp, device: string, site: string, temp: double, humidity: double, n: int64, ok: bool"
FLIGHTS = (
    "year: int32, month: int32, day: int32, dep_time: int32?, sched_dep_time: int32, dep_delay: int32?, arr_time: int32?,"
    " sched_arr_time: int32, arr_delay: int32?, carrier: string, flight: int32, tailnum: string?, origin: string, dest: string,"
    " air_time: int32?, distance: int32, hour: int32, minute: int32, ts: timestamp"
)
TIMES = {"Z": "2026-11-{:02d}T{:02d}:{:02d}:11.123456Z", "offset": "2026-11-{:02d}T{:02d}:{:02d}:11.123456+01:00"}
TIMES["no zone"] = "2026-11-{:02d} {:02d}:{:02d}:11"


@dataclass(frozen=True, kw_only=True)
class Case:
    """Documents of one kind. `bad`: how many of them are to be refused."""

    dataset: Dataset
    documents: list[bytes]
    bad: int = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--careful", action="store_true", help="judge without the fast path too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        con = connect(EngineLimits(memory_bytes=500_000_000, threads=2, temp_dir=Path(folder)))
        for name, make in CASES.items():
            _compare(con, name, make(options.rows), options.repetitions, options.careful)
        con.close()


def _compare(con: duckdb.DuckDBPyConnection, name: str, case: Case, repetitions: int, careful: bool) -> None:
    count = len(case.documents)
    table = pa.table({"value": pa.array(case.documents, pa.binary())})
    bare, judged, slow = [], [], []
    for _ in range(repetitions):
        bare.append(_measured(lambda: _bare(con, case.dataset, table)))
        judged.append(_measured(lambda: _judged(con, case, table)))
        if careful:
            with patch("timestore_assets.decoding.json_documents.read_values", _nothing_proven):
                slow.append(_measured(lambda: _judged(con, case, table)))
    (bare_cpu, _), (cpu, wall) = min(bare), min(judged)
    size = sum(map(len, case.documents)) // count
    slower = f"  without {min(slow)[0] / cpu:.2f}" if slow else ""
    speed = f"{count / wall / 1e6:5.2f} M records/s  {cpu / count * 1e6:5.2f} core-us a record"
    print(
        f"{name:22} {size:4} bytes  {speed}  bare {bare_cpu / count * 1e6:5.2f}  ratio {bare_cpu / cpu:.2f}{slower}", flush=True
    )


def _nothing_proven(con: duckdb.DuckDBPyConnection, _documents: object, columns: Sequence[Column], _spellings: object) -> Values:
    return all_unproven(con, columns)


def _measured(work: Callable[[], None]) -> tuple[float, float]:
    """Seconds of the processor and of the clock."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def _bare(con: duckdb.DuckDBPyConnection, dataset: Dataset, table: pa.Table) -> None:
    structure = literal(json.dumps({column.name: duckdb_type(column.type) for column in dataset.schema}))
    con.register("bare_documents", table)
    decoded = "SELECT try(decode(value)) AS d FROM bare_documents"
    con.sql(f"SELECT s.* FROM (SELECT try(from_json(d, {structure})) AS s FROM ({decoded}))").to_arrow_table()
    con.unregister("bare_documents")


def _judged(con: duckdb.DuckDBPyConnection, case: Case, table: pa.Table) -> None:
    rules = Rules(
        dataset=case.dataset,
        schema=case.dataset.schema,
        validator=Validator(case.dataset),
        zone=None,
        now=datetime(2026, 12, 1, tzinfo=UTC),
        allowance=lambda: 0,
        known_keys=lambda _: {},
    )
    positions = pa.array(np.arange(table.num_rows))
    batch = Batch(
        encoding="json", records=table, positions=positions, lines=None, bad=(), raw=lambda index: case.documents[index]
    )
    found = prepare(lambda work: work(con), batch, rules)
    assert found.counters.dead_letters == case.bad, found.counters


def _dataset(kinds: str) -> Dataset:
    pairs = [pair.split(": ") for pair in kinds.split(", ")]
    columns = tuple(Column(name=name, type=parse_type(kind.rstrip("?")), nullable=kind.endswith("?")) for name, kind in pairs)
    return Dataset(name="json", schema=Schema(columns=columns), time="ts", start=datetime(2026, 1, 1, tzinfo=UTC))


def _sensors(rows: int, times: str) -> Case:
    chance, form = random.Random(1), TIMES[times]
    documents = [
        {
            "ts": form.format(1 + i % 20, i % 24, i % 60),
            "device": f"device-{i % 5000:05d}",
            "site": "ams",
            "temp": round(chance.uniform(-10, 40), 3),
            "humidity": round(chance.uniform(0, 100), 2),
            "n": i,
            "ok": i % 3 > 0,
        }
        for i in range(rows)
    ]
    return Case(dataset=_dataset(SENSORS), documents=[json.dumps(document).encode() for document in documents])


def _poisoned(rows: int) -> Case:
    """One document in a hundred is cut off, has a fraction as whole number, a number as bool, a key twice, or is no object."""
    case = _sensors(rows, "Z")
    documents = list(case.documents)
    for i in range(0, rows, 100):
        good = documents[i]
        kinds = [good[:-1], good.replace(b'"n": ', b'"n": 1.5'), good.replace(b'"ok": ', b'"ok": 1'), b"[]"]
        documents[i] = [*kinds, good.replace(b'"n": ', b'"n": "x", "n": ')][i // 100 % 5]
    return Case(dataset=case.dataset, documents=documents, bad=len(range(0, rows, 100)))


def _flights(rows: int, nulls: float) -> Case:
    chance, dataset = random.Random(1), _dataset(FLIGHTS)
    texts = {"carrier": "UA", "tailnum": "N14228", "origin": "EWR", "dest": "IAH"}
    documents = []
    for i in range(rows):
        document: dict[str, str | int | None] = {
            name: texts.get(name, i * (7 + place) % 2400) for place, name in enumerate(dataset.schema.names)
        }
        document["ts"] = f"2026-11-{1 + i % 20:02d}T{i % 24:02d}:00:00Z"
        if chance.random() < nulls:
            document |= dict.fromkeys(["dep_time", "dep_delay", "arr_time", "arr_delay", "air_time"])
        documents.append(json.dumps(document).encode())
    return Case(dataset=dataset, documents=documents)


CASES: dict[str, Callable[[int], Case]] = {
    "sensors, Z": lambda rows: _sensors(rows, "Z"),
    "sensors, offset": lambda rows: _sensors(rows, "offset"),
    "sensors, no zone": lambda rows: _sensors(rows, "no zone"),
    "sensors, 1 % poison": _poisoned,
    "flights": lambda rows: _flights(rows, 0),
    "flights, 3 % cancelled": lambda rows: _flights(rows, 0.03),
}


if __name__ == "__main__":
    main()
