"""The jobs that tidy up, with their schedules: collection, retention and verification, once for all datasets.

Collection and retention are on by default: the first removes what nothing needs any more, the second does nothing but what a
dataset's `retention:` says. Verification reads every object, so a person turns its schedule on.
"""

# No `from __future__ import annotations` here: Dagster reads the annotations of what it decorates and takes no strings.

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from timestore_assets.model.errors import TimestoreError
from timestore_assets.model.schema import to_plain
from timestore_assets.orchestration.dagster_names import GC_JOB, RETENTION_JOB, VERIFY_JOB
from timestore_assets.orchestration.liveness import run_lease
from timestore_assets.orchestration.outbox_relay import drain
from timestore_assets.orchestration.served_datasets import ServedDatasets
from timestore_assets.orchestration.step_failures import as_failure, failing
from timestore_assets.warehouse import Warehouse

if TYPE_CHECKING:
    from timestore_assets.upkeep.collect import CollectReport
    from timestore_assets.upkeep.expiring import RetentionReport
    from timestore_assets.upkeep.verify import VerifyReport

_RETENTION_CRON = "17 2 * * *"
_GC_CRON = "17 3 * * *"
"""An hour behind retention, whose files it removes once old versions are over."""
_VERIFY_CRON = "17 4 * * 0"
_LISTED = 20
_NO_RETENTION = "no dataset has a retention"


class RetentionConfig(dg.Config):
    """What one run of the retention takes."""

    datasets: list[str] = Field(default_factory=list, description="Datasets; every one that has a retention by default.")
    execute: bool = Field(True, description="False only says what would expire and move.")


class VerifyConfig(dg.Config):
    """What one verification takes."""

    datasets: list[str] = Field(default_factory=list, description="Datasets; all by default.")


def upkeep_defs(served: ServedDatasets) -> dg.Definitions:
    """The jobs and their schedules; these are on by default where that is harmless."""
    gc, retention, verify = _gc_job(served), _retention_job(served), _verify_job(served)
    running, stopped = dg.DefaultScheduleStatus.RUNNING, dg.DefaultScheduleStatus.STOPPED

    @dg.schedule(
        job=retention,
        cron_schedule=_RETENTION_CRON,
        execution_timezone="UTC",
        default_status=running,
        description="Lets partitions expire and move as `retention:` of their datasets says.",
    )
    def timestore_retention_schedule() -> dg.RunRequest | dg.SkipReason:
        with served.warehouse() as warehouse:
            return dg.RunRequest() if warehouse.with_retention() else dg.SkipReason(_NO_RETENTION)

    return dg.Definitions(
        jobs=[gc, retention, verify],
        schedules=[
            timestore_retention_schedule,
            dg.ScheduleDefinition(
                job=gc,
                cron_schedule=_GC_CRON,
                execution_timezone="UTC",
                default_status=running,
                description="Removes files that no version, reader or session needs any more.",
            ),
            dg.ScheduleDefinition(
                job=verify,
                cron_schedule=_VERIFY_CRON,
                execution_timezone="UTC",
                default_status=stopped,
                description="Proves the catalog against the files. It reads every object, so it is off until somebody wants it.",
            ),
        ],
    )


@contextmanager
def _at_work(doing: str, served: ServedDatasets, run_id: str) -> Iterator[Warehouse]:
    with failing(doing), served.warehouse() as warehouse, run_lease(warehouse.catalog, run_id):
        yield warehouse


def _job(name: str, step: dg.OpDefinition, description: str) -> dg.JobDefinition:
    @dg.job(name=name, description=description, executor_def=dg.in_process_executor)
    def job() -> None:
        step()

    return job


# --- collection


def _gc_job(served: ServedDatasets) -> dg.JobDefinition:
    @dg.op(name="timestore_collect", description="Remove files that nothing needs any more.")
    def collect(context: dg.OpExecutionContext) -> None:
        with _at_work("collecting", served, context.run_id) as warehouse:
            _say_collected(context, warehouse.collect())

    return _job(GC_JOB, collect, "Removes files that no version, reader or session needs any more, as `timestore gc` does.")


def _say_collected(context: dg.OpExecutionContext, report: "CollectReport") -> None:
    plain: dict[str, Any] = to_plain(report)
    numbers = {**plain, **plain["trimmed"]}
    counted = {name: value for name, value in numbers.items() if isinstance(value, int)}
    for name, value in counted.items():
        if value:
            context.log.info(f"{name.replace('_', ' ')}: {value:,}")
    if not any(counted.values()):
        context.log.info("nothing was to be removed")
    for one in report.withheld:
        context.log.warning(
            f"{one.files:,} unknown files ({one.bytes:,} bytes) in storage target {one.target} stay, since another catalog may "
            "name them; `timestore gc` says what to do"
        )
    context.add_output_metadata(counted)


