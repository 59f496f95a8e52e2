"""A building process for crash tests: dies, or waits to be stopped, at a point the test names.

Arguments: folder, days, lease seconds, how (`one` by one, or `together`), and a point: `before:promote:2` (the second call),
`after:build:1`, or `none`. There the process kills itself, or with a sixth argument writes that file and waits until another with
`.go` behind its name appears. Prints the outcome of each build.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from timestore_assets.model.errors import ConflictError
from timestore_assets_tests.support.building_warehouse import READINGS, building_warehouse_in

WAIT_SECONDS = 60.0


class Stage:
    """An object whose calls pass through, until the one that is the point."""

    def __init__(self, inner: Any, point: str, marker: Path | None) -> None:
        self._inner, self._marker = inner, marker
        self._when, _, rest = point.partition(":")
        self._name, _, number = rest.partition(":")
        self._left = int(number or 0)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name != self._name:
            return found

        def call(*args: Any, **options: Any) -> Any:
            self._left -= 1
            if self._left == 0 and self._when == "before":
                self._reach()
            result = found(*args, **options)
            if self._left == 0 and self._when == "after":
                self._reach()
            return result

        return call

    def _reach(self) -> None:
        if self._marker is None:
            os.kill(os.getpid(), signal.SIGKILL)
            return
        self._marker.touch()
        deadline = time.monotonic() + WAIT_SECONDS
        while not self._marker.with_suffix(".go").exists():
            if time.monotonic() > deadline:
                raise TimeoutError(self._marker)
            time.sleep(0.01)


def main(folder: str, days: str, lease: str, how: str, point: str, marker: str = "") -> None:
    ground = building_warehouse_in(Path(folder))
    wait_at = Path(marker) if marker else None
    concerns = {name: Stage(getattr(ground.catalog, name), point, wait_at) for name in ("leases", "sessions", "commits")}
    staged = replace(ground, catalog=replace(ground.catalog, **concerns), store=Stage(ground.store, point, wait_at))
    asked: dict[str, Any] = {"close": True, "actor": "child"}
    print("ready", flush=True)
    with staged.builder(lease=timedelta(seconds=float(lease))) as builder:
        partitions = [ground.partition(day) for day in range(1, int(days) + 1)]
        while partitions:
            try:
                for report in builder.build_each(READINGS, partitions if how == "together" else partitions[:1], **asked):
                    print(report.outcome, flush=True)
                    del partitions[0]
            except ConflictError as error:
                print(f"conflict: {error}", flush=True)
                del partitions[0]
    ground.catalog.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
