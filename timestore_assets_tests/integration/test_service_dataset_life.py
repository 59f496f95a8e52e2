"""Dropping, renaming and retiring datasets over HTTP, and what a service that runs does when others did that."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.model.errors import DroppedError
from timestore_assets.service.flight.flight_messages import packed
from timestore_assets.settings import Settings
from timestore_assets.upkeep.collect import collect
from timestore_assets.warehouse import Warehouse
from timestore_assets_tests.support.flight_clients import RawFlight
from timestore_assets_tests.support.http_service import HttpService, serving

WAIT_SECONDS = 60.0
POWER: dict[str, Any] = {
    "columns": {"at": {"type": "timestamp"}, "watts": {"type": "double", "nullable": True}},
    "time": "at",
    "start": "2024-01-01",
    "sources": [{"http": {}}],
}
ROWS = {"records": [{"at": "2024-01-01T00:00:00Z", "watts": 5}, {"at": "2024-01-02T00:00:00Z", "watts": 7}]}
DECLARATION = """type: timestore_assets.Dataset
attributes:
  name: NAME
  columns: {at: timestamp, watts: {type: double, nullable: true}}
  time: at
  start: 2024-01-01
  sources: [http: {}]
"""


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpService]:
    """A service over an empty home; each test has datasets of its own."""
    settings = Settings(home=tmp_path_factory.mktemp("life") / "home")
    with pytest.MonkeyPatch.context() as patch:
        for module in ("declarations", "service.declaration_loop"):
            patch.setattr(f"timestore_assets.{module}.FRESH_SECONDS", 0.2)
        with Warehouse.open(settings) as warehouse, serving(warehouse) as ground:
            yield ground


def until(wanted: Callable[[], bool], what: str) -> None:
    waiting = threading.Event()
    deadline = threading.Timer(WAIT_SECONDS, waiting.set)
    deadline.start()
    try:
        while not wanted():
            assert not waiting.wait(0.1), what
    finally:
        deadline.cancel()


def declare(http: HttpService, name: str) -> httpx.Response:
    made = http.client.put(f"/admin/datasets/{name}", json=POWER)
    assert made.is_success, made.text
    return made


def send(http: HttpService, name: str, key: str = "k") -> httpx.Response:
    return http.client.post(f"/datasets/{name}/ingest", json=ROWS, headers={"Idempotency-Key": key})


def rows(http: HttpService, name: str) -> int:
    return int(http.client.get(f"/datasets/{name}/status").json()["rows"])


def file_of(http: HttpService, name: str, text: str = DECLARATION) -> Path:
    path = http.warehouse.settings.home_folder / "defs" / name / "defs.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.replace("NAME", name))
    return path


def objects_of(http: HttpService, name: str) -> list[str]:
    return [one.name for one in http.warehouse.storage.target("default").list() if one.name.startswith(f"{name}/")]


def metrics(http: HttpService) -> str:
    return http.client.get("/metrics").text


def test_dropped_it_is_gone_and_declared_again_it_begins_anew(http: HttpService) -> None:
    declare(http, "power")
    assert send(http, "power").json()["landed"] == 2
    assert 'timestore_rows{dataset="power"} 2.0' in metrics(http)
    gone = http.client.delete("/admin/datasets/power")
    assert gone.status_code == 200, gone.text
    assert {name: gone.json()[name] for name in ("rows", "partitions", "deadLetters")} == {
        "rows": 2, "partitions": 2, "deadLetters": 0,
    }  # fmt: skip
    assert http.client.get("/datasets/power").status_code == 404
    assert send(http, "power").status_code == 404
    assert http.client.delete("/admin/datasets/power").status_code == 404
    assert "power" not in http.client.get("/admin/datasets").text + http.client.get("/datasets").text
    until(lambda: 'dataset="power"' not in metrics(http), "its series went on")
    declare(http, "power")
    assert rows(http, "power") == 0
    again = send(http, "power")
    assert again.json()["landed"] == 2, "the key was of the one before"
    assert rows(http, "power") == 2


def test_only_what_was_seen_is_dropped(http: HttpService) -> None:
    tag = declare(http, "seen").headers["ETag"]
    changed = http.client.put("/admin/datasets/seen", json={**POWER, "description": "changed"})
    late = http.client.delete("/admin/datasets/seen", headers={"If-Match": tag})
    assert (late.status_code, late.json()["code"]) == (412, "precondition_failed")
    assert http.client.delete("/admin/datasets/seen", headers={"If-Match": changed.headers["ETag"]}).status_code == 200


def test_its_objects_go_with_the_next_collection(http: HttpService) -> None:
    declare(http, "brief")
    send(http, "brief")
    warehouse = http.warehouse
    assert objects_of(http, "brief")
    http.client.delete("/admin/datasets/brief")
    collected = collect(warehouse.catalog, warehouse.storage, intent_grace=timedelta(hours=1), keep_versions=timedelta(hours=1))
    assert collected.dropped_objects >= 2 and objects_of(http, "brief") == []


def test_files_come_change_and_go_under_a_service_that_runs(http: HttpService) -> None:
    path = file_of(http, "water")
    until(lambda: http.client.get("/datasets/water").status_code == 200, "a new file was not taken in")
    assert send(http, "water").json()["landed"] == 2
    path.write_text(path.read_text().replace("watts: {", "volts: {type: double, nullable: true}, watts: {"))
    until(lambda: "volts" in http.client.get("/datasets/water").text, "a new column was not taken in")
    sent = {"records": [{"at": "2024-01-03T00:00:00Z", "volts": 230}]}
    assert http.client.post("/datasets/water/ingest", json=sent).json()["landed"] == 1
    asked = http.client.post("/datasets/water/query", json={"columns": ["volts"]})
    assert "230" in asked.text
    path.unlink()
    until(lambda: http.client.get("/datasets/water").status_code == 404, "it was served without its file")
    file_of(http, "water", DECLARATION.replace("watts: {", "volts: {type: double, nullable: true}, watts: {"))
    until(lambda: http.client.get("/datasets/water").status_code == 200, "the file came back and the dataset didn't")
    assert rows(http, "water") == 3, "its data stayed"


def test_a_file_that_is_wrong_by_now_takes_nothing_away(http: HttpService) -> None:
    path = file_of(http, "wind")
    until(lambda: http.client.get("/datasets/wind").status_code == 200, "a new file was not taken in")
    send(http, "wind")
    good = path.read_text()
    wrong_ones = (
        (good.replace("double", "dubble"), f"{path}:4: columns.watts"),
        (good.replace("time: at", "time: watts").replace("watts: {type: double, nullable: true}", "watts: timestamp"), "rows"),
    )
    for number, (wrong, said) in enumerate(wrong_ones):
        path.write_text(wrong)
        until(lambda: "declarations" in http.client.get("/ready").text, "nobody says so")
        ready = http.client.get("/ready")
        (part,) = [one for one in ready.json()["parts"] if one["name"] == "declarations"]
        assert (ready.status_code, part["state"]) == (200, "warning") and said in part["reason"]
        assert send(http, "wind", f"k{number}").json()["landed"] == 2, "it takes no rows any more"
        path.write_text(good)
        until(lambda: "declarations" not in http.client.get("/ready").text, "it is said for ever")


def test_what_a_file_declares_is_dropped_by_data_alone(http: HttpService) -> None:
    path = file_of(http, "gas")
    until(lambda: http.client.get("/datasets/gas").status_code == 200, "a new file was not taken in")
    send(http, "gas")
    refused = http.client.delete("/admin/datasets/gas")
    assert (refused.status_code, "data=true" in refused.text, rows(http, "gas")) == (409, True, 2)
    assert http.client.delete("/admin/datasets/gas", params={"data": True}).json()["rows"] == 2
    assert http.client.get("/datasets/gas").status_code == 404
    with Warehouse.open(http.warehouse.settings) as other:
        assert "gas" not in other.datasets, "its file is of before the drop"
    taken = http.client.put("/admin/datasets/gas", json=POWER)
    assert (taken.status_code, "still has the name" in taken.text) == (409, True), "its file would win"
    path.write_text(path.read_text())
    until(lambda: http.client.get("/datasets/gas").status_code == 200, "a file that was written again was ignored")
    assert rows(http, "gas") == 0


def test_a_process_that_has_not_noticed_does_not_bring_it_back(http: HttpService) -> None:
    declare(http, "stale")
    with Warehouse.open(http.warehouse.settings) as other:
        http.client.delete("/admin/datasets/stale")
        with pytest.raises(DroppedError, match="was dropped"):
            other.resolve("stale")
    assert http.warehouse.catalog.datasets.find("stale") is None


def test_a_renamed_one_goes_on_under_its_name(http: HttpService) -> None:
    declare(http, "old")
    send(http, "old")
    http.client.put("/saved-queries/of_old", json={"sql": "SELECT count(*) AS n FROM old"})
    renamed = http.client.post("/admin/datasets/old/rename", json={"name": "new"})
    assert (renamed.status_code, renamed.json()["name"], renamed.json()["rows"]) == (200, "new", 2)
    assert http.client.get("/datasets/old").status_code == 404 and rows(http, "new") == 2
    assert send(http, "new").status_code == 200 and rows(http, "new") == 2, "a repeated key lands nothing twice"
    declare(http, "old")
    assert (rows(http, "old"), rows(http, "new")) == (0, 2)
    taken = http.client.post("/admin/datasets/old/rename", json={"name": "new"})
    assert (taken.status_code, taken.json()["code"]) == (409, "conflict")
    assert http.client.post("/admin/datasets/old/rename", json={"name": "No Name"}).status_code == 422


def test_a_file_of_before_counts_under_the_new_name(http: HttpService) -> None:
    file_of(http, "heat")
    until(lambda: http.client.get("/datasets/heat").status_code == 200, "a new file was not taken in")
    send(http, "heat")
    assert http.client.post("/admin/datasets/heat/rename", json={"name": "warmth"}).json()["declaredIn"] == "file"
    with Warehouse.open(http.warehouse.settings) as other:
        assert "warmth" in other.datasets and "heat" not in other.datasets
    assert send(http, "warmth", "another").json()["landed"] == 2


def test_a_retired_one_is_read_and_takes_nothing(http: HttpService) -> None:
    declare(http, "quiet")
    send(http, "quiet")
    assert http.client.post("/admin/datasets/quiet/retire", json={"retired": True}).json()["retired"] is True
    refused = send(http, "quiet", "another")
    assert (refused.status_code, "retired" in refused.json()["detail"]) == (403, True)
    for path in ("/datasets/quiet", "/datasets/quiet/status", "/admin/datasets/quiet"):
        assert http.client.get(path).json()["retired"] is True
    assert 'timestore_dataset_retired{dataset="quiet"} 1.0' in metrics(http)
    assert rows(http, "quiet") == 2
    assert http.client.post("/admin/datasets/quiet/retire", json={"retired": False}).json()["retired"] is False
    assert send(http, "quiet", "another").json()["landed"] == 2


def test_another_process_is_noticed_without_a_request(http: HttpService) -> None:
    declare(http, "watched")
    catalog = Catalog.open(http.warehouse.settings.catalog_url)
    try:
        record = catalog.datasets.find("watched")
        assert record is not None
        catalog.life.drop(record.id, actor="elsewhere")
    finally:
        catalog.close()
    until(lambda: "watched" not in http.warehouse.datasets, "the service did not notice")


def test_a_dataset_of_a_dropped_ones_name_is_described_as_what_it_is(tmp_path: Path) -> None:
    """What was said of the dropped one is kept for a while, and may have been for others."""
    settings = Settings(home=tmp_path / "home", flight_address="127.0.0.1:0")
    with Warehouse.open(settings) as warehouse, serving(warehouse) as http:
        raw = RawFlight(http.flight)

        def columns() -> list[str]:
            schema = raw.info(packed("CommandStatementQuery", query="SELECT * FROM twice")).schema
            return pa.ipc.read_schema(pa.py_buffer(schema)).names

        declare(http, "twice")
        assert columns() == ["at", "watts"]
        dropped = http.client.delete("/admin/datasets/twice")
        assert dropped.is_success, dropped.text
        other = {**POWER, "columns": {"at": {"type": "timestamp"}, "volts": {"type": "double", "nullable": True}}}
        assert http.client.put("/admin/datasets/twice", json=other).is_success
        assert columns() == ["at", "volts"]
        raw.close()
