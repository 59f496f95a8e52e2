"""Whether the service can do its work now, part by part, with reasons that a person can act on.

One part is whether the storage targets that new segments go to take them.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from timestore_assets.model.errors import CatalogReplacedError, OwnershipError, TimestoreError
from timestore_assets.model.segment import DEFAULT_TARGET
from timestore_assets.ownership.target_claim import confirm
from timestore_assets.service.observing.background_poller import BackgroundPoller
from timestore_assets.storage.target_settings import configured_targets, place_of

if TYPE_CHECKING:
    from timestore_assets.catalog.catalog import Catalog
    from timestore_assets.landing.requests.ingest import GroupLanders
    from timestore_assets.settings import Settings
    from timestore_assets.tailing.hot_buffers import HotBuffers
    from timestore_assets.warehouse import Warehouse


PartState = Literal["ready", "warning", "not_ready"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ServicePart:
    """`warning`: it works, but not at its best."""

    name: str
    state: PartState = "ready"
    reason: str = ""
    """Empty when it is ready."""


LOW_DISK_BYTES = 200_000_000
"""Free room below which nothing is taken in: a commit and a merge need some."""
_EVERY_SECONDS = 30.0
_PATIENCE_SECONDS = 2.0


class StorageLook:
    """Looks at the targets in use: at folders each time, at buckets every half minute, for each look is paid."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        self._targets = configured_targets(warehouse.settings)
        self._buckets: dict[str, BackgroundPoller[str]] = {}

    def parts(self) -> tuple[ServicePart, ...]:
        """One part for each target that new segments go to, and for the disk on which those for buckets are made."""
        used = sorted({record.storage for record in self._warehouse.catalog.datasets.all()} or {DEFAULT_TARGET})
        parts = [self._part(name) for name in used]
        if any(self._targets[name].driver != "local" for name in used if name in self._targets):
            parts.append(storage_part(self._warehouse.settings.home_folder, name="staging"))
        return tuple(parts)

    def _part(self, name: str) -> ServicePart:
        shown = "storage" if name == DEFAULT_TARGET else f"storage:{name}"
        target = self._targets.get(name)
        if target is None:
            reason = f"datasets go to storage target {name!r}, which is not set up here; add it to TIMESTORE_STORAGE_TARGETS"
            return ServicePart(name=shown, state="not_ready", reason=reason)
        if target.driver == "local":
            with suppress(TimestoreError):
                self._warehouse.storage.target(name)  # makes the folder, if nothing was stored yet
            part = storage_part(Path(target.root), name=shown)
            wrong = self._problem(name) if part.state == "ready" else ""
            return ServicePart(name=shown, state="not_ready", reason=wrong) if wrong else part
        looking = self._buckets.setdefault(name, self._looking(name))
        problem = looking.in_time()
        if problem is None:
            return ServicePart(name=shown, state="not_ready", reason="the store takes too long to answer")
        return ServicePart(name=shown, state="not_ready" if problem else "ready", reason=problem)

    def _looking(self, name: str) -> BackgroundPoller[str]:
        return BackgroundPoller(
            lambda: self._problem(name), every=_EVERY_SECONDS, patience=_PATIENCE_SECONDS, name=f"readiness-{name}"
        )

    def _problem(self, name: str) -> str:
        try:
            confirm(self._warehouse.catalog, self._warehouse.storage, name)
        except OwnershipError:
            return "it is another warehouse's, or of a younger catalog than this service's; `timestore storage list` shows whose"
        except TimestoreError as error:
            return str(error).replace(place_of(self._targets[name]), "the store")
        return ""


def storage_part(folder: Path, *, low_bytes: int = LOW_DISK_BYTES, name: str = "storage") -> ServicePart:
    """Whether a folder takes files, as far as can be seen without writing one."""
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return ServicePart(name=name, state="not_ready", reason=f"the store can't be reached: {error.strerror}")
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK) or os.statvfs(folder).f_flag & os.ST_RDONLY:
        return ServicePart(name=name, state="not_ready", reason="the store can't be written; mend its rights")
    if free < low_bytes:
        return ServicePart(name=name, state="not_ready", reason=f"only {free / 1e6:,.0f} MB are left in the store; free some")
    return ServicePart(name=name)


