"""Migrations over HTTP: tried, carried out, listed; what was declared over HTTP and saved queries go along or are in the way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from timestore_assets.catalog import datasets
from timestore_assets.catalog.schema_restoring import restored
from timestore_assets.migrating.declaration_changes import redeclared
from timestore_assets.settings import Settings
from timestore_assets.warehouse import Warehouse
from timestore_assets_tests.support.http_service import HttpService, serving
from timestore_assets_tests.support.migrations import GOVERNANCE, cast, drop, rename, transform

POWER: dict[str, Any] = {
    "columns": {
        "at": "timestamp",
        "meter": "string",
        "watts": {"type": "double", "nullable": True, "unit": "W", "ge": 0},
        "code": {"type": "string", "nullable": True, "from": "properties.code"},
        "note": {"type": "string", "nullable": True},
    },
    "time": "at",
    "start": "2024-01-01",
    "partition_by": ["meter"],
    "dedupe": {"keys": ["meter", "at"]},
    "sources": [{"http": {}}],
    "evolution": {"new_columns": "ignore"},
}
ROWS = {
    "records": [
        {"at": f"2024-01-0{day}T00:00:00Z", "meter": "hall", "watts": 100.0 * day, "properties": {"code": code}, "note": "n"}
        for day, code in ((1, "1"), (2, "two"), (3, "3"))
    ]
}


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpService]:
    """A service over an empty home; each test has a dataset of its own."""
    settings = Settings(home=tmp_path_factory.mktemp("migrations") / "home")
    with Warehouse.open(settings) as warehouse, serving(warehouse) as ground:
        yield ground


def landed(http: HttpService, name: str) -> str:
    """A dataset of three days, and its name."""
    declared = http.client.put(f"/admin/datasets/{name}", json=POWER)
    assert declared.is_success, declared.text
    sent = http.client.post(f"/datasets/{name}/ingest", json=ROWS)
    assert sent.json()["landed"] == 3, sent.text
    return name


def migrate(http: HttpService, name: str, *operations: dict[str, Any], execute: bool = False, **options: Any) -> httpx.Response:
    body = {"governance": GOVERNANCE, "operations": operations, "execution": {"dryRun": not execute}}
    return http.client.post(f"/datasets/{name}/schema/migrations", json=body, params=options)


def columns(http: HttpService, name: str) -> list[str]:
    return [one["name"] for one in http.client.get(f"/datasets/{name}/schema").json()["columns"]]


def test_a_dry_run_says_what_would_be_and_does_nothing(http: HttpService) -> None:
    name = landed(http, "tried")
    before = columns(http, name)
    answer = migrate(http, name, transform("watts", "watts / 1000", unit="kW"), cast("code", "int64"), rename("meter", "place"))
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["executed"], found["migration"]) == (False, None)
    tried = found["dryRun"]
    watts, code = tried["computed"]
    assert (watts["lost"], watts["nulls"], watts["samples"][0]) == (0, 0, {"before": "100.0", "after": "0.1"})
    assert (code["lost"], code["worst"], code["lostSamples"]) == (1, {"2024-01-02": 1}, [{"before": "two", "after": None}])
    assert tried["rewrite"]["partitions"] == 3 and tried["rows"] == tried["rowsTried"] == 3
    (refusal,) = tried["refusals"]
    assert "1 value of 'code' would become NULL in 'code', most in partition 2024-01-02" in refusal
    assert "partition_by: [place]" in tried["declaration"]
    assert columns(http, name) == before
    assert http.client.get(f"/datasets/{name}/schema/migrations").json() == {"migrations": []}
    assert migrate(http, name, cast("code", "int64"), execute=True).status_code == 403
    assert columns(http, name) == before


def test_what_was_declared_over_http_goes_along(http: HttpService) -> None:
    name = landed(http, "carried_out")
    operations = [
        rename("at", "ts"),
        rename("meter", "place"),
        transform("watts", "watts / 1000", unit="kW"),
        cast("code", "int64", on_error="null"),
        drop("note"),
    ]
    answer = migrate(http, name, *operations, execute=True)
    assert answer.status_code == 200, answer.text
    made = answer.json()["migration"]
    assert (made["ticketId"], made["approvedBy"], made["schemaVersion"]) == ("OPS-1", "ann", 2)
    declared = http.client.get(f"/admin/datasets/{name}").json()
    assert declared["version"] == 2
    attributes = declared["attributes"]
    assert list(attributes["columns"]) == ["ts", "place", "watts", "code"] == columns(http, name)
    assert attributes["columns"]["watts"] == {"type": "double", "nullable": True, "unit": "kW"}
    assert attributes["columns"]["code"] == {"type": "int64", "nullable": True, "from": "properties.code"}
    assert (attributes["time"], attributes["partition_by"], attributes["dedupe"]["keys"]) == ("ts", ["place"], ["place", "ts"])
    again = http.client.put(f"/admin/datasets/{name}", json=attributes)
    assert again.is_success and again.json()["schemaVersion"] == 2, again.text
    repeated = migrate(http, name, *operations, execute=True).json()
    assert (repeated["dryRun"], repeated["migration"]) == (None, made)
    assert http.client.get(f"/datasets/{name}/schema/migrations").json() == {"migrations": [made]}


def test_a_dry_run_of_what_was_done_says_so(http: HttpService) -> None:
    name = landed(http, "done_already")
    migrate(http, name, rename("note", "remark"), execute=True)
    again = migrate(http, name, rename("note", "remark")).json()
    assert (again["executed"], again["dryRun"], again["migration"]["schemaVersion"]) == (True, None, 2)


def test_what_was_declared_over_http_comes_back_with_the_columns(http: HttpService) -> None:
    name = landed(http, "taken_back")
    migrate(http, name, drop("note"), rename("meter", "place"), execute=True)
    catalog = http.warehouse.catalog
    dataset_id = http.warehouse.resolve(name)[1].id

    def work(connection: Any, now: int) -> int:
        return restored(connection, datasets.lock(connection, dataset_id), 1, redeclare=redeclared, actor="test", now=now)

    assert catalog.database.timed(work) == 3
    attributes = http.client.get(f"/admin/datasets/{name}").json()["attributes"]
    assert list(attributes["columns"]) == ["at", "meter", "watts", "code", "note"] == columns(http, name)
    assert http.client.put(f"/admin/datasets/{name}", json=attributes).json()["schemaVersion"] == 3


def test_saved_queries_that_would_fail_are_in_the_way(http: HttpService) -> None:
    name = landed(http, "asked_for")
    queries = {
        "broken": {"sql": f'SELECT max(watts) FROM {name} WHERE "at" >= $since', "parameters": {"since": {"type": "timestamp"}}},
        "fine": {"sql": f"SELECT meter FROM {name}"},
    }
    for query, body in queries.items():
        assert http.client.put(f"/saved-queries/{query}", json=body).is_success
    found = migrate(http, name, rename("watts", "power")).json()["dryRun"]
    assert [one["name"] for one in found["brokenQueries"]] == ["broken"] and "watts" in found["brokenQueries"][0]["problem"]
    refused = migrate(http, name, rename("watts", "power"), execute=True)
    assert refused.status_code == 403 and "saved queries would fail: 'broken'" in refused.text
    assert migrate(http, name, rename("watts", "power"), execute=True, allowBrokenQueries=True).is_success


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({"operations": []}, "governance"),
        ({"governance": GOVERNANCE, "operations": []}, "operations"),
        ({"governance": GOVERNANCE, "operations": [{**drop("note"), **cast("code", "int64")}]}, "one of"),
        ({"governance": GOVERNANCE, "operations": [drop("missing")]}, "no column 'missing'"),
        ({"governance": GOVERNANCE, "operations": [drop("note")], "dataset": "other"}, "the name in the address"),
        (
            {"governance": GOVERNANCE, "operations": [drop("note")], "execution": {"archiveDirectory": "/etc"}},
            "the service's machine",
        ),
    ],
)  # fmt: skip
def test_a_manifest_that_is_wrong_is_explained(http: HttpService, body: dict[str, Any], problem: str) -> None:
    if "wrong" not in http.warehouse.datasets:
        landed(http, "wrong")
    answer = http.client.post("/datasets/wrong/schema/migrations", json=body)
    assert answer.status_code == 422 and problem in answer.text


def test_an_archive_goes_to_a_storage_target_and_is_listed(http: HttpService) -> None:
    name = landed(http, "archived")
    found = migrate(http, name, drop("note", archive=True)).json()["dryRun"]
    assert "nothing says where" in found["refusals"][0]
    body: dict[str, Any] = {
        "governance": GOVERNANCE,
        "operations": [drop("note", archive=True)],
        "execution": {"dryRun": False, "archiveTarget": "default", "archiveFormat": "parquet"},
    }
    for written in (3, 0):
        done = http.client.post(f"/datasets/{name}/schema/migrations", json=body).json()
        assert (done["executed"], done["archivedFiles"], done["isArchived"]) == (True, written, True)
    (archive,) = http.client.get(f"/datasets/{name}/schema/archives").json()["archives"]
    assert (archive["column"], archive["schemaVersion"], archive["partitions"], archive["rows"]) == ("note", 2, 3, 3)
    assert (archive["targets"], archive["isWhole"], archive["files"]) == (["default"], True, [])
    (archive,) = http.client.get(f"/datasets/{name}/schema/archives", params={"files": True}).json()["archives"]
    assert [one["partitionStart"] for one in archive["files"]] == [f"2024-01-0{day}T00:00:00Z" for day in (1, 2, 3)]
    assert all(one["name"].endswith(".parquet") and one["target"] == "default" for one in archive["files"])


def test_a_target_that_there_is_not_is_422(http: HttpService) -> None:
    name = landed(http, "elsewhere")
    body = {"governance": GOVERNANCE, "operations": [drop("note", archive=True)], "execution": {"archiveTarget": "moon"}}
    answer = http.client.post(f"/datasets/{name}/schema/migrations", json=body)
    assert answer.status_code == 422 and "no storage target is named 'moon'" in answer.text


def restore(http: HttpService, name: str, to: int, **more: Any) -> httpx.Response:
    return http.client.post(f"/datasets/{name}/schema/restore", json={"to": to, **more})


def test_columns_come_back_over_http_after_a_dry_run(http: HttpService) -> None:
    name = landed(http, "restored")
    before = columns(http, name)
    migrate(http, name, drop("note"), rename("meter", "place"), execute=True)
    migrated = columns(http, name)
    tried = restore(http, name, 1).json()
    assert (tried["executed"], tried["refusals"], tried["migration"]) == (False, [], None)
    assert {(one["kind"], one["column"]) for one in tried["changes"]} == {
        ("column_restored", "note"),
        ("column_renamed", "meter"),
    }
    assert columns(http, name) == migrated
    done = restore(http, name, 1, dryRun=False, ticketId="OPS-13", approvedBy="bob").json()
    assert (done["executed"], done["changes"], done["migration"]["ticketId"]) == (True, tried["changes"], "OPS-13")
    assert (done["migration"]["kind"], done["migration"]["schemaVersion"]) == ("rollback", 3)
    assert columns(http, name) == before
    assert restore(http, name, 3).status_code == 422
    assert restore(http, name, 9).status_code == 422


def test_a_restore_that_would_lose_values_says_so_and_is_403(http: HttpService) -> None:
    name = landed(http, "lost")
    migrate(http, name, drop("note"), execute=True)
    since = {"records": [{"at": "2024-01-04T00:00:00Z", "meter": "hall", "watts": 4.0}]}
    assert http.client.post(f"/datasets/{name}/ingest", json=since).json()["landed"] == 1
    (refusal,) = restore(http, name, 1).json()["refusals"]
    assert "have no 'note'" in refusal
    assert restore(http, name, 1, dryRun=False).status_code == 403
    assert restore(http, name, 1, dryRun=False, nulls=True).json()["executed"]
