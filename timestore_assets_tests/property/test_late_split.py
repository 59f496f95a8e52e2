"""I4: the ledger of late data is the same however the late records are split into batches, files and parts."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from timestore_assets.building.builder import Builder
from timestore_assets_tests.support.landing_warehouse import LandingWarehouse, dataset

pytestmark = pytest.mark.slow

SEALED = (1, 2, 5, 20)
"""Days that are sealed before anything comes late; the others are open or new."""
DAYS = st.lists(st.integers(1, 25), min_size=1, max_size=30)
SLOW = settings(
    max_examples=int(os.environ.get("TIMESTORE_LATE_EXAMPLES", "3")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)
Ledger = dict[tuple[str, str, int], int]


def ledger(pieces: Sequence[Sequence[int]], *, chunk_rows: int | None = None) -> Ledger:
    """Rows by partition, disposition and lateness, after records of these days have landed, a file for each piece."""
    with tempfile.TemporaryDirectory() as folder:
        warehouse = LandingWarehouse.at(Path(folder), dataset())
        warehouse.land_one("first.jsonl", [{"ts": f"2013-01-{day:02}", "station": "first"} for day in SEALED])
        with Builder(warehouse.context) as builder:
            for one in warehouse.catalog.partitions.of(warehouse.record.id):
                builder.build(warehouse.dataset, one.partition, close=True, actor="test")
        number = 0
        for at, piece in enumerate(pieces):
            records = []
            for day in piece:
                number += 1
                records.append({"ts": f"2013-01-{day:02}T01:00", "station": f"s{number}"})
            warehouse.land_one(f"{at}.jsonl", records, chunk_rows=chunk_rows)
        found: Ledger = {}
        for cell in warehouse.catalog.late.of(warehouse.record.id, window=warehouse.dataset.window):
            found[cell.partition.key, cell.disposition, cell.lateness] = cell.rows
        warehouse.catalog.close()
        return found


@SLOW
@given(days=DAYS, cut=st.integers(0, 29), chunk=st.integers(1, 40))
def test_any_split_of_the_late_records_gives_the_same_ledger(days: list[int], cut: int, chunk: int) -> None:
    whole = ledger([days])
    expected = Counter(f"2013-01-{day:02}" for day in days if day in SEALED)
    assert {key: rows for (key, _, _), rows in whole.items()} == expected
    assert ledger([days], chunk_rows=chunk) == whole
    assert ledger([part for part in (days[:cut], days[cut:]) if part], chunk_rows=chunk) == whole
