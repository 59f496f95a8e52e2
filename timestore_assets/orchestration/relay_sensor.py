"""The sensor that drains the outbox when no run does, and ends runs that are none any more."""

from __future__ import annotations

import dagster as dg

from timestore_assets.orchestration.check_pace import CheckPace
from timestore_assets.orchestration.relay import drain
from timestore_assets.orchestration.resources import WarehouseResource
from timestore_assets.orchestration.stale_runs import fail_stale_runs
from timestore_assets.settings import Settings


def relay_sensor(settings: Settings) -> dg.SensorDefinition:
    """One a code location; it makes no runs."""

    @dg.sensor(
        name="timestore_relay",
        minimum_interval_seconds=settings.sensor_interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Reports landings and builds that happened outside Dagster, so that its picture is the catalog's.",
    )
    def relay(context: dg.SensorEvaluationContext, warehouse: WarehouseResource) -> dg.SensorResult:
        pace = CheckPace.parse(context.cursor)
        with warehouse.opened() as opened:
            here = context.code_location_origin
            gone = fail_stale_runs(context.instance, opened, location=here.location_name if here else None)
            done = drain(opened, context.instance, pace=pace, at_once=False)
        words = [f"reported {done:,} events"] if done else []
        words += [f"failed {len(gone)} runs whose processes are gone"] if gone else []
        return dg.SensorResult(skip_reason="; ".join(words) or "nothing to report", cursor=pace.cursor())

    return relay
