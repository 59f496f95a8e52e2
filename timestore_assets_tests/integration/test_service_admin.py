"""The admin routes over a warehouse with rows and dead letters: what they show, page by page, and what they change."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from timestore_assets.model.dataset import Access, FileSource, KafkaSource
from timestore_assets.model.retention import Retention
from timestore_assets.service.access.api_tokens import digest_of, new_secret
from timestore_assets.service.admin import dead_letter_route
from timestore_assets_tests.support.http_service import WEATHER, HttpService, open_warehouse, service, serving
from timestore_assets_tests.support.service_callers import bearer

DATASETS = {
    "weather": replace(
        WEATHER, description="Hourly observations", owners=("team:weather",), retention=Retention(max_age=timedelta(days=3650))
    ),
    "power": replace(WEATHER, name="power", sources=(FileSource(prefix="inbox/power/"), KafkaSource(topics=("power",)))),
    "water": replace(WEATHER, name="water", sources=(), access=Access(read=("water:read",))),
}
ROWS = "ts,station,temp\n2013-01-01,a,1\n2013-01-02,a,999\n2013-01-02,b,2\nsoon,x,1\n2013-01-03,z,998\n2013-02-01,b,5\n"
ONE = "/admin/datasets/weather"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpService]:
    """Three partitions, three dead letters; tests that change nothing share it."""
    home = tmp_path_factory.mktemp("admin") / "home"
    with open_warehouse(home, DATASETS) as warehouse:
        (home / "rows.csv").write_text(ROWS)
        warehouse.land("weather", [home / "rows.csv"])
        list(warehouse.build("weather", [DATASETS["weather"].partition("2013-01-01")], close=True))
        with serving(warehouse) as http:
            yield http


@pytest.fixture
def http(tmp_path: Path) -> Iterator[HttpService]:
    with service(tmp_path / "home", DATASETS) as opened:
        yield opened


def pages(http: HttpService, path: str, key: str, **choice: Any) -> list[Any]:
    """Everything, page by page."""
    found: list[Any] = []
    cursor = None
    while True:
        answer = http.client.get(path, params={**choice, **({"cursor": cursor} if cursor else {})})
        assert answer.status_code == 200, answer.text
        found += answer.json()[key]
        cursor = answer.json()["nextCursor"]
        if cursor is None:
            return found


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ({}, ["power", "water", "weather"]),
        ({"search": "WAT"}, ["water"]),
        ({"search": "hourly"}, ["weather"]),
        ({"search": "nothing"}, []),
        ({"source": "http"}, ["weather"]),
        ({"source": "kafka"}, ["power"]),
        ({"source": "files"}, ["power"]),
        ({"owner": "team:weather"}, ["weather"]),
        ({"owner": "team"}, []),
    ],
)
def test_datasets_are_filtered(shared: HttpService, choice: dict[str, str], names: list[str]) -> None:
    for limit in (1, 2, 100):
        found = pages(shared, "/admin/datasets", "datasets", limit=limit, **choice)
        assert [one["name"] for one in found] == names


def test_all_of_a_dataset(shared: HttpService) -> None:
    found = shared.client.get(ONE).json()
    assert (found["name"], found["declaredIn"], found["version"], found["attributes"]) == ("weather", "file", 0, None)
    assert (found["rows"], found["segments"], found["partitions"]) == (3, 3, {"open": 2, "sealed": 1})
    assert [column["name"] for column in found["columns"]] == ["ts", "station", "temp"]
    assert found["access"] == {"read": ["timestore:read"], "write": ["timestore:write"]}
    assert (found["retention"]["declared"], found["storage"]["target"]) == ("10y", "default")
    files = next(source for source in found["sources"] if source["kind"] == "files")
    assert files["read"] == 6 == files["landed"] + files["deadLetters"]
    assert shared.client.get("/admin/datasets/water").json()["access"]["read"] == ["water:read"]


def test_nothing_is_sent_twice(shared: HttpService) -> None:
    for path in (ONE, "/admin/datasets", f"{ONE}/manifest", f"{ONE}/partitions", f"{ONE}/retention", "/admin/storage-targets"):
        first = shared.client.get(path)
        tag = first.headers["ETag"]
        for known in (tag, f'"x", {tag}', f"W/{tag}", "*"):
            again = shared.client.get(path, headers={"If-None-Match": known})
            assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag), path
        assert shared.client.get(path, headers={"If-None-Match": '"other"'}).status_code == 200


def test_segments_by_page_without_places_of_this_machine(shared: HttpService) -> None:
    whole = shared.client.get(f"{ONE}/manifest").json()
    assert whole["total"] == len(whole["segments"]) == 3
    assert [one["kind"] for one in whole["segments"]] == ["sealed", "delta", "delta"]
    assert [one["partition"] for one in whole["segments"]] == ["2013-01-01", "2013-01-02", "2013-02-01"]
    assert pages(shared, f"{ONE}/manifest", "segments", limit=1) == whole["segments"]
    assert str(shared.warehouse.settings.home_folder) not in shared.client.get(f"{ONE}/manifest").text


def test_an_earlier_version_of_the_manifest(shared: HttpService) -> None:
    first = shared.client.get(f"{ONE}/manifest", params={"version": 1}).json()
    assert {one["kind"] for one in first["segments"]} == {"delta"} and first["version"] == 1
    assert shared.client.get(f"{ONE}/manifest", params={"version": 0}).json()["segments"] == []
    future = shared.client.get(f"{ONE}/manifest", params={"version": 99})
    assert future.status_code == 422 and "the newest is 2" in future.json()["detail"]


def test_pages_of_a_manifest_stay_at_their_version(http: HttpService) -> None:
    land(http, "ts,station,temp\n2013-01-01,a,1\n2013-01-02,a,2\n", "one.csv")
    first = http.client.get(f"{ONE}/manifest", params={"limit": 1}).json()
    land(http, "ts,station,temp\n2013-01-01,b,1\n", "two.csv")
    second = http.client.get(f"{ONE}/manifest", params={"cursor": first["nextCursor"]}).json()
    assert (second["version"], second["total"], second["nextCursor"]) == (1, 2, None)
    names = [one["name"] for one in first["segments"] + second["segments"]]
    assert len(set(names)) == 2
    assert leases(http) == 0


def leases(http: HttpService) -> int:
    import sqlite3

    with sqlite3.connect(http.warehouse.settings.home_folder / "catalog.sqlite") as connection:
        return int(connection.execute("SELECT count(*) FROM leases WHERE resource LIKE 'query:%'").fetchone()[0])


def test_a_version_that_was_collected_is_gone(tmp_path: Path) -> None:
    with service(tmp_path / "home", DATASETS, gc_grace_seconds=0, keep_versions_seconds=0) as http:
        land(http, "ts,station,temp\n2013-01-01,a,1\n", "one.csv")
        list(http.warehouse.build("weather", [DATASETS["weather"].partition("2013-01-01")], close=True))
        http.warehouse.collect()
        gone = http.client.get(f"{ONE}/manifest", params={"version": 1})
        assert (gone.status_code, gone.json()["code"]) == (410, "gone")


def land(http: HttpService, text: str, name: str) -> None:
    path = http.warehouse.settings.home_folder / name
    path.write_text(text)
    http.warehouse.land("weather", [path])


@pytest.mark.parametrize(
    ("choice", "keys"),
    [
        ({}, ["2013-01-01", "2013-01-02", "2013-02-01"]),
        ({"state": "sealed"}, ["2013-01-01"]),
        ({"state": "stale"}, []),
        ({"from": "2013-01-02"}, ["2013-01-02", "2013-02-01"]),
        ({"to": "2013-01-02T00:00:00Z"}, ["2013-01-01"]),
        ({"from": "2013-01-01T23:59:59+00:00", "to": "2013-01-31"}, ["2013-01-01", "2013-01-02"]),
    ],
)
def test_partitions_are_chosen(shared: HttpService, choice: dict[str, str], keys: list[str]) -> None:
    for path in (f"{ONE}/partitions", "/datasets/weather/partitions"):
        for limit in (1, 1000):
            assert [one["partition"] for one in pages(shared, path, "partitions", limit=limit, **choice)] == keys


@pytest.mark.parametrize(
    ("path", "choice"),
    [
        ("/admin/datasets", {"limit": 0}),
        ("/admin/datasets", {"limit": 1001}),
        ("/admin/datasets", {"source": "ftp"}),
        ("/admin/datasets", {"unknown": "x"}),
        (f"{ONE}/manifest", {"version": -1}),
        (f"{ONE}/manifest", {"cursor": "x"}),
        (f"{ONE}/manifest", {"cursor": "1-1", "version": 2}),
        (f"{ONE}/manifest", {"cursor": "99-1"}),
        (f"{ONE}/partitions", {"state": "lost"}),
        (f"{ONE}/partitions", {"from": "soon"}),
        (f"{ONE}/partitions", {"cursor": "2013-13-01"}),
        (f"{ONE}/deadletters", {"cursor": "1"}),
        (f"{ONE}/deadletters", {"limit": 1001}),
        ("/admin/audit", {"cursor": "-1"}),
        ("/admin/audit", {"cursor": "9" * 30}),
        ("/admin/audit", {"cursor": "²"}),
    ],
)
def test_wrong_choices_are_explained(shared: HttpService, path: str, choice: dict[str, Any]) -> None:
    refused = shared.client.get(path, params=choice)
    assert (refused.status_code, refused.json()["code"]) == (422, "bad_input")


def test_dead_letters_by_page(shared: HttpService) -> None:
    found = pages(shared, f"{ONE}/deadletters", "deadLetters", limit=1)
    assert found == pages(shared, f"{ONE}/deadletters", "deadLetters")
    assert [(one["line"], one["code"], one["raw"]["text"]) for one in found] == [
        (3, "failed_check", "2013-01-02,a,999"), (5, "bad_value", "soon,x,1"), (6, "failed_check", "2013-01-03,z,998"),
    ]  # fmt: skip
    assert {one["column"] for one in found} == {"temp", "ts"} and all(one["reason"] for one in found)
    for limit in (1, 2):
        chosen = pages(shared, f"{ONE}/deadletters", "deadLetters", code="failed_check", limit=limit)
        assert [one["line"] for one in chosen] == [3, 6]
    assert pages(shared, f"{ONE}/deadletters", "deadLetters", code="nothing") == []
    assert pages(shared, "/admin/datasets/water/deadletters", "deadLetters") == []


def test_dead_letters_of_several_files_the_newest_first(http: HttpService, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        land(http, f"ts,station,temp\nbad{number},a,1\n2013-01-01,a,9{number}9\n", f"{number}.csv")
    expected = ["bad2,a,1", "2013-01-01,a,929", "bad1,a,1", "2013-01-01,a,919", "bad0,a,1", "2013-01-01,a,909"]
    for limit in (1, 2, 4, 6):
        found = pages(http, f"{ONE}/deadletters", "deadLetters", limit=limit)
        assert [one["raw"]["text"] for one in found] == expected
    first = http.client.get(f"{ONE}/deadletters", params={"limit": 3}).json()
    land(http, "ts,station,temp\nnewer,a,1\n", "newer.csv")
    rest = http.client.get(f"{ONE}/deadletters", params={"cursor": first["nextCursor"]}).json()
    assert [one["raw"]["text"] for one in rest["deadLetters"]] == expected[3:]
    monkeypatch.setattr(dead_letter_route, "MOST_BYTES", 10)
    short = pages(http, f"{ONE}/deadletters", "deadLetters", limit=1000)
    assert [one["raw"]["text"] for one in short] == ["newer,a,1", *expected], "pages end early, nothing is lost"


def test_bytes_that_are_no_text(http: HttpService) -> None:
    path = http.warehouse.settings.home_folder / "bytes.csv"
    path.write_bytes(b"ts,station,temp\n2013-01-01,\xff\xfe,1\n")
    http.warehouse.land("weather", [path])
    (one,) = pages(http, f"{ONE}/deadletters", "deadLetters")
    assert one["raw"] == {"text": None, "base64": "MjAxMy0wMS0wMSz//iwx"}


def test_retention_is_set_read_and_audited(http: HttpService) -> None:
    before = http.client.get(f"{ONE}/retention")
    nobody = {"version": 0, "setBy": None, "setAt": None}
    assert before.json() == {
        "declared": "10y", "effective": "10y", "maxBytes": None, "keepVersions": None, "tier": [], **nobody,
    }  # fmt: skip
    first = http.client.put(f"{ONE}/retention", json={"maxAge": "90d"}, headers={"If-Match": before.headers["ETag"]})
    assert (first.status_code, first.json()["effective"], first.json()["setBy"]) == (200, "90d", "local")
    late = http.client.put(f"{ONE}/retention", json={"maxAge": "1d"}, headers={"If-Match": before.headers["ETag"]})
    assert late.status_code == 412
    ever = http.client.put(f"{ONE}/retention", json={"maxAge": None}, headers={"If-Match": first.headers["ETag"]})
    assert (ever.json()["effective"], ever.json()["declared"], ever.json()["version"]) == (None, "10y", 2)
    assert http.client.get(f"{ONE}/retention").headers["ETag"] == ever.headers["ETag"]
    rows = http.client.get("/admin/audit", params={"dataset": "weather", "limit": 2}).json()["rows"]
    assert [(row["action"], row["details"]["after"]) for row in rows] == [
        ("retention_set", {"max_age": None}), ("retention_set", {"max_age": "90d"}),
    ]  # fmt: skip
    assert rows[0]["details"]["before"] == {"max_age": "90d"}


def test_a_retention_that_was_set_can_be_taken_back(http: HttpService) -> None:
    wish = {"maxAge": "90d", "maxBytes": 5_000_000, "keepVersions": "1d", "tier": [{"after": "30d", "to": "default"}]}
    first = http.client.put(f"{ONE}/retention", json=wish)
    found = first.json()
    assert (first.status_code, found["maxBytes"], found["keepVersions"], found["tier"]) == (200, 5_000_000, "1d", wish["tier"])
    back = http.client.delete(f"{ONE}/retention", headers={"If-Match": first.headers["ETag"]})
    assert (back.status_code, back.json()["effective"], back.json()["maxBytes"], back.json()["version"]) == (200, "10y", None, 2)
    assert back.json()["setBy"] is None
    assert http.client.delete(f"{ONE}/retention", headers={"If-Match": first.headers["ETag"]}).status_code == 412


def test_the_retention_is_looked_at_and_applied(http: HttpService) -> None:
    path = http.warehouse.settings.home_folder / "old.csv"
    path.write_text("ts,station,temp\n2013-01-01,JFK,1\n2013-01-02,JFK,1\n")
    http.warehouse.land("weather", [path])
    http.client.put(f"{ONE}/retention", json={"maxAge": "30d"})
    looked = http.client.post(f"{ONE}/retention/runs", json={}).json()
    assert (looked["executed"], len(looked["expired"])) == (False, len(http.warehouse.partitions("weather")))
    done = http.client.post(f"{ONE}/retention/runs", json={"execute": True}).json()
    assert [one["partition"] for one in done["expired"]] == [one["partition"] for one in looked["expired"]]
    assert {one.state for one in http.warehouse.partitions("weather")} == {"expired"}
    assert http.client.post(f"{ONE}/retention/runs", json={"execute": True}).json()["expired"] == []
    assert http.client.post(f"{ONE}/retention/runs", json={"execute": "yes"}).status_code == 422


@pytest.mark.parametrize(
    "body",
    [
        {}, {"maxAge": "soon"}, {"maxAge": 5}, {"maxAge": "0d"}, {"maxAge": "5y", "x": 1}, [], None,
        {"maxAge": "5y", "maxBytes": 0},
        {"maxAge": None, "tier": [{"after": "1d", "to": "nowhere"}]},
        {"maxAge": "1d", "tier": [{"after": "2d", "to": "default"}]},
    ],
)  # fmt: skip
def test_retention_has_to_be_a_duration(http: HttpService, body: Any) -> None:
    refused = http.client.put(f"{ONE}/retention", json=body)
    assert (refused.status_code, refused.json()["code"]) == (422, "bad_input")
    assert http.client.get(f"{ONE}/retention").json()["version"] == 0


def test_storage_targets(tmp_path: Path) -> None:
    archive = {"driver": "s3", "bucket": "cold", "root": "timestore", "endpoint": "http://127.0.0.1:9", "secret": "keys-of-cold"}
    targets = json.dumps({"archive": archive, "disk": {"driver": "local", "root": "disk"}})
    with service(tmp_path / "home", DATASETS, storage_targets=targets) as http:
        done = http.client.put(f"{ONE}/storage-target", json={"target": "archive"})
        assert (done.status_code, done.json()["target"], done.json()["version"]) == (200, "archive", 1)
        assert http.client.get(f"{ONE}/storage-target").headers["ETag"] == done.headers["ETag"]
        unknown = http.client.put(f"{ONE}/storage-target", json={"target": "s3"})
        assert unknown.status_code == 422 and "'s3'" in unknown.json()["detail"]
        shown = http.client.get("/admin/storage-targets").json()["targets"]
        rows = [(one["name"], one["driver"], one["place"], one["endpoint"], one["datasets"]) for one in shown]
        assert rows == [
            ("default", "local", None, None, 2),
            ("archive", "s3", "s3://cold/timestore", "http://127.0.0.1:9", 1),
            ("disk", "local", None, None, 0),
        ]
        assert "keys-of-cold" not in json.dumps(shown)
        parts: dict[str, Any] = {}
        limit = time.monotonic() + 60
        while "storage:archive" not in parts:  # a probe that takes too long is told as a whole, and tried again
            assert time.monotonic() < limit, parts
            parts = {part["name"]: part for part in http.client.get("/ready").json()["parts"]}
        assert (parts["storage"]["state"], parts["storage:archive"]["state"]) == ("ready", "not_ready")
        assert "s3://cold" not in json.dumps(parts)


def test_the_audit_log_by_page(http: HttpService) -> None:
    for days in range(5):
        http.client.put(f"{ONE}/retention", json={"maxAge": f"{days + 1}d"})
    whole = pages(http, "/admin/audit", "rows", limit=1000)
    assert pages(http, "/admin/audit", "rows", limit=2) == whole
    assert [row["id"] for row in whole] == sorted((row["id"] for row in whole), reverse=True)
    of_one = pages(http, "/admin/audit", "rows", limit=2, dataset="weather")
    assert {row["dataset"] for row in of_one} == {"weather"} and len(of_one) < len(whole)
    assert http.client.get("/admin/audit", params={"dataset": "nothing"}).status_code == 404


def test_status_answers_without_brokers(shared: HttpService) -> None:
    status = shared.client.get("/datasets/power/status").json()
    assert {source["source"]: source["lag"] for source in status["sources"]} == {
        "files:inbox/power/**/*": None, "kafka:power": None,
    }  # fmt: skip
    weather = shared.client.get("/datasets/weather/status").json()
    assert (weather["rows"], weather["unbuiltRows"], weather["partitions"]) == (3, 2, 3)


def test_a_dataset_that_is_not_there(shared: HttpService) -> None:
    for method, path in [
        ("GET", ""), ("GET", "/manifest"), ("GET", "/partitions"), ("GET", "/retention"), ("PUT", "/retention"),
        ("GET", "/storage-target"), ("PUT", "/storage-target"), ("GET", "/deadletters"),
    ]:  # fmt: skip
        body = {"maxAge": "5y"} if path == "/retention" else {"target": "default"}
        answer = shared.client.request(method, f"/admin/datasets/nothing{path}", json=body if method == "PUT" else None)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), path


def test_only_administrators_come_here(tmp_path: Path) -> None:
    with service(tmp_path / "home", DATASETS) as http:
        secret = new_secret()
        scopes = ["timestore:read", "timestore:write", "water:read"]
        http.warehouse.catalog.tokens.add(name="a", digest=digest_of(secret), scopes=scopes, expires_at=None, actor="test")
        paths = http.client.get("/openapi.json").json()["paths"]
        for path, methods in paths.items():
            for method in methods if path.startswith("/admin") else ():
                answer = asked(http, method, path.replace("{name}", "weather"), bearer(secret))
                assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), (method, path)


def asked(http: HttpService, method: str, path: str, headers: dict[str, str]) -> httpx.Response:
    return http.client.request(method.upper(), path, headers=headers)
