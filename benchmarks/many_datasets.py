"""What a tick of the sensors costs when a code location has many datasets: CPU, wall clock, memory, and the cursor's size.

    python benchmarks/many_datasets.py --datasets 200 --files 5

Files are landed and built first, so that ticks are what they are nearly always: nothing to do. Then one dataset gets a file.
Nothing of Dagster's own work around a tick (a gRPC call, a row in its database) is measured.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg

DECLARATION = """\
type: timestore_assets.Dataset
attributes:
  name: {name}
  columns:
    device: {{type: string}}
    at: {{type: timestamp}}
    value: {{type: double, nullable: true, unit: degC}}
  time: at
  window: day
  start: 2024-01-01
  dedupe: {{keys: [device, at], keep: last}}
  sources:
    - files: {{prefix: inbox/{name}/, format: csv}}
"""
SENSORS = ("timestore_files", "timestore_builds", "timestore_relay")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datasets", type=int, default=200)
    parser.add_argument("--files", type=int, default=5, help="files of each dataset, a day each")
    parser.add_argument("--waiting", type=int, default=20, help="datasets whose last partition waits for its threshold")
    parser.add_argument("--ticks", type=int, default=10)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TIMESTORE_HOME"] = folder
        _fill(Path(folder), given.datasets, given.files, given.waiting)
        with dg.DagsterInstance.ephemeral(tempdir=folder) as instance:
            _measure(Path(folder), instance, given.ticks)


def _fill(home: Path, datasets: int, files: int, waiting: int) -> None:
    """Declare and land; every partition is built but the last ones of those that wait."""
    from timestore_assets.warehouse import Warehouse

    for number in range(datasets):
        name = f"site_{number:03d}"
        path = home / "defs" / name / "defs.yaml"
        path.parent.mkdir(parents=True)
        path.write_text(DECLARATION.format(name=name))
        for day in range(files):
            _drop(home, name, f"{day}.csv", datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=day))
    with Warehouse.open() as warehouse:
        for number, name in enumerate(list(warehouse.datasets)):
            warehouse.land(name, sorted((home / "inbox" / name).glob("*.csv")))
            found = [one.partition for one in warehouse.partitions(name)]
            list(warehouse.build(name, found[:-1] if number < waiting else found, close=True, report=False))


def _drop(home: Path, name: str, file: str, day: datetime) -> None:
    folder = home / "inbox" / name
    folder.mkdir(parents=True, exist_ok=True)
    rows = [f"d,{(day + timedelta(hours=hour)).isoformat()},{hour}" for hour in range(24)]
    (folder / file).write_text("\n".join(["device,at,value", *rows]) + "\n")


def _measure(home: Path, instance: dg.DagsterInstance, ticks: int) -> None:
    from timestore_assets.definitions import defs

    began = time.process_time()
    loaded = defs()
    dg.Definitions.validate_loadable(loaded)
    print(f"definitions: {time.process_time() - began:.1f} s of CPU")
    cursors: dict[str, str | None] = {}
    print(f"{'sensor':18} {'first':>9} {'then':>9} {'wall':>9} {'cursor':>9}   reason")
    for sensor in SENSORS:
        first = _tick(loaded, instance, sensor, cursors)
        rest = [_tick(loaded, instance, sensor, cursors) for _ in range(ticks)]
        cpu, wall, said = min(rest)
        print(
            f"{sensor:18} {first[0] * 1000:6.0f} ms {cpu * 1000:6.0f} ms {wall * 1000:6.0f} ms"
            f" {len(cursors[sensor] or ''):7} B   {said[:60]}"
        )
    _drop(home, "site_000", "new.csv", datetime(2024, 6, 1, tzinfo=UTC))
    for _ in range(2):
        cpu, wall, said = _tick(loaded, instance, "timestore_files", cursors)
        print(f"with a new file: {cpu * 1000:.0f} ms of CPU, {said[:100]}")
    print(f"memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB at most")


def _tick(
    loaded: dg.Definitions, instance: dg.DagsterInstance, sensor: str, cursors: dict[str, str | None]
) -> tuple[float, float, str]:
    """CPU, wall clock in seconds, and what the tick says."""
    definition = loaded.resolve_sensor_def(sensor)
    with dg.build_sensor_context(
        instance=instance, cursor=cursors.get(sensor), definitions=loaded, sensor_name=sensor
    ) as context:
        cpu, wall = time.process_time(), time.perf_counter()
        done = definition.evaluate_tick(context)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    cursors[sensor] = done.cursor
    return cpu, wall, done.skip_message or f"{len(done.run_requests or ())} runs are asked for"


if __name__ == "__main__":
    main()
