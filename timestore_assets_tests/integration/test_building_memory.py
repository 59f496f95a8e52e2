"""A partition far larger than the memory limit builds all the same (I9)."""

from __future__ import annotations

from pathlib import Path

import pytest

from timestore_assets.building.builder import Builder
from timestore_assets_tests.support.building_warehouse import READINGS, building_warehouse_in

ROWS = 5_000_000
COPIES = 250_000
MEMORY = 300_000_000


@pytest.mark.slow
def test_five_million_rows_are_deduplicated_and_sorted_in_little_memory(tmp_path: Path) -> None:
    ground = building_warehouse_in(tmp_path, memory_bytes=MEMORY)
    query = (
        "SELECT 'device' || hash(i) % 3 AS device, TIMESTAMP '2024-01-01' + to_microseconds(i * 17000) AS ts,"
        " hash(i * {}) % 1000000 / 7.0 AS value, {}::BIGINT AS rev FROM range({}) t(i)"
    )
    ground.land_query(query.format(3, 1, ROWS))
    ground.land_query(query.format(5, 2, COPIES))
    with Builder(ground.context) as builder:
        report = builder.build(READINGS, ground.partition(), close=True, actor="test")
    assert (report.rows, report.superseded_rows, report.segments) == (ROWS, COPIES, 3)
    assert {segment.format for segment in ground.catalog.manifest.segments(ground.dataset_id)} == {"duckdb"}
    assert report.content_hash == ground.content_hash()
    assert list((tmp_path / "tmp").iterdir()) == [], "nothing spilled is left behind"
    ground.catalog.close()
