"""What the page asks beside questions: who is there, how a schema came to be, dead letters tried again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from timestore_assets.cli.upload_proposals import proposer_for
from timestore_assets.model.dataset import FileSource, HttpSource
from timestore_assets.model.schema import Checks, Column, Schema
from timestore_assets.model.types import parse_type
from timestore_assets.service.access.api_tokens import digest_of, new_secret
from timestore_assets_tests.support.http_service import HttpService, open_warehouse, serving
from timestore_assets_tests.support.landing_warehouse import dataset

LEVEL = Column(name="level", type=parse_type("double"), nullable=True, checks=Checks(le=30))
TANK = replace(dataset(LEVEL, sources=(FileSource(prefix="inbox/tank/"), HttpSource())), name="tank")
ROWS = [{"ts": f"2013-01-01T0{hour}:00:00Z", "station": "a", "level": level} for hour, level in enumerate((12, 35, 41))]


@pytest.fixture
def http(tmp_path: Path) -> Iterator[tuple[HttpService, dict[str, str], dict[str, str]]]:
    """A service with a reader and an administrator, and two records of three that are dead letters."""
    with open_warehouse(tmp_path / "home", {"tank": TANK}, dagster_url="http://dagster.test", upload_bytes=2_000) as warehouse:
        headers = []
        for name in ("read", "admin"):
            secret = new_secret()
            scopes = (f"timestore:{name}",)
            warehouse.catalog.tokens.add(name=name, digest=digest_of(secret), scopes=scopes, expires_at=None, actor="test")
            headers.append({"Authorization": f"Bearer {secret}"})
        with serving(warehouse, more=lambda app: setattr(app.state, "proposer", proposer_for(warehouse))) as served:
            sent = served.client.post("/datasets/tank/ingest", json={"records": ROWS}, headers=headers[1])
            assert (sent.json()["landed"], sent.json()["deadLetters"]["count"]) == (1, 2)
            yield served, headers[0], headers[1]


def test_a_session_says_who_asks_and_what_that_opens(
    http: tuple[HttpService, dict[str, str], dict[str, str]],
) -> None:
    served, reader, admin = http
    assert served.client.get("/session").status_code == 401
    found = served.client.get("/session", headers=reader).json()
    assert (found["caller"], found["isAdmin"], found["maySaveQueries"], found["home"]) == ("token:read", False, False, None)
    assert found["dagsterUrl"] == "http://dagster.test"
    found = served.client.get("/session", headers=admin).json()
    assert (found["isAdmin"], found["maySaveQueries"]) == (True, True)
    assert found["home"] == str(served.warehouse.settings.home_folder)
    sources = served.client.get("/datasets/tank", headers=reader).json()["sources"]
    assert sources == [{"kind": "files", "address": "inbox/tank/**/*"}, {"kind": "http", "address": "/ingest"}]


def test_a_schema_has_every_version_and_names_who_only_to_administrators(
    http: tuple[HttpService, dict[str, str], dict[str, str]],
) -> None:
    served, reader, admin = http
    more = {"records": [{**ROWS[0], "seal": "ok", "ts": "2013-01-02T00:00:00Z"}]}
    assert served.client.post("/datasets/tank/ingest", json=more, headers=admin).json()["landed"] == 1
    found = served.client.get("/datasets/tank/schema", headers=reader).json()
    assert [one["name"] for one in found["columns"]] == ["ts", "station", "temp", "level", "seal"]
    assert found["columns"][3]["checks"] == {"le": 30}
    newest, first = found["history"]
    assert newest["changes"] == [{"kind": "column_added", "column": "seal", "before": None, "after": "string"}]
    assert (newest["version"], newest["actor"], first["version"], first["changes"], first["columns"]) == (2, None, 1, [], 4)
    told = served.client.get("/datasets/tank/schema", headers=admin).json()["history"]
    assert told[0]["actor"] == "token:admin"


def test_a_replay_lands_what_fits_by_now_and_nothing_twice(http: tuple[HttpService, dict[str, str], dict[str, str]]) -> None:
    served, reader, admin = http
    address = "/admin/datasets/tank/deadletters/replay"
    assert served.client.post(address, json={}, headers=reader).status_code == 403
    assert served.client.post(address, json={"code": "other"}, headers=admin).json()["records"] == 0
    refused = served.client.post(address, json={}, headers=admin).json()
    assert (refused["records"], refused["landed"], refused["reasons"]) == (2, 0, {"failed_check": 2})
    mended = tuple(replace(one, checks=Checks(le=40)) if one.name == "level" else one for one in TANK.schema)
    served.warehouse.datasets = {"tank": replace(TANK, schema=Schema(columns=mended))}
    landed = served.client.post(address, json={"code": "failed_check"}, headers=admin).json()
    assert (landed["records"], landed["landed"], landed["refused"]) == (2, 1, 1)
    assert served.client.post(address, json={}, headers=admin).json()["landed"] == 0
    assert served.client.get("/datasets/tank", headers=reader).json()["rows"] == 2
    letters = served.client.get("/admin/datasets/tank/deadletters", headers=admin).json()["deadLetters"]
    assert [one["raw"]["text"] for one in letters] == ['{"ts":"2013-01-01T02:00:00Z","station":"a","level":41}']


def test_an_upload_is_bounded_named_harmlessly_and_leaves_nothing_behind(
    http: tuple[HttpService, dict[str, str], dict[str, str]],
) -> None:
    served, reader, admin = http
    home = served.warehouse.settings.home_folder
    proposals, files = "/admin/proposals", "/admin/datasets/tank/files"
    rows = b"ts,station,level\n2013-01-03T00:00:00Z,b,5\n"

    def sent(address: str, name: str, body: bytes = rows, headers: dict[str, str] = admin) -> tuple[int, str]:
        answer = served.client.post(address, params={"file": name}, content=body, headers=headers)
        return answer.status_code, answer.json().get("detail", "")

    for address in (proposals, files):
        assert sent(address, "a.csv", headers=reader)[0] == 403
        assert sent(address, "a.csv", b"x" * 2_001)[0] == 413
        assert sent(address, "a.csv", b"") == (422, "the file is empty")
        for name in ("../a.csv", ".a.csv", "_a.csv", "a/b.csv", "a.csv.part", "a\x00.csv", "é" * 190 + ".csv"):
            assert sent(address, name)[0] == 422, name
    assert sent(proposals, "a.csv", b"a,b\n1,2\n3,4\n")[0] == 422
    assert not (home / "inbox").exists() and list((home / "uploads").iterdir()) == []
    landed = served.client.post(files, params={"file": "more.csv"}, content=rows, headers=admin).json()
    assert (landed["read"], landed["landed"], landed["file"]) == (1, 1, "more.csv")
    assert sent(files, "more.csv")[0] == 409
    again = served.client.post(files, params={"file": "same.csv"}, content=rows, headers=admin).json()
    assert again["read"] == 1
    assert list((home / "uploads").iterdir()) == []
