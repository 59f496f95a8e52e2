"""Records over HTTP: every format lands as a file of it would, each row is accounted for, and a request lands once."""

from __future__ import annotations

import gzip
import io
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import zstandard

from timestore_assets.catalog.commit_values import NewIngestion
from timestore_assets.catalog.lease_keeper import TTL
from timestore_assets.model.counters import Counters
from timestore_assets.model.dataset import Access, CsvDialect, HttpSource
from timestore_assets.segments.content_hash import hash_sql
from timestore_assets.segments.engine import connect
from timestore_assets.segments.reader import opened
from timestore_assets_tests.support.http_service import WEATHER, HttpService, open_warehouse, service, serving
from timestore_assets_tests.support.landing_warehouse import columns, dataset

RECORDS: list[dict[str, Any]] = [
    {"ts": f"2013-05-0{number % 3 + 1}T00:00:0{number}Z", "station": f"S{number}", "temp": number / 2} for number in range(6)
]
GOOD = json.dumps(RECORDS).encode()
CSV = "ts,station,temp\n" + "".join(f"{one['ts']},{one['station']},{one['temp']}\n" for one in RECORDS)
LINES = "".join(json.dumps(one) + "\n" for one in RECORDS)
CLOSED = dataset(name="closed")
STRICT = dataset(name="strict", order="strict", sources=(HttpSource(),))
FOLDERS = dataset(name="folders", sources=(HttpSource(csv=CsvDialect(delimiter=";")),), partition_by=("station",))
SECRET = dataset(name="secret", sources=(HttpSource(),), access=Access(read=("s:read",), write=("s:write",)))
DATASETS = {one.name: one for one in (WEATHER, CLOSED, STRICT, FOLDERS, SECRET)}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpService]:
    """For tests that look at their own answers only."""
    with service(tmp_path_factory.mktemp("service") / "home", DATASETS, ingest_body_bytes=3_000_000) as http:
        yield http


@pytest.fixture
def http(tmp_path: Path) -> Iterator[HttpService]:
    with service(tmp_path / "home", DATASETS) as http:
        yield http


