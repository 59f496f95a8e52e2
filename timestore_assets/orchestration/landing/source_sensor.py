"""What the sensors of files do with one prefix. What is ready is decided below `sources.files`; here is only what Dagster adds.

Files that are ready become landing runs that are asked for: at once, later, or not any more. Over a bucket a tick goes on with
the listing for a bounded time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import dagster as dg

from timestore_assets.model.dataset import Dataset, FileSource
from timestore_assets.model.errors import InputError, UnavailableError
from timestore_assets.orchestration.attempts import attempts, digest_of
from timestore_assets.orchestration.dagster_names import DATASET_TAG, FILES_TAG, SHARE_TAG, SOURCE_TAG, landing_job, landing_op
from timestore_assets.orchestration.landing.idle_folders import IdleFolders
from timestore_assets.orchestration.sweep import Tick
from timestore_assets.settings import Settings
from timestore_assets.sources.files.file_listing import MAX_WATCHED, ListedFile, Listing, plan
from timestore_assets.sources.folders import bucket_folder, local_folder
from timestore_assets.sources.objects.bucket_listing import (
    KeyRange,
    ListingCursor,
    ListingLimits,
    ListingPage,
    ListingStep,
    ObjectFolder,
    Settled,
    from_cursor,
    key_ranges,
    look_on,
    to_cursor,
)

if TYPE_CHECKING:
    from timestore_assets.warehouse import Warehouse


@dataclass(frozen=True, kw_only=True, slots=True)
class NotNow:
    """Why no run is asked for."""

    reason: str
    given_up: bool = False
    """Nor will one be, unless the files change."""


def source_tags(dataset: Dataset, source: FileSource) -> dict[str, str]:
    """What runs of a source are found by."""
    return {DATASET_TAG: dataset.name, SOURCE_TAG: digest_of([source.address])}


def landing_requests(
    instance: dg.DagsterInstance, dataset: Dataset, source: FileSource, files: Sequence[ListedFile], settings: Settings
) -> list[dg.RunRequest] | NotNow:
    """The runs that land these files: one, or several that share them when there are more bytes than one should take."""
    digest = digest_of([dataset.name, source.address, *(f"{file.address}\0{file.etag}" for file in files)])
    tried = attempts(instance, FILES_TAG, digest)
    if tried.exhausted(settings.partition_build_attempts):
        text = (
            f"landing {counted(files)} failed {tried.count} times, last in run {tried.last_run[:8]}; mend what it says, "
            f"then launch the job by hand or touch one of the files"
        )
        return NotNow(reason=text, given_up=True)
    due = tried.next_at(timedelta(milliseconds=settings.partition_build_backoff_ms))
    if due is not None and due > datetime.now(UTC):
        return NotNow(reason=f"{counted(files)} failed to land in run {tried.last_run[:8]}; tried again at {due:%H:%M:%S} UTC")
    size = sum(file.size for file in files)
    config = {"source": source.address, "files": [file.address for file in files], "bytes": size}
    runs = max(1, min(settings.bulk_runs, -(-size // settings.bulk_run_bytes)))
    key, tags = f"{dataset.name}:{digest}:{tried.count}", source_tags(dataset, source)
    if runs == 1:
        return [_request(dataset, key, config, {**tags, FILES_TAG: digest})]
    return [
        _request(
            dataset,
            f"{key}:{share}",
            {**config, "share": number, "of": runs},
            # the first one stands for the group when attempts are counted
            {**tags, SHARE_TAG: share, FILES_TAG: f"{digest}:{share}" if number else digest},
        )
        for number in range(runs)
        for share in [f"{number}/{runs}"]
    ]


def counted(files: Sequence[ListedFile]) -> str:
    """`1 file`, `1,234 files`."""
    return "1 file" if len(files) == 1 else f"{len(files):,} files"


def _request(dataset: Dataset, key: str, config: dict[str, Any], tags: dict[str, str]) -> dg.RunRequest:
    return dg.RunRequest(
        run_key=key,
        job_name=landing_job(dataset.name),
        run_config={"ops": {landing_op(dataset.name): {"config": config}}},
        tags=tags,
    )


OBJECTS_PER_RUN = 1000
"""Their names are in the run's configuration: about 100 kB."""
KEYS_PER_TICK = 100_000
SECONDS_PER_TICK = 10.0
"""Dagster gives a tick a minute."""
_PATIENCE_SECONDS = 5


def look_in_bucket(tick: Tick, dataset: Dataset, source: FileSource, cursor: str | None) -> dg.SensorResult:
    """One look. An object that is listed is complete, so it is asked for at once.

    What was asked for is listed again until the catalog says that it is settled. A round that is through begins again, so that
    keys that came in behind it are found.
    """
    warehouse = tick.warehouse
    busy = tick.runs.live(warehouse.catalog, lambda run: source_tags(dataset, source).items() <= run.tags.items())
    if busy:
        text = f"landing run {busy[0].run_id[:8]} is still at work; the listing goes on when it is done"
        return dg.SensorResult(skip_reason=text, cursor=cursor)
    rounds = from_cursor(cursor)
    through = key_ranges(dataset, source.times, datetime.now(UTC))
    try:
        folder = bucket_folder(_impatient(warehouse.settings), source).folder
        looks = _looks(folder, _settled(warehouse, dataset, source), rounds, through)
    except (UnavailableError, InputError) as error:
        return dg.SensorResult(skip_reason=str(error), cursor=cursor)
    begun = {stretch.name: rounds.get(stretch.name, ListingCursor()) for stretch in through}
    resume = to_cursor(begun | {name: look.resume for name, look in looks.items()})
    new = [file for look in looks.values() for file in look.new]
    if not new:
        return dg.SensorResult(skip_reason=_nothing_listed(looks, folder), cursor=resume)
    asked = landing_requests(tick.instance, dataset, source, new, warehouse.settings)
    if isinstance(asked, NotNow):
        # the first file may be what stops them all
        past = to_cursor(begun | {name: look.past_first() for name, look in looks.items()})
        return dg.SensorResult(skip_reason=asked.reason, cursor=past if asked.given_up else resume)
    return dg.SensorResult(run_requests=asked, cursor=resume)


