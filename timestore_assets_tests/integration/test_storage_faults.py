"""Faults between the running system and its object store: it gets there with exact books, or says so and leaves nothing half."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import obstore
import pytest

from timestore_assets.settings import Settings
from timestore_assets.warehouse import Warehouse
from timestore_assets_tests.support.bucket_settings import remote_settings, remote_store
from timestore_assets_tests.support.catalogs import sqlite_url
from timestore_assets_tests.support.command_warehouse import CommandWarehouse, Row, lines_of
from timestore_assets_tests.support.dagster_deployment import DECLARATION
from timestore_assets_tests.support.http_service import HttpService, serving
from timestore_assets_tests.support.object_server_fixtures import REAL_S3
from timestore_assets_tests.support.object_servers import ObjectServer, S3Server
from timestore_assets_tests.support.rough_store import RoughStore, rough_store

pytestmark = REAL_S3
ROWS: list[Row] = [
    {"device": device, "at": f"2024-01-{day:02d}T{hour:02d}:00:00Z", "value": float(day)}
    for day in (1, 2, 3)
    for hour in range(24)
    for device in "ab"
]
LINES = lines_of(ROWS) + b"not json\n"
PATIENT, IMPATIENT = {"storage_retry_seconds": 30}, {"storage_retry_seconds": 0, "storage_timeout_seconds": 5}

PASSING: Mapping[str, Callable[[RoughStore], object]] = {
    "slow": lambda store: setattr(store, "delay_seconds", 0.03),
    "refusals": lambda store: list(map(store.refuse_next, (1, 1, 1), (503, 500, 429))),
    "lost_answers": lambda store: store.cut_answers(3),
    "half_answers": lambda store: store.cut_answers(3, after=20, methods=("GET",)),
    "half_uploads": lambda store: store.cut_uploads(3, after=100),
}
LASTING: Mapping[str, tuple[int, str]] = {
    "expired": (400, "expired"),
    "forbidden": (403, "refused the credentials"),
    "overloaded": (503, "fewer requests"),
}


@pytest.fixture
def rough(rough_s3: RoughStore, tmp_path: Path, sqlite_template: Path) -> Callable[..., CommandWarehouse]:
    """Makes a warehouse whose bucket is behind the proxy, with these settings."""

    def make(**settings: int) -> CommandWarehouse:
        url = sqlite_url(Path(shutil.copy(sqlite_template, tmp_path / "catalog.sqlite")))
        return CommandWarehouse.at(tmp_path, rough_s3.server, url, gc_grace_seconds=0, keep_versions_seconds=0, **settings)

    return make


def land(command_warehouse: CommandWarehouse) -> dict[str, int]:
    found = command_warehouse.run("land", "readings", command_warehouse.here("a.jsonl", LINES), "--format", "jsonl")
    return {name: found[name] for name in ("read", "landed", "duplicates", "dead_letters")}


def forget_cache(command_warehouse: CommandWarehouse) -> None:
    shutil.rmtree(command_warehouse.home / "cache", ignore_errors=True)


@pytest.mark.parametrize("fault", PASSING)
def test_what_passes_is_not_noticed(fault: str, rough: Callable[..., CommandWarehouse], rough_s3: RoughStore) -> None:
    command_warehouse = rough(**PATIENT)

    def disturb() -> None:
        rough_s3.heal()
        PASSING[fault](rough_s3)
        forget_cache(command_warehouse)

    disturb()
    assert land(command_warehouse) == {"read": 145, "landed": 144, "duplicates": 0, "dead_letters": 1}
    disturb()
    assert command_warehouse.query() == ROWS
    disturb()
    command_warehouse.build()
    disturb()
    assert command_warehouse.query() == ROWS
    disturb()
    assert command_warehouse.run("gc")["superseded_segments"] > 0
    disturb()
    assert command_warehouse.is_proven()
    assert command_warehouse.counters()["landed"] == 144
    assert rough_s3.befallen or fault == "slow"


@pytest.mark.parametrize("fault", LASTING)
def test_what_lasts_is_said_and_leaves_nothing_half_done(
    fault: str, rough: Callable[..., CommandWarehouse], rough_s3: RoughStore, s3_server: S3Server
) -> None:
    command_warehouse = rough(**IMPATIENT)
    status, reason = LASTING[fault]

    def refuses(*command: str) -> None:
        forget_cache(command_warehouse)
        rough_s3.refuse_all(status)
        said = command_warehouse.refused(*command)
        rough_s3.heal()
        assert said.code == 1
        assert said.err.startswith("error: ")
        assert said.err.count("\n") == 1
        assert reason in said.err
        assert s3_server.access_key not in said.err
        assert s3_server.secret_key not in said.err

    if status < 500:  # a landing waits a minute for what may pass by itself
        refuses("land", "readings", command_warehouse.here("a.jsonl", LINES), "--format", "jsonl")
        assert command_warehouse.query() == []
    assert land(command_warehouse) == {"read": 145, "landed": 144, "duplicates": 0, "dead_letters": 1}
    refuses("query", "readings")
    refuses("sql", "SELECT * FROM readings")
    refuses("deadletters", "show", "readings")
    refuses("build", "readings")
    command_warehouse.build()
    refuses("gc")
    refuses("verify", "readings")
    command_warehouse.run("gc")
    assert command_warehouse.query() == ROWS
    assert command_warehouse.is_proven()
    assert command_warehouse.counters()["read"] == 145


def test_a_store_that_goes_away_in_the_middle_of_a_landing(rough: Callable[..., CommandWarehouse], rough_s3: RoughStore) -> None:
    """The first objects are there when the next are refused: none of them is published, and all of them are collected."""
    command_warehouse = rough(**IMPATIENT)
    path = command_warehouse.here("a.jsonl", LINES)
    rough_s3.refuse_next(1000, 403, methods=("PUT",), matching="2024-01-03")
    command_warehouse.refused("land", "readings", path, "--format", "jsonl")
    assert command_warehouse.objects(), "some were uploaded"
    rough_s3.heal()
    assert command_warehouse.query() == []
    assert command_warehouse.run("gc")["unfinished_files"] > 0
    assert command_warehouse.objects() == set()
    assert land(command_warehouse)["landed"] == 144
    assert command_warehouse.query() == ROWS
    assert command_warehouse.is_proven()


def test_a_listing_that_lags_loses_nothing(rough: Callable[..., CommandWarehouse], rough_s3: RoughStore) -> None:
    command_warehouse = rough(**PATIENT)
    rough_s3.lag_listings(1000)
    land(command_warehouse)
    command_warehouse.build()
    command_warehouse.run("gc")
    assert command_warehouse.query() == ROWS
    assert command_warehouse.is_proven(), "an object that is not listed yet is looked at itself"
    rough_s3.heal()
    assert command_warehouse.is_proven()


def test_the_service_asks_to_come_back_and_takes_it_once(
    rough: Callable[..., CommandWarehouse], rough_s3: RoughStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    command_warehouse = rough(**IMPATIENT)
    for name, value in command_warehouse.line.environment.items():
        monkeypatch.setenv(name, value)
    command_warehouse.declare(DECLARATION.replace("  sources:\n", "  sources:\n    - http: {}\n"))
    body, key = {"records": ROWS}, {"Idempotency-Key": "once"}
    with Warehouse.open(Settings.load()) as warehouse, serving(warehouse) as service:
        rough_s3.refuse_all(503)
        refused = service.client.post("/datasets/readings/ingest", json=body, headers=key)
        assert (refused.status_code, refused.headers["content-type"]) == (503, "application/problem+json")
        assert "retry-after" in refused.headers
        rough_s3.heal()
        for _ in range(2):
            taken = service.client.post("/datasets/readings/ingest", json=body, headers=key)
            assert taken.status_code == 200, taken.text
        assert count(service) == 144
        rough_s3.refuse_all(503)
        forget_cache(command_warehouse)
        assert service.client.post("/datasets/readings/query", json={}).status_code == 503
        rough_s3.heal()
        assert count(service) == 144
    assert command_warehouse.is_proven()


def count(service: HttpService) -> int:
    answer = service.client.post("/datasets/readings/query", json={"columns": ["at"]})
    assert answer.status_code == 200, answer.text
    return len(answer.json()["rows"])


def test_a_listing_that_breaks_off_is_gone_on_with(s3_bucket: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"weather/{number:04d}" for number in range(1005)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda name: obstore.put(s3_bucket.store(), name, b"x"), names))
    with rough_store(s3_bucket) as rough:
        store = remote_store(remote_settings(rough.server, tmp_path, monkeypatch))
        for page in ("list-type=2", "continuation-token"):
            rough.cut_answers(1, after=300, methods=("GET",), matching=page)
        assert [found.name for found in store.list()] == names
        assert rough.befallen == 2


def test_a_listing_that_breaks_off_at_once_is_begun_again(
    object_server: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"weather/{number:03d}" for number in range(40)]
    with rough_store(object_server) as rough:
        store = remote_store(remote_settings(rough.server, tmp_path, monkeypatch))
        for name in names:
            obstore.put(object_server.store(), name, b"x")
        rough.cut_answers(2, after=300, methods=("GET",))
        assert [found.name for found in store.list()] == names
        assert rough.befallen == 2
