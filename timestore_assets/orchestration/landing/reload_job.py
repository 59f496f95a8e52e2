"""The job that lands again what has landed, and what the sensor asks of it: approved requests of columns that were left out.

A person starts it with files, or a window of a topic; killed in between it has swapped in whole files and windows, or nothing.
"""

# No `from __future__ import annotations` here: Dagster reads the annotations of what it decorates and takes no strings.

import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg
from pydantic import Field

from timestore_assets.catalog.backfill_records import APPROVED
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.errors import InputError
from timestore_assets.model.moment import parse_moment
from timestore_assets.model.row_selector import Bound, TopicRows
from timestore_assets.orchestration.attempts import attempts, digest_of
from timestore_assets.orchestration.dagster_names import BACKFILL_TAG, DATASET_TAG, LAND_AGAIN_JOB, LANDING_POOL, NEED_TAG
from timestore_assets.orchestration.liveness import run_lease
from timestore_assets.orchestration.outbox_relay import drain
from timestore_assets.orchestration.served_datasets import ServedDatasets
from timestore_assets.orchestration.step_failures import failing
from timestore_assets.orchestration.sweep import Tick
from timestore_assets.verbs.backfill_verbs import BackfillStatus
from timestore_assets.warehouse import Warehouse

NOTHING_TO_RELOAD = "no request to land again is approved"


class LandAgainConfig(dg.Config):
    """What one run takes: files, a window of a topic, or, without either, what approved requests of the dataset ask for."""

    dataset: str = Field(description="Name of the dataset.")
    files: list[str] = Field(default_factory=list, description="Addresses of files that have landed.")
    topic: str = Field("", description="A topic whose records are read again between `start` and `end`.")
    partition: int | None = Field(None, ge=0, description="Of the topic; offsets need one.")
    start: str = Field("", description="The first record: an offset, or a time.")
    end: str = Field("", description="The record after the last, likewise.")


def land_again_job(served: ServedDatasets) -> dg.JobDefinition:
    """The job, for all datasets."""

    @dg.op(name="timestore_swap_in", pool=LANDING_POOL, description="Read files or a topic again, and swap them in.")
    def swap_in(context: dg.OpExecutionContext, config: LandAgainConfig) -> None:
        doing = f"landing again into {config.dataset}"
        with failing(doing), served.warehouse() as warehouse, run_lease(warehouse.catalog, context.run_id):
            left = _land_again(context, warehouse, config)
            drain(warehouse, context.instance)
        if left:
            raise dg.Failure(f"not all of it could be landed again: {'; '.join(left)}")

    does = "Reads files, or a window of a topic, again and swaps them in, as `timestore reload` does."

    @dg.job(name=LAND_AGAIN_JOB, description=does, executor_def=dg.in_process_executor)
    def job() -> None:
        swap_in()

    return job


def _land_again(context: dg.OpExecutionContext, warehouse: Warehouse, config: LandAgainConfig) -> Sequence[str]:
    """Do it; why not all could be done, a sentence each."""
    name, actor = config.dataset, f"dagster run {context.run_id}"
    if config.files and config.topic:
        raise InputError("name either files or a topic")
    if config.files:
        report = warehouse.reload_files(name, config.files, actor=actor)
        context.add_output_metadata({"files": len(report.files), "landed": report.counters.landed})
        return report.left
    if config.topic:
        if not (config.start or config.end):
            raise InputError("say from where to where: start, end, or both")
        window = TopicRows(topic=config.topic, number=config.partition, start=_bound(config.start), end=_bound(config.end))
        done = warehouse.reload_topic(name, window, stop=threading.Event(), actor=actor)
        context.add_output_metadata({"read": done.counters.read, "landed": done.counters.landed})
        return ()
    carried_out = warehouse.carry_out_reloads(name, actor=actor)
    context.add_output_metadata({"requests": len(carried_out), "landed": sum(one.counters.landed for one in carried_out)})
    return [f"backfill {one.backfill}: {reason}" for one in carried_out for reason in one.left]


def _bound(text: str) -> Bound:
    return None if not text else int(text) if text.isdecimal() else parse_moment(text)


def look(tick: Tick, dataset: Dataset) -> dg.SensorResult:
    """One look: ask for a run where approved requests have something left that no live run is landing."""
    warehouse, name = tick.warehouse, dataset.name
    found = [one for one in warehouse.backfills(name, states=APPROVED) if one.backfill.is_reload]
    left = [one for one in found if one.progress.left]
    if not left:
        waits = "; ".join(f"backfill {one.backfill.id}: {one.summary}" for one in found)
        return dg.SensorResult(skip_reason=waits or NOTHING_TO_RELOAD)
    if tick.runs.live(warehouse.catalog, lambda run: run.job_name == LAND_AGAIN_JOB and run.tags.get(DATASET_TAG) == name):
        return dg.SensorResult(skip_reason=f"{_said(left)}; a run is landing it")
    asked = _request(tick, name, left)
    if isinstance(asked, str):
        return dg.SensorResult(skip_reason=asked)
    return dg.SensorResult(run_requests=[asked])


def _request(tick: Tick, name: str, left: Sequence[BackfillStatus]) -> dg.RunRequest | str:
    """The run, or why there is none now: what was tried in vain is tried again after a pause, and some times only."""
    settings, ids = tick.warehouse.settings, [str(one.backfill.id) for one in left]
    places = [str(sorted(place.items())) for one in left for place in (*one.progress.files, *one.progress.ranges)]
    digest = digest_of([LAND_AGAIN_JOB, name, *ids, *places])
    tried = attempts(tick.instance, NEED_TAG, digest)
    if tried.exhausted(settings.partition_build_attempts):
        return f"{_said(left)}; tried {tried.count} times, run {tried.last_run[:8]} says why the rest can't be landed again"
    due = tried.next_at(timedelta(milliseconds=settings.partition_build_backoff_ms))
    if due is not None and due > datetime.now(UTC):
        return f"{_said(left)}; the rest is tried again at {due:%H:%M:%S} UTC"
    return dg.RunRequest(
        run_key=f"{name}:{digest}:{tried.count}",
        job_name=LAND_AGAIN_JOB,
        run_config={"ops": {"timestore_swap_in": {"config": {"dataset": name}}}},
        tags={DATASET_TAG: name, NEED_TAG: digest, BACKFILL_TAG: ", ".join(ids)},
    )


def _said(left: Sequence[BackfillStatus]) -> str:
    return "; ".join(f"backfill {one.backfill.id}: {one.summary}" for one in left)
