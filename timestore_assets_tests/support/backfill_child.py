"""A process that does approved backfills, two partitions together, and kills itself at a point of the catalog's commits.

Arguments: TIMESTORE_HOME, dataset, and a point as `building_child` takes it: `after:build_group:2`.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from timestore_assets.building import builder
from timestore_assets.settings import Settings
from timestore_assets.warehouse import Warehouse
from timestore_assets_tests.support.building_child import Stage


def main(home: str, dataset: str, point: str) -> None:
    setattr(builder, "GROUP_PARTITIONS", 2)  # noqa: B010 - it belongs to `group_plan`
    with Warehouse.open(Settings(home=Path(home))) as warehouse:
        warehouse.catalog = replace(warehouse.catalog, commits=Stage(warehouse.catalog.commits, point, None))
        for report in warehouse.run_backfills(dataset, actor="child"):
            print(report, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
