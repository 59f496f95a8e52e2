"""A migration asks for a backfill, which rewrites sealed partitions so that nothing has to be computed any more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from timestore_assets.building.builder import BuildReport
from timestore_assets.catalog.audit import AuditFilter
from timestore_assets.model.dataset import BackfillPolicy
from timestore_assets.model.errors import RefusedError
from timestore_assets.model.question import Question
from timestore_assets.settings import Settings
from timestore_assets.warehouse import Warehouse
from timestore_assets_tests.support.asked_backfills import ask, computing, new_schema
from timestore_assets_tests.support.dagster_deployment import DECLARATION
from timestore_assets_tests.support.migrations import drop, manifest, rename, transform

DAYS = (1, 2, 3)
KELVIN = transform("value", "value + 273.15", le=1000, unit="K")


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[Warehouse]:
    """Three days of `readings`, all of them sealed."""
    declared = tmp_path / "home" / "defs" / "readings" / "defs.yaml"
    declared.parent.mkdir(parents=True)
    declared.write_text(DECLARATION, encoding="utf-8")
    rows = [f"{device},2024-01-{day:02d}T06:00:00Z,{day}" for day in DAYS for device in "ab"]
    (tmp_path / "a.csv").write_text("\n".join(["device,at,value", *rows, ""]))
    with Warehouse.open(Settings(home=tmp_path / "home")) as opened:
        opened.land("readings", [tmp_path / "a.csv"])
        build(opened)
        yield opened


def build(warehouse: Warehouse) -> None:
    list(warehouse.build("readings", [one.partition for one in warehouse.partitions("readings")], close=True))


def migrate(warehouse: Warehouse, *operations: Mapping[str, Any], **more: Any) -> None:
    warehouse.migrate(manifest("readings", *map(dict, operations), **more), actor="ann")


def rows(warehouse: Warehouse) -> list[tuple[Any, ...]]:
    with warehouse.ask(Question(dataset="readings")) as answer:
        table = answer.table()
    return sorted(tuple(one.values()) for one in table.to_pylist())


def versions(warehouse: Warehouse) -> set[int]:
    record = warehouse.catalog.datasets.find("readings")
    assert record is not None
    return {one.schema_version for one in warehouse.catalog.manifest.segments(record.id)}


def test_what_a_migration_computes_is_rewritten_once_it_is_approved(warehouse: Warehouse) -> None:
    migrate(warehouse, KELVIN)
    (asked,) = warehouse.backfills()
    assert (asked.backfill.state, asked.summary) == ("asked", "0 of 3 partitions rewritten")
    assert asked.backfill.cause == {"kind": "migration", "columns": ["value"], "ticket": "OPS-1"}
    assert (asked.backfill.cost["rows"], asked.backfill.cost["basis"]) == (6, "as fast as the last 3 builds")
    before = rows(warehouse)
    assert versions(warehouse) == {1}
    warehouse.decide_backfill(asked.backfill.id, "approved", actor="ann")
    assert [one.outcome for one in warehouse.run_backfills("readings") if isinstance(one, BuildReport)] == ["built"] * 3
    assert versions(warehouse) == {2} and rows(warehouse) == before
    (done,) = warehouse.backfills(states=("done",))
    assert done.summary == "3 of 3 partitions rewritten"
    assert list(warehouse.run_backfills("readings")) == []
    found = warehouse.audit("readings", only=AuditFilter(ticket="OPS-1"))
    actions = [row["action"] for row in found]
    assert sorted(actions) == ["backfill_approved", "backfill_asked", "backfill_done", *["built"] * 3, "schema_migrated"]
    assert "rewritten for OPS-1" in next(row["summary"] for row in found if row["action"] == "built")
    assert warehouse.audit("readings", only=AuditFilter(ticket="OPS")) == []


def test_a_value_that_cannot_be_computed_keeps_no_other_partition(warehouse: Warehouse) -> None:
    catalog, record = warehouse.catalog, warehouse.resolve("readings")[1]
    fails_on_one = computing("half", """CAST(CASE WHEN "#3" = 2 THEN 'x' ELSE '7' END AS DOUBLE)""")
    assert ask(catalog, record.id, new_schema(catalog, record.id, fails_on_one), policy="auto")
    (asked,) = warehouse.backfills()
    first, second, third = warehouse.run_backfills("readings")
    assert isinstance(second, RefusedError) and "2024-01-02" in str(second)
    assert isinstance(first, BuildReport) and isinstance(third, BuildReport)
    assert warehouse.backfill(asked.backfill.id).summary == "2 of 3 partitions rewritten"


def test_a_rename_asks_for_nothing(warehouse: Warehouse) -> None:
    migrate(warehouse, rename("value", "celsius"))
    assert warehouse.backfills(states=("asked", "approved", "refused", "done")) == []


def test_one_that_wants_all_rewritten_has_it_once_it_is_approved(warehouse: Warehouse) -> None:
    migrate(warehouse, drop("value"), rewrite="all")
    (asked,) = warehouse.backfills()
    build(warehouse)
    assert versions(warehouse) == {1}, "nobody has approved it"
    warehouse.decide_backfill(asked.backfill.id, "approved", actor="ann")
    assert len(list(warehouse.run_backfills("readings"))) == 3
    assert versions(warehouse) == {2}
    assert warehouse.backfill(asked.backfill.id).backfill.state == "done"


def test_merged_deltas_of_an_open_partition_are_rewritten_and_it_stays_open(warehouse: Warehouse, tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text("device,at,value\na,2024-01-09T06:00:00Z,9\n")
    warehouse.land("readings", [tmp_path / "b.csv"])
    last = warehouse.partitions("readings")[-1].partition
    (merged,) = warehouse.build("readings", [last], close=False)
    assert (merged.outcome, merged.state) == ("built", "open")
    migrate(warehouse, KELVIN)
    (asked,) = warehouse.backfills()
    warehouse.decide_backfill(asked.backfill.id, "approved", actor="ann")
    assert len(list(warehouse.run_backfills("readings"))) == 4
    assert versions(warehouse) == {2}
    assert warehouse.partitions("readings")[-1].state == "open"
    assert warehouse.backfill(asked.backfill.id).backfill.state == "done"


@pytest.mark.parametrize(("policy", "states"), [("auto", ["approved"]), ("never", [])])
def test_the_declaration_says_who_decides(warehouse: Warehouse, policy: BackfillPolicy, states: list[str]) -> None:
    declared = warehouse.datasets["readings"]
    warehouse.datasets = {"readings": replace(declared, evolution=replace(declared.evolution, backfill=policy))}
    migrate(warehouse, KELVIN)
    assert [one.backfill.state for one in warehouse.backfills()] == states
