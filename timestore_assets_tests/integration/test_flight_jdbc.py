"""A Java program asks by Arrow's JDBC driver: statements, every kind of setter, listings, and all that the driver says of us."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from timestore_assets_tests.support.flight_clients import adbc, readings
from timestore_assets_tests.support.http_service import service
from timestore_assets_tests.support.jdbc_driver import NoDriverError, asked_by_jdbc, jdbc_driver

SAID = """
catalog=[true]
zoneless=[2024-01-01 00:00:00.0]
older=[0]
column=[station]
column=[ts]
column=[temp]
column=[price]
row=[S, 2024-01-01T00:00:00Z, 2024-01-01T00:00:00Z, 0.0, 1.50]
enum=[a]
setString=[9]
setTimestamp=[4]
setDouble=[2]
setInt=[41]
setLong=[1099511627776]
setBoolean=[1]
limit=[3]
setNull=[1]
again=[2]
again=[4]
table=[main, weather, TABLE]
typed=[ts, 2014, timestamp, NO]
typed=[station, 12, string, NO]
typed=[temp, 8, double, YES]
methods=[true]
""".strip().splitlines()


@pytest.mark.slow
@pytest.mark.xdist_group("java")
def test_a_java_program_finds_all_that_it_looks_for(tmp_path: Path) -> None:
    try:
        jdbc_driver()
    except NoDriverError as error:
        pytest.skip(str(error))
    from datetime import UTC, datetime, timedelta

    start = datetime(2024, 1, 1, tzinfo=UTC)
    table = readings(9).set_column(
        0, "ts", pa.array([start + timedelta(hours=n) for n in range(9)], pa.timestamp("us", tz="UTC"))
    )
    with service(tmp_path / "home", flight_address="127.0.0.1:0") as served:
        with adbc(served.flight) as cursor:
            cursor.adbc_ingest("weather", table, mode="append")
        said = asked_by_jdbc(served.flight)
    assert said[:-2] == SAID, "among it no method of DatabaseMetaData that threw"
    assert ['"nope" not found' in said[-2], "only one SELECT is possible" in said[-1]] == [True, True]
