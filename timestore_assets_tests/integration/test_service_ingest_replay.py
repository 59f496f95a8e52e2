"""Records that were refused over HTTP land by a replay once the declaration lets them, whatever body they came in."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from timestore_assets.model.dataset import Dataset, HttpSource
from timestore_assets.model.schema import Checks, Schema
from timestore_assets_tests.support.http_service import WEATHER, open_warehouse, serving

HOT = {"ts": "2013-01-01T06:00:00", "station": "JFK", "temp": 200.0}
GOOD = {"ts": "2013-01-01T07:00:00", "station": "JFK", "temp": 20.0}


def arrow(records: list[dict[str, object]]) -> bytes:
    table = pa.Table.from_pylist(records)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


BODIES = {
    "application/json": json.dumps([HOT, GOOD]).encode(),
    "application/x-ndjson": b"\n".join(json.dumps(one).encode() for one in (HOT, GOOD)),
    "text/csv": b"ts,station,temp\n2013-01-01T06:00:00,JFK,200.0\n2013-01-01T07:00:00,JFK,20.0\n",
    "application/vnd.apache.arrow.stream": arrow([HOT, GOOD]),
}


def lenient() -> Dataset:
    """The dataset with a higher bound."""
    columns = tuple(
        replace(column, checks=Checks(ge=-60, le=300)) if column.name == "temp" else column for column in WEATHER.schema
    )
    return replace(WEATHER, schema=Schema(columns=columns), sources=(HttpSource(),))


@pytest.mark.parametrize("kind", BODIES)
def test_refused_records_land_once_they_are_allowed(tmp_path: Path, kind: str) -> None:
    with open_warehouse(tmp_path / "home") as warehouse, serving(warehouse) as ground:
        answer = ground.client.post("/datasets/weather/ingest", content=BODIES[kind], headers={"content-type": kind}).json()
        assert (answer["landed"], answer["deadLetters"]["count"]) == (1, 1)
        assert answer["deadLetters"]["rows"][0]["row"] == 0
        assert warehouse.replay("weather").counters.landed == 0
    with open_warehouse(tmp_path / "home", {"weather": lenient()}) as warehouse:
        report = warehouse.replay("weather")
        assert (report.records, report.counters.landed) == (1, 1)
        (counters,) = [one.record.counters for one in warehouse.status("weather").sources if one.name == "http:/ingest"]
        assert (counters.read, counters.landed, counters.dead_letters) == (2, 2, 0)
        assert warehouse.replay("weather").records == 0
        assert not warehouse.verify("weather").findings
