"""An approved backfill in Dagster's own processes: no hand on it, a run of it killed with -9, each partition green in the end."""

from __future__ import annotations

import os
import re
import signal
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from timestore_assets_tests.end_to_end.dagster_platform import Platform, platform
from timestore_assets_tests.support.asked_backfills import asked_to_rewrite_all
from timestore_assets_tests.support.dagster_deployment import DECLARATION, QUIET

pytestmark = [*QUIET, pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.xdist_group("dagster")]
# its partitions stay below every threshold, so that nothing but the backfill builds them
QUIETLY = DECLARATION.replace("age: 1h", "age: 5y") + "  late: {allowed: 90y}\n"
# more than one run takes
DAYS = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=number) for number in range(40)]
KEYS = {f"{day:%Y-%m-%d}" for day in DAYS}
KEY = dg.AssetKey("readings")


def runs(there: Platform, backfill: int) -> list[dg.DagsterRun]:
    with there.instance() as instance:
        return list(instance.get_runs(dg.RunsFilter(tags={"timestore/backfill": str(backfill)})))


def kill_a_run(there: Platform, backfill: int) -> bool:
    """kill -9 the process of a run of it that is at work; whether there was one."""
    with there.instance() as instance:
        for run in instance.get_runs(dg.RunsFilter(tags={"timestore/backfill": str(backfill)})):
            for entry in instance.all_logs(run.run_id):
                message = entry.dagster_event.message if entry.dagster_event else None
                started = re.search(r"Started process for run \(pid: (\d+)\)", message or "")
                if started and run.status is dg.DagsterRunStatus.STARTED:
                    os.kill(int(started[1]), signal.SIGKILL)
                    return True
    return False


def test_it_is_done_by_itself_and_goes_on_after_a_kill(tmp_path: Path) -> None:
    home = tmp_path / "home"
    declared = home / "defs" / "readings" / "defs.yaml"
    declared.parent.mkdir(parents=True)
    declared.write_text(QUIETLY, encoding="utf-8")
    rows = [f"d{device},{day:%Y-%m-%d}T{hour:02d}:00:00Z,{hour}" for day in DAYS for hour in range(24) for device in range(4)]
    (tmp_path / "a.csv").write_text("\n".join(["device,at,value", *rows, ""]))
    quick = {"TIMESTORE_THREADS": "1", "TIMESTORE_SENSOR_INTERVAL_SECONDS": "3"}
    with platform(home, quick) as there, there.warehouse() as warehouse:
        warehouse.land("readings", [tmp_path / "a.csv"])
        backfill = asked_to_rewrite_all(warehouse.catalog, "readings")
        assert warehouse.backfill(backfill).progress.of == len(KEYS) and not runs(there, backfill)
        warehouse.decide_backfill(backfill, "approved", actor="test")
        there.wait(180, "some are rewritten", lambda: warehouse.backfill(backfill).progress.done)
        there.wait(60, "a run is killed", lambda: kill_a_run(there, backfill))
        there.wait(420, "it is done", lambda: warehouse.backfill(backfill).backfill.state == "done")
        audit = warehouse.catalog.audit.newest(limit=1000)
        with there.instance() as instance:
            there.wait(120, "every day is green", lambda: instance.get_materialized_partitions(KEY) >= KEYS)
        assert warehouse.verify("readings").ok
    built = Counter(row["details"]["partition"] for row in audit if row["action"] == "built")
    assert built == dict.fromkeys(KEYS, 1), "none was left out, none rewritten twice"
