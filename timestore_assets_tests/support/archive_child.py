"""A migration with archives in a storage target that kills itself: at the n-th time that it comes to a point of its work.

Arguments: home, URL of the catalog, manifest as JSON, target, the point (`announced`, `promoted`, `recorded`), n.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from timestore_assets.catalog.archives import Archives
from timestore_assets.catalog.sessions import Sessions
from timestore_assets.migrating.archive_place import InTarget
from timestore_assets.migrating.manifest_file import manifest_of
from timestore_assets.settings import Settings
from timestore_assets.storage.local import LocalStore
from timestore_assets.warehouse import Warehouse

POINTS: dict[str, tuple[type[Any], str]] = {
    "announced": (Sessions, "announce"),
    "promoted": (LocalStore, "promote"),
    "recorded": (Archives, "add"),
}


def main(home: Path, url: str, plain: dict[str, Any], target: str, point: str, last: int) -> None:
    owner, name = POINTS[point]
    done: Callable[..., Any] = getattr(owner, name)
    calls = itertools.count(1)

    def dying(*arguments: Any, **named: Any) -> Any:
        made = done(*arguments, **named)
        if next(calls) == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return made

    setattr(owner, name, dying)
    with Warehouse.open(Settings(home=home, database_url=url)) as warehouse:
        place = InTarget(target=target, format="parquet")
        warehouse.migrate(manifest_of(plain), archive_to=place, actor="child")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3]), sys.argv[4], sys.argv[5], int(sys.argv[6]))
