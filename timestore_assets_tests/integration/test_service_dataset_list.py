"""The list of datasets says in one answer how each stands, and a dataset's alerts are told to whoever may read it."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from timestore_assets.alerting.monitor import look
from timestore_assets.model.alert import Alert
from timestore_assets.model.dataset import Access, Dataset, HttpSource
from timestore_assets.service.access.api_tokens import digest_of, new_secret
from timestore_assets_tests.support.alert_receivers import webhook
from timestore_assets_tests.support.http_service import HttpService, service
from timestore_assets_tests.support.landing_warehouse import dataset
from timestore_assets_tests.support.service_callers import bearer

ADDRESS = "https://example.com/hooks/secret-of-the-channel"
REFUSED = Alert(on="dead_letters", to=("ops",))
QUARANTINE = Alert(on="quarantine", to=("ops",))
GOOD = {"ts": "2013-01-01T00:00:00Z", "station": "a", "temp": 1}
BAD = {"ts": "2013-01-01T01:00:00Z", "station": "a", "temp": "hot"}


def watched(name: str, *alerts: Alert, **changes: Any) -> Dataset:
    return replace(dataset(sources=(HttpSource(),), alerts=alerts, **changes), name=name)


DATASETS = {
    "refusing": watched("refusing", REFUSED, QUARANTINE),
    "spare": watched("spare", access=Access(read=("spare:read",), write=("timestore:write",))),
}


@pytest.fixture
def http(tmp_path: Path) -> Iterator[HttpService]:
    """Two datasets, of which one has landed a record and refused another; whoever calls from here may do all."""
    with service(tmp_path / "home", DATASETS, alert_channels=f'{{"ops": "{ADDRESS}"}}') as served:
        sent = served.client.post("/datasets/refusing/ingest", json={"records": [GOOD, BAD]}).json()
        assert (sent["landed"], sent["deadLetters"]["count"]) == (1, 1)
        yield served


def facts(http: HttpService, **headers: str) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in http.client.get("/datasets", headers=headers).json()["datasets"]}


def given(http: HttpService, *scopes: str) -> dict[str, str]:
    """The header of a new token; from then on the service asks everybody for one."""
    secret = new_secret()
    http.warehouse.catalog.tokens.add(
        name="-".join(scopes).replace(":", "-"), digest=digest_of(secret), scopes=scopes, expires_at=None, actor="test"
    )
    return bearer(secret)


@contextmanager
def statements(http: HttpService) -> Iterator[list[str]]:
    """What requests ask the catalog meanwhile about rows, sources and alerts; what runs beside them asks as it likes."""
    found: list[str] = []

    def noted(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        of_request = threading.current_thread().name.startswith("AnyIO")
        if of_request and re.search(r"FROM (segments|partitions|sources|alert_states)\b", statement):
            found.append(statement)

    engine = http.warehouse.catalog.database.engine
    event.listen(engine, "before_cursor_execute", noted)
    try:
        yield found
    finally:
        event.remove(engine, "before_cursor_execute", noted)


def test_the_list_says_what_was_refused_what_is_paused_and_which_alerts_fire(http: HttpService) -> None:
    found = facts(http)["refusing"]
    assert (found["rows"], found["newest"], found["deadLetters"]) == (1, "2013-01-01T00:00:00Z", 1)
    assert (found["paused"], found["lag"], found["firing"], found["retired"]) == (False, None, [], False)
    assert facts(http)["spare"]["deadLetters"] == 0
    look(http.warehouse)
    catalog, record = http.warehouse.catalog, http.warehouse.resolve("refusing")[1]
    catalog.sources.pause(catalog.sources.of(record.id)[0].id, "records were lost")
    found = facts(http)["refusing"]
    assert (found["firing"], found["paused"]) == (["dead_letters"], True)
    assert found == http.client.get("/datasets/refusing").json()


def test_an_alert_that_nobody_declares_any_more_does_not_fire(http: HttpService) -> None:
    look(http.warehouse)
    http.warehouse.datasets = {**DATASETS, "refusing": watched("refusing", replace(REFUSED, above=5))}
    assert facts(http)["refusing"]["firing"] == []


def test_a_list_that_has_not_changed_is_not_sent_again(http: HttpService) -> None:
    first = http.client.get("/datasets")
    same = http.client.get("/datasets", headers={"If-None-Match": first.headers["ETag"]})
    assert (same.status_code, same.content) == (304, b"")
    http.client.post("/datasets/refusing/ingest", json={"records": [{**GOOD, "ts": "2013-01-01T02:00:00Z"}]})
    other = http.client.get("/datasets", headers={"If-None-Match": first.headers["ETag"]})
    assert other.status_code == 200 and other.headers["ETag"] != first.headers["ETag"]


def test_many_datasets_are_listed_by_as_many_questions_to_the_catalog_as_one(http: HttpService) -> None:
    def asked() -> int:
        facts(http)  # what is looked up once and kept
        with statements(http) as found:
            facts(http)
        return len(found)

    few = asked()
    assert few == 3
    more = {f"more_{n}": watched(f"more_{n}", REFUSED) for n in range(20)}
    http.warehouse.datasets = {**DATASETS, **more}
    for name in more:
        http.warehouse.resolve(name)
    assert len(facts(http)) == 22
    assert asked() == few


def test_who_may_only_write_is_told_nothing_of_what_is_in_it(http: HttpService) -> None:
    look(http.warehouse)
    http.warehouse.datasets = {**DATASETS, "refusing": replace(DATASETS["refusing"], access=Access(write=("timestore:write",)))}
    found = facts(http, **given(http, "timestore:write"))["refusing"]
    assert (found["readable"], found["firing"], found["sources"]) == (False, [], [])
    assert {found[name] for name in ("rows", "newest", "deadLetters", "lag", "paused", "manifestVersion")} == {None}


def test_a_reader_sees_how_alerts_stand_and_no_address(http: HttpService) -> None:
    address = "/datasets/refusing/alerts"
    reader = given(http, "timestore:read")
    refused, quarantine = http.client.get(address, headers=reader).json()["alerts"]
    assert (refused["alert"], refused["state"], refused["since"], refused["value"]) == ("dead_letters", "unknown", None, "1")
    look(http.warehouse)
    answer = http.client.get(address, headers=reader)
    refused, quarantine = answer.json()["alerts"]
    assert (refused["state"], refused["above"], refused["to"]) == ("firing", 0, ["ops"])
    assert refused["since"] is not None and refused["summary"] == "1 record is a dead letter, above 0"
    assert (quarantine["alert"], quarantine["state"], quarantine["value"]) == ("quarantine", "ok", "0")
    assert "example.com" not in answer.text
    assert http.client.get("/datasets/spare/alerts", headers=given(http, "timestore:write")).status_code == 403
    assert http.client.get("/datasets/spare/alerts", headers=reader).status_code == 404
    assert http.client.get("/datasets/nothing/alerts", headers=reader).status_code == 404
    assert http.client.post("/admin/alerts/channels/ops/test", headers=reader).status_code == 403


def test_the_alerts_of_a_retired_dataset_are_quiet_everywhere(http: HttpService) -> None:
    look(http.warehouse)
    assert http.client.post("/admin/datasets/refusing/retire", json={"retired": True}).status_code == 200
    assert http.client.get("/datasets/refusing/alerts").json() == {"dataset": "refusing", "retired": True, "alerts": []}
    found = facts(http)["refusing"]
    assert (found["retired"], found["firing"], found["deadLetters"]) == (True, [], 1)


def test_a_try_of_a_channel_reaches_it(tmp_path: Path) -> None:
    with webhook() as received, service(tmp_path / "home", DATASETS, alert_channels=f'{{"ops": "{received.url}"}}') as http:
        assert http.client.post("/admin/alerts/channels/ops/test").json() == {"channel": "ops"}
        assert [body["state"] for body in received.bodies] == ["test"]
