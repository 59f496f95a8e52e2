"""The sensor that sends OpenLineage events where no service does. It makes no runs."""

from __future__ import annotations

import dagster as dg

from timestore_assets.lineage.emitting import emit
from timestore_assets.orchestration.dagster_names import LINEAGE_SENSOR
from timestore_assets.orchestration.sensor_pace import least_seconds
from timestore_assets.orchestration.served_datasets import ServedDatasets
from timestore_assets.settings import Settings


def lineage_sensors(served: ServedDatasets, settings: Settings) -> list[dg.SensorDefinition]:
    """One a code location where a receiver is set; none otherwise."""
    if settings.openlineage is None:
        return []

    @dg.sensor(
        name=LINEAGE_SENSOR,
        minimum_interval_seconds=least_seconds(settings.sensor_interval_seconds),
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells the receiver of TIMESTORE_OPENLINEAGE what landed and what was built.",
    )
    def openlineage() -> dg.SkipReason:
        with served.warehouse() as opened:
            done = emit(opened)
        words = f"{done.sent} events sent" if done.sent else "nothing to send"
        return dg.SkipReason(f"{words}; {done.problem}" if done.problem else words)

    return [openlineage]
