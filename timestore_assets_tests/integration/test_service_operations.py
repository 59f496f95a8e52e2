"""The service as operators see it: ids and traces of requests, its log, what it says of errors, health and readiness."""

from __future__ import annotations

import io
import json
import logging
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from sqlalchemy import create_engine, text

from timestore_assets.service.observing.background_poller import BackgroundPoller
from timestore_assets.service.observing.readiness import storage_part
from timestore_assets.service.service_log import Log
from timestore_assets_tests.support.http_service import HttpService, open_warehouse, service, serving

WAIT_SECONDS = 60.0
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Written:
    """The log of a service, line by line."""

    def __init__(self) -> None:
        self._stream = io.StringIO()
        self.log = Log.to(self._stream, level="info")

    @property
    def text(self) -> str:
        return self._stream.getvalue()

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]

    def events(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == name]


class Strange:
    """Routes that do what no real one should. `go_on`: lets the second half of an answer be sent."""

    def __init__(self) -> None:
        self.go_on = threading.Event()

    def add_to(self, app: FastAPI) -> None:
        app.add_api_route("/strange/broken/{name}", self.broken, methods=["GET"])
        app.add_api_route("/strange/halves", self.halves, methods=["GET"])
        app.add_api_route("/strange/cut", self.cut, methods=["GET"])
        app.add_api_route("/strange/body", self.body, methods=["POST"])

    def broken(self, name: str) -> None:
        password = f"secret-{name}"
        raise RuntimeError(f"the password is {password}")

    def halves(self) -> StreamingResponse:
        def parts() -> Iterator[bytes]:
            yield b"first"
            assert self.go_on.wait(WAIT_SECONDS), "the first half was not passed on"
            yield b"second"

        return StreamingResponse(parts())

    def cut(self) -> StreamingResponse:
        def parts() -> Iterator[bytes]:
            yield b"first"
            raise RuntimeError("half-way")

        return StreamingResponse(parts())

    async def body(self, request: Request) -> int:
        """Answers with the first piece of the body while the rest is still to come."""
        async for piece in request.stream():
            return len(piece)
        return 0


@pytest.fixture
def written() -> Written:
    return Written()


@pytest.fixture
def strange() -> Strange:
    return Strange()


@pytest.fixture
def http(tmp_path: Path, written: Written, strange: Strange) -> Iterator[HttpService]:
    with open_warehouse(tmp_path / "home") as warehouse, serving(warehouse, log=written.log, more=strange.add_to) as made:
        yield made


def test_a_request_without_ids_gets_them(http: HttpService) -> None:
    first, second = http.client.get("/health"), http.client.get("/health")
    ids = [answer.headers["x-request-id"] for answer in (first, second)]
    assert len(set(ids)) == 2
    for answer, request_id in zip((first, second), ids, strict=True):
        assert re.fullmatch(rf"00-{request_id}-[0-9a-f]{{16}}-0[01]", answer.headers["traceresponse"])


def test_ids_that_a_client_sends_are_taken_up(http: HttpService, written: Written) -> None:
    answer = http.client.get("/health", headers={"traceparent": f"00-{TRACE}-{PARENT}-01", "X-Request-Id": "order-17"})
    assert answer.headers["x-request-id"] == "order-17"
    assert answer.headers["traceresponse"].startswith(f"00-{TRACE}-")
    assert PARENT not in answer.headers["traceresponse"]
    (line,) = written.events("request")
    assert (line["request_id"], line["trace_id"]) == ("order-17", TRACE)


@pytest.mark.parametrize(
    "headers",
    [
        {"traceparent": f"00-{'0' * 32}-{PARENT}-01"},
        {"traceparent": f"ff-{TRACE}-{PARENT}-01"},
        {"traceparent": "nonsense"},
        {"traceparent": f"00-{TRACE.upper()}-{PARENT}-01"},
        {"X-Request-Id": 'x" \u00e9'.encode("latin-1").decode("latin-1")},
        {"X-Request-Id": "a" * 65},
        {"X-Request-Id": "a b"},
    ],
)
def test_ids_that_are_none_are_replaced(http: HttpService, headers: dict[str, str]) -> None:
    answer = http.client.get("/health", headers=[(name.encode(), value.encode("latin-1")) for name, value in headers.items()])
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])
    assert answer.headers["traceresponse"].split("-")[1] not in ("0" * 32, TRACE)


