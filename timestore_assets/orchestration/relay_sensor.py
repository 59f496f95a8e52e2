"""The sensor that drains the outbox when no landing run does."""

from __future__ import annotations

import dagster as dg

from timestore_assets.orchestration.relay import drain
from timestore_assets.orchestration.resources import WarehouseResource
from timestore_assets.settings import Settings


def relay_sensor(settings: Settings) -> dg.SensorDefinition:
    """One a code location; it makes no runs."""

    @dg.sensor(
        name="timestore_relay",
        minimum_interval_seconds=settings.sensor_interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Reports landings and builds that happened outside Dagster, so that its picture is the catalog's.",
    )
    def relay(context: dg.SensorEvaluationContext, warehouse: WarehouseResource) -> dg.SkipReason:
        with warehouse.opened() as opened:
            done = drain(opened, context.instance)
        return dg.SkipReason(f"reported {done:,} events" if done else "nothing to report")

    return relay
