"""Beside the requests the service merges small deltas and forgets old answers, and gives way to whoever builds."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pytest
from sqlalchemy import create_engine, text

from timestore_assets.catalog.records import PartitionRecord
from timestore_assets.service import delta_compaction
from timestore_assets.service.service_log import Log
from timestore_assets_tests.support.http_service import HttpService, open_warehouse, service, serving

WAIT_SECONDS = 60.0
T = TypeVar("T")


def ingest(http: HttpService, number: int, **headers: str) -> None:
    record = {"ts": f"2013-01-01T00:00:{number % 60:02}Z", "station": f"S{number}", "temp": number % 60}
    answer = http.client.post("/datasets/weather/ingest", json={"records": [record]}, headers=headers)
    assert answer.status_code == 200, answer.text


def until(look: Callable[[], T | None]) -> T:
    over = threading.Event()
    timer = threading.Timer(WAIT_SECONDS, over.set)
    timer.start()
    try:
        while not over.wait(0.1):
            if found := look():
                return found
    finally:
        timer.cancel()
    raise AssertionError(f"not within {WAIT_SECONDS:.0f} s")


def partition(http: HttpService) -> PartitionRecord:
    _, record = http.warehouse.resolve("weather")
    (found,) = http.warehouse.catalog.partitions.of(record.id)
    return found


def test_small_deltas_of_an_open_partition_are_merged(tmp_path: Path) -> None:
    with service(tmp_path / "home", serve_merge_deltas=3) as http:
        for number in range(8):
            ingest(http, number)
        until(lambda: partition(http).fresh_deltas <= 3)
        found = partition(http)
        assert (found.state, found.rows) == ("open", 8)
        assert found.segments < 8
        rows = http.client.post("/datasets/weather/query", json={}).json()["rows"]
        assert sorted(row["station"] for row in rows) == [f"S{number}" for number in range(8)]
        actors = {row["actor"] for row in http.warehouse.catalog.audit.newest() if row["action"] == "built"}
        assert actors == {"service"}
        assert not http.warehouse.verify("weather").findings


def test_rows_that_come_in_meanwhile_are_all_there(tmp_path: Path) -> None:
    with service(tmp_path / "home", serve_merge_deltas=2) as http:
        for number in range(60):
            ingest(http, number)
        until(lambda: partition(http).fresh_deltas <= 2)
        rows = http.client.post("/datasets/weather/query", json={}).json()["rows"]
        assert sorted(row["station"] for row in rows) == sorted(f"S{number}" for number in range(60))


def test_a_partition_that_somebody_else_builds_is_left_alone(tmp_path: Path) -> None:
    with service(tmp_path / "home", serve_merge_deltas=2) as http:
        catalog = http.warehouse.catalog
        _, record = http.warehouse.resolve("weather")
        resource = f"build:{record.id}:2013-01-01"
        lease = catalog.leases.acquire(resource, holder="another", ttl=timedelta(seconds=60))
        assert lease is not None
        for number in range(5):
            ingest(http, number)
        until(lambda: http.service.merging.is_waiting_with("weather") or None)
        assert partition(http).fresh_deltas == 5
        catalog.leases.release(lease)
        until(lambda: partition(http).fresh_deltas <= 2)


def test_it_can_be_switched_off(tmp_path: Path) -> None:
    with service(tmp_path / "home", serve_merge_deltas=0) as http:
        for number in range(5):
            ingest(http, number)
        until(lambda: http.service.merging.rounds >= 2)
        assert partition(http).fresh_deltas == 5


def test_answers_that_nobody_asks_for_again_are_forgotten(tmp_path: Path) -> None:
    with open_warehouse(tmp_path / "home", ingest_keep_seconds=60) as warehouse:
        with serving(warehouse) as http:
            ingest(http, 1, **{"Idempotency-Key": "old"})
            ingest(http, 2, **{"Idempotency-Key": "new"})
        _, record = warehouse.resolve("weather")
        engine = create_engine(warehouse.settings.catalog_url)
        with engine.begin() as connection:
            connection.execute(text("UPDATE ingestions SET created_at = created_at - 61000000 WHERE key = 'old'"))
        engine.dispose()
        with serving(warehouse) as http:
            until(lambda: "old" not in warehouse.catalog.ingestions.with_keys(record.id, ["old", "new"]))
            assert "new" in warehouse.catalog.ingestions.with_keys(record.id, ["old", "new"])


def test_a_merge_that_is_under_way_at_the_end_is_broken_off_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delta_compaction, "STOP_SECONDS", 0.0)
    rows, bodies = 400_000, 4
    said = io.StringIO()
    with open_warehouse(tmp_path / "home", serve_merge_deltas=bodies - 1) as warehouse:
        with serving(warehouse, log=Log.to(said, level="info")) as http:
            for number in range(bodies):
                seconds = np.datetime64("2013-01-01T00:00:00", "us") + np.arange(rows) % 86_400 * np.timedelta64(1_000_000, "us")
                table = pa.table({"ts": seconds, "station": [f"S{number}-{i}" for i in range(rows)]})
                sink = pa.BufferOutputStream()
                with pa.ipc.new_stream(sink, table.schema) as writer:
                    writer.write_table(table)
                body = sink.getvalue().to_pybytes()
                headers = {"content-type": "application/vnd.apache.arrow.stream"}
                answer = http.client.post("/datasets/weather/ingest", content=body, headers=headers)
                assert answer.json()["landed"] == rows
            until(lambda: http.service.merging.is_merging)
        assert "merge_broken_off" in said.getvalue()
        assert not [thread for thread in threading.enumerate() if thread.name == "merging"]
        assert not warehouse.verify("weather").findings
        assert sum(found.rows for found in warehouse.partitions("weather")) == rows * bodies
