"""Whether the storage targets that new segments go to take them."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from timestore_assets.model.errors import TimestoreError
from timestore_assets.model.objects import DEFAULT_TARGET
from timestore_assets.service.observing.looking import Looking
from timestore_assets.service.observing.part import Part
from timestore_assets.storage.target_settings import configured_targets, place_of

if TYPE_CHECKING:
    from timestore_assets.warehouse import Warehouse

LOW_DISK_BYTES = 200_000_000
"""Free room below which nothing is taken in: a commit and a merge need some."""
_EVERY_SECONDS = 30.0
_PATIENCE_SECONDS = 2.0
_NOTHING = "no-such-object/"


class StorageLook:
    """Looks at the targets in use: at folders each time, at buckets every half minute, for each look is paid."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        self._targets = configured_targets(warehouse.settings)
        self._buckets: dict[str, Looking[str]] = {}

    def parts(self) -> tuple[Part, ...]:
        """One part for each target that new segments go to, and for the disk on which those for buckets are made."""
        used = sorted({record.storage for record in self._warehouse.catalog.datasets()} or {DEFAULT_TARGET})
        parts = [self._part(name) for name in used]
        if any(self._targets[name].driver != "local" for name in used if name in self._targets):
            parts.append(storage_part(self._warehouse.settings.home_folder, name="staging"))
        return tuple(parts)

    def _part(self, name: str) -> Part:
        shown = "storage" if name == DEFAULT_TARGET else f"storage:{name}"
        target = self._targets.get(name)
        if target is None:
            reason = f"datasets go to storage target {name!r}, which is not set up here; add it to TIMESTORE_STORAGE_TARGETS"
            return Part(name=shown, state="not_ready", reason=reason)
        if target.driver == "local":
            with suppress(TimestoreError):
                self._warehouse.storage.target(name)  # makes the folder, if nothing was stored yet
            return storage_part(Path(target.root), name=shown)
        looking = self._buckets.setdefault(name, self._looking(name))
        problem = looking.in_time()
        if problem is None:
            return Part(name=shown, state="not_ready", reason="the store takes too long to answer")
        return Part(name=shown, state="not_ready" if problem else "ready", reason=problem)

    def _looking(self, name: str) -> Looking[str]:
        return Looking(lambda: self._problem(name), every=_EVERY_SECONDS, patience=_PATIENCE_SECONDS, name=f"readiness-{name}")

    def _problem(self, name: str) -> str:
        try:
            list(islice(self._warehouse.storage.target(name).list(_NOTHING), 1))
        except TimestoreError as error:
            return str(error).replace(place_of(self._targets[name]), "the store")
        return ""


def storage_part(folder: Path, *, low_bytes: int = LOW_DISK_BYTES, name: str = "storage") -> Part:
    """Whether a folder takes files, as far as can be seen without writing one."""
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return Part(name=name, state="not_ready", reason=f"the store can't be reached: {error.strerror}")
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK) or os.statvfs(folder).f_flag & os.ST_RDONLY:
        return Part(name=name, state="not_ready", reason="the store can't be written; mend its rights")
    if free < low_bytes:
        return Part(name=name, state="not_ready", reason=f"only {free / 1e6:,.0f} MB are left in the store; free some")
    return Part(name=name)
