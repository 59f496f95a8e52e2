"""Datasets declared over HTTP: checked as files are, kept whole or not at all, and there for everybody."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pytest

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.declarations import FRESH_SECONDS
from timestore_assets.definitions import defs
from timestore_assets.model.errors import ConflictError, RefusedError, StaleVersionError
from timestore_assets.settings import Settings
from timestore_assets.storage.local import LocalStore
from timestore_assets.storage.targets import Storage
from timestore_assets.warehouse import Warehouse
from timestore_assets_tests.support.command_line import CommandLine
from timestore_assets_tests.support.dagster_deployment import DECLARATION, QUIET
from timestore_assets_tests.support.http_service import HttpService, service

pytestmark = QUIET
WAIT_SECONDS = 60.0
POWER: dict[str, Any] = {
    "description": "Power of each meter",
    "columns": {"at": {"type": "timestamp"}, "meter": "string", "watts": {"type": "double", "nullable": True}},
    "time": "at",
    "start": "2024-01-01",
    "sources": [{"http": {}}],
}
ADDRESS = "/admin/datasets/power"


@pytest.fixture
def http(tmp_path: Path) -> Iterator[HttpService]:
    with service(tmp_path / "home") as opened:
        yield opened


def declare(http: HttpService, attributes: Any = POWER, **headers: str) -> httpx.Response:
    return http.client.put(ADDRESS, json=attributes, headers=headers)


def land(http: HttpService, text: str) -> None:
    path = http.warehouse.settings.home_folder / "rows.csv"
    path.write_text(text)
    assert http.warehouse.land("power", [path]).counters.landed > 0


def test_it_is_usable_at_once(http: HttpService) -> None:
    made = declare(http)
    assert (made.status_code, made.json()["declaredIn"], made.json()["version"]) == (201, "http", 1)
    assert made.json()["attributes"] == {**POWER, "name": "power"}
    assert [one["name"] for one in http.client.get("/admin/datasets").json()["datasets"]] == ["power", "weather"]
    land(http, "at,meter,watts\n2024-01-01,kitchen,5\n")
    assert http.client.get("/datasets/power/status").json()["rows"] == 1


def test_the_audit_log_says_who(http: HttpService) -> None:
    declare(http)
    rows = http.client.get("/admin/audit", params={"limit": 2}).json()["rows"]
    assert {(row["action"], row["actor"]) for row in rows} == {("dataset_declared", "local"), ("dataset_registered", "local")}


def test_a_change_of_what_was_seen(http: HttpService) -> None:
    first = declare(http)
    changed = declare(http, {**POWER, "description": "b"}, **{"If-Match": first.headers["ETag"]})
    assert (changed.status_code, changed.json()["version"]) == (200, 2)
    late = declare(http, {**POWER, "description": "c"}, **{"If-Match": first.headers["ETag"]})
    assert (late.status_code, late.json()["code"]) == (412, "precondition_failed")
    assert http.client.get(ADDRESS).json()["declaration"]["description"] == "b"


def test_rows_that_land_do_not_stale_an_etag(http: HttpService) -> None:
    before = declare(http).headers["ETag"]
    land(http, "at,meter,watts\n2024-01-01,kitchen,5\n")
    now = http.client.get(ADDRESS, headers={"If-None-Match": before})
    assert (now.status_code, now.json()["rows"]) == (200, 1), "readers are told of the rows"
    assert declare(http, {**POWER, "description": "b"}, **{"If-Match": before}).status_code == 200


def test_only_when_it_is_new(http: HttpService) -> None:
    assert declare(http, **{"If-None-Match": "*"}).status_code == 201
    assert declare(http, **{"If-None-Match": "*"}).status_code == 412
    assert declare(http, **{"If-None-Match": '"1-0000000000000000"'}).status_code == 412
    assert declare(http, **{"If-Match": "nonsense"}).status_code == 412
    assert declare(http, **{"If-Match": "*"}).status_code == 200


def test_a_change_that_rows_do_not_allow_is_refused_whole(http: HttpService) -> None:
    declare(http)
    land(http, "at,meter,watts\n2024-01-01,kitchen,5\n")
    before = http.client.get(ADDRESS).json()
    refused = declare(http, {**POWER, "window": "hour"})
    assert refused.status_code == 403 and "window changed from 'day' to 'hour'" in refused.json()["detail"]
    assert http.client.get(ADDRESS).json() == before
    kept = http.warehouse.catalog.declarations.find("power")
    assert kept is not None and kept.version == 1


def test_a_name_that_a_file_declares(http: HttpService) -> None:
    refused = http.client.put("/admin/datasets/weather", json=POWER)
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    assert http.warehouse.catalog.declarations.listed() == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"time": "when"}, "time: 'when' is not a declared column; the columns are at, meter, watts"),
        ({"colums": {}}, "colums: "),
        ({"start": "soon"}, "start: "),
        ({"columns": {}}, "columns: is empty"),
        ({"name": "other"}, "name: is not 'power'"),
        ({"schema": "os.path", "columns": None}, "schema: names code"),
        ({"schema": None}, "schema: names code"),
        ({"sources": [{"files": {"prefix": "/etc"}}]}, "sources.0.files.prefix: must begin with inbox/"),
        ({"sources": [{"files": {"prefix": "data/"}}]}, "sources.0.files.prefix: must begin with inbox/"),
        ({"sources": [{"files": {"prefix": "inbox/../data"}}]}, "sources.0.files.prefix: must not contain '..'"),
        ({"sources": [{"files": {"prefix": "inbox\\..\\data"}}]}, "sources.0.files.prefix: must not contain '..'"),
        ({"sources": [{"kafka": {"topic": "t", "bootstrap_servers": "evil:1"}}]}, "sources.0.kafka.bootstrap_servers: "),
        ({"retention": {"max_age": "99999999999y"}}, "retention.max_age: "),
        ({"columns": {"at": "timestamp", "x": "word" * 5_000}}, "columns.x.type: unknown type"),
        ({"columns": {"at": "timestamp", "x": "list<" * 5_000 + "string" + ">" * 5_000}}, "columns.x.type: is nested"),
        ({"columns": {"at": "timestamp", "x": "struct<a:" * 99 + "string" + ">" * 99}}, "columns.x.type: is nested"),
        ({"columns": {"at": "timestamp", "x": {"type": "string", "matches": "a{99999999999}"}}}, "columns.x.matches: "),
        ({"columns": {"at": "timestamp", "x": {"type": "string", "matches": "(" * 5_000 + ")" * 5_000}}}, "columns.x.matches: "),
        ({"columns": {"at": "timestamp", "x": {"type": "double", "ge": 10**400}}}, "columns.x.ge: "),
        ({"columns": {"at": "timestamp", "x": {"type": "decimal(5,2)", "le": "NaN"}}}, "columns.x.le: is 'NaN'"),
        ({"columns": {"at": "timestamp", **{f"c{i}": "string" for i in range(1_000)}}}, "columns: are more than 1,000"),
    ],
)
def test_what_is_wrong_is_said_as_for_a_file(http: HttpService, change: dict[str, Any], message: str) -> None:
    refused = declare(http, {**POWER, **change})
    assert (refused.status_code, refused.json()["code"]) == (422, "bad_declaration")
    assert refused.json()["detail"].startswith(message)
    assert http.client.get(ADDRESS).status_code == 404 and http.warehouse.catalog.datasets.find("power") is None


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b"{", 422),
        (b"[]", 422),
        (b"7", 422),
        (b'{"time": NaN}', 422),
        (b'{"time": 1e400}', 422),
        (b'{"time": "a", "time": "b"}', 422),
        (b'{"description": "\\ud800"}', 422),
        (b"\xff", 422),
        (b"[" * 100_000, 422),
        (b'{"x": ' + b"9" * 5_000 + b"}", 422),
        (b" " * 1_000_001, 413),
    ],
)
def test_bodies_that_are_none(http: HttpService, body: bytes, status: int) -> None:
    answer = http.client.put(ADDRESS, content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")


def test_a_body_of_another_type(http: HttpService) -> None:
    answer = http.client.put(ADDRESS, content=json.dumps(POWER), headers={"Content-Type": "text/plain"})
    assert answer.status_code == 415


@pytest.mark.parametrize("name", ["Power", "p-1", "1p", "p" * 64])
def test_names_are_as_in_files(http: HttpService, name: str) -> None:
    refused = http.client.put(f"/admin/datasets/{name}", json=POWER)
    assert (refused.status_code, refused.json()["code"]) == (422, "bad_declaration")


def test_a_body_is_not_read_before_the_caller_is_known(tmp_path: Path) -> None:
    with service(tmp_path / "home", trusted_proxies="10.0.0.1") as http:
        answer = http.client.put(ADDRESS, content=b"x" * 5_000_000)
        assert answer.status_code == 401


def test_of_many_who_declare_at_once_one_wins(catalog: Catalog, tmp_path: Path) -> None:
    outcomes: list[str] = []
    with warehouse_on(catalog, tmp_path) as warehouse:

        def work(number: int) -> None:
            try:
                warehouse.declare("power", {**POWER, "description": str(number)}, actor="test", if_version=0)
                outcomes.append("made")
            except StaleVersionError:
                outcomes.append("late")

        threads = [threading.Thread(target=work, args=[number]) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=WAIT_SECONDS)
        assert sorted(outcomes) == ["late"] * 5 + ["made"]
        stored = catalog.declarations.find("power")
        assert stored is not None and warehouse.datasets["power"].description == stored.attributes["description"]


def test_a_refused_change_leaves_nothing_on_either_database(catalog: Catalog, tmp_path: Path) -> None:
    with warehouse_on(catalog, tmp_path) as warehouse:
        warehouse.declare("power", POWER, actor="test")
        path = tmp_path / "rows.csv"
        path.write_text("at,meter,watts\n2024-01-01,kitchen,5\n")
        warehouse.land("power", [path])
        audit = catalog.audit.newest()
        with pytest.raises(RefusedError, match="already has rows"):
            warehouse.declare("power", {**POWER, "columns": {"at": "timestamp", "meter": "string"}}, actor="test")
        stored = catalog.declarations.find("power")
        assert stored is not None and stored.version == 1 and catalog.audit.newest() == audit


def warehouse_on(catalog: Catalog, folder: Path, **datasets: Any) -> Warehouse:
    store = LocalStore(folder / "data", staging_root=folder / "data" / ".staging")
    return Warehouse(Settings(home=folder), catalog=catalog, storage=Storage.of(store), datasets=datasets)


def in_a_file(home: Path) -> Path:
    """The home, with `readings` declared in a file."""
    path = home / "defs" / "readings" / "defs.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(DECLARATION)
    return home


def test_another_process_learns_of_it_within_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("timestore_assets.declarations.time.monotonic", lambda: now[0])
    settings = Settings(home=in_a_file(tmp_path / "home"))
    with Warehouse.open(settings) as one, Warehouse.open(settings) as other:
        held = other.datasets
        one.declare("power", POWER, actor="test")
        other.refresh()
        assert "power" not in other.datasets, "it was asked just now"
        now[0] += FRESH_SECONDS
        other.refresh()
        assert "power" in other.datasets and "power" not in held
        with pytest.raises(ConflictError):
            one.declare("readings", POWER, actor="test")


def test_a_process_that_has_not_noticed_a_change_does_not_undo_it(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    with Warehouse.open(settings) as one, Warehouse.open(settings) as other:
        one.declare("power", POWER, actor="test")
        other.datasets = {**other.datasets, **one.datasets}  # as a code location that was loaded then
        other.declarations.merged(other.catalog.declarations.listed())
        one.declare("power", {**POWER, "late": {"policy": "drop"}}, actor="test")
        other.resolve("power")
        _, record = one.resolve("power")
        assert record.definition["late"]["policy"] == "drop"
        actions = [row["action"] for row in one.catalog.audit.newest(dataset_ids=[record.id])]
        assert actions.count("dataset_changed") == 1


def test_a_running_service_learns_of_it(http: HttpService) -> None:
    http.warehouse.catalog.declarations.put("power", {**POWER, "name": "power"}, actor="elsewhere")
    seen = threading.Event()
    deadline = threading.Timer(WAIT_SECONDS, seen.set)
    deadline.start()
    while http.client.get("/datasets/power/status").status_code == 404:
        assert not seen.wait(0.1), "the service did not notice"
    deadline.cancel()


def test_the_command_line_and_dagster_have_it_at_the_next_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shell = CommandLine(tmp_path)
    with Warehouse.open(Settings(home=shell.home)) as warehouse:
        warehouse.declare("power", POWER, actor="test")
    assert "power" in [one["dataset"] for one in shell.inside("status", "--json").json["datasets"]]
    monkeypatch.setenv("TIMESTORE_HOME", str(shell.home))
    loaded = defs()
    dg.Definitions.validate_loadable(loaded)
    assert dg.AssetKey("power") in loaded.resolve_all_asset_keys()


def test_a_file_wins_and_the_log_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = Settings(home=tmp_path / "home")
    with Warehouse.open(settings) as warehouse:
        warehouse.declare("power", POWER, actor="test")
    folder = settings.home_folder / "defs" / "power"
    folder.mkdir(parents=True)
    attributes = json.dumps({**POWER, "name": "power", "description": "of the file"})
    (folder / "defs.yaml").write_text(f"type: timestore_assets.Dataset\nattributes: {attributes}\n")
    with Warehouse.open(settings) as warehouse:
        assert warehouse.datasets["power"].description == "of the file"
        assert warehouse.declarations.is_in_file("power")
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        "dataset 'power' is declared in a file and was over HTTP; the file is what counts"
    ]


def test_one_that_cannot_be_read_is_left_out_with_a_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = Settings(home=in_a_file(tmp_path / "home"))
    with Warehouse.open(settings) as warehouse:
        warehouse.catalog.declarations.put("power", {**POWER, "name": "power", "of_a_later_version": 1}, actor="test")
    with Warehouse.open(settings) as warehouse:
        assert "power" not in warehouse.datasets and "readings" in warehouse.datasets
    assert "of_a_later_version" in caplog.text


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TIMESTORE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_loading_makes_no_catalog(home: Path) -> None:
    dg.Definitions.validate_loadable(defs())
    assert not (home / "catalog.sqlite").exists()


def test_one_that_dagster_refuses_does_not_stop_the_others(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Warehouse.open(Settings(home=home)) as warehouse:
        warehouse.declare("power", {**POWER, "owners": ["nobody at all"]}, actor="test")
        warehouse.declare("water", POWER, actor="test")
    keys = defs().resolve_all_asset_keys()
    assert dg.AssetKey("water") in keys and dg.AssetKey("power") not in keys
    assert "dataset 'power' was declared over HTTP in a way that Dagster refuses" in caplog.text


def test_a_catalog_that_cannot_be_reached_is_said_in_one_line(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    in_a_file(home)
    monkeypatch.setenv("TIMESTORE_DATABASE_URL", "postgresql://nobody:hidden@127.0.0.1:1/none")
    assert dg.AssetKey("readings") in defs().resolve_all_asset_keys()
    (said,) = [record.getMessage() for record in caplog.records if record.name == "timestore_assets.declarations"]
    assert said.startswith("datasets declared over HTTP are missing here until the next reload")
    assert "hidden" not in said and "\n" not in said
