"""I4: a large file leaves the same rows, refusals and counters however it is cut, gathered into commits and worked on."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from timestore_assets.landing.files.context import BulkLimits
from timestore_assets.model.counters import Counters
from timestore_assets.model.dataset import Evolution
from timestore_assets_tests.property.test_landing_split import DATASET, RECORDS, Record, as_csv, as_json, as_table
from timestore_assets_tests.support.landing_warehouse import LandingWarehouse

# which of too many new columns are taken is decided by which part is first, so there are never too many here
ROOMY = replace(DATASET, evolution=Evolution())
BROKEN = ['"broken,line\n', '"two\nlines"x,,,\n', "a,b\n", "\n\n", ',"never closed\n']
"""Put between the records of CSV files: refused as single lines, ragged, blank, or open to the end."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a landing left. `refused`: file, position, line, code, column and bytes of each record."""

    content: str
    rows: list[tuple[Any, ...]]
    positions: list[int]
    refused: list[tuple[str, int, int, str, str, bytes | None]]
    counters: Counters
    of_files: dict[str, tuple[str, Counters]]
    types: dict[str, str]


def outcome(contents: Mapping[str, Any], bulk: BulkLimits) -> Outcome:
    with tempfile.TemporaryDirectory() as folder:
        warehouse = LandingWarehouse.at(Path(folder), ROOMY, bulk=bulk)
        report = warehouse.land(*(write(warehouse, name, content) for name, content in contents.items()))
        assert {file.state for file in report.files} == {"landed"}, report
        assert warehouse.counters().balanced
        assert warehouse.counters() == report.counters
        files = warehouse.catalog.files.of(warehouse.catalog.sources.of(warehouse.record.id)[0].id)
        letters = [(one.source, one.position, one.line, one.code, one.column, one.raw) for one in warehouse.letters()]
        found = Outcome(
            content=warehouse.content_hash(),
            rows=sorted(warehouse.rows("ts", "station", "temp", "n"), key=repr),
            positions=sorted(position for _, position in warehouse.places()),
            refused=sorted(letters, key=repr),
            counters=report.counters,
            of_files={file.address: (file.state, file.counters) for file in files},
            types={column.name: str(column.type) for column in warehouse.record.schema},
        )
        assert warehouse.objects() == warehouse.catalog.objects.known()
        warehouse.catalog.close()
        return found


def write(warehouse: LandingWarehouse, name: str, content: Any) -> Path:
    """Drop a file; Parquet with small row groups, so that it can be cut."""
    if isinstance(content, str):
        return warehouse.drop(name, content)
    path = warehouse.inbox / name
    pq.write_table(content, path, row_group_size=3)
    return path


def with_broken_lines(records: list[Record], broken: Mapping[int, str]) -> str:
    """The records as CSV with other lines between them; the header stays first."""
    names = list(records[0])
    alone = [as_csv([{name: record[name] for name in names}]) for record in records]
    header, lines = alone[0].split("\n", 1)[0], [text.split("\n", 1)[1] for text in alone]
    return header + "\n" + "".join(broken.get(number, "") + line for number, line in enumerate(lines))


SLOW = settings(
    max_examples=int(os.environ.get("TIMESTORE_LANDING_EXAMPLES", "5")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)
SIMPLE = BulkLimits(parallel=1)
BULK = st.builds(
    BulkLimits,
    chunk_bytes=st.integers(1, 3000),
    commit_bytes=st.sampled_from([0, 500, 2000, 10**9]),
    parallel=st.integers(1, 3),
    batch_rows=st.integers(1, 12),
)


@SLOW
@given(records=RECORDS, broken=st.dictionaries(st.integers(0, 40), st.sampled_from(BROKEN), max_size=5), bulk=BULK)
def test_a_text_file_however_it_is_cut(records: list[Record], broken: dict[int, str], bulk: BulkLimits) -> None:
    contents = {"a.csv": with_broken_lines(records, broken)}
    assert outcome(contents, bulk) == outcome(contents, SIMPLE)


@SLOW
@given(records=RECORDS, bulk=BULK)
def test_several_files_however_they_are_cut(records: list[Record], bulk: BulkLimits) -> None:
    declared = [{name: value for name, value in record.items() if name in ("ts", "station", "n")} for record in records]
    contents = {"a.parquet": as_table(declared), "b.jsonl": as_json(records)}
    assert outcome(contents, bulk) == outcome(contents, SIMPLE)
