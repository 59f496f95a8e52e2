"""Datasets renamed more than once while the file of the first name lies where it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from timestore_assets.model.errors import ConflictError
from timestore_assets.settings import Settings
from timestore_assets.warehouse import Warehouse

DECLARED = """type: timestore_assets.Dataset
attributes:
  name: first
  columns: {at: {type: timestamp}, watts: {type: double}}
  time: at
  start: "2024-01-01"
"""
OTHER: dict[str, Any] = {
    "columns": {"at": {"type": "timestamp"}, "mood": {"type": "string"}},
    "time": "at",
    "start": "2024-01-01",
}


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[Warehouse]:
    """With one row in `first`, which a file declares."""
    (tmp_path / "defs" / "first").mkdir(parents=True)
    (tmp_path / "defs" / "first" / "defs.yaml").write_text(DECLARED)
    (tmp_path / "a.csv").write_text("at,watts\n2024-01-01,1\n")
    with Warehouse.open(Settings(home=tmp_path)) as opened:
        assert opened.land("first", [tmp_path / "a.csv"]).counters.landed == 1
        yield opened


def rows(warehouse: Warehouse) -> dict[str, int]:
    return {name: warehouse.status(name).totals.rows for name in warehouse.datasets}


def test_the_file_stays_with_its_rows_when_a_name_in_between_is_used_again(warehouse: Warehouse) -> None:
    warehouse.rename("first", "second", actor="test")
    warehouse.rename("second", "third", actor="test")
    warehouse.declare("second", OTHER, actor="test")
    with Warehouse.open(warehouse.settings) as again:
        assert rows(again) == {"second": 0, "third": 1}
        assert [column.name for column in again.declared("second").schema.columns] == ["at", "mood"]


def test_a_file_of_a_dropped_dataset_does_not_take_the_name_that_it_had_last(warehouse: Warehouse) -> None:
    warehouse.rename("first", "second", actor="test")
    warehouse.drop("second", actor="test")
    warehouse.declare("second", OTHER, actor="test")
    assert [column.name for column in warehouse.declared("second").schema.columns] == ["at", "mood"]


def test_a_rename_can_be_taken_back_with_the_file_in_place(warehouse: Warehouse) -> None:
    for _ in range(2):
        warehouse.rename("first", "second", actor="test")
        assert rows(warehouse) == {"second": 1}
        warehouse.rename("second", "first", actor="test")
        assert rows(warehouse) == {"first": 1}
    warehouse.rename("first", "second", actor="test")
    warehouse.declare("other", OTHER, actor="test")
    with pytest.raises(ConflictError, match="still has the name 'first'"):
        warehouse.rename("other", "first", actor="test")
