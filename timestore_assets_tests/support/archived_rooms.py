"""Rooms with notes that a migration archives and drops, for tests of archives."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from timestore_assets.model.dataset import FileSource
from timestore_assets.warehouse import Warehouse
from timestore_assets_tests.support.landing_warehouse import columns, dataset
from timestore_assets_tests.support.migrations import drop, rename

ROOMS = replace(dataset(*columns(note="string?"), name="rooms", sources=(FileSource(prefix="inbox"),)), partition_by=("station",))
RECORDS = [
    {"ts": f"2013-01-0{day}T0{hour}:00:00Z", "station": "hall", "temp": day + hour, "note": f"note {day} {hour}"}
    for day in (1, 2, 3)
    for hour in (0, 1)
]
DROPPED = (drop("note", archive=True), rename("station", "place"))


def land(warehouse: Warehouse, folder: Path, name: str, records: list[dict[str, Any]]) -> None:
    """Land records as a file of that name."""
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in records))
    assert warehouse.land(ROOMS.name, [path]).counters.landed == len(records)
