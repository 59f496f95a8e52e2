"""Whether Dagster still has something to do, for those who are about to stop it."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

_UNFINISHED = (
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)


def unfinished_runs(home: Path) -> int:
    """Runs of the Dagster home that have not ended yet."""
    with dg.DagsterInstance.from_config(str(home)) as instance:
        return instance.get_runs_count(dg.RunsFilter(statuses=list(_UNFINISHED)))
