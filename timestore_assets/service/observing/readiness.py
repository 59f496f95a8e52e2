"""Whether the service can do its work now, part by part, with reasons that a person can act on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from timestore_assets.model.errors import TimestoreError
from timestore_assets.service.observing.looking import Looking
from timestore_assets.service.observing.part import Part
from timestore_assets.service.observing.storage_look import StorageLook

if TYPE_CHECKING:
    from timestore_assets.landing.group_landers import GroupLanders
    from timestore_assets.settings import Settings
    from timestore_assets.tailing.buffers import HotBuffers
    from timestore_assets.warehouse import Warehouse

EVERY_SECONDS = 1.0
PATIENCE_SECONDS = 3.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    parts: tuple[Part, ...]

    @property
    def ready(self) -> bool:
        return all(part.state != "not_ready" for part in self.parts)


STUCK = Findings(parts=(Part(name="catalog", state="not_ready", reason="the catalog's database takes too long to answer"),))


class Readiness:
    """Looks at the parts of a service, at most once a second however often it is asked."""

    def __init__(self, warehouse: Warehouse, landers: GroupLanders, hot: HotBuffers) -> None:
        settings, storage = warehouse.settings, StorageLook(warehouse)

        def look() -> Findings:
            catalog = _catalog(warehouse)
            # where datasets go is written in the catalog
            stores = storage.parts() if catalog.state == "ready" else ()
            return Findings(parts=(catalog, *stores, _ingest(landers, settings), _hot(hot)))

        self._looking = Looking(look, every=EVERY_SECONDS, patience=PATIENCE_SECONDS, name="readiness")

    def look(self) -> Findings:
        """What is the matter now; it may take some seconds, so not for the event loop."""
        return self._looking.in_time() or STUCK


def _catalog(warehouse: Warehouse) -> Part:
    try:
        current = warehouse.catalog.is_current()
    except TimestoreError:
        return Part(name="catalog", state="not_ready", reason="the catalog's database does not answer")
    if not current:
        reason = "the catalog's tables are of another version of timestore; start this service again, with the newest version"
        return Part(name="catalog", state="not_ready", reason=reason)
    return Part(name="catalog")


def _ingest(landers: GroupLanders, settings: Settings) -> Part:
    if not landers.are_alive:
        reason = "a thread that lands requests has ended, see the log; start this service again"
        return Part(name="ingest", state="not_ready", reason=reason)
    waiting = landers.waiting().values()
    held = (
        ("requests", sum(one.requests for one in waiting), settings.ingest_total_requests),
        ("rows", sum(one.rows for one in waiting), settings.ingest_total_rows),
        ("bytes", sum(one.bytes for one in waiting), settings.ingest_total_bytes),
    )
    for what, number, most in held:
        if number >= most:
            reason = f"{number:,} {what} wait to be landed, no more are taken for now"
            return Part(name="ingest", state="not_ready", reason=reason)
    paused = landers.paused()
    if paused:
        reason = "; ".join(f"{name} takes nothing for now: {why}" for name, why in sorted(paused.items()))
        return Part(name="ingest", state="warning", reason=reason)
    return Part(name="ingest")


def _hot(hot: HotBuffers) -> Part:
    away = sorted({one.dataset for one in hot.states() if one.state == "unavailable"})
    if not away:
        return Part(name="hot_buffer")
    reason = f"the brokers of {', '.join(away)} are away: answers hold what is landed"
    return Part(name="hot_buffer", state="warning", reason=reason)
