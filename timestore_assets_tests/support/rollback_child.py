"""A rollback, for crash tests: kills itself after the n-th statement of its transaction, or after its commit (n = 0).

Arguments: home, dataset, version, n, `landings` or `rows`.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from pathlib import Path

from sqlalchemy import event

from timestore_assets.settings import Settings
from timestore_assets.warehouse import Warehouse


def main(home: Path, dataset: str, version: int, last: int, with_landings: bool) -> None:
    calls = itertools.count(1)

    def called(*_: object) -> None:
        if next(calls) == last:
            os.kill(os.getpid(), signal.SIGKILL)

    with Warehouse.open(Settings(home=home)) as warehouse:
        _, record = warehouse.resolve(dataset)
        event.listen(warehouse.catalog.database.engine, "after_cursor_execute", called)
        warehouse.catalog.rollbacks.roll_back(record.id, version, with_landings=with_landings, actor="child")
        print(next(calls), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5] == "landings")
