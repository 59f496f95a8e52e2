"""Sensors that look at alerts and send them, and that tell of failed runs by the same channels. They make no runs."""

from __future__ import annotations

import dagster as dg

from timestore_assets.alerting.channels import channels_of
from timestore_assets.alerting.monitor import look
from timestore_assets.alerting.sending import deliver
from timestore_assets.orchestration.dagster_names import ALERTS_SENSOR, DATASET_TAG, RUN_FAILURES_SENSOR
from timestore_assets.orchestration.sensor_pace import least_seconds
from timestore_assets.orchestration.served_datasets import ServedDatasets
from timestore_assets.settings import Settings

_LONGEST_ERROR = 500


def alert_sensors(served: ServedDatasets, settings: Settings) -> list[dg.SensorDefinition]:
    """The sensor of alerts, and one of run failures where channels are set for them."""
    return [_alert_sensor(served, settings), *([_run_failure_sensor(served, settings)] if _told_of_failures(settings) else [])]


def _told_of_failures(settings: Settings) -> list[str]:
    return [name for name in (part.strip() for part in settings.alert_run_failures.split(",")) if name]


def _alert_sensor(served: ServedDatasets, settings: Settings) -> dg.SensorDefinition:
    @dg.sensor(
        name=ALERTS_SENSOR,
        minimum_interval_seconds=least_seconds(settings.alert_interval_seconds),
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Looks at the alerts that datasets declare, and tells their channels when one begins or ends.",
    )
    def alerts() -> dg.SkipReason:
        with served.warehouse() as opened:
            told, taken = look(opened), deliver(opened)
        return dg.SkipReason(f"{told} to tell, {taken} sent" if told or taken else "nothing to tell")

    return alerts


def _run_failure_sensor(served: ServedDatasets, settings: Settings) -> dg.SensorDefinition:
    channels_of(settings)  # what is wrong with them is said when the code location is loaded, and not at the first failure

    @dg.run_failure_sensor(
        name=RUN_FAILURES_SENSOR,
        minimum_interval_seconds=least_seconds(settings.alert_interval_seconds),
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells the channels of TIMESTORE_ALERT_RUN_FAILURES when a run of this code location has failed.",
    )
    def run_failures(context: dg.RunFailureSensorContext) -> None:
        run, said = context.dagster_run, context.failure_event.message or ""
        payload = {
            "dataset": run.tags.get(DATASET_TAG),
            "run": run.run_id,
            "alert": "run_failed",
            "state": "firing",
            "job": run.job_name,
            "summary": f"run {run.run_id[:8]} of {run.job_name} failed: {said[:_LONGEST_ERROR]}",
        }
        with served.warehouse() as opened:
            for channel in _told_of_failures(settings):
                opened.catalog.alerts.tell(channel, f"run/{run.run_id}", payload)
            deliver(opened)

    return run_failures
