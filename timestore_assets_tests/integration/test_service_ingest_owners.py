"""What became of a request is shown to who sent it and to who may read the dataset, not to every writer who knows its id."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from timestore_assets_tests.support.http_service import HttpService, service

GOOD = {"ts": "2013-01-01T06:00:00", "station": "JFK", "temp": 20.0}
BAD = {"ts": "2013-01-01T07:00:00", "station": "JFK", "temp": 4711.0}
BODY = json.dumps([GOOD, BAD]).encode()
SENDER = {"x-iam-user": "ann", "x-iam-scopes": "timestore:write"}
WRITER = {"x-iam-user": "bob", "x-iam-scopes": "timestore:write"}
READER = {"x-iam-user": "cleo", "x-iam-scopes": "timestore:read"}
BOTH = {"x-iam-user": "dan", "x-iam-scopes": "timestore:read timestore:write"}
ADMIN = {"x-iam-user": "eve", "x-iam-scopes": "timestore:admin"}


@pytest.fixture
def http(tmp_path: Path) -> Iterator[HttpService]:
    with service(tmp_path / "home", trusted_proxies="127.0.0.1") as opened:
        yield opened


def send(http: HttpService, who: Mapping[str, str], *, key: str = "k") -> dict[str, Any]:
    headers = {**who, "Content-Type": "application/json", "Idempotency-Key": key}
    answer = http.client.post("/datasets/weather/ingest", content=BODY, headers=headers)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def ask(http: HttpService, id: str, who: Mapping[str, str]) -> httpx.Response:
    return http.client.get(f"/ingestions/{id}", headers=who)


def test_only_who_sent_it_and_readers_are_told_what_became_of_it(http: HttpService) -> None:
    first = send(http, SENDER)
    id = first["ingestionId"]
    assert "4711" in first["deadLetters"]["rows"][0]["reason"]
    for who in (SENDER, READER, BOTH, ADMIN):
        assert ask(http, id, who).json()["answer"] == first
    hidden, unknown = ask(http, id, WRITER), ask(http, "0" * 32, WRITER)
    assert (hidden.status_code, unknown.status_code) == (404, 404)
    assert hidden.text.replace(id, "0" * 32) == unknown.text


def test_a_key_that_another_writer_used_is_answered_with_counts_only(http: HttpService) -> None:
    first = send(http, SENDER)
    for who in (SENDER, BOTH, ADMIN):
        assert send(http, who) == {**first, "repeated": True}
    counts = {**first, "repeated": True, "deadLetters": {"count": 1, "rows": [], "truncated": True}}
    assert send(http, WRITER) == counts


def test_the_same_at_the_same_time(http: HttpService) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: (n % 2, send(http, (SENDER, WRITER)[n % 2], key=f"k{n // 8}")), range(40)))
    for number in range(5):
        alike = answers[number * 8 : number * 8 + 8]
        (owner,) = {which for which, answer in alike if not answer["repeated"]}
        assert all(bool(answer["deadLetters"]["rows"]) == (which == owner) for which, answer in alike)
