"""A process that lands files and is killed at a chosen point, see `forked_orders`.

Each line of its input is a JSON object: `root` (of the warehouse), `file`, `chunk_rows`, and `calls`, the number of
function calls, of all threads, after which it kills itself the hard way; 0 means never. `bulk`: fields of `BulkLimits`;
`share`: of a list that others land too; `in_order`: under `order: strict`.
It answers with the number of calls that the landing made, or `killed`.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from timestore_assets.landing.files.context import BulkLimits, Share
from timestore_assets_tests.support.forked_orders import answer_orders, calls_of
from timestore_assets_tests.support.landing_warehouse import LandingWarehouse, columns, dataset
from timestore_assets_tests.support.order_model import IN_ORDER

TTL = timedelta(seconds=1)
DATASET = dataset(*columns(n="int64?"))


def land(order: dict[str, Any]) -> int:
    bulk = BulkLimits(**order["bulk"]) if "bulk" in order else None
    share = Share(**order["share"]) if "share" in order else None
    declared = IN_ORDER if order.get("in_order") else DATASET
    warehouse = LandingWarehouse.at(Path(order["root"]), declared, ttl=TTL, bulk=bulk)
    landing = partial(warehouse.land, Path(order["file"]), chunk_rows=order.get("chunk_rows"), share=share)
    return calls_of(landing, kill_at=order["calls"], every_thread=True)


if __name__ == "__main__":
    answer_orders(land)
