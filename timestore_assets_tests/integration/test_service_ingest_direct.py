"""What answers ingest ahead of the router answers as FastAPI's own route does, and leaves to it what that may have to refuse."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.responses import Response

from timestore_assets.model.dataset import Access, HttpSource
from timestore_assets.service import ingest_route
from timestore_assets_tests.support.http_service import WEATHER
from timestore_assets_tests.support.landing_warehouse import dataset
from timestore_assets_tests.support.service_callers import Door, bearer, door

GOOD = json.dumps({"records": [{"ts": "2013-05-01T00:00:00Z", "station": "S1", "temp": 1.5}]}).encode()
BAD_ROW = b'[{"ts": "never", "station": "S1"}]'
SECRET = dataset(name="secret", sources=(HttpSource(),), access=Access(read=("s:read",), write=("s:write",)))
DATASETS = {one.name: one for one in (WEATHER, dataset(name="closed"), SECRET)}
KEY = "Idempotency-Key"
REQUESTS: dict[str, dict[str, Any]] = {
    "good": {},
    "bad row": {"content": BAD_ROW},
    "no JSON": {"content": b"{"},
    "no such media": {"headers": [("Content-Type", "text/html")]},
    "asynchronous": {"headers": [("Prefer", "wait=1, respond-async"), (KEY, "later")]},
    "with a key": {"headers": [(KEY, "a key of 1")]},
    "the key for others": {"headers": [(KEY, "a key of 1")], "content": BAD_ROW},
    "empty key": {"headers": [(KEY, "")]},
    "long key": {"headers": [(KEY, "k" * 201)]},
    "longest key": {"headers": [(KEY, "k" * 200)]},
    "key with a break": {"headers": [(KEY, "k\xe9")]},
    "two keys": {"headers": [(KEY, "one"), (KEY, "two")]},
    "GET": {"method": "GET"},
    "HEAD": {"method": "HEAD"},
    "OPTIONS": {"method": "OPTIONS"},
    "unknown dataset": {"path": "/datasets/nothing/ingest"},
    "takes no requests": {"path": "/datasets/closed/ingest"},
    "one path further": {"path": "/datasets/weather/ingest/"},
    "escaped": {"path": "/datasets/we%61ther/ingest"},
    "no credentials": {"bearer": None},
    "bad credentials": {"bearer": "tst_wrong"},
    "not allowed": {"path": "/datasets/secret/ingest", "bearer": "reader"},
}


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Door, Door, dict[int, dict[str, str]]]]:
    """The application as it is and with FastAPI's route alone, over warehouses of their own that know the same tokens."""
    folder = tmp_path_factory.mktemp("doors")
    with door(folder / "a", DATASETS) as direct, door(folder / "b", DATASETS) as usual:
        layers = usual.app.user_middleware
        layers[:] = [layer for layer in layers if layer.cls is not ingest_route.DirectIngest]
        assert len(layers) == len(direct.app.user_middleware) - 1
        secrets = {}
        for one in (direct, usual):
            secrets[id(one)] = {"admin": one.token("admin", "timestore:admin"), "reader": one.token("reader", "s:read")}
        yield direct, usual, secrets
        for one in (direct, usual):
            one.app.state.service.landers.close()


def asked(one: Door, secrets: dict[str, str], request: dict[str, Any]) -> tuple[int, Any, dict[str, str]]:
    who = request.get("bearer", "admin")
    credentials = [] if who is None else list(bearer(secrets.get(who, who)).items())
    headers = [(name.encode(), value.encode("latin-1")) for name, value in [*credentials, *request.get("headers", [])]]
    path, method = request.get("path", "/datasets/weather/ingest"), request.get("method", "POST")
    response = one.send(method, path, headers, content=request.get("content", GOOD))
    body = response.json() if response.content else None
    if isinstance(body, dict):
        body.pop("ingestionId", None)
    changing = ("x-request-id", "traceresponse", "location", "content-length")
    return response.status_code, body, {name: value for name, value in response.headers.items() if name not in changing}


def test_both_ways_answer_alike(doors: tuple[Door, Door, dict[int, dict[str, str]]]) -> None:
    direct, usual, secrets = doors
    statuses = set()
    for name, request in REQUESTS.items():
        found, expected = (asked(one, secrets[id(one)], request) for one in (direct, usual))
        assert found == expected, name
        statuses.add(found[0])
    assert statuses == {200, 202, 401, 403, 404, 405, 409, 415, 422}


def test_a_usual_request_is_answered_ahead_of_the_router(
    doors: tuple[Door, Door, dict[int, dict[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    direct, _, secrets = doors

    async def answered(name: str, *_: object, key: str | None, prefer: str | None) -> Any:
        return Response(f"{name} {key} {prefer}")

    monkeypatch.setattr(ingest_route, "_answered", answered)
    monkeypatch.setattr("fastapi.routing.run_endpoint_function", None)
    headers = {**bearer(secrets[id(direct)]["admin"]), "Idempotency-Key": "k", "Prefer": "respond-async"}
    response = direct.send("POST", "/datasets/weather/ingest", headers, content=GOOD)
    assert (response.status_code, response.text) == (200, "weather k respond-async")


def test_the_route_is_counted_and_described_once(doors: tuple[Door, Door, dict[int, dict[str, str]]]) -> None:
    direct, usual, secrets = doors
    asked(direct, secrets[id(direct)], {})
    figures = direct.get("/metrics", bearer(secrets[id(direct)]["admin"])).text
    assert 'route="/datasets/{name}/ingest"' in figures
    assert direct.app.openapi() == usual.app.openapi()
