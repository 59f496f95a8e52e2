"""A process that lets partitions expire, collects or erases, and kills itself at a step; for crash tests.

Arguments: folder, what to do (`retention`, `collect` or `erase`), and a point as `building_child.Stage` takes it.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

from timestore_assets.catalog.holders import this_process
from timestore_assets.model.dataset import Dedupe
from timestore_assets.model.retention import Retention
from timestore_assets.storage.local import LocalStore
from timestore_assets.upkeep.collect import collect
from timestore_assets.upkeep.erase import Eraser
from timestore_assets.upkeep.expiring import apply_retention
from timestore_assets_tests.support.building_child import Stage
from timestore_assets_tests.support.landing_warehouse import LandingWarehouse, dataset

NOW = datetime(2013, 1, 11, tzinfo=UTC)
SUBJECT = "Q7X-SUBJECT"
CONCERNS = ("expiry", "commits", "erasures", "objects")


def warehouse_in(folder: Path) -> LandingWarehouse:
    """Ten days are to be landed in it; it keeps seven."""
    keyed = Dedupe(keys=("ts", "station"), keep="last")
    return LandingWarehouse.at(folder, dataset(retention=Retention(max_age=timedelta(days=7)), dedupe=keyed))


def act(warehouse: LandingWarehouse, what: str) -> None:
    catalog, storage = warehouse.catalog, warehouse.storage
    if what == "retention":
        apply_retention(catalog, storage, warehouse.record, now=NOW, holder="test", actor="test")
    elif what == "collect":
        collect(catalog, storage, intent_grace=timedelta(0), keep_versions=timedelta(0))
    else:
        # by its real name, so that what a dead one held is seen to be free
        context = replace(warehouse.context, holder=this_process())
        eraser = Eraser(context, warehouse.dataset, warehouse.record, f"station = '{SUBJECT}'")
        eraser.erase(dead_letters=False, archives=False, actor="test")


def main(folder: str, what: str, point: str) -> None:
    warehouse = warehouse_in(Path(folder))
    concerns: dict[str, Any] = {name: Stage(getattr(warehouse.catalog, name), point, None) for name in CONCERNS}
    store = cast("LocalStore", Stage(warehouse.store, point, None))
    act(replace(warehouse, catalog=replace(warehouse.catalog, **concerns), store=store), what)


if __name__ == "__main__":
    main(*sys.argv[1:])
