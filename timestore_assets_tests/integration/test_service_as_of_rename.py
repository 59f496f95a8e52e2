"""Questions over HTTP for a version of before its columns were renamed: its names, its filters, and pages that go on over it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from timestore_assets.settings import Settings
from timestore_assets.warehouse import Warehouse
from timestore_assets_tests.support.http_service import HttpService, serving
from timestore_assets_tests.support.migrations import GOVERNANCE, rename

POWER: dict[str, Any] = {
    "columns": {"at": "timestamp", "meter": "string", "watts": {"type": "double", "nullable": True}},
    "time": "at",
    "start": "2024-01-01",
    "partition_by": ["meter"],
    "sources": [{"http": {}}],
}
ROWS = [{"at": f"2024-01-0{day}T00:00:00Z", "meter": "hall", "watts": float(day)} for day in range(1, 8)]


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpService]:
    """A service over an empty home; each test has a dataset of its own."""
    with Warehouse.open(Settings(home=tmp_path_factory.mktemp("renamed") / "home")) as warehouse, serving(warehouse) as ground:
        yield ground


def landed(http: HttpService, name: str) -> int:
    """A dataset of seven days; the version that has them."""
    assert http.client.put(f"/admin/datasets/{name}", json=POWER).is_success
    sent = http.client.post(f"/datasets/{name}/ingest", json={"records": ROWS})
    assert sent.json()["landed"] == len(ROWS), sent.text
    version: int = asked(http, name)["manifestVersion"]
    return version


def renamed(http: HttpService, name: str, *operations: dict[str, Any]) -> None:
    body = {"governance": GOVERNANCE, "operations": operations, "execution": {"dryRun": False}}
    done = http.client.post(f"/datasets/{name}/schema/migrations", json=body)
    assert done.status_code == 200 and done.json()["executed"], done.text


def above(number: float, column: str) -> dict[str, Any]:
    return {"column": column, "op": "gt", "value": number}


def below(column: str) -> dict[str, Any]:
    return {"column": column, "op": "lt", "value": "2024-01-07T00:00:00Z"}


def asked(http: HttpService, name: str, **body: Any) -> dict[str, Any]:
    answer = http.client.post(f"/datasets/{name}/query", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_an_older_version_goes_by_its_names(http: HttpService) -> None:
    version = landed(http, "named")
    renamed(http, "named", rename("at", "ts"), rename("watts", "power"))
    assert asked(http, "named", pageSize=1)["rows"] == [{"ts": "2024-01-01T00:00:00Z", "meter": "hall", "power": 1.0}]
    old = asked(http, "named", asOf=version)
    assert (old["manifestVersion"], old["rows"]) == (version, ROWS)
    some = asked(http, "named", asOf=version, columns=["at", "watts"], filters=[above(5, "watts"), below("at")])
    assert some["rows"] == [{"at": "2024-01-06T00:00:00Z", "watts": 6.0}]
    for body, named in (
        ({"asOf": version, "columns": ["power"]}, "power"),
        ({"asOf": version, "filters": [above(5, "power")]}, "power"),
        ({"filters": [above(5, "watts")]}, "watts"),
    ):
        refused = http.client.post("/datasets/named/query", json=body)
        assert refused.status_code == 422 and named in refused.text, refused.text
        assert refused.headers["content-type"].startswith("application/problem+json")


@pytest.mark.parametrize("as_of", [False, True], ids=["of the newest version", "of a named version"])
def test_pages_go_on_by_the_names_of_the_first(http: HttpService, as_of: bool) -> None:
    name = f"paged_{int(as_of)}"
    version = landed(http, name)
    body: dict[str, Any] = {"pageSize": 3, **({"asOf": version} if as_of else {})}
    page = asked(http, name, **body)
    rows = list(page["rows"])
    renamed(http, name, rename("at", "ts"), rename("meter", "place"))
    later = [{"ts": "2024-01-01T12:00:00Z", "place": "hall", "watts": 9.0}]
    assert http.client.post(f"/datasets/{name}/ingest", json={"records": later}).json()["landed"] == 1
    while page["nextCursor"] is not None:
        assert page["manifestVersion"] == version and len(rows) < len(ROWS)
        page = asked(http, name, **body, cursor=page["nextCursor"])
        rows += page["rows"]
    assert rows == ROWS
    if as_of:
        assert asked(http, name, asOf=version, filters=[above(2, "watts")], pageSize=2)["rows"] == ROWS[2:4]
    assert len(asked(http, name)["rows"]) == len(ROWS) + 1
