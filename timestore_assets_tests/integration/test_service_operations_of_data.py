"""Erasing and reloading over HTTP: answered in bounded time, told by any service, and no value of a row is in what is kept."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from timestore_assets.model.dataset import FileSource, HttpSource
from timestore_assets.service.admin import operation_routes
from timestore_assets.service.operation_runner import MOST
from timestore_assets.service.service_log import Log
from timestore_assets_tests.support.http_service import WEATHER, HttpService, open_warehouse, serving
from timestore_assets_tests.support.topic_warehouse import wait_until

FILES = replace(WEATHER, sources=(FileSource(prefix="inbox"), HttpSource()))
SUBJECT = "Q7X-SUBJECT"
ROWS = f"ts,station,temp\n2013-01-01,{SUBJECT},1\n2013-01-01,JFK,2\n2013-01-02,JFK,3\n"
ERASURES, RELOADS = "/admin/datasets/weather/erasures", "/admin/datasets/weather/reloads"


@pytest.fixture
def log() -> StringIO:
    return StringIO()


@pytest.fixture
def http(tmp_path: Path, log: StringIO) -> Iterator[HttpService]:
    with (
        open_warehouse(tmp_path / "home", {"weather": FILES}) as warehouse,
        serving(warehouse, log=Log.to(log, level="debug")) as ground,
    ):
        path = tmp_path / "home" / "inbox" / "a.csv"
        path.parent.mkdir()
        path.write_text(ROWS)
        warehouse.land("weather", [path])
        yield ground


def rows(http: HttpService) -> list[tuple[str, str]]:
    found = http.client.post("/datasets/weather/query", json={"columns": ["ts", "station"]}).json()["rows"]
    return sorted((row["ts"][:10], row["station"]) for row in found)


def done(http: HttpService, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
    answer = http.client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    assert found["state"] == "done" and http.client.get(answer.headers["location"]).json() == found
    return found


def told(http: HttpService, log: StringIO) -> str:
    return json.dumps(http.warehouse.catalog.audit.newest(limit=1000)) + log.getvalue()


def test_an_erasure_is_tried_first_and_then_done(http: HttpService, log: StringIO) -> None:
    where = f"station = '{SUBJECT}'"
    tried = done(http, ERASURES, {"where": where})
    assert (tried["kind"], tried["request"]) == ("erasure", {"execute": False, "deadLetters": False, "archives": False})
    assert tried["outcome"]["dryRun"] is True and tried["outcome"]["partitions"] == [{"partition": "2013-01-01", "rows": 1}]
    assert len(rows(http)) == 3
    erased = done(http, ERASURES, {"where": where, "execute": True, "deadLetters": True})
    assert (erased["outcome"]["erasedRows"], erased["outcome"]["removedDeadLetters"]) == (1, True)
    assert rows(http) == [("2013-01-01", "JFK"), ("2013-01-02", "JFK")]
    assert done(http, ERASURES, {"where": where, "execute": True})["outcome"]["partitions"] == []
    assert SUBJECT not in told(http, log)


@pytest.mark.parametrize(
    "where",
    [
        f"station = '{SUBJECT}",
        f"station = '{SUBJECT}' AND nowhere = 1",
        f"frobnicate(station) = '{SUBJECT}'",
        f"station = (SELECT '{SUBJECT}')",
        f"temp = '{SUBJECT}'",
        "station = 5",
    ],
)
def test_a_condition_that_is_none_is_refused_without_its_values(http: HttpService, log: StringIO, where: str) -> None:
    answer = http.client.post(ERASURES, json={"where": where, "execute": True})
    assert answer.status_code == 422, answer.text
    for part in ("Q7X", "SUBJECT"):
        assert part not in answer.text and part not in told(http, log)
    assert len(rows(http)) == 3


def test_a_legal_hold_refuses_it(http: HttpService) -> None:
    http.client.put("/datasets/weather/tags/trial", json={"version": 1, "legalHold": True})
    answer = http.client.post(ERASURES, json={"where": "temp = 1", "execute": True})
    assert (answer.status_code, "legal hold 'trial'" in answer.json()["detail"]) == (403, True)
    (failed,) = [one for one in http.warehouse.catalog.audit.newest() if one["action"] == "operation_failed"]
    assert "legal hold" in failed["details"]["reason"]


def test_a_file_is_reloaded_and_one_that_is_gone_is_told(http: HttpService) -> None:
    before = rows(http)
    found = done(http, RELOADS, {"files": ["a.csv"]})
    assert (found["request"], found["outcome"]["counters"]["landed"], found["outcome"]["left"]) == ({"files": ["a.csv"]}, 3, [])
    assert rows(http) == before
    (http.warehouse.settings.home_folder / "inbox" / "a.csv").unlink()
    left = done(http, RELOADS, {"files": ["a.csv"]})["outcome"]["left"]
    assert left == ["a.csv is not there any more; its rows stay as they are"] and rows(http) == before


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "name either files or a topic"),
        ({"files": ["a.csv"], "topic": "t", "from": 1}, "name either files or a topic"),
        ({"files": ["a.csv"], "from": 1}, "are those of a topic"),
        ({"topic": "t"}, "say from where to where"),
        ({"topic": "t", "from": "noonish"}, "'noonish' is not a time"),
        ({"topic": "t", "partition": 0, "from": 1}, "no source with the topic 't'"),
        ({"files": ["other.csv"]}, "has landed no file 'other.csv'"),
    ],
)
def test_what_can_not_be_meant(http: HttpService, body: dict[str, Any], words: str) -> None:
    answer = http.client.post(RELOADS, json=body)
    assert (answer.status_code, words in answer.text) == (422, True), answer.text


def test_what_takes_long_is_answered_before_and_asked_for(http: HttpService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operation_routes, "ANSWERED_SECONDS", 0.05)
    goes_on = threading.Event()
    reload_files = http.warehouse.reload_files

    def slowly(*args: Any, **options: Any) -> Any:
        assert goes_on.wait(60)
        return reload_files(*args, **options)

    monkeypatch.setattr(http.warehouse, "reload_files", slowly)
    answer = http.client.post(RELOADS, json={"files": ["a.csv"]})
    assert (answer.status_code, answer.json()["state"], answer.json()["progress"]) == (202, "running", {"done": 0, "of": 1})
    others = [http.client.post(RELOADS, json={"files": ["a.csv"]}) for _ in range(MOST)]
    assert [one.status_code for one in others] == [202] * (MOST - 1) + [429]
    goes_on.set()
    place = answer.headers["location"]
    wait_until(lambda: bool(http.client.get(place).json()["state"] == "done"), "it is done", 60)
    assert http.client.get(place).json()["outcome"]["counters"]["read"] == 3


def test_one_whose_process_ended_counts_as_broken_off(http: HttpService) -> None:
    record = http.warehouse.resolve("weather")[1]
    http.warehouse.catalog.operations.begin("0" * 32, record.id, "erasure", {"execute": True}, actor="ann")
    found = http.client.get("/admin/datasets/weather/operations/" + "0" * 32).json()
    assert (found["state"], found["actor"], found["endedAt"]) == ("broken_off", "ann", None)
    assert http.client.get("/admin/datasets/weather/operations/" + "1" * 32).status_code == 404
