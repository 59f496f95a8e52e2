"""Approved backfills become builds of exactly their partitions in Dagster: bounded, told, resumed, done once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pytest

from timestore_assets.orchestration.building.backfill_sensor import MOST_PER_RUN, RUNS_AT_ONCE
from timestore_assets_tests.support.asked_backfills import asked_to_rewrite_all
from timestore_assets_tests.support.dagster_deployment import DECLARATION, QUIET, DagsterDeployment, dagster_deployment
from timestore_assets_tests.support.migrations import manifest, transform

pytestmark = QUIET
SENSOR, AGAIN, KEY = "timestore_backfills", "timestore_reloads", dg.AssetKey("readings")
START, END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[DagsterDeployment]:
    with dagster_deployment(tmp_path) as made:
        yield made


def key(number: int) -> str:
    return (date(2023, 12, 31) + timedelta(days=number)).isoformat()


def asked(deployment: DagsterDeployment, numbers: Sequence[int], *, approve: bool = True) -> int:
    """A backfill of these days, which have landed and were not built."""
    path = deployment.drop("a.csv", [f"a,{key(number)}T06:00:00Z,{number % 50}" for number in numbers])
    with deployment.warehouse() as warehouse:
        warehouse.land("readings", [path])
        return asked_to_rewrite_all(warehouse.catalog, "readings", policy="auto" if approve else "ask")


def tick(deployment: DagsterDeployment) -> tuple[Sequence[dg.RunRequest], str]:
    found = deployment.tick(SENSOR)
    return tuple(found.run_requests or ()), found.skip_message or ""


def run(deployment: DagsterDeployment, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
    job = deployment.definitions.resolve_implicit_global_asset_job_def()
    return job.execute_in_process(instance=deployment.instance, asset_selection=[KEY], tags=request.tags, raise_on_error=False)


def reported(deployment: DagsterDeployment) -> Counter[str]:
    found = deployment.instance.fetch_materializations(KEY, limit=1000).records
    return Counter(str(record.partition_key) for record in found)


def state(deployment: DagsterDeployment, backfill: int) -> str:
    with deployment.warehouse() as warehouse:
        return warehouse.backfill(backfill).backfill.state


def test_nothing_is_asked_for_before_it_is_approved(deployment: DagsterDeployment) -> None:
    assert tick(deployment) == ((), "no backfill is approved")
    backfill = asked(deployment, [1, 2], approve=False)
    assert tick(deployment) == ((), f"backfill {backfill} waits to be approved")
    with deployment.warehouse() as warehouse:
        warehouse.decide_backfill(backfill, "approved", actor="ann")
    requests, _ = tick(deployment)
    assert [(one.tags[START], one.tags[END]) for one in requests] == [(key(1), key(2))]


def test_exactly_its_partitions_are_built_each_told_once(deployment: DagsterDeployment) -> None:
    backfill = asked(deployment, [1, 2, 4])
    requests, _ = tick(deployment)
    assert [(one.tags[START], one.tags[END]) for one in requests] == [(key(1), key(2)), (key(4), key(4))]
    assert {one.tags["timestore/backfill"] for one in requests} == {str(backfill)}
    assert requests[0].tags["timestore/reason"] == f"backfill {backfill}: 0 of 3 partitions rewritten; 1 more like it"
    assert all(run(deployment, one).success for one in requests)
    assert reported(deployment) == {key(1): 1, key(2): 1, key(4): 1}
    assert tick(deployment) == ((), f"backfill {backfill} is done")
    assert state(deployment, backfill) == "done"
    assert tick(deployment) == ((), "no backfill is approved")


def test_what_a_killed_run_left_is_asked_for_again_and_nothing_else(deployment: DagsterDeployment) -> None:
    backfill = asked(deployment, [1, 3, 5])
    requests, _ = tick(deployment)
    assert len(requests) == RUNS_AT_ONCE
    assert run(deployment, requests[0]).success, "the other one was killed before it began"
    again, _ = tick(deployment)
    assert [one.tags[START] for one in again] == [key(3), key(5)]
    assert again[0].tags["timestore/reason"] == f"backfill {backfill}: 1 of 3 partitions rewritten"
    assert again[0].run_key == requests[1].run_key, "the daemon launches the same work once"


def test_a_few_runs_of_a_few_partitions_go_at_a_time(deployment: DagsterDeployment) -> None:
    asked(deployment, range(1, 3 * MOST_PER_RUN + 1))
    requests, _ = tick(deployment)
    assert [(one.tags[START], one.tags[END]) for one in requests] == [
        (key(1), key(MOST_PER_RUN)),
        (key(MOST_PER_RUN + 1), key(2 * MOST_PER_RUN)),
    ]


def test_while_its_runs_wait_the_tick_says_how_far_it_is(deployment: DagsterDeployment) -> None:
    backfill = asked(deployment, range(1, 3 * MOST_PER_RUN + 1))
    requests, _ = tick(deployment)
    assert run(deployment, requests[0]).success
    job = deployment.definitions.resolve_implicit_global_asset_job_def()
    deployment.instance.create_run_for_job(job, tags=requests[1].tags, asset_selection=frozenset({KEY}))
    more, _ = tick(deployment)
    assert [one.tags[START] for one in more] == [key(2 * MOST_PER_RUN + 1)], "there is room for one, of what no run takes"
    deployment.instance.create_run_for_job(job, tags=more[0].tags, asset_selection=frozenset({KEY}))
    assert tick(deployment) == ((), f"backfill {backfill}: {MOST_PER_RUN} of {3 * MOST_PER_RUN} partitions rewritten")


def test_the_build_sensor_leaves_alone_what_a_backfill_builds(deployment: DagsterDeployment) -> None:
    asked(deployment, [1, 2, 3])
    (request,), _ = tick(deployment)
    job = deployment.definitions.resolve_implicit_global_asset_job_def()
    deployment.instance.create_run_for_job(job, tags=request.tags, asset_selection=frozenset({KEY}))
    assert deployment.tick("timestore_builds").run_requests == []


def test_an_open_partition_is_rewritten_and_stays_open(deployment: DagsterDeployment) -> None:
    backfill = asked(deployment, [1, 2])
    (request,), _ = tick(deployment)
    assert run(deployment, request).success
    with deployment.warehouse() as warehouse:
        states = {found.partition.key: found.state for found in warehouse.partitions("readings")}
    assert states == {key(1): "sealed", key(2): "open"}, "of the last one more rows are expected"
    assert tick(deployment) == ((), f"backfill {backfill} is done")


def test_a_refused_one_stops(deployment: DagsterDeployment) -> None:
    backfill = asked(deployment, [1, 3])
    requests, _ = tick(deployment)
    assert run(deployment, requests[0]).success
    with deployment.warehouse() as warehouse:
        warehouse.decide_backfill(backfill, "refused", actor="ann")
    assert tick(deployment) == ((), "no backfill is approved")
    assert state(deployment, backfill) == "refused"


def test_many_datasets_cost_one_look(tmp_path: Path) -> None:
    """A dataset without requests is not looked at: the tick names only those that have some."""
    with dagster_deployment(tmp_path, DECLARATION) as made:
        assert made.tick(SENSOR).skip_message == "no backfill is approved"


def test_a_run_for_a_migration_names_its_ticket(deployment: DagsterDeployment) -> None:
    path = deployment.drop("a.csv", [f"a,{key(1)}T06:00:00Z,1"])
    with deployment.warehouse() as warehouse:
        warehouse.land("readings", [path])
        warehouse.migrate(manifest("readings", transform("value", "value + 1")), actor="ann")
        warehouse.decide_backfill(warehouse.backfills()[0].backfill.id, "approved", actor="ann")
    requests, _ = tick(deployment)
    assert all(run(deployment, one).success for one in requests)
    (told,) = deployment.instance.fetch_materializations(KEY, limit=10).records
    assert told.asset_materialization is not None
    assert told.asset_materialization.metadata["tickets"].value == "OPS-1"


def asked_to_land_again(deployment: DagsterDeployment, *names: str) -> int:
    """An approved request for these files, which have landed."""
    paths = [deployment.drop(name, [f"{name},{key(number + 1)}T06:00:00Z,1"]) for number, name in enumerate(names)]
    with deployment.warehouse() as warehouse:
        warehouse.land("readings", paths)
        cause = {"kind": "ignored_column", "columns": ["gust"], "files": [{"address": name} for name in names]}
        made = warehouse.catalog.backfills.request(
            warehouse.resolve("readings")[1].id, schema_version=1, cause=cause, cost={}, policy="auto", actor="tester"
        )
    assert made is not None
    return made


def test_files_that_a_request_names_land_again_in_a_run(deployment: DagsterDeployment) -> None:
    assert deployment.tick(AGAIN).skip_message == "no request to land again is approved"
    backfill = asked_to_land_again(deployment, "a.csv", "b.csv")
    (request,) = deployment.tick(AGAIN).run_requests or ()
    assert (request.job_name, request.tags["timestore/backfill"]) == ("timestore_land_again", str(backfill))
    assert deployment.run(request, "timestore_land_again").success
    assert state(deployment, backfill) == "done"
    assert deployment.tick(AGAIN).skip_message == "no request to land again is approved"


def test_a_file_that_is_gone_fails_the_run_and_the_request_says_what_is_left(deployment: DagsterDeployment) -> None:
    backfill = asked_to_land_again(deployment, "a.csv", "b.csv")
    (deployment.home / "inbox" / "readings" / "a.csv").unlink()
    (request,) = deployment.tick(AGAIN).run_requests or ()
    assert not deployment.run(request, "timestore_land_again").success
    with deployment.warehouse() as warehouse:
        still = warehouse.backfill(backfill)
    assert (still.backfill.state, still.summary) == ("approved", "1 of 2 files landed again")
    (again,) = deployment.tick(AGAIN).run_requests or ()
    assert again.run_key != request.run_key, "what is left is other work"


def test_a_person_starts_the_job_with_files(deployment: DagsterDeployment) -> None:
    asked_to_land_again(deployment, "a.csv")
    config = {"ops": {"timestore_swap_in": {"config": {"dataset": "readings", "files": ["a.csv"]}}}}
    assert deployment.run(dg.RunRequest(run_config=config), "timestore_land_again").success
    with deployment.warehouse() as warehouse:
        (file,) = warehouse.catalog.files.of(warehouse.catalog.sources.of(warehouse.resolve("readings")[1].id)[0].id)
    assert (file.state, file.replaces != ()) == ("landed", True)
