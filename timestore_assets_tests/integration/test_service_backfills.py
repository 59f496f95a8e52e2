"""Backfills over HTTP: who may see them, who may decide, and what they are told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from timestore_assets.model.dataset import Access
from timestore_assets.service.access.api_tokens import digest_of, new_secret
from timestore_assets_tests.support.asked_backfills import asked_to_rewrite_all
from timestore_assets_tests.support.http_service import WEATHER, HttpService, service
from timestore_assets_tests.support.service_callers import bearer

DATASETS = {
    "weather": WEATHER,
    "water": replace(WEATHER, name="water", access=Access(read=("water:read",))),
}
PATH = "/datasets/weather/backfills"


@pytest.fixture
def http(tmp_path: Path) -> Iterator[HttpService]:
    with service(tmp_path / "home", DATASETS) as opened:
        yield opened


def asked(http: HttpService, name: str = "weather") -> int:
    """A backfill of two days that were not built."""
    rows = [{"ts": f"2013-01-0{day}T00:00:00Z", "station": "a", "temp": day} for day in (1, 2)]
    assert http.client.post(f"/datasets/{name}/ingest", json={"records": rows}).status_code == 200
    return asked_to_rewrite_all(http.warehouse.catalog, name)


def listed(http: HttpService, path: str = PATH, **choice: Any) -> list[dict[str, Any]]:
    answer = http.client.get(path, params=choice)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["backfills"]
    return found


def given(http: HttpService, *scopes: str) -> dict[str, str]:
    secret = new_secret()
    http.warehouse.catalog.tokens.add(
        name=f"of-{len(scopes)}-{secret[-8:]}", digest=digest_of(secret), scopes=scopes, expires_at=None, actor="test"
    )
    return bearer(secret)


def test_it_is_seen_with_its_cost_and_how_far_it_is(http: HttpService) -> None:
    assert listed(http) == []
    backfill = asked(http)
    (found,) = listed(http)
    assert (found["id"], found["dataset"], found["state"]) == (backfill, "weather", "asked")
    assert (found["schemaVersion"], found["why"]) == (2, "a migration changed older rows (OPS-12)")
    assert (found["done"], found["of"], found["summary"]) == (0, 2, "0 of 2 partitions rewritten")
    assert (found["cost"]["partitions"], found["cost"]["rows"]) == (2, 2)
    list(http.warehouse.build("weather", [WEATHER.partition("2013-01-02")], close=True))
    assert listed(http)[0]["summary"] == "1 of 2 partitions rewritten"


def test_an_administrator_decides(http: HttpService) -> None:
    backfill = asked(http)
    first = http.client.post(f"{PATH}/{backfill}/approve").json()
    assert (first["changed"], first["backfill"]["state"]) == (True, "approved")
    assert http.client.post(f"{PATH}/{backfill}/approve").json()["changed"] is False
    assert http.client.post(f"{PATH}/{backfill}/refuse").json()["backfill"]["state"] == "refused"
    assert listed(http) == [] and len(listed(http, state="refused")) == 1
    assert http.client.post(f"{PATH}/{backfill}/approve").json()["changed"] is True
    list(http.warehouse.run_backfills("weather"))
    late = http.client.post(f"{PATH}/{backfill}/refuse")
    assert (late.status_code, late.json()["detail"]) == (
        409,
        f"backfill {backfill} is done, so it can't be refused any more",
    )


def test_what_is_not_there_is_not_found(http: HttpService) -> None:
    backfill = asked(http, "water")
    for path in (f"{PATH}/{backfill}/approve", f"{PATH}/77/refuse", f"/datasets/none/backfills/{backfill}/approve"):
        assert http.client.post(path).status_code == 404, path
    assert http.client.post(f"{PATH}/0/approve").status_code == 422
    assert http.client.get(PATH, params={"state": "wanted"}).status_code == 422


def test_readers_see_their_own_and_decide_nothing(http: HttpService) -> None:
    backfill, other = asked(http), asked(http, "water")
    admin, reader = given(http, "timestore:admin"), given(http, "timestore:read")
    http.client.headers.update(admin)
    assert [one["id"] for one in listed(http, "/backfills")] == [backfill, other]
    http.client.headers.update(reader)
    assert [one["id"] for one in listed(http, "/backfills")] == [backfill]
    assert http.client.get("/datasets/water/backfills").status_code == 404
    refused = http.client.post(f"{PATH}/{backfill}/approve")
    assert refused.status_code == 403 and listed(http)[0]["state"] == "asked"