def arrow(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def send(
    http: HttpService, content: Any, kind: str = "application/json", *, to: str = "weather", **headers: str
) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return http.client.post(f"/datasets/{to}/ingest", content=content, headers={"Content-Type": kind, **named})


def landed(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    assert answer["read"] == answer["landed"] + answer["duplicates"] + answer["deadLetters"]["count"]
    return answer


def counters(http: HttpService, name: str = "weather") -> Counters:
    record = http.warehouse.catalog.datasets.find(name)
    assert record is not None
    total = sum((source.counters for source in http.warehouse.catalog.sources.of(record.id)), Counters())
    assert total.balanced
    return total


def content(http: HttpService, name: str = "weather") -> str:
    """The hash of a dataset's rows."""
    catalog, warehouse = http.warehouse.catalog, http.warehouse
    record = catalog.datasets.find(name)
    assert record is not None
    with connect(warehouse.limits) as con:
        found = opened(
            con,
            catalog.manifest.segments(record.id),
            storage=warehouse.storage,
            schema=record.schema,
            schema_of=lambda version: catalog.datasets.schema(record.id, version),
            retracted=catalog.manifest.retracted(record.id),
            stored=True,
        )
        with found as table:
            [row] = con.execute(hash_sql(record.schema, table)).fetchall()
    return str(row[0])


BODIES = {
    "array": (GOOD, "application/json"),
    "object": (b'{"records": %s, "schema": {"temp": "double"}}' % GOOD, "application/json; charset=utf-8"),
    "lines": (LINES, "application/x-ndjson"),
    "csv": (CSV, "text/csv"),
    "arrow": (arrow(pa.Table.from_pylist(RECORDS)), "application/vnd.apache.arrow.stream"),
}


@pytest.fixture(scope="module")
def from_a_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("file")
    (folder / "a.jsonl").write_text(LINES)
    with service(folder / "home") as http:
        http.warehouse.land("weather", [folder / "a.jsonl"])
        return content(http)


class TestFormats:
    @pytest.mark.parametrize("form", BODIES)
    def test_what_lands_is_what_a_file_would_land(self, http: HttpService, from_a_file: str, form: str) -> None:
        body, kind = BODIES[form]
        answer = landed(send(http, body, kind))
        assert (answer["dataset"], answer["read"], answer["landed"]) == ("weather", 6, 6)
        assert answer["manifestVersion"] == 1
        assert content(http) == from_a_file
        assert counters(http) == Counters(read=6, landed=6)

    @pytest.mark.parametrize("encoding", ["gzip", "zstd"])
    def test_compressed(self, shared: HttpService, encoding: str) -> None:
        packed = gzip.compress(GOOD) if encoding == "gzip" else zstandard.compress(GOOD)
        assert landed(send(shared, packed, Content_Encoding=encoding))["landed"] == 6

    def test_in_pieces_without_a_length(self, shared: HttpService) -> None:
        assert landed(send(shared, iter([GOOD[:10], GOOD[10:50], GOOD[50:]])))["landed"] == 6

    def test_a_dialect_of_csv(self, shared: HttpService) -> None:
        text = "ts;station;temp\n2013-05-01;a;1,5\n2013-05-01;a;1.5\n"
        assert landed(send(shared, text, "text/csv", to="folders"))["landed"] == 1

    def test_times_with_a_zone_and_categories(self, http: HttpService) -> None:
        times = pa.array([0, 3_600_000], pa.timestamp("ms", tz="America/New_York"))
        times = pc.add(times, pa.scalar(1_367_366_400_000, pa.duration("ms")))
        table = pa.table({"ts": times, "station": pa.array(["a", "b"]).dictionary_encode(), "temp": [1, 2]})
        assert landed(send(http, arrow(table), BODIES["arrow"][1]))["landed"] == 2
        with http.warehouse.sql("SELECT epoch_ms(ts) AS ms, station FROM weather ORDER BY ms") as answer:
            rows = answer.table().to_pylist()
        assert rows == [{"ms": 1_367_366_400_000, "station": "a"}, {"ms": 1_367_370_000_000, "station": "b"}]

    @pytest.mark.parametrize("body", [b"", b"[]", b'{"records": []}'])
    def test_nothing(self, http: HttpService, body: bytes) -> None:
        answer = landed(send(http, body))
        assert (answer["read"], answer["manifestVersion"]) == (0, 0)
        assert http.warehouse.catalog.audit.newest(limit=1)[0]["action"] != "landed"


class TestDeadLetters:
    def test_bad_records_stop_no_other(self, http: HttpService) -> None:
        bad = [
            b'{"ts": "2013-02-30"}',
            b"5",
            b'{"ts":"2013-05-01","station":"a","temp":NaN}',
            b'{"ts":1,"ts":2}',
            b'{"a": "\\ud800"}',
        ]
        answer = landed(send(http, b"[%s,%s]" % (b",".join(bad), GOOD[1:-1])))
        letters = answer["deadLetters"]
        assert (answer["landed"], letters["count"], letters["truncated"]) == (6, 5, False)
        assert [one["row"] for one in letters["rows"]] == [0, 1, 2, 3, 4]
        assert [one["code"] for one in letters["rows"]][:4] == ["bad_value", "not_an_object", "non_finite", "duplicate_keys"]
        assert letters["rows"][0]["column"] == "ts"
        assert letters["rows"][1]["column"] is None
        assert counters(http) == Counters(read=11, landed=6, dead_letters=5)
        kept = http.client.get("/admin/datasets/weather/deadletters").json()
        assert "5" in json.dumps(kept)

    def test_the_first_hundred_are_listed(self, shared: HttpService) -> None:
        letters = landed(send(shared, b"[%s]" % b",".join(b"%d" % number for number in range(250))))["deadLetters"]
        assert (letters["count"], len(letters["rows"]), letters["truncated"]) == (250, 100, True)
        assert [one["row"] for one in letters["rows"]] == list(range(100))

    def test_a_record_of_two_megabytes(self, shared: HttpService) -> None:
        long = json.dumps({**RECORDS[0], "station": "x" * 2_000_000}).encode()
        [letter] = landed(send(shared, b"[%s, %s]" % (long, GOOD[1:-1])))["deadLetters"]["rows"]
        assert (letter["row"], letter["code"]) == (0, "too_long")

    def test_invalid_utf8_in_a_line(self, shared: HttpService) -> None:
        [letter] = landed(send(shared, b"\xff\xfe\n" + LINES.encode(), "application/x-ndjson"))["deadLetters"]["rows"]
        assert (letter["row"], letter["code"]) == (0, "invalid_utf8")

    def test_a_partition_key(self, http: HttpService) -> None:
        records = [{"ts": "2013-05-01", "temp": 1.5}, {"ts": "2013-05-01", "station": "b", "temp": 2}]
        body = json.dumps({"records": records, "partitionKey": {"station": "a"}}).encode()
        answer = landed(send(http, body, to="folders"))
        [letter] = answer["deadLetters"]["rows"]
        assert (answer["landed"], letter["row"], letter["code"]) == (1, 1, "partition_key_conflict")
        with http.warehouse.sql("SELECT station FROM folders") as found:
            assert found.table().to_pylist() == [{"station": "a"}]

    def test_dead_letters_can_be_replayed(self, http: HttpService, tmp_path: Path) -> None:
        assert landed(send(http, b'[{"ts": "2013-05-01", "station": "a", "temp": 150}]'))["deadLetters"]["count"] == 1
        wider = dataset(
            sources=(HttpSource(),),
            schema=WEATHER.schema.__class__(columns=(*WEATHER.schema.columns[:2], *columns(temp="double?"))),
        )
        home = http.warehouse.settings.home
        with open_warehouse(home, {"weather": wider}) as warehouse:
            assert warehouse.replay("weather").counters == Counters(landed=1, dead_letters=-1)
        assert counters(http) == Counters(read=1, landed=1)


class TestRefused:
    @pytest.mark.parametrize(
        ("body", "kind", "words"),
        [
            (b'[{"ts": 1', "application/json", "not valid JSON"),
            (b'{"records": [], "schema": {"temp": "string"}}', "application/json", "column 'temp' is double, not string"),
            (b'{"records": [], "partitionKey": {"temp": 1}}', "application/json", "'temp' is no column"),
            (b"time,station\n1,2\n", "text/csv", "column 'ts' is required and the body does not have it"),
            (b"TS,ts,station\n", "text/csv", "differ"),
            (b"x", "application/vnd.apache.arrow.stream", "not a valid Arrow IPC stream"),
            (arrow(pa.table({"station": ["a"]})), "application/vnd.apache.arrow.stream", "column 'ts' is required"),
        ],
    )
    def test_a_body_that_is_bad_as_a_whole(self, shared: HttpService, body: bytes, kind: str, words: str) -> None:
        before = counters(shared)
        response = send(shared, body, kind)
        assert response.status_code == 422
        assert words in response.json()["detail"]
        assert counters(shared) == before

    @pytest.mark.parametrize("headers", [{"Content_Encoding": "br"}, {"Content_Type": "image/png"}])
    def test_what_is_not_understood(self, shared: HttpService, headers: dict[str, str]) -> None:
        response = send(shared, GOOD, **headers) if "Content_Encoding" in headers else send(shared, GOOD, "image/png")
        assert (response.status_code, response.json()["code"]) == (415, "unsupported_media_type")

    @pytest.mark.parametrize("body", [b" " * 3_000_001, iter([b" " * 2_000_000] * 2)])
    def test_a_body_that_is_too_long(self, shared: HttpService, body: Any) -> None:
        assert send(shared, body).status_code == 413

    def test_a_bomb(self, shared: HttpService) -> None:
        assert send(shared, gzip.compress(bytes(50_000_000)), Content_Encoding="gzip").status_code == 413

    def test_a_compressed_body_that_is_none(self, shared: HttpService) -> None:
        assert send(shared, GOOD, Content_Encoding="zstd").status_code == 422

    @pytest.mark.parametrize("key", ["", "x" * 201, "ü"])
    def test_keys_that_are_none(self, shared: HttpService, key: str) -> None:
        answer = shared.client.post("/datasets/weather/ingest", content=GOOD, headers={b"Idempotency-Key": key.encode()})
        assert answer.status_code == 422

    def test_datasets_that_take_nothing(self, shared: HttpService) -> None:
        closed, strict = send(shared, GOOD, to="closed"), send(shared, GOOD, to="strict")
        assert (closed.status_code, strict.status_code) == (403, 403)
        assert "add `- http: {}` to its `sources`" in closed.json()["detail"]
        assert "`order: strict`" in strict.json()["detail"]

    def test_the_unknown_and_the_forbidden_are_told_alike(self, tmp_path: Path) -> None:
        settings = {"trusted_proxies": "127.0.0.1"}
        with service(tmp_path / "home", DATASETS, **settings) as http:
            who = {"x-iam-user": "eve", "x-iam-scopes": "timestore:write"}
            told = [send(http, GOOD, to=name, **who) for name in ("secret", "nobody")]
            assert [one.status_code for one in told] == [404, 404]
            assert told[0].text.replace("secret", "nobody") == told[1].text
            owner = {"x-iam-user": "sam", "x-iam-scopes": "s:write"}
            there = send(http, GOOD, to="secret", Idempotency_Key="k", **owner)
            id = landed(there)["ingestionId"]
            hidden, unknown = (http.client.get(f"/ingestions/{one}", headers=who) for one in (id, "0" * 32))
            assert (hidden.status_code, unknown.status_code) == (404, 404)
            assert hidden.text.replace(id, "0" * 32) == unknown.text
            assert http.client.get(f"/ingestions/{id}", headers=owner).status_code == 200


class TestKeys:
    def test_a_repeated_key_answers_as_the_first_time(self, http: HttpService) -> None:
        first = landed(send(http, GOOD, Idempotency_Key="a"))
        assert landed(send(http, GOOD, Idempotency_Key="a")) == {**first, "repeated": True}
        assert counters(http) == Counters(read=6, landed=6)

    @pytest.mark.parametrize("form", BODIES)
    def test_also_after_a_restart(self, tmp_path: Path, form: str) -> None:
        body, kind = BODIES[form]
        with service(tmp_path / "home") as http:
            first = landed(send(http, body, kind, Idempotency_Key="a"))
        with service(tmp_path / "home") as http:
            assert landed(send(http, body, kind, Idempotency_Key="a")) == {**first, "repeated": True}
            assert counters(http) == Counters(read=6, landed=6)

    def test_another_body_is_a_conflict(self, http: HttpService) -> None:
        landed(send(http, GOOD, Idempotency_Key="a"))
        for body, kind in ((GOOD[:-1] + b",5]", "application/json"), (CSV, "text/csv")):
            response = send(http, body, kind, Idempotency_Key="a")
            assert (response.status_code, response.json()["code"]) == (409, "key_reused")
        assert landed(send(http, LINES, "application/x-ndjson", Idempotency_Key="a"))["repeated"], "the same records"

    def test_another_partition_key_is_another_body(self, http: HttpService) -> None:
        record = b'{"ts": "2013-05-01", "temp": 1}'
        body = b'{"records": [%s], "partitionKey": {"station": "%s"}}'
        landed(send(http, body % (record, b"a"), to="folders", Idempotency_Key="k"))
        assert landed(send(http, body % (record, b"a"), to="folders", Idempotency_Key="k"))["repeated"]
        assert send(http, body % (record, b"b"), to="folders", Idempotency_Key="k").status_code == 409

    def test_both_at_once(self, http: HttpService) -> None:
        with ThreadPoolExecutor(16) as pool:
            answers = [landed(one) for one in pool.map(lambda n: send(http, GOOD, Idempotency_Key=f"k{n // 4}"), range(64))]
        assert sum(answer["repeated"] for answer in answers) == 48
        assert len({answer["ingestionId"] for answer in answers}) == 16
        assert counters(http) == Counters(read=96, landed=96)

    def test_keys_are_of_one_dataset(self, http: HttpService) -> None:
        for name in ("weather", "folders"):
            assert not landed(send(http, GOOD, to=name, Idempotency_Key="a"))["repeated"]

    def test_without_records(self, http: HttpService) -> None:
        first = landed(send(http, b"[]", Idempotency_Key="a"))
        assert landed(send(http, b"[]", Idempotency_Key="a")) == {**first, "repeated": True}
        assert send(http, GOOD, Idempotency_Key="a").status_code == 409

    def test_an_archived_envelope_with_the_key_brings_nothing(self, http: HttpService, tmp_path: Path) -> None:
        landed(send(http, GOOD, Idempotency_Key="a"))
        archive = tmp_path / "archive.ndjson"
        archive.write_text(f'{{"idempotencyKey": "a", "ingestion": {{"records": {GOOD.decode()}}}}}\n')
        report = http.warehouse.land("weather", [archive], format="envelopes")
        assert report.counters == Counters(read=6, duplicates=6)

    def test_nor_does_a_request_with_the_key_of_one(self, http: HttpService, tmp_path: Path) -> None:
        archive = tmp_path / "archive.ndjson"
        archive.write_text(f'{{"idempotencyKey": "a", "ingestion": {{"records": {GOOD.decode()}}}}}\n')
        http.warehouse.land("weather", [archive], format="envelopes")
        answer = landed(send(http, GOOD, Idempotency_Key="a"))
        assert (answer["landed"], answer["duplicates"]) == (0, 6)
        assert landed(send(http, GOOD, Idempotency_Key="a")) == {**answer, "repeated": True}
        assert send(http, b'[{"ts": 1}]', Idempotency_Key="a").status_code == 409
        assert counters(http) == Counters(read=12, landed=6, duplicates=6)


class TestAsynchronous:
    def test_accepted_and_then_landed(self, http: HttpService) -> None:
        response = send(http, GOOD, Prefer="wait=5, Respond-Async", Idempotency_Key="a")
        assert response.status_code == 202
        accepted = response.json()
        assert response.headers["Location"] == f"/ingestions/{accepted['ingestionId']}"
        found = self.settled(http, response.headers["Location"])
        assert (found["state"], found["answer"]["landed"], found["dataset"]) == ("landed", 6, "weather")
        again = landed(send(http, GOOD, Idempotency_Key="a"))
        assert again == {**found["answer"], "repeated": True}
        assert landed(send(http, GOOD, Idempotency_Key="a", Prefer="respond-async"))["repeated"]
        assert counters(http) == Counters(read=6, landed=6)

    def test_without_a_key(self, http: HttpService) -> None:
        location = send(http, GOOD, Prefer="respond-async").headers["Location"]
        assert self.settled(http, location)["answer"]["landed"] == 6

    def test_what_was_given_up_says_to_send_it_again(self, tmp_path: Path) -> None:
        with service(tmp_path / "home") as http:
            location = send(http, GOOD, Prefer="respond-async").headers["Location"]
            found = self.settled(http, location)
            catalog = http.warehouse.catalog
            record = catalog.datasets.find("weather")
            assert record is not None
            dead = catalog.sessions.begin(record.id, "landing", holder="x", ttl=TTL)
            lost = NewIngestion(id="lost", key="k", digest="d", outcome={}, actor="x")
            assert catalog.ingestions.announce(record.id, dead, lost)
            assert http.client.get("/ingestions/lost").json()["state"] == "pending"
            catalog.sessions.end(dead)
            abandoned = http.client.get("/ingestions/lost").json()
            assert abandoned["state"] == "abandoned"
            assert "send it again" in abandoned["detail"]
            assert not landed(send(http, GOOD, Idempotency_Key="k"))["repeated"], "its key is free"
            assert found["state"] == "landed"

    def test_a_bad_body_is_refused_at_once(self, http: HttpService) -> None:
        assert send(http, b"x\n", "text/csv", Prefer="respond-async").status_code == 422

    @staticmethod
    def settled(http: HttpService, location: str) -> dict[str, Any]:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            found: dict[str, Any] = http.client.get(location).json()
            if found["state"] != "pending":
                return found
            time.sleep(0.02)
        raise AssertionError("it did not settle")


def test_a_client_that_goes_away_harms_nobody(http: HttpService) -> None:
    host, port = http.url.removeprefix("http://").split(":")
    lines = ("POST /datasets/weather/ingest HTTP/1.1", f"Host: {host}", f"Content-Length: {len(GOOD)}", "", "")
    head = "\r\n".join(lines)
    for sent in (head.encode(), head.encode() + GOOD[:50], head.encode() + GOOD):
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(sent)
    assert landed(send(http, GOOD))["landed"] == 6
    deadline = time.monotonic() + 60
    while http.service.landers.waiting()["weather"].requests and time.monotonic() < deadline:
        time.sleep(0.02)
    assert counters(http).landed in (6, 12)


def test_what_waits_is_landed_when_the_service_stops(tmp_path: Path) -> None:
    with open_warehouse(tmp_path / "home", ingest_linger_ms=5_000) as warehouse:
        with serving(warehouse) as http, ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(send, http, GOOD)
            deadline = time.monotonic() + 60
            while not http.service.landers.waiting().get("weather") and time.monotonic() < deadline:
                time.sleep(0.01)
            http.service.landers.close()
            assert landed(waiting.result(timeout=60))["landed"] == 6
            assert send(http, GOOD).status_code == 503
        record = warehouse.catalog.datasets.find("weather")
        assert record is not None
        assert warehouse.verify("weather").ok


def test_a_full_buffer_says_when_to_come_again(tmp_path: Path) -> None:
    with service(tmp_path / "home", ingest_buffer_requests=1, ingest_linger_ms=20_000) as http, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(send, http, GOOD)
        deadline = time.monotonic() + 60
        while not http.service.landers.waiting().get("weather") and time.monotonic() < deadline:
            time.sleep(0.01)
        response = send(http, GOOD)
        assert (response.status_code, response.json()["code"]) == (429, "too_many_requests")
        assert int(response.headers["Retry-After"]) >= 1
        http.service.landers.close()
        assert landed(waiting.result(timeout=20))["landed"] == 6
        assert counters(http) == Counters(read=6, landed=6)
