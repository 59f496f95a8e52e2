"""What a declaration over HTTP may name is up to the operator: nothing beyond its own dataset unless a setting lists it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from timestore_assets.model.allowances import patterns_of
from timestore_assets_tests.support.http_service import HttpService, service

LISTED = {
    "http_declare_prefixes": "inbox/{dataset}/*, shared/*, s3://landing/{dataset}/*",
    "http_declare_topics": "meters.*,grid",
    "http_declare_groups": "timestore-{dataset},lag-?",
    "http_declare_dead_letter_topics": "refused.{dataset}",
    "http_declare_targets": "default,cold*",
    "storage_targets": '{"cold1": {"driver": "local", "root": "/tmp/nowhere"}}',
}
OWN: list[Mapping[str, Any]] = [
    {"sources": [{"files": {"prefix": "inbox/power/"}}]},
    {"sources": [{"files": {"prefix": "inbox/power"}}, {"http": {}}]},
    {"sources": [{"files": {"prefix": "inbox/power/raw/{window:%Y/%m/%d}/"}}]},
    {"storage": "default"},
]
FOREIGN: list[tuple[str, Mapping[str, Any]]] = [
    ("sources.0.files.prefix", {"sources": [{"files": {"prefix": "shared/in/"}}]}),
    ("sources.0.files.prefix", {"sources": [{"files": {"prefix": "s3://landing/power/"}}]}),
    ("sources.0.kafka.topic", {"sources": [{"kafka": {"topic": "meters.north"}}]}),
    ("sources.1.kafka.topic", {"sources": [{"http": {}}, {"kafka": {"topics": ["grid", "meters.south"]}}]}),
    ("storage", {"storage": "cold1"}),
    ("retention.tier", {"retention": {"tier": [{"after": "90d", "to": "cold1"}]}}),
]
NEVER: list[tuple[str, Mapping[str, Any]]] = [
    ("sources.0.files.prefix", {"sources": [{"files": {"prefix": "inbox/"}}]}),
    ("sources.0.files.prefix", {"sources": [{"files": {"prefix": "inbox/weather/"}}]}),
    ("sources.0.files.prefix", {"sources": [{"files": {"prefix": "inbox/powerful/"}}]}),
    ("sources.0.files.prefix", {"sources": [{"files": {"prefix": "/etc/"}}]}),
    ("sources.0.files.prefix", {"sources": [{"files": {"prefix": "s3://other/"}}]}),
    ("sources.0.kafka.topic", {"sources": [{"kafka": {"topic": "payments"}}]}),
    ("sources.0.kafka.topic", {"sources": [{"kafka": {"topics": ["grid", "payments"]}}]}),
    ("sources.0.kafka", {"sources": [{"kafka": {"topic": "grid", "group": "payments-app"}}]}),
    ("sources.0.kafka", {"sources": [{"kafka": {"topic": "grid", "group": "timestore-weather"}}]}),
    ("sources.0.kafka", {"sources": [{"kafka": {"topic": "grid", "dead_letter_topic": "payments"}}]}),
    ("sources.0.kafka.bootstrap_servers", {"sources": [{"kafka": {"topic": "grid", "bootstrap_servers": "strange:9092"}}]}),
    ("storage", {"storage": "archive"}),
]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpService]:
    with service(tmp_path_factory.mktemp("plain") / "home") as opened:
        yield opened


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpService]:
    with service(tmp_path_factory.mktemp("listed") / "home", **LISTED) as opened:
        yield opened


def declare(http: HttpService, change: Mapping[str, Any]) -> httpx.Response:
    body = {"columns": {"at": "timestamp"}, "time": "at", "start": "2024-01-01", "sources": [{"http": {}}], **change}
    return http.client.put("/admin/datasets/power", json=body)


def refused(answer: httpx.Response, key: str) -> str:
    """The sentence of a refusal of that key."""
    assert (answer.status_code, answer.json()["code"]) == (422, "bad_declaration"), answer.text
    detail: str = answer.json()["detail"]
    assert detail.startswith(key), detail
    return detail


@pytest.mark.parametrize("change", OWN)
def test_what_is_its_own_may_always_be_named(plain: HttpService, listed: HttpService, change: Mapping[str, Any]) -> None:
    assert {declare(plain, change).status_code, declare(listed, change).status_code} <= {200, 201}


@pytest.mark.parametrize(("key", "change"), FOREIGN)
def test_what_the_operator_lists_may_be_named_and_nothing_of_it_by_default(
    plain: HttpService, listed: HttpService, key: str, change: Mapping[str, Any]
) -> None:
    assert "TIMESTORE_HTTP_DECLARE_" in refused(declare(plain, change), key)
    assert declare(listed, change).status_code in (200, 201)


@pytest.mark.parametrize(("key", "change"), NEVER)
def test_what_is_not_listed_is_refused(plain: HttpService, listed: HttpService, key: str, change: Mapping[str, Any]) -> None:
    for http in (plain, listed):
        refused(declare(http, change), key)


def test_groups_and_dead_letter_topics_have_lists_of_their_own(listed: HttpService) -> None:
    kafka = {"topic": "grid", "group": "lag-1", "dead_letter_topic": "refused.power"}
    assert declare(listed, {"sources": [{"kafka": kafka}]}).status_code in (200, 201)
    refused(declare(listed, {"sources": [{"kafka": {**kafka, "dead_letter_topic": "meters.north"}}]}), "sources.0.kafka.dead")
    refused(declare(listed, {"sources": [{"kafka": {**kafka, "group": "lag-12"}}]}), "sources.0.kafka.group")


def test_an_empty_list_allows_nothing(tmp_path: Path) -> None:
    with service(tmp_path / "home", http_declare_prefixes="", http_declare_groups="", http_declare_topics="*") as http:
        refused(declare(http, {"sources": [{"files": {"prefix": "inbox/power/"}}]}), "sources.0.files.prefix")
        refused(declare(http, {"sources": [{"kafka": {"topic": "t"}}]}), "sources.0.kafka.group")
    assert patterns_of(" , ") == ()