# --- retention


def _retention_job(served: ServedDatasets) -> dg.JobDefinition:
    @dg.op(name="timestore_expire", description="Let old partitions expire, and move less old ones.")
    def expire(context: dg.OpExecutionContext, config: RetentionConfig) -> None:
        with _at_work("applying the retention", served, context.run_id) as warehouse:
            _expire(context, warehouse, config)

    does = "Lets partitions expire and move as `retention:` of their datasets says, as `timestore retention --all` does."
    return _job(RETENTION_JOB, expire, does)


def _expire(context: dg.OpExecutionContext, warehouse: Warehouse, config: RetentionConfig) -> None:
    """One dataset that fails does not keep the others from being done; the step fails at its end."""
    names, errors = config.datasets or warehouse.with_retention(), list[TimestoreError]()
    totals = {"expired": 0, "rows": 0, "bytes": 0, "held": 0, "moved": 0}
    if not names:
        context.log.info(_NO_RETENTION)
    for name in names:
        try:
            report = warehouse.apply_retention(name, execute=config.execute, actor=f"dagster run {context.run_id}")
        except TimestoreError as error:
            context.log.warning(f"{name}: {error}")
            errors.append(error)
            continue
        _say_expired(context, report)
        totals["expired"] += len(report.expired)
        totals["rows"] += sum(one.rows for one in report.expired)
        totals["bytes"] += sum(one.bytes for one in report.expired)
        totals["held"] += len(report.held)
        totals["moved"] += len(report.moved)
    drain(warehouse, context.instance)
    context.add_output_metadata(totals)
    if errors:
        raise as_failure(errors, doing="applying the retention")


def _say_expired(context: dg.OpExecutionContext, report: "RetentionReport") -> None:
    name, would = report.dataset, "would have " if report.dry_run else ""
    if not report.changed and not report.held:
        context.log.info(f"{name}: nothing to expire or move")
    for one in report.expired[:_LISTED]:
        context.log.info(f"{name} {one.partition} {would}expired, {one.rows:,} rows, {one.bytes:,} bytes: {one.reason}")
    for moved in report.moved[:_LISTED]:
        context.log.info(f"{name} {moved.partition} {would}moved to {moved.target}, {moved.bytes:,} bytes")
    for held in report.held[:_LISTED]:
        context.log.warning(f"{name} {held.partition} stays for the legal hold {', '.join(held.held_by)}")
    rest = [max(0, len(found) - _LISTED) for found in (report.expired, report.moved, report.held)]
    if any(rest):
        context.log.info(f"{name}: and {rest[0]:,} more that {would}expired, {rest[1]:,} moved, {rest[2]:,} held")
    if report.over:
        context.log.warning(f"{name}: {report.over:,} bytes above max_bytes stay, since nothing more may expire")


# --- verification


def _verify_job(served: ServedDatasets) -> dg.JobDefinition:
    @dg.op(name="timestore_prove", description="Prove the catalog against the files.")
    def prove(context: dg.OpExecutionContext, config: VerifyConfig) -> None:
        with _at_work("verifying", served, context.run_id) as warehouse:
            names = config.datasets or sorted(warehouse.datasets)
            reports = [_proved(context, warehouse, name) for name in names]
            context.add_output_metadata(
                {
                    "datasets": len(reports),
                    "segments": sum(one.segments for one in reports),
                    "bytes": sum(one.bytes for one in reports),
                    "problems": sum(len(one.findings) for one in reports),
                    "orphans": sum(len(one.orphans) for one in reports),
                }
            )
            wrong = [report.dataset for report in reports if not report.ok]
        if wrong:
            raise dg.Failure(f"not as catalogued: {', '.join(wrong)}; the log says what, `timestore verify --repair` what to do")

    return _job(VERIFY_JOB, prove, "Proves the catalog against the files of every dataset, as `timestore verify` does.")


def _proved(context: dg.OpExecutionContext, warehouse: Warehouse, name: str) -> "VerifyReport":
    report = warehouse.verify(name)
    context.log.info(f"{name}: {report.segments:,} segments, {report.bytes:,} bytes, {len(report.findings):,} problems")
    for finding in report.findings[:_LISTED]:
        context.log.error(f"{name}: {finding.object}: {finding.problem}: {finding.detail}")
    return report
