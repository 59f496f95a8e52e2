"""Buckets in Dagster: sensors ticked over a real store, the runs they ask for, and what the graph shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import dagster as dg
import obstore
import pytest

from timestore_assets.orchestration.dagster_names import SHARE_TAG
from timestore_assets.orchestration.landing import source_sensor
from timestore_assets_tests.support.bucket_source import IN, csv, declaration, put, reach
from timestore_assets_tests.support.dagster_deployment import QUIET, DagsterDeployment, dagster_deployment
from timestore_assets_tests.support.object_servers import ObjectServer, S3Server
from timestore_assets_tests.support.rough_store import RoughStore

pytestmark = [*QUIET, pytest.mark.xdist_group("s3")]
WATCH, LAND = "timestore_objects", "land_readings"
Fed = Callable[..., AbstractContextManager[DagsterDeployment]]


@pytest.fixture
def fed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fed:
    """A warehouse whose dataset is fed from a server's bucket; takes what `declaration` takes."""

    @contextmanager
    def made(server: ObjectServer, below: str = "", **options: str) -> Iterator[DagsterDeployment]:
        reach(server, monkeypatch)
        with dagster_deployment(tmp_path, declaration(server, below, **options)) as deployment:
            yield deployment

    return made


@pytest.fixture
def deployment(fed: Fed, s3_bucket: S3Server) -> Iterator[DagsterDeployment]:
    with fed(s3_bucket) as made:
        yield made


def ticks(deployment: DagsterDeployment, cursor: str | None = None) -> tuple[list[dg.RunRequest], str | None, str | None]:
    found = deployment.tick(WATCH, cursor)
    return list(found.run_requests or []), found.skip_message, found.cursor


def files_of(request: dg.RunRequest) -> list[str]:
    found: list[str] = request.run_config["ops"]["land_readings_files"]["config"]["files"]
    return found


def rows(deployment: DagsterDeployment) -> int:
    with deployment.warehouse() as warehouse:
        return sum(found.rows for found in warehouse.partitions("readings"))


def test_an_object_is_landed_at_first_sight_and_once(deployment: DagsterDeployment, s3_bucket: S3Server) -> None:
    place = f"s3://{s3_bucket.bucket}/{IN}"
    assert ticks(deployment)[1] == f"no object is below {place} yet"
    put(s3_bucket, "a.csv", csv(1))
    put(s3_bucket, "b/copy.csv", csv(1))
    requests, _, cursor = ticks(deployment)
    assert [files_of(one) for one in requests] == [["a.csv", "b/copy.csv"]]
    assert deployment.run(requests[0], LAND).success
    assert ticks(deployment, cursor)[:2] == ([], f"nothing new among 2 objects below {place}")
    assert rows(deployment) == 3, "the copy has the same etag, so it is a duplicate"
    (key,) = [spec.key for spec in deployment.definitions.resolve_all_asset_specs() if spec.group_name == "sources"]
    told = [record.asset_observation for record in deployment.instance.fetch_observations(key, limit=5).records]
    states = [one.metadata["state"].value for one in told if one is not None and "state" in one.metadata]
    assert "duplicate" in states, "what became of files is told to the asset of the bucket"
    put(s3_bucket, "a.csv", csv(1, value=2.0))
    assert [files_of(one) for one in ticks(deployment, cursor)[0]] == [["a.csv"]]


def test_a_round_goes_on_where_it_was_and_comes_back(
    deployment: DagsterDeployment, s3_bucket: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_sensor, "KEYS_PER_TICK", 1)
    monkeypatch.setattr("timestore_assets.sources.objects.bucket_listing.PAGE_KEYS", 2)
    for name in "bcdef":
        put(s3_bucket, f"{name}.csv", csv(ord(name) - 96))
    landed, cursor = list[str](), None
    for _ in range(6):
        requests, _, cursor = ticks(deployment, cursor)
        for request in requests:
            landed += files_of(request)
            assert deployment.run(request, LAND).success
    assert landed == [f"{name}.csv" for name in "bcdef"]
    _, text, cursor = ticks(deployment)
    assert text == f"nothing new among 2 objects; this round is 2 far, at s3://{s3_bucket.bucket}/{IN}c.csv"
    put(s3_bucket, "a.csv", csv(20))
    for _ in range(3):
        requests, text, cursor = ticks(deployment, cursor)
        assert requests == []
    assert text == f"nothing new among 5 objects below s3://{s3_bucket.bucket}/{IN}"
    assert [files_of(one) for one in ticks(deployment, cursor)[0]] == [["a.csv"]], (
        "what came in behind is found by the next round"
    )


