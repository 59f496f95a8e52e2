"""One tick of a sensor over a bucket: go on with the listing for a bounded time, and ask for runs of what is new."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import dagster as dg

from timestore_assets.landing.source_files import source_files
from timestore_assets.model.dataset import Dataset, FileSource
from timestore_assets.model.errors import InputError, UnavailableError
from timestore_assets.orchestration.landing_requests import NotNow, landing_requests, source_tags
from timestore_assets.orchestration.liveness import live_runs
from timestore_assets.settings import Settings
from timestore_assets.sources.objects.listing import ObjectFolder, Page
from timestore_assets.sources.objects.round import Bounds, Look, Round, Settled, from_cursor, look_on, to_cursor
from timestore_assets.sources.objects.stretches import Stretch, stretches

if TYPE_CHECKING:
    from timestore_assets.warehouse import Warehouse

OBJECTS_PER_RUN = 1000
"""Their names are in the run's configuration: about 100 kB."""
KEYS_PER_TICK = 100_000
SECONDS_PER_TICK = 10.0
"""Dagster gives a tick a minute."""
_PATIENCE_SECONDS = 5


def look_in_bucket(
    context: dg.SensorEvaluationContext, warehouse: Warehouse, dataset: Dataset, source: FileSource
) -> dg.SensorResult:
    """One tick. An object that is listed is complete, so it is asked for at once.

    What was asked for is listed again until the catalog says that it is settled. A round that is through begins again, so that
    keys that came in behind it are found.
    """
    busy = live_runs(context.instance, warehouse.catalog, lambda run: source_tags(dataset, source).items() <= run.tags.items())
    if busy:
        text = f"landing run {busy[0].run_id[:8]} is still at work; the listing goes on when it is done"
        return dg.SensorResult(skip_reason=text, cursor=context.cursor)
    rounds = from_cursor(context.cursor)
    through = stretches(dataset, source.times, datetime.now(UTC))
    try:
        folder = source_files(_impatient(warehouse.settings), source).folder
        assert isinstance(folder, ObjectFolder)  # noqa: S101 - the source has a scheme
        looks = _looks(folder, _settled(warehouse, dataset, source), rounds, through)
    except (UnavailableError, InputError) as error:
        return dg.SensorResult(skip_reason=str(error), cursor=context.cursor)
    begun = {stretch.name: rounds.get(stretch.name, Round()) for stretch in through}
    resume = to_cursor(begun | {name: look.resume for name, look in looks.items()})
    new = [file for look in looks.values() for file in look.new]
    if not new:
        return dg.SensorResult(skip_reason=_nothing(looks, folder), cursor=resume)
    asked = landing_requests(context.instance, dataset, source, new, warehouse.settings)
    if isinstance(asked, NotNow):
        # the first file may be what stops them all
        past = to_cursor(begun | {name: look.past_first() for name, look in looks.items()})
        return dg.SensorResult(skip_reason=asked.reason, cursor=past if asked.given_up else resume)
    return dg.SensorResult(run_requests=asked, cursor=resume)


def _looks(folder: ObjectFolder, settled: Settled, rounds: Mapping[str, Round], through: Sequence[Stretch]) -> dict[str, Look]:
    """A look at each stretch, until enough is found for a run."""
    looks: dict[str, Look] = {}
    wanted, keys, seconds = OBJECTS_PER_RUN, KEYS_PER_TICK // len(through), SECONDS_PER_TICK / len(through)
    for stretch in through:
        begin, bounds = rounds.get(stretch.name, Round()), Bounds(wanted=wanted, keys=keys, seconds=seconds)
        looks[stretch.name] = look_on(partial(_pages, folder, stretch), settled, begin, bounds)
        wanted -= len(looks[stretch.name].new)
        if not wanted:
            break
    return looks


def _pages(folder: ObjectFolder, stretch: Stretch, after: str) -> Iterator[Page]:
    return folder.pages(after=max(after, stretch.after), before=stretch.before)


def _settled(warehouse: Warehouse, dataset: Dataset, source: FileSource) -> Settled:
    _, record = warehouse.resolve(dataset.name)
    known = warehouse.catalog.source(record.id, source.kind, source.address)
    return partial(warehouse.catalog.settled_etags, known.id)


def _impatient(settings: Settings) -> Settings:
    """A tick that comes to nothing is soon followed by another, so it need not insist."""
    seconds = min(settings.storage_retry_seconds, _PATIENCE_SECONDS)
    timeout = min(settings.storage_timeout_seconds, 2 * _PATIENCE_SECONDS)
    return settings.model_copy(update={"storage_retry_seconds": seconds, "storage_timeout_seconds": timeout})


def _nothing(looks: dict[str, Look], folder: ObjectFolder) -> str:
    unfinished = next((look for look in looks.values() if not look.complete), None)
    if unfinished is None:
        whole = sum(look.end.whole for look in looks.values())
        return f"nothing new among {_objects(whole)} below {folder.uri}" if whole else f"no object is below {folder.uri} yet"
    listed, at = sum(look.keys for look in looks.values()), unfinished.end
    of = f" of about {at.whole:,}" if at.whole else ""
    return f"nothing new among {_objects(listed)}; this round is {at.keys:,}{of} far, at {folder.uri}{at.after}"


def _objects(number: int) -> str:
    return "1 object" if number == 1 else f"{number:,} objects"
