"""`TimestoreClient` where nothing but httpx is installed: records go in and rows come out, the same as with pyarrow."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from timestore_assets import TimestoreClient
from timestore_assets.model.schema import Column, Schema
from timestore_assets.model.types import parse_type
from timestore_assets_tests.support.http_service import WEATHER, service
from timestore_assets_tests.support.landing_warehouse import START
from timestore_assets_tests.support.partial_installation import environment_with

MORE = {"day": "date", "cost": "decimal(12,2)", "whole": "decimal(20,0)", "tags": "list<string>"}
SCHEMA = Schema(columns=(*WEATHER.schema.columns, *(Column(name=n, type=parse_type(t), nullable=True) for n, t in MORE.items())))
SCRIPT = """
import asyncio, json, sys
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from timestore_assets import AsyncTimestoreClient, TimestoreClient
from timestore_assets.client import RejectedError
from timestore_assets.model.errors import InputError

for absent in ("dagster", "duckdb", "numpy", "pandas", "polars", "pyarrow", "pydantic", "sqlalchemy", "typer", "yaml"):
    try:
        __import__(absent)
    except ModuleNotFoundError:
        continue
    raise AssertionError(f"{absent} can be imported")

start = datetime.fromisoformat(sys.argv[2])
sent = [
    {"ts": start, "station": "JFK", "temp": 1.5, "day": date(2024, 1, 2), "cost": Decimal("9999999999.01"), "whole": 10**19,
     "tags": ["a", "b"]},
    {"ts": start + timedelta(seconds=1, microseconds=5), "station": "LGA", "temp": None},
    {"ts": start + timedelta(minutes=1), "station": "LGA", "temp": 999.0},
]
with TimestoreClient(sys.argv[1], retries=0) as client:
    report = client.ingest("weather", sent)
    assert (report.landed, report.dead_letters) == (2, 1), report
    with client.query("weather") as result:
        rows = list(result.rows())
    assert result.manifest_version == report.manifest_version and result.warnings == [] and result.next_cursor is None
    assert result.complete_through is None
    try:
        result.arrow()
    except InputError as error:
        print(error)
    assert repr(result).splitlines()[-1] == "2 rows, 7 columns" and "<svg" in result._repr_html_()

    async def asked():
        async with AsyncTimestoreClient(sys.argv[1], retries=0) as client:
            return list((await client.query("weather")).rows())

    assert asyncio.run(asked()) == rows
    pages = [list(page.rows()) for page in client.pages("weather", page_rows=1)]
    assert [row for page in pages for row in page] == rows and len(pages) == 2
    counted = client.sql("SELECT count(*) AS n, max(ts) AS newest FROM weather")
    assert list(counted.rows()) == [{"n": 2, "newest": rows[-1]["ts"]}] and set(counted.manifest_versions) == {"weather"}
    (bytes_read,) = client.sql(r"SELECT '\\x00\\xFF'::BLOB AS raw, TIME '12:30' AS clock, 'infinity'::TIMESTAMP AS never").rows()
    assert bytes_read == {"raw": b"\\x00\\xff", "clock": time(12, 30), "never": "infinity"}, bytes_read
    hours = client.query("weather", every="1h", aggregates="avg:temp,count", start=start)
    assert [row["avg_temp"] for row in hours.rows()] == [1.5]
    try:
        client.query("weather", columns=["none"])
    except RejectedError as error:
        assert "none" in str(error)
print(repr(rows))
"""


def run_alone(folder: Path, requirement: str, script: str, *arguments: str) -> str:
    """What a script prints in which only this package and what it brings can be imported."""
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=environment_with(folder, [requirement], dict(os.environ)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_records_go_in_and_the_same_rows_come_out_with_httpx_alone(tmp_path: Path) -> None:
    with service(tmp_path / "home", {"weather": replace(WEATHER, schema=SCHEMA)}) as served:
        told, text = run_alone(tmp_path / "site", "httpx", SCRIPT, served.url, START.isoformat()).splitlines()
        rows = eval(text, {"datetime": __import__("datetime"), "Decimal": Decimal})
        assert told == "pyarrow is not installed; pip install pyarrow, or use rows()"
        none = dict.fromkeys(MORE)
        assert rows == [
            {
                "ts": START,
                "station": "JFK",
                "temp": 1.5,
                "day": date(2024, 1, 2),
                "cost": Decimal("9999999999.01"),
                "whole": Decimal(10**19),
                "tags": ["a", "b"],
            },
            {"ts": START + timedelta(seconds=1, microseconds=5), "station": "LGA", "temp": None, **none},
        ]
        assert rows[0]["ts"].tzinfo is UTC and isinstance(rows[0]["ts"], datetime)
        with TimestoreClient(served.url, retries=0) as client, client.query("weather") as result:
            assert list(result.rows()) == rows


def test_frames_need_pyarrow_and_a_client_httpx_and_both_say_so(tmp_path: Path) -> None:
    script = """
from timestore_assets import TimestoreClient
from timestore_assets.model.errors import InputError

try:
    TimestoreClient("http://127.0.0.1:1")
except InputError as error:
    print(error)
"""
    assert run_alone(tmp_path / "site", "tzdata", script) == (
        "TimestoreClient needs the package httpx, which is not installed: pip install httpx\n"
    )
    script = """
import polars
from timestore_assets.client.request_bodies import bodies
from timestore_assets.model.errors import InputError

try:
    list(bodies(polars.DataFrame({"temp": [1.0]})))
except InputError as error:
    print(error)
"""
    assert run_alone(tmp_path / "site", "polars", script) == (
        "frames go as Arrow, and pyarrow is not installed; pip install pyarrow, or give records\n"
    )