def test_an_unexpected_error_is_a_problem_without_internals(http: HttpService, written: Written) -> None:
    answer = http.client.get("/strange/broken/dataset?token=hidden", headers={"Authorization": "Bearer hidden"})
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["status"], problem["code"]) == (500, "internal")
    assert answer.headers["x-request-id"] in problem["detail"]
    (failure,) = written.events("request_failed")
    assert failure["error"] == "RuntimeError"
    assert failure["request_id"] == answer.headers["x-request-id"]
    assert re.fullmatch(r"test_service_operations\.py:\d+ broken", failure["trace"][-1])
    for hidden in ("secret", "password", "hidden"):
        assert hidden not in written.text + answer.text


def test_each_request_is_one_line_without_what_was_asked(http: HttpService, written: Written) -> None:
    http.client.get("/health?password=hidden", headers={"Authorization": "Bearer hidden", "Cookie": "hidden"})
    http.client.get("/hidden/path")
    http.client.put("/health")
    lines = written.events("request")
    assert [(line["method"], line["route"], line["status"]) for line in lines] == [
        ("GET", "/health", 200),
        ("GET", "unmatched", 404),
        ("PUT", "/health", 405),
    ]
    assert all(line["seconds"] > 0 and line["level"] == "info" and line["time"].endswith("Z") for line in lines)
    assert "hidden" not in written.text


def test_answers_are_passed_on_as_they_come(http: HttpService, strange: Strange) -> None:
    with http.client.stream("GET", "/strange/halves") as answer:
        pieces = answer.iter_raw()
        assert next(pieces) == b"first"
        strange.go_on.set()
        assert next(pieces) == b"second"


def test_bodies_are_passed_on_as_they_come(http: HttpService) -> None:
    answered = threading.Event()

    def body() -> Iterator[bytes]:
        yield b"12345"
        answered.wait(1.0)  # the answer must not need the rest
        yield b"678"

    answer = http.client.post("/strange/body", content=body())
    answered.set()
    assert answer.json() == 5


def test_an_answer_that_fails_half_way_can_not_be_taken_for_a_whole_one(http: HttpService, written: Written) -> None:
    with pytest.raises(httpx.RemoteProtocolError), http.client.stream("GET", "/strange/cut") as answer:
        answer.read()
    (failure,) = written.events("request_failed")
    assert failure["error"] == "RuntimeError"
    assert written.events("request")[0]["status"] == 500


def test_what_libraries_log_goes_the_same_way(written: Written) -> None:
    with written.log.hearing_others():
        try:
            raise ValueError("secret")
        except ValueError:
            logging.getLogger("some.library").exception("it %s", "failed")
        logging.getLogger("uvicorn.error").info("chatter")
    logging.getLogger("some.library").warning("later")
    (line,) = written.lines
    assert (line["event"], line["level"], line["logger"]) == ("it failed", "error", "some.library")
    assert "secret" not in written.text


def test_addresses_that_are_none_say_where_to_look(http: HttpService) -> None:
    for answer in (http.client.get("/nothing"), http.client.delete("/health")):
        assert answer.headers["content-type"] == "application/problem+json"
        assert "/docs" in answer.json()["detail"]


# --- health and readiness


def test_a_service_that_can_work_is_ready(http: HttpService) -> None:
    answer = http.client.get("/ready")
    assert answer.status_code == 200
    assert answer.json()["status"] == "ready"
    assert {part["name"]: part["state"] for part in answer.json()["parts"]} == dict.fromkeys(
        ("catalog", "storage", "ingest", "hot_buffer"), "ready"
    )


