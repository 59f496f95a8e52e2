"""What people are told where a declaration and the catalog differ, and where a column is no more."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from timestore_assets.catalog.datasets import has_segments
from timestore_assets.declaration.from_yaml import dataset_from_attributes
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.errors import InputError, RefusedError
from timestore_assets.model.question import Question
from timestore_assets.model.retention import Retention
from timestore_assets.orchestration.building.build_asset import dataset_spec
from timestore_assets.orchestration.checks.findings import findings
from timestore_assets.orchestration.stored_columns_shown import shown_datasets
from timestore_assets.upkeep.collect import collect
from timestore_assets.warehouse import Warehouse
from timestore_assets_tests.support.command_line import CommandLine
from timestore_assets_tests.support.http_service import open_warehouse, serving
from timestore_assets_tests.support.landing_warehouse import columns, dataset
from timestore_assets_tests.support.migrations import drop, manifest, rename

FILE = dataset(*columns(code="string?"))
NAME = FILE.name
CELSIUS = rename("temp", "celsius", expression="(temp - 32) * 5 / 9", unit="degC")
MIGRATION = (rename("station", "place"), CELSIUS, drop("code"))


def written(folder: Path, name: str, *records: dict[str, Any]) -> Path:
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps({"ts": "2013-03-01T00:00:00Z", "station": "s", **one}) + "\n" for one in records))
    return path


@pytest.fixture
def migrated(tmp_path: Path) -> Iterator[Warehouse]:
    """Whose declaration is behind, and has a column that was found beside."""
    with open_warehouse(tmp_path, {NAME: FILE}) as warehouse:
        warehouse.land(NAME, [written(tmp_path, "first", {"temp": 50, "code": "c", "gust": 3})])
        warehouse.migrate(manifest(NAME, *MIGRATION), actor="ann")
        warehouse.resolve(NAME)
        yield warehouse


def test_a_declaration_that_is_behind_is_said_with_the_command_that_mends_it(migrated: Warehouse) -> None:
    command = f"`timestore schema declaration {NAME}` prints"
    assert command in migrated.status(NAME).notice
    (schema,) = (one for one in findings(migrated, FILE) if one.check == "schema")
    assert not schema.passed
    assert command in schema.summary
    assert "place: string" in schema.metadata["what_to_do"].value
    with serving(migrated) as http:
        ready = http.client.get("/ready")
        (part,) = (one for one in ready.json()["parts"] if one["name"] == "declarations")
        assert (ready.status_code, part["state"]) == (200, "warning")
        assert command in part["reason"]
        assert http.client.get(f"/datasets/{NAME}/status").json()["behind"]


def test_a_file_that_is_ahead_leaves_the_status_of_all_others(tmp_path: Path) -> None:
    ahead = replace(FILE, schema=replace(FILE.schema, columns=FILE.schema.columns[:3]))
    other = replace(FILE, name="other")
    with open_warehouse(tmp_path, {NAME: FILE, "other": other}) as warehouse:
        warehouse.land(NAME, [written(tmp_path, "first", {"temp": 50})])
    with Warehouse.open(warehouse.settings, datasets={NAME: ahead, "other": other}) as warehouse:
        assert warehouse.status("other").notice == ""
        found = warehouse.status(NAME)
        assert "column 'code' was removed" in found.problem
        assert found.totals.rows == 1
        assert [one.partition(",")[0] for one in warehouse.declaration_notices] == [f"dataset {NAME!r} already has rows"]
        assert warehouse.as_it_stands(NAME)[1].schema.names == FILE.schema.names
        with pytest.raises(RefusedError, match=f"`timestore schema declaration {NAME}` prints what there is"):
            warehouse.resolve(NAME)


DECLARED = """
type: timestore_assets.Dataset
attributes:
  name: weather
  columns:
    ts: timestamp
    station: {type: string, from: meta.station}
    temp: {type: double, nullable: true, unit: degF, ge: -60}
    code: {type: string, nullable: true}
    level: {type: int64, default: 3}
  time: ts
  start: 2013-01-01
  dedupe: {keys: [ts, station]}
  segments: {sort_by: [station, ts]}
  sources:
    - files: {prefix: inbox}
