"""Queries over HTTP: formats, filters, gaps, width, pages, and what happens when the client goes or too many come."""

from __future__ import annotations

import io
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import func, select

from timestore_assets.catalog.tables import leases
from timestore_assets.service.query.answer_pages import PageStart, cursor_of, digest_of
from timestore_assets.service.query.query_body import QueryBody
from timestore_assets.upkeep.collect import collect
from timestore_assets_tests.support.http_service import HttpService as Service
from timestore_assets_tests.support.http_service import service
from timestore_assets_tests.support.query_warehouse import METER, PLAIN, QueryWarehouse, row

PATIENCE = 60.0
PATH = "/datasets/meter/query"


@dataclass
class World:
    """The service, and the ground its dataset is landed through."""

    service: Service
    ground: QueryWarehouse

    def post(self, body: Any, *, accept: str | None = None, path: str = PATH) -> httpx.Response:
        return self.service.client.post(path, json=body, headers={} if accept is None else {"Accept": accept})

    def rows(self, body: Any) -> list[dict[str, Any]]:
        response = self.post(body)
        assert response.status_code == 200, response.text
        found: list[dict[str, Any]] = response.json()["rows"]
        return found

    def problem(self, body: Any, *, accept: str | None = None) -> dict[str, Any]:
        response = self.post(body, accept=accept)
        assert response.headers["content-type"] == "application/problem+json", response.text
        found: dict[str, Any] = response.json()
        assert found["status"] == response.status_code
        return found

    def leases(self) -> int:
        database = self.ground.catalog.database
        return database.read(lambda connection: connection.execute(select(func.count()).select_from(leases)).scalar_one())


