"""A drop and the collection after it, for crash tests: kills itself after the n-th call of a step.

Arguments: home, step (`statement` of the catalog, `drop`, `collect_objects`, `delete` of files, or `forget`), n.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import event

from timestore_assets.catalog.dataset_life import DatasetLife
from timestore_assets.catalog.dropped_datasets import DroppedDatasets
from timestore_assets.settings import Settings
from timestore_assets.storage.local import LocalStore
from timestore_assets.upkeep.collect import collect
from timestore_assets.warehouse import Warehouse

OWNERS: dict[str, Any] = {
    "drop": DatasetLife,
    "collect_objects": DroppedDatasets,
    "delete": LocalStore,
    "forget": DroppedDatasets,
}


def killer(last: int) -> Callable[[], None]:
    """To be called after each call; the n-th kills."""
    calls = itertools.count(1)

    def called() -> None:
        if next(calls) == last:
            os.kill(os.getpid(), signal.SIGKILL)

    return called


def main(home: Path, step: str, last: int) -> None:
    called = killer(last)
    with Warehouse.open(Settings(home=home)) as warehouse:
        if step == "statement":
            engine = warehouse.catalog.database.engine
            event.listen(engine, "after_cursor_execute", lambda *_: called())
        else:
            work = getattr(OWNERS[step], step)

            def killed_after(*arguments: Any, **options: Any) -> Any:
                done = work(*arguments, **options)
                called()
                return done

            setattr(OWNERS[step], step, killed_after)
        warehouse.catalog.life.drop(int(sys.argv[4]), actor="child")
        collect(warehouse.catalog, warehouse.storage, intent_grace=timedelta(0), keep_versions=timedelta(0))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
