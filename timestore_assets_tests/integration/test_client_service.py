"""The client and the real service: what is ingested is what is asked back, once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from timestore_assets import AsyncTimestoreClient, TimestoreClient
from timestore_assets.client import (
    ConflictError,
    IngestReport,
    InterruptedIngestError,
    NotFoundError,
    RefusedError,
    RejectedError,
    Retries,
)
from timestore_assets.model.dataset import HttpSource
from timestore_assets.service.access.api_tokens import digest_of, new_secret
from timestore_assets_tests.support.http_service import WEATHER, HttpService, open_warehouse, service, serving
from timestore_assets_tests.support.landing_warehouse import START, columns, dataset
from timestore_assets_tests.support.rough_proxy import rough_proxy

QUICK = Retries(attempts=6, seconds=30, base=0.001, most=0.02)


@pytest.fixture
def http(tmp_path: Path) -> Iterator[HttpService]:
    images = replace(dataset(*columns(raw="binary?"), sources=(HttpSource(),)), name="images")
    datasets = {"weather": WEATHER, "closed": replace(WEATHER, name="closed", sources=()), "images": images}
    with service(tmp_path / "home", datasets) as served:
        yield served


@pytest.fixture
def client(http: HttpService) -> Iterator[TimestoreClient]:
    with TimestoreClient(http.url, retries=QUICK, timeout=20) as opened:
        yield opened


def rows(count: int, *, station: str = "JFK", first: int = 0) -> list[dict[str, Any]]:
    """One row a minute."""
    return [{"ts": START + timedelta(minutes=n), "station": station, "temp": n % 100 / 2} for n in range(first, first + count)]


def table(found: list[dict[str, Any]]) -> pa.Table:
    schema = pa.schema({"ts": pa.timestamp("us", tz="UTC"), "station": pa.string(), "temp": pa.float64()})
    return pa.Table.from_pylist(found, schema=schema)


@pytest.mark.parametrize("kind", ["records", "arrow", "reader", "polars", "pandas"])
def test_rows_of_every_kind_come_back_as_they_were(client: TimestoreClient, kind: str) -> None:
    sent = rows(1000)
    data = {
        "records": lambda: iter(sent),
        "arrow": lambda: table(sent),
        "reader": lambda: table(sent).to_reader(max_chunksize=7),
        "polars": lambda: pl.DataFrame(sent),
        "pandas": lambda: pd.DataFrame(sent).set_index("ts"),
    }[kind]()
    report = client.ingest("weather", data, chunk_rows=300)
    assert (report.read, report.landed, report.dead_letters, len(report.requests)) == (1000, 1000, 0, 4)
    result = client.query("weather")
    assert result.manifest_version == report.manifest_version
    assert result.to_arrow().to_pylist() == sent
    assert result.to_polars().height == len(result.to_pandas()) == 1000
    assert result.schema.field("ts").type == pa.timestamp("us", tz="UTC")


def test_a_result_is_arrow_to_whoever_takes_arrow(client: TimestoreClient) -> None:
    sent = rows(30)
    client.ingest("weather", sent)
    assert pl.DataFrame(client.query("weather")).to_dicts() == sent
    assert pa.table(client.query("weather")).to_pylist() == sent
    result = client.query("weather")
    assert pl.DataFrame(result).height == pl.DataFrame(result).height == len(result.duckdb().fetchall()) == 30
    assert result.arrow() is result.to_arrow()


def test_looking_at_a_result_reads_none_of_its_rows_away(client: TimestoreClient) -> None:
    client.ingest("weather", rows(30))
    with client.query("weather") as result:
        said = repr(result)
        assert said.splitlines()[-1] == "30 rows, the first 10 shown, 3 columns" and len(said.splitlines()) == 13
        assert "<polyline" in (result._repr_html_() or "")
        assert sum(batch.num_rows for batch in result) == 30
        assert repr(result).splitlines()[-1] == "0 rows, 3 columns"


def test_a_client_that_does_not_block_answers_alike(http: HttpService, client: TimestoreClient) -> None:
    sent = rows(200)

    async def work() -> None:
        async with AsyncTimestoreClient(http.url, retries=QUICK, timeout=20) as other:
            report = await other.ingest("weather", sent, chunk_rows=80, key="async")
            assert (report.landed, len(report.requests)) == (200, 3)
            assert (await other.ingest("weather", sent, chunk_rows=80, key="async")).repeated == 3
            taken = await other.ingest("weather", rows(5, station="LGA"), asynchronous=True)
            assert (await other.wait(taken, timeout=20)).landed == 5
            found = await asyncio.gather(*(other.query("weather", filters={"station": "JFK"}) for _ in range(3)))
            assert [one.arrow() for one in found] == [client.query("weather", filters={"station": "JFK"}).arrow()] * 3
            assert found[0].manifest_version == client.query("weather").manifest_version
            pages = [page.arrow().num_rows async for page in other.pages("weather", page_rows=100)]
            assert pages == [page.arrow().num_rows for page in client.pages("weather", page_rows=100)] == [100, 100, 5]
            assert (await other.sql("SELECT count(*) AS n FROM weather")).arrow().to_pylist() == [{"n": 205}]
            assert await other.partitions("weather") == client.partitions("weather")
            assert (await other.datasets())[0]["name"] == "closed" and await other.status("weather") == client.status("weather")
            with pytest.raises(NotFoundError, match="nothing"):
                await other.query("nothing")

    asyncio.run(work())


def test_answers_lost_on_the_way_land_no_row_twice_there_either(http: HttpService) -> None:
    async def work(url: str) -> IngestReport:
        async with AsyncTimestoreClient(url, retries=QUICK, timeout=20) as other:
            return await other.ingest("weather", rows(100), chunk_rows=40)

    with rough_proxy(http.url) as proxy:
        proxy.losing = 3
        report = asyncio.run(work(proxy.url))
        assert proxy.lost == 3 and (report.read, report.landed) == (100, 100) and report.repeated >= 1


@pytest.mark.parametrize("kind", ["records", "arrow"])
def test_bytes_come_back_as_they_were(client: TimestoreClient, kind: str) -> None:
    contents = [b"\x00\xff\xfe", "Zürich".encode(), b"AP8=", b"", b'{"base64": "AP8="}', b"a\x00b", None]
    sent = [{"ts": START + timedelta(minutes=n), "station": "JFK", "raw": raw} for n, raw in enumerate(contents)]
    schema = pa.schema({"ts": pa.timestamp("us", tz="UTC"), "station": pa.string(), "raw": pa.binary()})
    report = client.ingest("images", sent if kind == "records" else pa.Table.from_pylist(sent, schema=schema))
    assert (report.read, report.landed) == (len(contents), len(contents))
    assert client.query("images", columns=["raw"]).to_arrow().column("raw").to_pylist() == contents
    assert [row["raw"] for row in client.query("images", columns=["raw"]).rows()] == contents


@pytest.mark.parametrize("kind", ["records", "arrow"])
def test_answers_lost_on_the_way_land_no_row_twice(http: HttpService, kind: str) -> None:
    sent = rows(100)
    with rough_proxy(http.url) as proxy, TimestoreClient(proxy.url, retries=QUICK, timeout=20) as client:
        proxy.losing = 3
        report = client.ingest("weather", sent if kind == "records" else table(sent), chunk_rows=40)
        assert proxy.lost == 3
        assert (report.read, report.landed) == (100, 100)
        assert report.repeated >= 1
        assert client.query("weather", columns=["ts"]).to_arrow().num_rows == 100
        assert client.status("weather")["sources"][0]["read"] == 100


def test_refused_rows_are_in_the_report_with_their_place(client: TimestoreClient) -> None:
    sent = rows(10)
    sent[3]["temp"] = 999.0
    sent[8]["station"] = None
    report = client.ingest("weather", sent, chunk_rows=4)
    assert (report.read, report.landed, report.dead_letters) == (10, 8, 2)
    assert [(one.row, one.column) for one in report.refused] == [(3, "temp"), (8, "station")]
    assert "le(140" in report.refused[0].reason


def test_a_key_names_an_input(client: TimestoreClient) -> None:
    first = client.ingest("weather", rows(50), key="day-1", chunk_rows=20)
    again = client.ingest("weather", rows(50), key="day-1", chunk_rows=20)
    assert (again.repeated, again.landed, again.manifest_version) == (3, first.landed, first.manifest_version)
    assert client.query("weather").to_arrow().num_rows == 50
    with pytest.raises(ConflictError) as caught:
        client.ingest("weather", rows(50, first=1), key="day-1", chunk_rows=20)
    assert (caught.value.status, caught.value.code) == (409, "key_reused")


def test_a_later_request_that_is_refused_tells_what_was_taken_before(client: TimestoreClient) -> None:
    with pytest.raises(InterruptedIngestError, match=r"after 10 rows: .* what was sent before has been taken") as caught:
        client.ingest("weather", iter([table(rows(10)), pa.table({"other": [1]})]))
    assert isinstance(caught.value.__cause__, RejectedError)
    assert (caught.value.status, caught.value.report.landed) == (422, 10)
    assert client.query("weather").to_arrow().num_rows == 10


def test_an_asynchronous_ingest_is_waited_for(client: TimestoreClient) -> None:
    sent = rows(50)
    sent[30]["temp"] = 999.0
    taken = client.ingest("weather", sent, chunk_rows=20, asynchronous=True)
    assert (taken.sent, len(taken.requests)) == (50, 3)
    done = client.wait(taken, timeout=30)
    assert (done.pending, done.read, done.landed) == (False, 50, 49)
    assert [one.row for one in done.refused] == [30]
    assert client.ingestion(done.requests[0].ingestion)["state"] == "landed"
    assert client.wait(done) is done


def test_questions(client: TimestoreClient) -> None:
    client.ingest("weather", [*rows(180), *rows(60, station="LGA")])
    hot = client.query("weather", start=START, end=START + timedelta(hours=1), columns=["temp"], filters=[("temp", ">=", 29)])
    assert sorted(hot.to_polars()["temp"]) == [29.0, 29.0, 29.5, 29.5]
    assert client.query("weather", filters={"station": ["LGA"]}, limit=7).to_arrow().num_rows == 7
    hourly = client.query("weather", every="1h", aggregates="count,max:temp as top", group_by=["station"], fill="null")
    found = hourly.to_arrow().to_pylist()
    counts = {(row["ts"].hour, row["station"]): row["count"] for row in found}
    assert (counts[0, "JFK"], counts[2, "JFK"], counts[0, "LGA"]) == (60, 60, 60)
    version = hourly.manifest_version
    client.ingest("weather", rows(10, first=1000))
    assert client.query("weather", as_of=version).to_arrow().num_rows == 240


def test_pages_join_to_the_whole(client: TimestoreClient) -> None:
    client.ingest("weather", rows(250))
    pages = [page.to_arrow() for page in client.pages("weather", page_rows=100, columns=["ts", "temp"])]
    assert [page.num_rows for page in pages] == [100, 100, 50]
    assert pa.concat_tables(pages).equals(client.query("weather", columns=["ts", "temp"]).to_arrow())


def test_sql_and_saved_queries_take_parameters(http: HttpService, client: TimestoreClient) -> None:
    client.ingest("weather", rows(120))
    text = "SELECT count(*) AS n FROM weather WHERE ts >= $since AND station = $station"
    since = START + timedelta(hours=1)
    result = client.sql(text, {"since": since, "station": "JFK"})
    assert result.to_arrow().to_pylist() == [{"n": 60}]
    assert result.manifest_versions == {"weather": client.datasets()[-1]["manifestVersion"]}
    assert client.sql("SELECT $day AS day", {"day": date(2024, 1, 2)}).to_arrow().to_pylist() == [{"day": date(2024, 1, 2)}]
    declared = {"since": {"type": "timestamp"}, "station": {"type": "string", "default": "JFK"}}
    http.client.put("/saved-queries/recent", json={"sql": text, "parameters": declared}).raise_for_status()
    assert client.saved_query("recent", since=since).to_arrow().to_pylist() == [{"n": 60}]
    assert client.saved_query("recent", since=since, station="LGA").to_arrow().to_pylist() == [{"n": 0}]


def test_an_answer_that_is_closed_half_read_makes_room_for_the_next(tmp_path: Path) -> None:
    with (
        service(tmp_path / "home", query_concurrency=1, query_waiting=0) as served,
        TimestoreClient(served.url, retries=QUICK, timeout=20) as client,
    ):
        client.ingest("weather", rows(1440))
        with client.sql("SELECT a.ts, b.temp FROM weather a, weather b, weather c") as result:
            assert next(iter(result)).num_rows > 0
        assert client.query("weather", limit=1).to_arrow().num_rows == 1


def test_what_there_is_to_look_at(client: TimestoreClient) -> None:
    client.ingest("weather", rows(3 * 1440))
    assert [one["name"] for one in client.datasets()] == ["closed", "images", "weather"]
    partitions = client.partitions("weather")
    assert [(one["partition"], one["rows"]) for one in partitions] == [(f"2013-01-0{day}", 1440) for day in (1, 2, 3)]
    assert client.status("weather")["rows"] == 3 * 1440


def test_errors_are_the_services_own_sentences(client: TimestoreClient) -> None:
    with pytest.raises(NotFoundError, match="no dataset 'wether'"):
        client.ingest("wether", rows(1))
    with pytest.raises(RefusedError, match=r"http: \{\}"):
        client.ingest("closed", rows(1))
    with pytest.raises(RejectedError, match="humidity") as caught:
        client.query("weather", columns=["humidity"])
    assert caught.value.status == 422
    with pytest.raises(RejectedError, match='"nothing" not found'):
        client.sql("SELECT nothing FROM weather")
    with pytest.raises(RefusedError, match="only one SELECT"):
        client.sql("DROP TABLE weather")
    with pytest.raises(NotFoundError):
        client.saved_query("nothing")


def test_a_token_is_needed_once_there_is_one(tmp_path: Path) -> None:
    with open_warehouse(tmp_path / "home") as warehouse:
        secret = new_secret()
        scopes = ("timestore:read",)
        warehouse.catalog.tokens.add(name="reader", digest=digest_of(secret), scopes=scopes, expires_at=None, actor="test")
        with serving(warehouse) as served:
            with TimestoreClient(served.url) as nobody, pytest.raises(RefusedError) as caught:
                nobody.datasets()
            assert caught.value.status == 401
            with TimestoreClient(served.url, secret) as reader:
                assert [one["name"] for one in reader.datasets()] == ["weather"]
                with pytest.raises(RefusedError, match="write"):
                    reader.ingest("weather", [{"ts": datetime(2013, 1, 1, tzinfo=UTC), "station": "JFK", "temp": 1.0}])