def world_in(home: Path, **settings: Any) -> Iterator[World]:
    with service(home, {METER.name: METER, PLAIN.name: PLAIN}, **settings) as running:
        warehouse = running.warehouse
        ground = QueryWarehouse(
            folder=home,
            catalog=warehouse.catalog,
            store=warehouse.storage.target("default"),
            limits=warehouse.limits,
            dataset=METER,
            querier=warehouse.querier,
        )
        yield World(running, ground)


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world for tests that change nothing in it."""
    yield from small_world(tmp_path_factory.mktemp("still"))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    yield from small_world(tmp_path / "home")


def small_world(home: Path) -> Iterator[World]:
    """Two days, an hour of rows each, of two devices."""
    for made in world_in(home):
        made.ground.land(
            [
                row(device, minute, day=day, value=minute / 4, n=minute)
                for device in "ab"
                for day in (1, 2)
                for minute in range(60)
            ]
        )
        yield made


@pytest.fixture
def wide(tmp_path: Path) -> Iterator[World]:
    """Small limits, and an hour of rows in each of thirty days."""
    for made in world_in(tmp_path / "home", query_max_rows=1000, query_max_buckets=100):
        made.ground.land([row("a", minute, day=day) for day in range(1, 31) for minute in range(60)])
        yield made


def eventually(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


# --- formats


def test_every_format_says_where_the_answer_is_from(still: World) -> None:
    body = {"columns": ["ts", "value", "note"], "limit": 2}
    plain = still.post(body).json()
    assert plain["dataset"] == "meter" and plain["manifestVersion"] == 1 and plain["scanned"] == 1 and plain["pruned"] == 1
    assert plain["columns"][1] == {"name": "value", "type": "double", "unit": "degC"}
    assert plain["completeness"] == {"completeThrough": None, "sources": []} and plain["warnings"] == []
    assert plain["rows"][0] == {"ts": "2024-01-01T00:00:00Z", "value": 0.0, "note": None} and plain["nextCursor"] is None
    for accept in ("application/x-ndjson", "text/csv", "application/vnd.apache.arrow.stream", "application/vnd.apache.parquet"):
        response = still.post(body, accept=accept)
        assert response.headers["content-type"].startswith(accept) and response.headers["vary"] == "Accept"
        assert response.headers["x-timestore-manifest-version"] == "1" and response.headers["x-timestore-scanned"] == "1"
        assert json.loads(response.headers["x-timestore-completeness"]) == plain["completeness"]
    table = pq.read_table(io.BytesIO(response.content))
    assert table.schema.field("value").metadata[b"unit"] == b"degC" and table.num_rows == 2


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("*/*", "application/json"),
        ("text/*", "text/csv"),
        ("application/json;q=0.5, text/csv;q=0.9", "text/csv"),
        ("application/vnd.apache.parquet, */*;q=0.1", "application/vnd.apache.parquet"),
        ("application/*;q=0.3, application/json;q=0", "application/x-ndjson"),
    ],
)
def test_the_client_chooses_by_weight(still: World, accept: str, kind: str) -> None:
    assert still.post({"limit": 1}, accept=accept).headers["content-type"].partition(";")[0] == kind


def test_a_format_that_is_not_there_is_refused(still: World) -> None:
    assert still.problem({"limit": 1}, accept="image/png, application/json;q=0")["code"] == "not_acceptable"


def test_an_answer_without_rows_is_whole_in_every_format(still: World) -> None:
    body = {"timeRange": {"start": "2030-01-01T00:00:00Z"}, "columns": ["n", "ts"]}
    assert still.rows(body) == []
    assert still.post(body, accept="application/x-ndjson").content == b""
    assert still.post(body, accept="text/csv").text == "n,ts\n"
    arrow = pa.ipc.open_stream(still.post(body, accept="application/vnd.apache.arrow.stream").content).read_all()
    parquet = pq.read_table(io.BytesIO(still.post(body, accept="application/vnd.apache.parquet").content))
    assert arrow.schema.names == parquet.schema.names == ["n", "ts"] and arrow.num_rows == parquet.num_rows == 0


# --- what makes no sense


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"colums": ["n"]}, "colums"),
        ({"filters": [{"column": "n", "op": "eq", "value": "7"}]}, "'n' is a int64; '7' is no value of that type"),
        ({"filters": [{"column": "n", "op": "eq", "value": 1.5}]}, "'n' is a int64"),
        ({"filters": [{"column": "n", "op": "eq", "value": True}]}, "'n' is a int64"),
        ({"filters": [{"column": "n", "op": "lt", "value": 2**63}]}, "'n' is a int64"),
        ({"filters": [{"column": "flag", "op": "eq", "value": 1}]}, "'flag' is a bool"),
        ({"filters": [{"column": "value", "op": "eq", "value": "nan"}]}, "'value' is a double"),
        ({"filters": [{"column": "amount", "op": "eq", "value": "1e5"}]}, r"'amount' is a decimal\(12,2\)"),
        ({"filters": [{"column": "date", "op": "eq", "value": "2024-02-30"}]}, "'date' is a date"),
        ({"filters": [{"column": "ts", "op": "gt", "value": "now()"}]}, "'ts' is a timestamp"),
        ({"filters": [{"column": "n", "op": "contains", "value": 7}]}, "contains is for texts"),
        ({"filters": [{"column": "n", "op": "between", "values": [1]}]}, "between of 'n' takes two values"),
        ({"filters": [{"column": "n", "op": "in", "value": 1}]}, "'values'"),
        ({"filters": [{"column": "n", "op": "eq"}]}, "isNull"),
        ({"filters": [{"column": "n", "op": "isNull", "value": 1}]}, "takes no value"),
        ({"filters": [{"column": "nope", "op": "isNull"}]}, "has no column 'nope'; did you mean note"),
        ({"filters": [{"column": 'n" OR true --', "op": "isNull"}]}, "has no column"),
        ({"filters": [{"column": "n", "op": "=", "value": 1}]}, "body.filters.0.op"),
        ({"columns": ["value", "__source"]}, "has no column '__source'"),
        ({"downsample": {"aggregations": [{"fn": "avg", "column": "note"}]}}, "avg of 'note' is not possible"),
        ({"downsample": {"aggregations": [{"fn": "avg"}]}}, "avg needs a column"),
        ({"downsample": {"aggregations": [{"fn": "percentile", "column": "n"}]}}, "needs 'percentile'"),
        ({"downsample": {"aggregations": []}}, "aggregations"),
        ({"downsample": {"aggregations": [{"fn": "count"}], "fill": "zero"}}, "fill needs buckets"),
        (
            {"downsample": {"intervalUnit": "hour", "aggregations": [{"fn": "last", "column": "note"}], "fill": "linear"}},
            "'last_note' is none",
        ),
        ({"timeRange": {"start": "soon"}}, "body.timeRange.start.*is not a time; write for instance"),
        ({"timeRange": {"start": 2024}}, "body.timeRange.start"),
        ({"timeRange": {"start": "-30d"}, "pageSize": 10}, "with pageSize timeRange.start must be a fixed time, as 20"),
        ({"timeRange": {"start": 1704067200}}, "body.timeRange.start"),
        ({"timeRange": {"start": "2024-01-02T00:00:00Z", "end": "2024-01-01T00:00:00Z"}}, "the range is empty"),
        ({"pageSize": 100_001}, "pageSize"),
        ({"cursor": "abc"}, "pageSize"),
        ({"cursor": "abc", "pageSize": 10}, "cursor is none of this service"),
        ({"cursor": "W10", "pageSize": 10}, "cursor is none of this service"),
        ({"asOf": 99}, "no version 99"),
        ([], "body"),
    ],
)
def test_what_makes_no_sense_is_said_in_one_sentence(still: World, body: Any, said: str) -> None:
    found = still.problem(body)
    assert found["status"] == 422
    assert found["detail"] and re.search(said, found["detail"]), found["detail"]
    assert str(still.ground.folder) not in found["detail"] and "segment_" not in found["detail"]


def test_filter_values_are_values_whatever_they_look_like(still: World) -> None:
    for text in ("' OR true --", "a'; DROP VIEW meter; --", '"', "\\", "\u2028", "x" * 100_000):
        assert still.rows({"filters": [{"column": "device", "op": "eq", "value": text}]}) == []
        assert still.rows({"filters": [{"column": "device", "op": "in", "values": [text, "a"]}], "limit": 1})[0]["device"] == "a"


# --- gaps and width


def test_times_may_be_partial_and_relative(still: World) -> None:
    assert len(still.rows({"timeRange": {"start": "2024", "end": "2024-02"}})) == 240
    assert still.rows({"timeRange": {"start": "-1d", "end": "now"}}) == []
    assert len(still.rows({"timeRange": {"end": "yesterday"}, "limit": 3})) == 3
    assert len(still.rows({"timeRange": {"start": "2024-01"}, "pageSize": 5})) == 5


def test_gaps_are_filled_over_the_asked_range(still: World) -> None:
    asked = {"intervalUnit": "minute", "intervalSize": 20, "aggregations": [{"fn": "avg", "column": "value", "alias": "v"}]}
    body = {"timeRange": {"start": "2024-01-01T00:30:00Z", "end": "2024-01-01T01:30:00Z"}}
    for fill, expected in {
        "none": [8.625, 12.375],
        "null": [8.625, 12.375, None, None],
        "zero": [8.625, 12.375, 0.0, 0.0],
        "previous": [8.625, 12.375, 12.375, 12.375],
        "linear": [8.625, 12.375, None, None],
    }.items():
        rows = still.rows({**body, "downsample": {**asked, "fill": fill}})
        assert [one["v"] for one in rows] == expected, fill
        assert rows[0]["ts"] == "2024-01-01T00:20:00Z"


def test_a_line_is_drawn_through_a_gap_in_each_group(world: World) -> None:
    world.ground.land([row("a", 120, n=100), row("b", 90, n=0)])
    aggregation = {"fn": "max", "column": "n", "alias": "n"}
    body = {
        "timeRange": {"start": "2024-01-01T00:59:00Z", "end": "2024-01-02T00:00:00Z"},
        "downsample": {"intervalUnit": "minute", "aggregations": [aggregation], "groupBy": ["device"], "fill": "linear"},
    }
    rows = world.rows(body)
    a = [one["n"] for one in rows if one["device"] == "a"]
    assert a[0] == 59.0 and a[61] == 100.0 and a[30] == pytest.approx(59 + 41 * 30 / 61) and a[62] is None
    assert len(rows) == 2 * (60 * 23 + 1)


def test_too_wide_a_question_is_refused_with_the_grain_that_would_do(wide: World) -> None:
    found = wide.problem({})
    assert found["code"] == "too_wide" and "this gives 1,800 rows, at most 1,000 are possible" in found["detail"]
    counted = {"aggregations": [{"fn": "count"}]}
    assert len(wide.rows({"downsample": {**counted, **found["suggestion"]}})) <= 100
    buckets = wide.problem({"downsample": {**counted, "intervalUnit": "minute"}})
    assert buckets["code"] == "too_wide" and "41,820 buckets, at most 100" in buckets["detail"]
    assert buckets["suggestion"] == {"intervalUnit": "hour", "intervalSize": 12}
    assert len(wide.rows({"downsample": {**counted, **buckets["suggestion"], "fill": "zero"}})) == 59


def test_what_is_narrow_enough_after_all_is_answered(wide: World) -> None:
    assert len(wide.rows({"limit": 1000})) == 1000
    assert len(wide.rows({"timeRange": {"end": "2024-01-10T00:00:00Z"}})) == 540
    one_minute = [{"column": "ts", "op": "between", "values": ["2024-01-03T00:00:00Z", "2024-01-03T00:09:00Z"]}]
    assert len(wide.rows({"filters": one_minute})) == 10
    assert wide.problem({"limit": 1001})["code"] == "too_wide"


# --- pages


def pages(world: World, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    cursor = None
    while True:
        response = world.post({**body, "cursor": cursor} if cursor else body)
        assert response.status_code == 200, response.text
        yield response.json()
        cursor = response.json()["nextCursor"]
        if cursor is None:
            return


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("columns", [["device", "n"], ["ts", "n", "device"], None])
def test_pages_hold_each_row_once_while_rows_land_and_are_built(
    world: World, columns: list[str] | None, descending: bool
) -> None:
    body = {"columns": columns, "descending": descending}
    whole = world.rows({**body, "limit": 10_000})
    stop = threading.Event()

    def change() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            world.ground.land([row("c", 0.5 + number / 100, n=number), row("a", 3, n=-number, rev=1 + number)])
            world.ground.build(1 + number % 2, close=number % 3 == 0)

    changing = threading.Thread(target=change)
    changing.start()
    try:
        found = list(pages(world, {**body, "pageSize": 7}))
    finally:
        stop.set()
        changing.join(timeout=PATIENCE)
    versions = {page["manifestVersion"] for page in found}
    assert len(versions) == 1 and len(found) > 30
    rows = [one for page in found for one in page["rows"]]
    first = world.rows({**body, "limit": 10_000, "asOf": versions.pop()})
    assert rows == first and len(rows) >= len(whole)


def test_pages_of_figures_and_limits(still: World) -> None:
    body = {"downsample": {"intervalUnit": "minute", "aggregations": [{"fn": "count"}], "groupBy": ["device"]}, "limit": 100}
    found = list(pages(still, {**body, "pageSize": 33}))
    assert [len(page["rows"]) for page in found] == [33, 33, 33, 1]
    assert [one for page in found for one in page["rows"]] == still.rows(body)


@pytest.mark.parametrize("descending", [False, True])
def test_many_rows_of_one_time_are_paged(world: World, descending: bool) -> None:
    world.ground.dataset = PLAIN
    world.ground.land([row("a", 5, n=number) for number in range(500)])
    found: list[int] = []
    cursor = None
    while True:
        body = {"columns": ["n"], "descending": descending, "pageSize": 90, **({"cursor": cursor} if cursor else {})}
        page = world.post(body, path="/datasets/plain/query").json()
        found += [one["n"] for one in page["rows"]]
        if (cursor := page["nextCursor"]) is None:
            break
    assert found == (list(reversed(range(500))) if descending else list(range(500)))


def test_the_latest_rows_are_asked_for_first(still: World) -> None:
    latest = {"descending": True, "limit": 3, "columns": ["ts", "device"]}
    assert [(one["ts"][11:16], one["device"]) for one in still.rows(latest)] == [("00:59", "b"), ("00:59", "a"), ("00:58", "b")]
    counted = {"intervalUnit": "day", "aggregations": [{"fn": "count"}]}
    days = [one["ts"][:10] for one in still.rows({"descending": True, "downsample": counted})]
    assert days == ["2024-01-02", "2024-01-01"]


def test_a_page_may_begin_at_the_last_time_there_is(world: World) -> None:
    world.ground.dataset = PLAIN
    last = datetime(9999, 12, 31, 23, 59, 59, 999_999)
    world.ground.land([{**row("a", 0, n=number), "ts": last} for number in range(5)])
    body = {"columns": ["n"], "descending": True, "pageSize": 2}
    first = world.post(body, path="/datasets/plain/query").json()
    assert "rows" in first, first
    second = world.post({**body, "cursor": first["nextCursor"]}, path="/datasets/plain/query").json()
    assert [one["n"] for page in (first, second) for one in page["rows"]] == [4, 3, 2, 1]


def test_a_cursor_of_before_there_was_a_direction_stays_good(still: World) -> None:
    """Services of both versions stand behind one address while they are updated."""
    body = QueryBody(columns=["n"], page_size=10)
    before = body.model_dump_json(exclude={"cursor", "page_size", "descending"})
    place = PageStart(digest=digest_of(f"meter {before}"), version=1, time=None, skip=0, given=0)
    assert len(still.rows({"columns": ["n"], "pageSize": 10, "cursor": cursor_of(place)})) == 10
    turned = still.problem({"columns": ["n"], "pageSize": 10, "descending": True, "cursor": cursor_of(place)})
    assert "another question" in turned["detail"]


def test_a_written_cursor_gets_around_no_bound(wide: World) -> None:
    downsample = {"intervalUnit": "minute", "aggregations": [{"fn": "count"}], "fill": "zero"}
    body = {"downsample": downsample, "pageSize": 10}
    asked = QueryBody.model_validate(body).model_dump_json(exclude={"cursor", "page_size", "descending"})
    written = PageStart(digest=digest_of(f"meter {asked}"), version=1, time=None, skip=2**40, given=0)
    assert wide.problem({**body, "cursor": cursor_of(written)})["code"] == "too_wide"


@pytest.mark.parametrize("accept", ["application/json", "application/vnd.apache.arrow.stream"])
@pytest.mark.parametrize("body", [{"limit": 1}, {"limit": 1, "descending": True}, {"pageSize": 1}])
def test_under_a_limit_an_answer_says_what_was_read(still: World, body: dict[str, Any], accept: str) -> None:
    response = still.post(body, accept=accept)
    facts = response.json() if accept == "application/json" else response.headers
    names = ("scanned", "pruned") if accept == "application/json" else ("x-timestore-scanned", "x-timestore-pruned")
    assert [int(facts[name]) for name in names] == [1, 1]


def test_a_cursor_goes_with_its_question_and_its_version(world: World) -> None:
    body = {"pageSize": 10, "columns": ["n"]}
    cursor = world.post(body).json()["nextCursor"]
    assert "another question" in world.problem({**body, "columns": ["n", "ts"], "cursor": cursor})["detail"]
    assert world.post({**body, "pageSize": 20, "cursor": cursor}).status_code == 200
    world.ground.build(1, 2)
    assert len(world.rows({**body, "cursor": cursor})) == 10
    world.service.warehouse.querier.let_go()
    collect(world.ground.catalog, world.ground.storage, intent_grace=timedelta(0), keep_versions=timedelta(0))
    gone = world.problem({**body, "cursor": cursor})
    assert gone["status"] == 410 and "has been collected" in gone["detail"]
    assert world.problem({"asOf": 1})["status"] == 410


# --- clients that go, and too many of them


@pytest.fixture
def large(tmp_path: Path) -> Iterator[World]:
    """Three million rows, so that an answer does not fit between the service and a client that does not read."""
    for made in world_in(tmp_path / "home", query_concurrency=1, query_waiting=0):
        made.ground.dataset = PLAIN
        made.ground.land_query(
            """SELECT 'a' AS device, TIMESTAMP '2024-01-01' + to_milliseconds(i) AS ts, i::DOUBLE AS value, i AS n,
            NULL::DECIMAL(12,2) AS amount, NULL::BOOLEAN AS flag, NULL::DATE AS date, md5(i::VARCHAR) AS note, 1::BIGINT AS rev
            FROM range(3000000) t(i)"""
        )
        yield made


def test_a_client_that_goes_lets_everything_go(large: World) -> None:
    gate = large.service.service.gate
    with large.service.client.stream("POST", "/datasets/plain/query", json={}) as response:
        pieces = response.iter_bytes(1000)  # one that nobody holds ends, and its connection with it
        assert next(pieces)
        assert gate.inside == 1 and large.leases() == 1
        refused = large.post({"limit": 1}, path="/datasets/plain/query")
        assert refused.status_code == 429 and int(refused.headers["retry-after"]) >= 1
    eventually(lambda: gate.inside == 0)
    large.service.warehouse.querier.let_go()
    assert large.leases() == 0, "nobody reads it"
    assert large.post({"limit": 1}, path="/datasets/plain/query").status_code == 200


def test_a_client_that_goes_before_the_first_row_stops_the_work(large: World) -> None:
    gate = large.service.service.gate
    slow = "SELECT count(*) AS c FROM range(100000000) a, range(100000000) b WHERE a.range + b.range = -1"
    with pytest.raises(httpx.ReadTimeout):
        large.service.client.post("/sql", json={"sql": slow}, timeout=0.5)
    eventually(lambda: gate.inside == 0)
    assert large.post({"limit": 1}, path="/datasets/plain/query").status_code == 200


def test_what_takes_too_long_is_stopped(tmp_path: Path) -> None:
    for made in world_in(tmp_path / "home", sql_timeout_seconds=1):
        slow = "SELECT count(*) AS c FROM range(100000000) a, range(100000000) b WHERE a.range + b.range = -1"
        response = made.post({"sql": slow}, path="/sql")
        assert response.status_code == 422 and response.json()["code"] == "time_limit"


def test_datasets_are_listed_with_what_is_in_them(still: World) -> None:
    found = still.service.client.get("/datasets").json()["datasets"]
    assert [one["name"] for one in found] == ["meter", "plain"]
    one = still.service.client.get("/datasets/meter").json()
    assert one == found[0] and one["rows"] == 240 and one["newest"] == "2024-01-02T00:59:00Z" and one["time"] == "ts"
    assert {"name": "value", "type": "double", "nullable": True, "unit": "degC", "description": ""} in one["columns"]
    assert still.service.client.get("/datasets/metre").status_code == 404
