"""One sensor for files and one for builds of many datasets: each gets its turn, and none stops another."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import dagster as dg
import pytest

from timestore_assets.declarations import read_declarations
from timestore_assets.model.errors import InputError
from timestore_assets.orchestration.code_location import defs
from timestore_assets.orchestration.sweep import SweepCursor, SweepLimits, Tick, WatchedLook, sweep
from timestore_assets.warehouse import Warehouse
from timestore_assets_tests.support.dagster_deployment import DECLARATION, QUIET

pytestmark = QUIET
NAMES = ("alpha", "beta", "gamma")


class ManyDatasets:
    """A code location with three datasets, ticked as the daemon does."""

    def __init__(self, home: Path, instance: dg.DagsterInstance) -> None:
        self.home, self.instance = home, instance
        self.definitions = defs()
        self.cursors: dict[str, str | None] = {}

    def drop(self, dataset: str, name: str = "a.csv", day: int = 1) -> None:
        folder = self.home / "inbox" / dataset
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"device,at,value\nx,2024-01-{day:02d}T00:00:00Z,1\n")

    def tick(self, sensor: str) -> dg.SensorExecutionData:
        definition = self.definitions.resolve_sensor_def(sensor)
        with dg.build_sensor_context(
            instance=self.instance, cursor=self.cursors.get(sensor), definitions=self.definitions, sensor_name=sensor
        ) as context:
            done = definition.evaluate_tick(context)
        self.cursors[sensor] = done.cursor
        return done

    def run(self, request: dg.RunRequest) -> bool:
        job = self.definitions.resolve_job_def(str(request.job_name))
        made = job.execute_in_process(
            instance=self.instance,
            run_config=request.run_config,
            tags=request.tags,
            asset_selection=list(request.asset_selection) if request.asset_selection else None,
            raise_on_error=False,
        )
        return made.success


@pytest.fixture
def many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ManyDatasets]:
    home = tmp_path / "home"
    for name in NAMES:
        path = home / "defs" / name / "defs.yaml"
        path.parent.mkdir(parents=True)
        window = "month" if name == "gamma" else "day"
        path.write_text(DECLARATION.replace("readings", name).replace("window: day", f"window: {window}"))
    monkeypatch.setenv("TIMESTORE_HOME", str(home))
    with dg.DagsterInstance.ephemeral(tempdir=str(tmp_path)) as instance:
        yield ManyDatasets(home, instance)


def test_one_tick_asks_for_the_runs_of_every_dataset_and_the_jobs_land_and_build_them(many: ManyDatasets) -> None:
    assert many.tick("timestore_files").skip_message == "nothing to do for 3 of 3"
    for name in ("alpha", "gamma"):
        many.drop(name)
    seen = "1 file seen for the first time; landed once they look the same at the next tick"
    assert many.tick("timestore_files").skip_message == f"alpha: {seen}; gamma: {seen}; nothing to do for 1 of 3"
    requests = many.tick("timestore_files").run_requests or ()
    assert [request.job_name for request in requests] == ["land_alpha", "land_gamma"]
    assert all(many.run(request) for request in requests)
    assert many.tick("timestore_files").skip_message == "nothing to do for 3 of 3"
    assert many.cursors["timestore_files"] == SweepCursor().text(), "what is settled is not kept in mind"

    assert many.tick("timestore_builds").skip_message == "nothing to do for 3 of 3"
    with Warehouse.open() as warehouse:
        for name in ("alpha", "gamma"):
            (partition,) = [found.partition for found in warehouse.partitions(name)]
            _, record = warehouse.resolve(name)
            warehouse.catalog.partitions.request_builds(record.id, [partition], reason="asked for")
            many.drop(name, "b.csv", day=2)
    many.tick("timestore_files")
    for request in many.tick("timestore_files").run_requests or ():
        assert many.run(request)
    builds = many.tick("timestore_builds").run_requests or ()
    assert [[key.to_user_string() for key in request.asset_selection or ()] for request in builds] == [["alpha"], ["gamma"]]
    assert all(many.run(request) for request in builds)
    assert many.tick("timestore_builds").skip_message == "nothing to do for 3 of 3"


def test_a_dataset_that_can_not_be_looked_at_is_named_and_stops_no_other(
    many: ManyDatasets, caplog: pytest.LogCaptureFixture
) -> None:
    many.drop("alpha")
    many.drop("gamma")
    many.tick("timestore_files")
    for request in many.tick("timestore_files").run_requests or ():
        assert many.run(request)
    path = many.home / "defs" / "alpha" / "defs.yaml"
    path.write_text(path.read_text().replace("partition_by: [device]", "partition_by: []"))
    many.definitions = defs()  # alpha's rows don't allow that change
    many.drop("alpha", "b.csv")
    many.drop("gamma", "b.csv")
    with caplog.at_level(logging.ERROR):
        many.tick("timestore_files")
        requests = many.tick("timestore_files").run_requests or ()
    assert [request.job_name for request in requests] == ["land_gamma"]


def test_what_was_retired_lands_no_more_and_what_was_dropped_or_renamed_is_gone_after_the_reload(many: ManyDatasets) -> None:
    for name in NAMES:
        many.drop(name)
    many.tick("timestore_files")
    with Warehouse.open() as warehouse:
        alpha, beta, gamma = (warehouse.resolve(name)[1].id for name in NAMES)
        warehouse.catalog.life.retire(alpha, actor="test")
        warehouse.catalog.life.drop(beta, actor="test")
        warehouse.catalog.life.rename(gamma, "delta", actor="test")
    assert many.tick("timestore_files").skip_message == "no dataset is looked at: all are retired, or have another name by now"
    before = many.definitions
    many.definitions = defs()
    keys = {key.to_user_string() for key in many.definitions.resolve_all_asset_keys()}
    assert {"alpha", "delta"} <= keys and not keys & {"beta", "gamma"}
    assert many.definitions is not before
    many.tick("timestore_files")
    requests = many.tick("timestore_files").run_requests or ()
    assert [request.job_name for request in requests] == ["land_delta"]
    assert all(many.run(request) for request in requests)
    with Warehouse.open() as warehouse:
        assert sum(partition.rows for partition in warehouse.partitions("delta")) == 1
        assert warehouse.partitions("alpha") == []


def looks(names: Sequence[str], **outcomes: dg.SensorResult | Exception) -> list[WatchedLook]:
    def look(name: str) -> dg.SensorResult:
        outcome = outcomes.get(name, dg.SensorResult(skip_reason="idle", cursor=f"of {name}"))
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return [WatchedLook(dataset=name, look=lambda _tick, _cursor, name=name: look(name)) for name in names]  # type: ignore[misc] # the default binds the name


TICK = cast("Tick", SimpleNamespace(log=logging.getLogger("sweep")))


def swept(watched: list[WatchedLook], cursor: str | None = None, **limits: Any) -> dg.SensorResult:
    return sweep(TICK, watched, cursor, limits=SweepLimits(**limits), idle=lambda reason: reason == "idle")


def test_a_tick_that_is_out_of_time_says_where_the_next_one_goes_on() -> None:
    watched = looks("abc")
    first = swept(watched, seconds=0.0)
    assert str(first.skip_reason) == str(dg.SkipReason("nothing to do for 1 of 3; 2 are looked at in the next ticks"))
    cursor = SweepCursor.parse(first.cursor)
    assert (cursor.first, dict(cursor.inner)) == (watched[1].key, {watched[0].key: "of a"})
    second = SweepCursor.parse(swept(watched, first.cursor, seconds=0.0).cursor)
    assert (second.first, set(second.inner.values())) == (watched[2].key, {"of a", "of b"})


def test_a_tick_ends_when_it_asks_for_enough() -> None:
    many = dg.SensorResult(run_requests=[dg.RunRequest(), dg.RunRequest()])
    done = swept(looks("abc", a=many, b=many, c=many), requests=3)
    assert len(done.run_requests or ()) == 4
    assert SweepCursor.parse(done.cursor).first == looks("c")[0].key


@pytest.mark.parametrize("side_by_side", [1, 2])
def test_errors_are_of_one_dataset_unless_all_fail(side_by_side: int) -> None:
    broken: dict[str, Any] = {name: InputError(f"{name} is wrong") for name in "ab"}
    done = swept(looks("abc", **broken), side_by_side=side_by_side)
    assert "a: failed: a is wrong; b: failed: b is wrong; nothing to do for 1 of 3" in str(done.skip_reason)
    with pytest.raises(InputError, match="a is wrong"):
        swept(looks("ab", **broken), side_by_side=side_by_side)


def test_datasets_that_fail_slowly_cost_the_others_one_tick_and_no_more() -> None:
    watched = looks("abc", a=InputError("a is wrong"))
    first = swept(watched, seconds=0.0)
    assert "a: failed: a is wrong; 2 are looked at in the next ticks" in str(first.skip_reason)
    assert SweepCursor.parse(swept(watched, first.cursor, seconds=0.0).cursor).first == watched[2].key


@pytest.mark.parametrize("side_by_side", [1, 2])
def test_an_error_of_the_machine_is_of_the_dataset_that_met_it(side_by_side: int) -> None:
    dead_mount = OSError(errno.ESTALE, "Stale file handle")
    done = swept(looks("ab", a=dead_mount), side_by_side=side_by_side)
    assert "a: failed: [Errno" in str(done.skip_reason)
    assert list(SweepCursor.parse(done.cursor).inner.values()) == ["of b"]
    with pytest.raises(OSError, match="Stale file handle"):
        swept(looks("ab", a=dead_mount, b=dead_mount), side_by_side=side_by_side)


def test_a_long_cursor_is_compressed_and_an_unreadable_one_is_none() -> None:
    long = SweepCursor(first="k", inner={f"key{number}": "word " * 20 for number in range(100)})
    assert len(long.text()) < 1000
    assert SweepCursor.parse(long.text()) == long
    for text in (None, "", "z", "z!", "{", "[]", '{"version":0,"inner":{}}', "z" + "A" * 40):
        assert SweepCursor.parse(text) == SweepCursor()


def test_what_is_not_watched_any_more_leaves_the_cursor() -> None:
    both = swept(looks("ab"))
    assert set(SweepCursor.parse(swept(looks("a"), both.cursor).cursor).inner.values()) == {"of a"}


def test_declared_datasets_are_those_that_the_sensors_serve(many: ManyDatasets) -> None:
    assert set(read_declarations([many.home / "defs"])) == set(NAMES)
    targets = {job.name for job in many.definitions.resolve_sensor_def("timestore_files").jobs}
    assert targets == {f"land_{name}" for name in NAMES}