EVERY_SECONDS = 1.0
PATIENCE_SECONDS = 3.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    parts: tuple[ServicePart, ...]

    @property
    def ready(self) -> bool:
        return all(part.state != "not_ready" for part in self.parts)


STUCK = Findings(
    parts=(ServicePart(name="catalog", state="not_ready", reason="the catalog's database takes too long to answer"),)
)


class ReadinessProbe:
    """Looks at the parts of a service, at most once a second however often it is asked."""

    def __init__(self, warehouse: Warehouse, landers: GroupLanders, hot: HotBuffers) -> None:
        settings, storage = warehouse.settings, StorageLook(warehouse)

        def look() -> Findings:
            catalog = _catalog(warehouse.catalog)
            # where datasets go is written in the catalog
            stores = storage.parts() if catalog.state == "ready" else ()
            return Findings(parts=(catalog, *stores, _ingest(landers, settings), _hot(hot), *_declarations(warehouse)))

        self._looking = BackgroundPoller(look, every=EVERY_SECONDS, patience=PATIENCE_SECONDS, name="readiness")

    def look(self) -> Findings:
        """What is the matter now; it may take some seconds, so not for the event loop."""
        return self._looking.in_time() or STUCK


def _catalog(catalog: Catalog) -> ServicePart:
    try:
        current = catalog.is_current()
    except CatalogReplacedError:
        reason = "the catalog was removed, replaced or set back under this service; put the right one back and start it again"
        return ServicePart(name="catalog", state="not_ready", reason=reason)
    except TimestoreError:
        return ServicePart(name="catalog", state="not_ready", reason="the catalog's database does not answer")
    if not current:
        reason = "the catalog's tables are of another version of timestore; start this service again, with the newest version"
        return ServicePart(name="catalog", state="not_ready", reason=reason)
    return ServicePart(name="catalog")


def _declarations(warehouse: Warehouse) -> tuple[ServicePart, ...]:
    """A part only while a file is wrong or behind: its dataset goes on as it was declared before, or by the catalog's columns."""
    problems = [*warehouse.declaration_problems, *warehouse.declaration_notices]
    return (ServicePart(name="declarations", state="warning", reason="; ".join(problems)),) if problems else ()


def _ingest(landers: GroupLanders, settings: Settings) -> ServicePart:
    if not landers.are_alive:
        reason = "a thread that lands requests has ended, see the log; start this service again"
        return ServicePart(name="ingest", state="not_ready", reason=reason)
    waiting = landers.waiting().values()
    held = (
        ("requests", sum(one.requests for one in waiting), settings.ingest_total_requests),
        ("rows", sum(one.rows for one in waiting), settings.ingest_total_rows),
        ("bytes", sum(one.bytes for one in waiting), settings.ingest_total_bytes),
    )
    for what, number, most in held:
        if number >= most:
            reason = f"{number:,} {what} wait to be landed, no more are taken for now"
            return ServicePart(name="ingest", state="not_ready", reason=reason)
    paused = landers.paused()
    if paused:
        reason = "; ".join(f"{name} takes nothing for now: {why}" for name, why in sorted(paused.items()))
        return ServicePart(name="ingest", state="warning", reason=reason)
    return ServicePart(name="ingest")


def _hot(hot: HotBuffers) -> ServicePart:
    away = sorted({one.dataset for one in hot.states() if one.state == "unavailable"})
    if not away:
        return ServicePart(name="hot_buffer")
    reason = f"the brokers of {', '.join(away)} are away: answers hold what is landed"
    return ServicePart(name="hot_buffer", state="warning", reason=reason)