def test_strangers_get_the_status_only(tmp_path: Path) -> None:
    with service(tmp_path / "home") as http:
        http.warehouse.catalog.tokens.add(name="one", digest="0" * 64, scopes=("a",), expires_at=None, actor="test")
        assert _without_a_caller(http, "/ready").json() == {"status": "ready", "parts": None}
        assert http.client.get("/health").status_code == 200


def _without_a_caller(http: HttpService, path: str) -> httpx.Response:
    """The answer once the service has noticed that there is a token."""
    for _ in range(100):
        answer = http.client.get(path)
        if answer.json().get("parts") is None:
            break
        threading.Event().wait(0.1)
    return answer


def test_a_catalog_of_another_version_is_not_ready(tmp_path: Path) -> None:
    with service(tmp_path / "home") as http:
        engine = create_engine(http.warehouse.settings.catalog_url)
        with engine.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        engine.dispose()
        answer = http.client.get("/ready")
        assert answer.status_code == 503
        parts = {part["name"]: part for part in answer.json()["parts"]}
        assert parts["catalog"]["state"] == "not_ready"
        assert "another version" in parts["catalog"]["reason"]
        assert http.client.get("/health").status_code == 200


def test_a_store_that_takes_no_files_is_not_ready(tmp_path: Path) -> None:
    assert storage_part(tmp_path).state == "ready"
    assert "free some" in storage_part(tmp_path, low_bytes=1 << 62).reason
    gone = storage_part(tmp_path / "gone")
    assert gone.state == "not_ready"
    assert str(tmp_path) not in gone.reason


def test_a_look_that_takes_long_holds_up_nobody() -> None:
    go_on, looks = threading.Event(), iter(range(10))

    def look() -> int:
        assert go_on.wait(WAIT_SECONDS)
        return next(looks)

    looking = BackgroundPoller(look, every=0.0, patience=0.05, name="test")
    assert looking.in_time() is None
    assert looking.newest() is None
    go_on.set()
    patient = BackgroundPoller(look, every=1000.0, patience=WAIT_SECONDS, name="test")
    found = patient.in_time()
    assert found is not None
    assert patient.newest() == found


# --- what errors must not tell


def test_a_missing_file_is_said_without_the_folders_of_this_machine(tmp_path: Path, written: Written) -> None:
    with open_warehouse(tmp_path / "home") as warehouse, serving(warehouse, log=written.log) as http:
        record = {"ts": "2013-01-01T00:00:00Z", "station": "JFK", "temp": 39.5}
        assert http.client.post("/datasets/weather/ingest", json={"records": [record]}).status_code == 200
        for path in (tmp_path / "home" / "data" / "weather").rglob("*.parquet"):
            path.unlink()
        answer = http.client.post("/datasets/weather/query", json={})
    assert answer.status_code == 503, answer.text
    assert "is missing from the store" in answer.json()["detail"]
    assert str(tmp_path) not in answer.text
    assert str(tmp_path) in written.events("request_refused")[0]["reason"]


def test_a_catalog_that_is_away_is_said_without_its_address(tmp_path: Path) -> None:
    with service(tmp_path / "home", trusted_proxies="127.0.0.1") as http:
        http.client.headers.update({"x-iam-user": "reader", "x-iam-scopes": "timestore:read timestore:write"})
        catalog = tmp_path / "home" / "catalog.sqlite"
        http.warehouse.catalog.close()
        for path in catalog.parent.glob("catalog.sqlite*"):
            path.rename(path.with_name(f"moved-{path.name}"))
        catalog.mkdir()
        record = {"ts": "2013-01-01T00:00:00Z", "station": "JFK", "temp": 39.5}
        answers = [
            http.client.get("/datasets"),
            http.client.post("/datasets/weather/query", json={}),
            http.client.post("/datasets/weather/ingest", json={"records": [record]}),
            http.client.post("/sql", json={"sql": "SELECT * FROM weather"}),
        ]
        catalog.rmdir()
    for answer in answers:
        assert answer.status_code == 503, answer.text
        assert "catalog can't be used" in answer.json()["detail"]
        assert answer.headers["retry-after"]
        assert "sqlite" not in answer.text