"""


def test_what_the_command_prints_declares_the_columns_of_the_catalog(tmp_path: Path) -> None:
    shell = CommandLine(tmp_path)
    folder = tmp_path / "defs" / NAME
    folder.mkdir(parents=True)
    (folder / "defs.yaml").write_text(DECLARED)
    shell.environment["TIMESTORE_DEFS"] = str(tmp_path / "defs")
    record = {"ts": "2013-03-01T00:00:00Z", "temp": 50, "meta": {"station": "s"}, "gust": 3}
    (tmp_path / "first.jsonl").write_text(f"{json.dumps(record)}\n")
    operations = json.dumps([*MIGRATION])
    (tmp_path / "manifest.json").write_text(
        f'{{"dataset": "{NAME}", "governance": {{"ticketId": "T", "approvedBy": "ann"}}, "operations": {operations}}}'
    )
    assert shell.inside("land", NAME, "first.jsonl").code == 0
    assert shell.inside("schema", "migrate", "--manifest", "manifest.json", "--execute").code == 0
    assert f"timestore schema declaration {NAME}" in shell.inside("status").out
    printed = shell.inside("schema", "declaration", NAME)
    assert "  place: {type: string, from: meta.station}" in printed.out.splitlines()
    kept = "name: weather\nstart: 2013-01-01\nsources: [{files: {prefix: inbox}}]\n" + printed.out
    lines = "".join(f"  {line}\n" for line in kept.splitlines())
    (folder / "defs.yaml").write_text(f"type: timestore_assets.Dataset\nattributes:\n{lines}")
    assert shell.inside("status", "--json").json["datasets"][0]["behind"] is False
    assert shell.inside("schema", "declaration", NAME).out == printed.out
    found = shell.inside("schema", "declaration", NAME, "--found", "--json").json
    assert found["columns"]["gust"] == {"type": "int64", "nullable": True}


def test_asking_for_a_former_column_names_what_became_of_it_and_the_version(migrated: Warehouse) -> None:
    version = migrated.resolve(NAME)[1].schema.version
    successor = f"'temp'; it was renamed to 'celsius' in schema version {version}, with other values"
    with pytest.raises(InputError, match=successor):
        migrated.ask(Question(dataset=NAME, columns=("temp",)))
    with pytest.raises(InputError, match=f"'code'; it was dropped in schema version {version};"):
        migrated.ask(Question(dataset=NAME, columns=("code",)))
    migrated.migrate(manifest(NAME, rename("celsius", "kelvin", expression="celsius + 273.15")), actor="ann")
    with pytest.raises(InputError, match=f"'temp'; it was renamed to 'kelvin' in schema version {version}, with other values"):
        migrated.ask(Question(dataset=NAME, columns=("temp",)))


def test_a_record_with_both_names_of_a_found_column_is_ambiguous(migrated: Warehouse, tmp_path: Path) -> None:
    migrated.migrate(manifest(NAME, rename("gust", "wind")), actor="ann")
    both = written(tmp_path, "both", {"gust": 1, "wind": 2}, {"gust": 1, "wind": None}, {"wind": 2}, {"gust": 5})
    report = migrated.land(NAME, [both])
    assert dict(report.dead_letter_reasons) == {"ambiguous_column": 1}
    assert report.counters.landed == 3
    with migrated.ask(Question(dataset=NAME, columns=("wind",))) as answer:
        assert sorted(answer.table().column("wind").to_pylist()) == [1, 2, 3, 5]


def test_what_has_all_expired_is_migrated_and_what_never_landed_is_not(tmp_path: Path) -> None:
    none = timedelta(0)
    with open_warehouse(tmp_path, {NAME: FILE}) as warehouse:
        with pytest.raises(RefusedError, match="nothing has landed in dataset"):
            warehouse.migrate(manifest(NAME, drop("code")), actor="ann")
        warehouse.land(NAME, [written(tmp_path, "first", {"temp": 50})])
        warehouse.set_retention(NAME, Retention(max_age=timedelta(days=1), keep_versions=none), actor="ann")
        warehouse.apply_retention(NAME, execute=True)
        collect(warehouse.catalog, warehouse.storage, intent_grace=none, keep_versions=none)
        record = warehouse.resolve(NAME)[1]
        assert not warehouse.catalog.database.read(lambda c: has_segments(c, record.id))
        warehouse.migrate(manifest(NAME, drop("code")), actor="ann")
        assert "code" not in warehouse.resolve(NAME)[1].schema.names
        assert warehouse.resolve(NAME)[0].is_behind


def shown(warehouse: Warehouse, declared: Dataset) -> dict[str, Any]:
    spec = dataset_spec(declared, shown_datasets([declared], warehouse.settings).get(NAME))
    return {one.name: one for one in spec.metadata["dagster/column_schema"].columns}


def test_dagster_shows_the_columns_that_the_catalog_has_when_definitions_load(migrated: Warehouse) -> None:
    found = shown(migrated, FILE)
    assert list(found) == list(migrated.resolve(NAME)[1].schema.names) == ["ts", "place", "celsius", "gust"]
    assert found["celsius"].description == "[degC]"
    assert "undeclared" in found["gust"].tags
    file = dataset_from_attributes(
        {
            "name": NAME,
            "columns": {
                "ts": "timestamp",
                "place": "string",
                "celsius": {"type": "double", "nullable": True, "unit": "degC", "description": "Air"},
                "more": {"type": "int64", "nullable": True},
            },
            "time": "ts",
            "start": "2013-01-01",
        }
    )
    new = shown(migrated, file)
    assert list(new) == ["ts", "place", "celsius", "more", "gust"], "a file that nobody has used yet is shown as it will be"
    assert new["celsius"].description == "Air [degC]"
    assert migrated.resolve(NAME)[1].schema.find("more") is None, "looking writes nothing"


def test_definitions_load_as_declared_without_a_catalog(tmp_path: Path) -> None:
    with open_warehouse(tmp_path, {NAME: FILE}) as warehouse:
        settings = warehouse.settings.model_copy(update={"home": tmp_path / "elsewhere"})
    assert shown_datasets([FILE], settings) == {}
    assert not (tmp_path / "elsewhere").exists()