def test_a_run_that_dies_loses_nothing_and_files_that_never_land_stop_nothing(
    deployment: DagsterDeployment, s3_bucket: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIMESTORE_PARTITION_BUILD_ATTEMPTS", "2")
    for name in ("a.csv", "b.csv"):
        put(s3_bucket, name, csv(ord(name[0]) - 96))
    cursor = None
    for _ in range(2):
        requests, _, cursor = ticks(deployment, cursor)
        assert files_of(requests[0]) == ["a.csv", "b.csv"]
        with pytest.MonkeyPatch.context() as broken:
            broken.setenv("TIMESTORE_STORAGE_TARGETS", "no JSON")
            assert not deployment.run(requests[0], LAND).success
    requests, text, cursor = ticks(deployment, cursor)
    assert (requests, str(text)[:31]) == ([], "landing 2 files failed 2 times,")
    assert [files_of(one) for one in ticks(deployment, cursor)[0]] == [["b.csv"]]


def test_nothing_is_listed_while_a_run_is_at_work(deployment: DagsterDeployment, s3_bucket: S3Server) -> None:
    put(s3_bucket, "a.csv", csv(1))
    (request,), _, cursor = ticks(deployment)
    run = deployment.instance.create_run_for_job(
        deployment.definitions.resolve_job_def(LAND), run_config=request.run_config, tags=request.tags
    )
    requests, text, after = ticks(deployment, cursor)
    assert (requests, after) == ([], cursor)
    assert text == f"landing run {run.run_id[:8]} is still at work; the listing goes on when it is done"


def test_a_large_drop_is_shared_by_several_runs(
    deployment: DagsterDeployment, s3_bucket: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for day in range(1, 7):
        put(s3_bucket, f"{day}.csv", csv(day))
    size = 6 * len(csv(1))
    for run_bytes, runs, expected in ((size, 4, 1), (size - 1, 4, 2), (1, 3, 3)):
        monkeypatch.setenv("TIMESTORE_BULK_RUN_BYTES", str(run_bytes))
        monkeypatch.setenv("TIMESTORE_BULK_RUNS", str(runs))
        requests, _, cursor = ticks(deployment)
        assert len(requests) == expected
    assert len({one.run_key for one in requests}) == 3
    assert [one.tags[SHARE_TAG] for one in requests] == ["0/3", "1/3", "2/3"]
    assert all(len(files_of(one)) == 6 for one in requests)
    done = deployment.run(requests[2], LAND)
    assert done.success, "any one of them can do it alone"
    assert rows(deployment) == 18
    (output,) = [event for event in done.all_events if event.is_successful_output]
    told = {name: value.value for name, value in output.step_output_data.metadata.items()}
    assert (told["landed"], told["bytes"], told["parts"]) == (18, size, 6)
    assert cast(float, told["rows_per_second"]) > 0
    assert all(deployment.run(one, LAND).success for one in requests[:2])
    assert (rows(deployment), ticks(deployment, cursor)[0]) == (18, [])


def test_a_store_that_cannot_be_reached_is_one_reason(fed: Fed, rough_s3: RoughStore) -> None:
    with fed(rough_s3.server) as deployment:
        put(rough_s3.server, "a.csv", csv(1))
        rough_s3.refuse_all(403)
        requests, text, _ = ticks(deployment, None)
        assert requests == []
        assert str(text).startswith(f"{rough_s3.server.uri}/{IN} refused the credentials (AccessDenied)")
        rough_s3.heal()
        rough_s3.lag_listings(1)
        put(rough_s3.server, "b.csv", csv(2))
        (request,), _, cursor = ticks(deployment)
        assert files_of(request) == ["a.csv"]
        assert deployment.run(request, LAND).success
        assert [files_of(one) for one in ticks(deployment, cursor)[0]] == [["b.csv"]], "a listing that lagged catches up"


def test_time_in_the_path_prunes_what_a_tick_lists(fed: Fed, rough_s3: RoughStore) -> None:
    now = datetime.now(UTC)
    folders = [f"{day:%Y/%m/%d}" for day in (now, now - timedelta(days=1), now - timedelta(days=40))]
    for name in folders:
        day = datetime.strptime(name, "%Y/%m/%d")
        put(rough_s3.server, f"{name}/x.csv", f"device,at,value\na,{day:%Y-%m-%dT00:00:00Z},1\n".encode())
    put(rough_s3.server, "2023/12/31/x.csv", csv(1))
    put(rough_s3.server, "elsewhere/x.csv", csv(1))
    with fed(rough_s3.server, "{window:%Y/%m/%d}/") as deployment:
        (request,), _, cursor = ticks(deployment)
        assert sorted(files_of(request)) == sorted(f"{name}/x.csv" for name in folders)
        assert files_of(request)[-1] == f"{folders[2]}/x.csv", "the newest come first"
        assert deployment.run(request, LAND).success
        assert rows(deployment) == 3
        rough_s3.forget_counts()
        assert ticks(deployment, cursor)[1] == f"nothing new among 3 objects below {rough_s3.server.uri}/{IN}"
        assert rough_s3.requests["GET"] == 2, "one listing from the newest windows on, one of the older ones"


def test_the_graph_shows_the_bucket(deployment: DagsterDeployment, s3_bucket: S3Server) -> None:
    (spec,) = [spec for spec in deployment.definitions.resolve_all_asset_specs() if spec.group_name == "sources"]
    assert spec.kinds == {"s3"}
    assert (spec.metadata["bucket"], spec.metadata["bucket_prefix"]) == (s3_bucket.bucket, IN)
    assert not [value for value in map(str, spec.metadata.values()) if s3_bucket.secret_key in value]
    assert obstore.list(s3_bucket.store()).collect() == []
