"""`GET /datasets/NAME/schema/events` tells everybody who may read the values, and where they came from to administrators only."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from timestore_assets.alerting.sending import deliver
from timestore_assets.model.dataset import Access, Evolution, HttpSource
from timestore_assets.service.access.api_tokens import digest_of, new_secret
from timestore_assets_tests.support.alert_receivers import webhook
from timestore_assets_tests.support.http_service import HttpService, service
from timestore_assets_tests.support.landing_warehouse import dataset
from timestore_assets_tests.support.service_callers import bearer

PATH = "/datasets/weather/schema/events"
WEATHER = dataset(sources=(HttpSource(),), access=Access(read=("weather:read",)))


def record(hour: int, **more: Any) -> dict[str, Any]:
    return {"ts": f"2013-01-01T{hour:02d}:00:00Z", "station": "a", **more}


@pytest.fixture
def http(tmp_path: Path) -> Iterator[HttpService]:
    with service(tmp_path / "home", {"weather": WEATHER}) as served:
        assert served.client.post("/datasets/weather/ingest", json={"records": [record(0), record(1, gust=7)]}).is_success
        assert served.client.post("/datasets/weather/ingest", json={"records": [record(2, gust=7.5)]}).is_success
        yield served


def given(http: HttpService, *scopes: str) -> dict[str, str]:
    """The header of a new token; from then on the service asks everybody for one."""
    secret = new_secret()
    name = "-".join(scopes).replace(":", "-")
    http.warehouse.catalog.tokens.add(name=name, digest=digest_of(secret), scopes=scopes, expires_at=None, actor="test")
    return bearer(secret)


def test_an_administrator_sees_the_request_and_the_record(http: HttpService) -> None:
    newest, added, first = http.client.get(PATH).json()["events"]
    assert [event["version"] for event in (newest, added, first)] == [3, 2, 1]
    assert newest["changes"] == [{"kind": "type_widened", "column": "gust", "before": "int64", "after": "double"}]
    assert (added["cause"]["kind"], added["cause"]["sourceKind"], added["cause"]["source"]) == ("data", "http", "/ingest")
    (found,) = added["cause"]["records"]
    assert (found["column"], found["sample"], found["record"]) == ("gust", "7", 1)
    assert found["request"]
    assert (first["changes"], first["cause"]["kind"], first["cause"]["records"]) == ([], "declaration", [])


def test_a_reader_sees_the_sample_and_not_where_it_came_from(http: HttpService) -> None:
    reader = given(http, "weather:read")
    added = http.client.get(PATH, headers=reader).json()["events"][1]
    assert added["actor"] is None
    (found,) = added["cause"]["records"]
    assert {key: value for key, value in found.items() if value is not None} == {"column": "gust", "sample": "7"}
    assert added["cause"]["source"] is added["cause"]["session"] is None


def test_who_may_not_read_the_dataset_sees_no_event(http: HttpService) -> None:
    assert http.client.get(PATH, headers=given(http, "timestore:read")).status_code in (403, 404)


def test_pages(http: HttpService) -> None:
    first = http.client.get(PATH, params={"limit": 2}).json()
    assert ([event["version"] for event in first["events"]], first["nextCursor"]) == ([3, 2], "2")
    last = http.client.get(PATH, params={"limit": 2, "cursor": first["nextCursor"]}).json()
    assert ([event["version"] for event in last["events"]], last["nextCursor"]) == ([1], None)
    assert http.client.get(PATH, params={"cursor": "x"}).status_code == 422


def test_a_frozen_contract_answers_with_its_reason(tmp_path: Path) -> None:
    frozen = replace(WEATHER, evolution=Evolution(columns="freeze"))
    with service(tmp_path / "home", {"weather": frozen}) as served:
        refused = served.client.post("/datasets/weather/ingest", json={"records": [record(0), record(1, gust=7)]})
        assert refused.status_code == 422
        assert "the schema contract is frozen: column 'gust' is not declared" in refused.text
        assert served.client.post("/datasets/weather/ingest", json={"records": [record(0)]}).json()["landed"] == 1


def test_a_webhook_gets_each_version_once(tmp_path: Path) -> None:
    told = replace(WEATHER, evolution=Evolution(notify=("ops",)))
    with webhook() as receiver:
        channels = json.dumps({"ops": receiver.url})
        with service(tmp_path / "home", {"weather": told}, alert_channels=channels, alert_interval_seconds=3600) as served:
            for number, gust in enumerate((7, 8, "strong")):
                body = {"records": [record(number, gust=gust)]}
                assert served.client.post("/datasets/weather/ingest", json=body).is_success
            deliver(served.warehouse)
            assert deliver(served.warehouse) == 0
        bodies = receiver.bodies
    assert [(body["version"], body["dataset"], body["alert"], body["state"]) for body in bodies] == [
        (2, "weather", "schema", "changed"),
        (3, "weather", "schema", "changed"),
    ]
    assert "gust widened from int64 to string" in bodies[1]["summary"]
    assert "strong" not in json.dumps(bodies)
