"""I2, I4: under every mode of the schema contract the split into batches changes nothing of what is admitted; all adds up."""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from timestore_assets.landing.preparing.prepare import Rules, prepare
from timestore_assets.landing.preparing.validate import Validator
from timestore_assets.model.contract import CONTRACT_MODES, ContractMode
from timestore_assets.model.counters import Counters
from timestore_assets.model.dataset import Dataset, Evolution
from timestore_assets.model.schema import Schema
from timestore_assets.segments.engine import Engine, EngineLimits
from timestore_assets.sources.batches import Batch
from timestore_assets_tests.support.landing_warehouse import NOW, LandingWarehouse, dataset

pytestmark = pytest.mark.slow

Record = dict[str, str]

VALUES = st.sampled_from(["1", "2.5", "x", "true", "9223372036854775808", "-3"])
RECORDS = st.lists(
    st.fixed_dictionaries({}, optional={"a": VALUES, "b": VALUES, "c": VALUES, "A": VALUES}), min_size=1, max_size=14
)
LASTING = [pair for pair in product(CONTRACT_MODES, CONTRACT_MODES) if "freeze" not in pair]
FROZEN = [pair for pair in product(CONTRACT_MODES, CONTRACT_MODES) if "freeze" in pair]


def examples(count: int) -> settings:
    asked = int(os.environ.get("TIMESTORE_LANDING_EXAMPLES", "0")) or count
    phases = [Phase.explicit, Phase.generate]
    return settings(max_examples=asked, deadline=None, suppress_health_check=list(HealthCheck), phases=phases)


# each lands several times
FEW = examples(2)


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


@dataclass
class Judged:
    """What becomes of records that are judged in batches, each by the schema that the ones before it made."""

    schema: Schema
    values: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    refused: list[tuple[int, str, str]] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    made = Engine(EngineLimits(memory_bytes=500_000_000, threads=1, temp_dir=tmp_path_factory.mktemp("temp")))
    yield made
    made.close()


def judged(engine: Engine, declared: Dataset, records: Sequence[Record], chunk: int) -> Judged:
    found, limit = Judged(schema=declared.schema), declared.evolution.max_new_columns
    lines, validator = lines_of(records), Validator(declared)
    for start in range(0, len(lines), chunk):
        some = lines[start : start + chunk]
        left = limit - (len(found.schema.columns) - len(declared.schema.columns))
        rules = Rules(
            dataset=declared,
            schema=found.schema,
            validator=validator,
            zone=None,
            now=NOW,
            allowance=lambda left=left: left,  # type: ignore[misc] # bound here
            known_keys=lambda _: {},
        )
        documents = [json.dumps(one).encode() for one in some]
        batch = Batch(
            encoding="json",
            records=pa.table({"value": pa.array(documents, pa.binary())}),
            positions=pa.array(range(start, start + len(some)), pa.int64()),
            lines=None,
            bad=(),
            raw=lambda row, documents=documents: documents[row],
        )
        prepared = prepare(engine.run, batch, rules)
        assert prepared.counters.balanced
        found.schema = prepared.schema
        new = [name for name in prepared.rows.column_names if declared.schema.find(name) is None]
        rows = prepared.rows.select(new).to_pylist() if new else [{}] * prepared.rows.num_rows
        kept = [{name: text for name, text in row.items() if text is not None} for row in rows]
        found.values += zip(prepared.positions.to_pylist(), kept, strict=True)
        refusals = prepared.row_mask.refused().to_pylist()
        found.refused += [(start + one["row"], one["code"], one["column"]) for one in refusals]
        found.left_out.update({f"column {name}": count for name, count in prepared.ignored.items()})
        found.left_out.update({f"value {name}": count for name, count in prepared.discarded.items()})
    return found


@pytest.mark.parametrize(("columns", "types"), LASTING)
@examples(6)
@given(records=RECORDS, chunk=st.integers(1, 5))
def test_records_are_judged_alike_in_any_batches(
    engine: Engine, columns: ContractMode, types: ContractMode, records: list[Record], chunk: int
) -> None:
    declared = dataset(evolution=Evolution(columns=columns, types=types, max_new_columns=2))
    whole, split = judged(engine, declared, records, len(records)), judged(engine, declared, records, chunk)
    if types == "evolve" and columns == "evolve":
        # which of two reasons is given for a record depends on which columns its batch has added before
        whole, split = (replace(one, refused=[(n, "", "") for n, _, _ in one.refused]) for one in (whole, split))
    assert split == replace(whole, schema=replace(whole.schema, version=split.schema.version))
    assert len(whole.values) + len(whole.refused) == len(records)
    if types == "discard_value" and columns == "evolve":
        sent = sum(len(record) for record in records)
        refused = sum(len(records[n]) for n, _, _ in whole.refused)
        assert sum(len(row) for _, row in whole.values) + sum(whole.left_out.values()) == sent - refused


@pytest.mark.parametrize(("columns", "types"), LASTING)
@FEW
@given(records=RECORDS, chunk=st.integers(1, 5))
def test_any_split_admits_the_same(columns: ContractMode, types: ContractMode, records: list[Record], chunk: int) -> None:
    whole, split = landed(records, columns, types, None), landed(records, columns, types, chunk)
    if types == "evolve" and columns == "evolve":
        # which of two reasons is given for a record depends on which columns its batch has added before
        whole, split = (replace(one, refused=[(n, "", "") for n, _, _ in one.refused]) for one in (whole, split))
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