def _looks(
    folder: ObjectFolder, settled: Settled, rounds: Mapping[str, ListingCursor], through: Sequence[KeyRange]
) -> dict[str, ListingStep]:
    """A look at each stretch, until enough is found for a run."""
    looks: dict[str, ListingStep] = {}
    wanted, keys, seconds = OBJECTS_PER_RUN, KEYS_PER_TICK // len(through), SECONDS_PER_TICK / len(through)
    for stretch in through:
        begin, bounds = rounds.get(stretch.name, ListingCursor()), ListingLimits(wanted=wanted, keys=keys, seconds=seconds)
        looks[stretch.name] = look_on(partial(_pages, folder, stretch), settled, begin, bounds)
        wanted -= len(looks[stretch.name].new)
        if not wanted:
            break
    return looks


def _pages(folder: ObjectFolder, stretch: KeyRange, after: str) -> Iterator[ListingPage]:
    return folder.pages(after=max(after, stretch.after), before=stretch.before)


def _settled(warehouse: Warehouse, dataset: Dataset, source: FileSource) -> Settled:
    _, record = warehouse.resolve(dataset.name)
    known = warehouse.catalog.sources.ensure(record.id, source.kind, source.address)
    return partial(warehouse.catalog.files.settled_etags, known.id)


def _impatient(settings: Settings) -> Settings:
    """A tick that comes to nothing is soon followed by another, so it need not insist."""
    seconds = min(settings.storage_retry_seconds, _PATIENCE_SECONDS)
    timeout = min(settings.storage_timeout_seconds, 2 * _PATIENCE_SECONDS)
    return settings.model_copy(update={"storage_retry_seconds": seconds, "storage_timeout_seconds": timeout})


def _nothing_listed(looks: dict[str, ListingStep], folder: ObjectFolder) -> str:
    unfinished = next((look for look in looks.values() if not look.complete), None)
    if unfinished is None:
        whole = sum(look.end.whole for look in looks.values())
        return f"nothing new among {_objects(whole)} below {folder.uri}" if whole else f"no object is below {folder.uri} yet"
    listed, at = sum(look.keys for look in looks.values()), unfinished.end
    of = f" of about {at.whole:,}" if at.whole else ""
    return f"nothing new among {_objects(listed)}; this round is {at.keys:,}{of} far, at {folder.uri}{at.after}"


def _objects(number: int) -> str:
    return "1 object" if number == 1 else f"{number:,} objects"


FILES_PER_RUN = 100


def look(
    tick: Tick, dataset: Dataset, source: FileSource, cursor: str | None, *, idle: IdleFolders, watched: int = MAX_WATCHED
) -> dg.SensorResult:
    """One look at a folder of this machine: list, plan, and ask for a landing run of the files that are ready.

    `idle`: folders known to hold nothing new, of which the catalog need not be asked. `watched`: files of a folder that the
    cursor keeps in mind at a time.
    """
    warehouse = tick.warehouse
    listing = local_folder(warehouse.settings, source).listing(dataset.start, dataset.upper_bound(datetime.now(UTC)))
    for problem in listing.problems:
        tick.log.warning(f"{dataset.name}: {problem.address}: {problem.reason}")
    if idle.holds(dataset, source, listing):
        return dg.SensorResult(skip_reason=_nothing_new(listing, source))
    _, record = warehouse.resolve(dataset.name)
    known = warehouse.catalog.sources.ensure(record.id, source.kind, source.address)
    settled = warehouse.catalog.files.settled_etags(known.id, [file.address for file in listing.files])
    new = [file for file in listing.files if settled.get(file.address) != file.etag]
    if not new:
        idle.remember(dataset, source, listing)
        return dg.SensorResult(skip_reason=_nothing_new(listing, source))
    ready, seen = plan(listing, cursor, settled, limit=watched)
    if not ready:
        text = f"{counted(new)} seen for the first time; landed once they look the same at the next tick"
        return dg.SensorResult(skip_reason=text, cursor=seen)
    tags = source_tags(dataset, source)
    busy = tick.runs.live(warehouse.catalog, lambda run: tags.items() <= run.tags.items())
    if busy:
        text = f"{counted(ready)} wait for landing run {busy[0].run_id[:8]}, which is still at work"
        return dg.SensorResult(skip_reason=text, cursor=seen)
    asked = landing_requests(tick.instance, dataset, source, ready[:FILES_PER_RUN], warehouse.settings)
    if isinstance(asked, NotNow):
        return dg.SensorResult(skip_reason=asked.reason, cursor=seen)
    return dg.SensorResult(run_requests=asked, cursor=seen)


def _nothing_new(listing: Listing, source: FileSource) -> str:
    if listing.files:
        return f"nothing new among {counted(listing.files)} below {source.prefix}"
    return f"no file is below {source.prefix} yet" + ("" if source.glob == "**/*" else f" that matches {source.glob}")
