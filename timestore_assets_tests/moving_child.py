"""A move for crash tests, between two folders: kills itself after the n-th call of a step.

Arguments: folder, step (`announce`, `fetch`, `promote` or `switch`), n.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from timestore_assets.catalog.sql import SqlCatalog
from timestore_assets.storage.local import LocalStore
from timestore_assets.storage.targets import Storage
from timestore_assets.upkeep import moving


def storage_in(folder: Path) -> Storage:
    """The targets `default` and `disk`."""
    stores = {name: LocalStore(folder / name, staging_root=folder / name / ".staging") for name in ("default", "disk")}
    return Storage({name: lambda store=store: store for name, store in stores.items()})  # type: ignore[misc]


def main(folder: Path, step: str, last: int) -> None:
    catalog, storage = SqlCatalog.open(f"sqlite:///{folder / 'catalog.sqlite'}"), storage_in(folder)
    owner: Any = {
        "announce": catalog,
        "fetch": storage.target("default"),
        "promote": storage.target("disk"),
        "switch": catalog.moving,
    }[step]
    work, calls = getattr(owner, step), itertools.count(1)

    def killed_after(*arguments: Any, **options: Any) -> Any:
        number = next(calls)
        done = work(*arguments, **options)
        if number == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return done

    setattr(owner, step, killed_after)
    moving.BATCH_OBJECTS, moving.TTL = 3, timedelta(seconds=0.5)
    record = catalog.dataset("weather")
    assert record is not None
    moving.move(catalog, storage, record, "disk", holder="child", actor="child")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
