"""The audit answers who or what changed which partition, when and why; also work that failed stands there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from timestore_assets.catalog.audit import AuditFilter, partitions_of
from timestore_assets.model.errors import InputError, TimestoreError
from timestore_assets.warehouse import Warehouse
from timestore_assets_tests.support.command_warehouse import CommandWarehouse
from timestore_assets_tests.support.http_service import open_warehouse, serving
from timestore_assets_tests.support.landing_warehouse import dataset


@pytest.fixture
def warehouse(tmp_path: Path, catalog_url: str) -> Iterator[Warehouse]:
    with open_warehouse(tmp_path, catalog_url=catalog_url) as opened:
        yield opened


def land(warehouse: Warehouse, name: str, *lines: str) -> None:
    path = warehouse.settings.home_folder / name
    path.write_text("ts,station,temp\n" + "".join(f"{line}\n" for line in lines))
    warehouse.land("weather", [path], actor="cli:ada")


def build(warehouse: Warehouse, *keys: str) -> None:
    declared = warehouse.datasets["weather"]
    list(warehouse.build("weather", [declared.partition(key) for key in keys], close=True, actor="dagster run 4f2a"))


def summaries(warehouse: Warehouse, **only: Any) -> list[str]:
    return [str(row["summary"]) for row in warehouse.audit("weather", only=AuditFilter(**only))]


def test_rows_say_who_changed_which_partition_and_how(warehouse: Warehouse) -> None:
    land(warehouse, "a.csv", "2013-01-01T00:00:00Z,x,1", "2013-01-02T00:00:00Z,x,999")
    land(warehouse, "b.csv", "2013-01-01T01:00:00Z,x,2")
    build(warehouse, "2013-01-01")
    built, second, first = summaries(warehouse, partition="2013-01-01")
    assert built == ("partition 2013-01-01 built by dagster run 4f2a: 2 rows in 1 segment, replaced 2 segments, now sealed")
    assert second.endswith("b.csv into 2013-01-01 by cli:ada: 1 of 1 records")
    assert first.startswith("landed from ") and "1 of 2 records, 1 refused (" in first
    [row] = warehouse.audit("weather", only=AuditFilter(actions=("built",)))
    assert row["details"]["seconds"] > 0 and partitions_of(row["details"]) == ("2013-01-01",)


def test_filters_join_and_pages_go_on_by_id(warehouse: Warehouse) -> None:
    land(warehouse, "a.csv", "2013-01-01T00:00:00Z,x,1", "2013-01-02T00:00:00Z,x,2")
    build(warehouse, "2013-01-01", "2013-01-02")
    now = datetime.now(UTC)
    assert len(summaries(warehouse, actions=("built",))) == 2
    assert len(summaries(warehouse, actions=("built", "landed"), partition="2013-01-02")) == 2
    assert len(summaries(warehouse, actor="dagster run")) == 2
    assert summaries(warehouse, actor="agster") == [], "an actor is told by how it begins"
    assert summaries(warehouse, since=now + timedelta(minutes=5)) == []
    assert summaries(warehouse, until=now - timedelta(minutes=5)) == []
    whole = warehouse.audit("weather")
    first = warehouse.audit("weather", limit=2)
    assert first + warehouse.audit("weather", limit=1000, before=first[-1]["id"]) == whole


def test_a_key_that_only_occurs_in_a_text_names_no_partition(warehouse: Warehouse) -> None:
    land(warehouse, "2013-01-02", "2013-01-01T00:00:00Z,x,1")
    record = warehouse.catalog.datasets.find("weather")
    assert record is not None
    warehouse.catalog.audit.failed(record.id, "build_failed", InputError("2013-01-02"), actor="a", note="2013-01-02")
    assert summaries(warehouse, partition="2013-01-02") == []
    assert len(summaries(warehouse, partition="2013-01-01")) == 1


def test_a_dataset_that_never_was_is_refused(warehouse: Warehouse) -> None:
    with pytest.raises(InputError, match="no dataset 'nothing'"):
        warehouse.audit("nothing")


def test_a_build_that_fails_says_why(warehouse: Warehouse) -> None:
    land(warehouse, "a.csv", "2013-01-01T00:00:00Z,x,1")
    for segment in warehouse.settings.data_folder.rglob("*.parquet"):
        segment.unlink()
    with pytest.raises(TimestoreError) as raised:
        build(warehouse, "2013-01-01")
    [said] = summaries(warehouse, partition="2013-01-01", actions=("build_failed",))
    assert said == f"build of 2013-01-01 failed, begun by dagster run 4f2a: {raised.value}"


def test_over_http_a_reason_names_no_folder(tmp_path: Path) -> None:
    with open_warehouse(tmp_path / "home") as warehouse:
        land(warehouse, "a.csv", "2013-01-01T00:00:00Z,x,1")
        for segment in warehouse.settings.data_folder.rglob("*.parquet"):
            segment.unlink()
        with pytest.raises(TimestoreError, match=str(tmp_path)):
            build(warehouse, "2013-01-01")
        with serving(warehouse) as http:
            [row] = http.client.get("/admin/audit", params={"action": "build_failed"}).json()["rows"]
    assert "missing from the store" in row["summary"] and str(tmp_path) not in str(row)


def test_a_landing_that_fails_says_why(tmp_path: Path) -> None:
    # constraints that pandera can't be made of
    broken = replace(dataset(), pandera_model="timestore_assets_tests.nowhere.Model")
    with open_warehouse(tmp_path, {"weather": broken}) as warehouse:
        with pytest.raises(Exception):  # noqa: B017 - whatever it is, the audit has it
            land(warehouse, "a.csv", "2013-01-01T00:00:00Z,x,1")
        [row] = warehouse.audit("weather", only=AuditFilter(actions=("landing_failed",)))
        assert row["actor"] == "cli:ada" and row["details"]["reason"] and row["details"]["session"]


def test_the_command_shows_sentences_and_refuses_what_is_no_time(tmp_path: Path) -> None:
    made = CommandWarehouse.at(tmp_path, None, None)
    made.run("land", "readings", made.here("a.csv", b"device,at,value\na,2024-01-01T00:00:00Z,1\n"))
    made.line.inside("build", "readings", "--partition", "2024-01-01")
    rows = made.run("audit", "readings", "--partition", "2024-01-01")
    assert [row["action"] for row in rows] == ["built", "landed"]
    shown = made.line.inside("audit", "readings", "--action", "built", "--since", "-1h")
    assert "partition 2024-01-01 built by cli:" in shown.out
    more = made.line.inside("audit", "readings", "--limit", "1")
    assert f"--before {rows[0]['id']}" in more.err
    assert "no dataset 'nothing'" in made.refused("audit", "nothing").err
    assert "is not a time" in made.refused("audit", "--since", "soon").err
    assert "is not before --until" in made.refused("audit", "--since", "now", "--until", "-1d").err
