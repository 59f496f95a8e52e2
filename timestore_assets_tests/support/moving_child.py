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

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.storage.local import LocalStore
from timestore_assets.storage.targets import Storage
from timestore_assets.upkeep import move_dataset


def storage_in(folder: Path) -> Storage:
    """The targets `default` and `disk`."""
    stores = {name: LocalStore(folder / name, staging_root=folder / name / ".staging") for name in ("default", "disk")}
    return Storage({name: lambda store=store: store for name, store in stores.items()})  # type: ignore[misc] # mypy types no lambda with a default


def main(folder: Path, step: str, last: int) -> None:
    catalog, storage = Catalog.open(f"sqlite:///{folder / 'catalog.sqlite'}"), storage_in(folder)
    owner: Any = {
        "announce": catalog.sessions,
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
    move_dataset.BATCH_OBJECTS, move_dataset.TTL = 3, timedelta(seconds=0.5)  # type: ignore[attr-defined] # the name as that module has it
    record = catalog.datasets.find("weather")
    assert record is not None
    move_dataset.move(catalog, storage, record, "disk", holder="child", actor="child")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
