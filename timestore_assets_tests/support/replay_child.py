"""A process that replays dead letters and is killed at a chosen point, see `forked_orders`.

Each line of its input is a JSON object: `root` (of the warehouse), `kind` (of the dead letters, `refused` unless it is given) and
`calls`, the number of function calls after which it kills itself the hard way; 0 means never.

It answers with the number of calls that the replay made, or `killed`.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from timestore_assets_tests.support.dead_letter_replays import mended, replay
from timestore_assets_tests.support.forked_orders import answer_orders, calls_of
from timestore_assets_tests.support.landing_warehouse import LandingWarehouse

TTL = timedelta(seconds=1)


def replay_and_die(order: dict[str, Any]) -> int:
    warehouse = LandingWarehouse.at(Path(order["root"]), mended(), ttl=TTL)
    return calls_of(partial(replay, warehouse, kind=order.get("kind", "refused")), kill_at=order["calls"])


if __name__ == "__main__":
    answer_orders(replay_and_die)
