"""I2, I4: under every mode of the schema contract the split into batches changes nothing of what is admitted; all adds up."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from timestore_assets.model.contract import CONTRACT_MODES, ContractMode
from timestore_assets.model.counters import Counters
from timestore_assets.model.dataset import Evolution
from timestore_assets_tests.support.landing_warehouse import LandingWarehouse, dataset

Record = dict[str, str]

VALUES = st.sampled_from(["1", "2.5", "x", "true", "9223372036854775808", "-3"])
RECORDS = st.lists(
    st.fixed_dictionaries({}, optional={"a": VALUES, "b": VALUES, "c": VALUES, "A": VALUES}), min_size=1, max_size=14
)
LASTING = [pair for pair in product(CONTRACT_MODES, CONTRACT_MODES) if "freeze" not in pair]
FROZEN = [pair for pair in product(CONTRACT_MODES, CONTRACT_MODES) if "freeze" in pair]

FEW = settings(
    max_examples=int(os.environ.get("TIMESTORE_LANDING_EXAMPLES", "6")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a landing left."""

    content: str
    rows: list[Any]
    refused: list[tuple[int, str, str]]
    types: dict[str, str]
    counters: Counters
    left_out: Mapping[str, int]


def lines_of(records: Sequence[Record]) -> list[Mapping[str, Any]]:
    start = datetime(2013, 1, 2)
    return [{"ts": (start + timedelta(hours=n)).isoformat(), "station": str(n), **one} for n, one in enumerate(records)]


def warehouse_in(folder: str, columns: ContractMode, types: ContractMode) -> LandingWarehouse:
    return LandingWarehouse.at(
        Path(folder), dataset(evolution=Evolution(columns=columns, types=types, max_new_columns=2), name="weather")
    )


def what_is_left(warehouse: LandingWarehouse, left_out: Mapping[str, int]) -> Outcome:
    names = sorted(warehouse.record.schema.names)
    assert warehouse.counters().balanced
    return Outcome(
        content=warehouse.content_hash(),
        rows=warehouse.rows(*names),
        refused=[(one.position, one.code, one.column) for one in warehouse.letters()],
        types={column.name: str(column.type) for column in warehouse.record.schema},
        counters=warehouse.counters(),
        left_out=left_out,
    )


def landed(records: Sequence[Record], columns: ContractMode, types: ContractMode, chunk: int | None) -> Outcome:
    with tempfile.TemporaryDirectory() as folder:
        warehouse = warehouse_in(folder, columns, types)
        report = warehouse.land(warehouse.drop("a.jsonl", lines_of(records)), chunk_rows=chunk)
        assert [file.state for file in report.files] == ["landed"], report
        values = {f"column {name}": count for name, count in report.ignored_columns.items()}
        found = what_is_left(warehouse, values | {f"value {name}": count for name, count in report.discarded_values.items()})
        warehouse.catalog.close()
        return found


@pytest.mark.parametrize(("columns", "types"), LASTING)
@FEW
@given(records=RECORDS, chunk=st.integers(1, 5))
def test_any_split_admits_the_same(columns: ContractMode, types: ContractMode, records: list[Record], chunk: int) -> None:
    whole, split = landed(records, columns, types, None), landed(records, columns, types, chunk)
    if types == "evolve" and columns == "evolve":
        # a refusal names the first of a record's new columns, some of which another record may have brought
        whole, split = (replace(one, refused=[(n, code, "") for n, code, _ in one.refused]) for one in (whole, split))
    assert split == whole
    assert whole.counters.read == len(records)


@pytest.mark.parametrize(("columns", "types"), FROZEN)
@FEW
@given(records=RECORDS, chunk=st.integers(1, 5))
def test_what_a_frozen_contract_stops_lands_once_it_is_lifted(
    columns: ContractMode, types: ContractMode, records: list[Record], chunk: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        warehouse = warehouse_in(folder, columns, types)
        path = warehouse.drop("a.jsonl", lines_of(records))
        file = warehouse.land(path, chunk_rows=chunk).files[0]
        assert warehouse.counters().balanced
        assert warehouse.counters().read == file.counters.read
        if file.state == "quarantined":
            assert file.reason.startswith("the schema contract is frozen")
            assert file.counters.read % chunk == 0, "whole batches, and nothing of the one that asks for a change"
        lifted = warehouse.with_dataset(replace(warehouse.dataset, evolution=Evolution(max_new_columns=2)))
        assert lifted.land(path, chunk_rows=chunk).files[0].state in ("landed", "duplicate")
        assert lifted.counters().balanced
        assert lifted.counters().read == len(records)
        warehouse.catalog.close()
