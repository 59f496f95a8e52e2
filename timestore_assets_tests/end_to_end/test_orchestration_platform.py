"""The whole of it in Dagster's own processes: drop a file, fill a topic, launch a backfill, kill a run, look at the UI."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from timestore_assets_tests.end_to_end.dagster_platform import Platform, platform
from timestore_assets_tests.end_to_end.screenshots import browser_page, chromium, take
from timestore_assets_tests.support.dagster_deployment import DECLARATION, QUIET, TOPICS
from timestore_assets_tests.support.kafka_brokers import EmbeddedKafka, produce

# one worker, so that Dagster's processes are started once
pytestmark = [*QUIET, pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.xdist_group("dagster")]
# Its partitions stay open and below every threshold, so that only a person's backfill builds them.
BY_HAND = (
    DECLARATION.replace("name: readings", "name: history")
    .replace("inbox/readings/", "inbox/history/")
    .replace("age: 1h", "age: 5y")
    + "  late: {allowed: 90y}\n"
)
FOLLOWED = TOPICS.replace("name: readings", "name: followed").replace("topic: readings", "topic: followed")
DAYS = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=number) for number in range(30)]
ROWS = [f"d{device},{day:%Y-%m-%d}T{hour:02d}:00:00Z,{hour}" for day in DAYS for hour in range(24) for device in range(4)]


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedKafka]:
    with EmbeddedKafka() as started:
        yield started


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory, broker: EmbeddedKafka) -> Iterator[Platform]:
    home = tmp_path_factory.mktemp("platform")
    for name, text in (("readings", DECLARATION), ("history", BY_HAND), ("followed", FOLLOWED)):
        path = home / "defs" / name / "defs.yaml"
        path.parent.mkdir(parents=True)
        path.write_text(text, encoding="utf-8")
    quick = {"TIMESTORE_THREADS": "1", "TIMESTORE_SENSOR_INTERVAL_SECONDS": "3"}
    with platform(home, {**quick, "TIMESTORE_KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap}) as made:
        yield made


def drop(there: Platform, folder: str, name: str, rows: list[str]) -> None:
    target = there.home / "inbox" / folder
    target.mkdir(parents=True, exist_ok=True)
    (target / f".{name}").write_text("\n".join(["device,at,value", *rows]) + "\n", encoding="utf-8")
    (target / f".{name}").rename(target / name)


def hashes(there: Platform, name: str) -> dict[str, str | None]:
    """Content hash of each partition, None where it is not sealed."""
    with there.warehouse() as warehouse:
        return {found.partition.key: found.content_hash for found in warehouse.partitions(name)}


def green(there: Platform, name: str) -> set[str]:
    with there.instance() as instance:
        return instance.get_materialized_partitions(dg.AssetKey(name))


def reports(there: Platform, path: list[str]) -> list[str | None]:
    """Descriptions of the newest events of a source: what landed from files is a materialisation, all else an observation."""
    with there.instance() as instance:
        key = dg.AssetKey(path)
        seen = [record.asset_observation for record in instance.fetch_observations(key, limit=5).records]
        landed = [record.asset_materialization for record in instance.fetch_materializations(key, limit=5).records]
        return [event.description for event in (*seen, *landed) if event is not None]


def test_a_dropped_file_is_landed_and_built_by_itself(there: Platform) -> None:
    drop(there, "readings", "a.csv", ROWS[: 4 * 96])
    closed = {f"2024-01-0{day}" for day in (1, 2, 3)}
    there.wait(180, "the closed partitions are green", lambda: closed <= green(there, "readings"))
    assert green(there, "readings") == closed, "the newest day is still open"
    drop(there, "readings", "b.csv", ["x,2024-01-05T06:00:00Z,1"])
    there.wait(180, "the next day closes too", lambda: "2024-01-04" in green(there, "readings"))


def test_a_backfill_killed_half_way_is_finished_with_the_same_content(there: Platform, tmp_path: Path) -> None:
    drop(there, "history", "a.csv", ROWS)
    keys = [f"{day:%Y-%m-%d}" for day in DAYS]
    there.wait(180, "all days have landed", lambda: len(hashes(there, "history")) == len(keys))
    assert set(hashes(there, "history").values()) == {None}
    there.backfill("history", keys[:24])
    there.wait(180, "a run has built some", lambda: any(hashes(there, "history").values()))
    killed = _kill_run(there)
    done = sum(value is not None for value in hashes(there, "history").values())
    assert killed is not None
    assert done == 24, "small partitions are committed together, and the run was to be killed before it had told of them"
    second = there.backfill("history", keys)
    there.wait(420, "the second backfill is complete", lambda: there.backfill_status(second) == "COMPLETED_SUCCESS")
    found = hashes(there, "history")
    assert found == _clean_hashes(tmp_path, ROWS)
    assert green(there, "history") == set(keys)
    with there.warehouse() as warehouse:
        assert warehouse.verify("history").ok


def test_a_topic_is_landed_by_itself(there: Platform, broker: EmbeddedKafka) -> None:
    broker.create_topic("followed")
    values = [
        f'{{"device": "d{number % 7}", "at": "2024-01-0{1 + number % 2}T00:{number % 60:02d}:{number // 60:02d}Z", "value": 1}}'
        for number in range(1200)
    ]
    produce(broker.bootstrap, "followed", [(None, None, value, None, None) for value in values])
    landed = "1,200 of 1,200 records landed"
    there.wait(90, "the landing is reported", lambda: landed in reports(there, ["followed", "followed"]))
    with there.instance() as instance:
        (run,) = instance.get_runs(dg.RunsFilter(job_name="stream_followed"))
        assert run.status in (dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.SUCCESS)
    shown = reports(there, ["followed", "followed"])
    assert any(str(text).startswith("lag ") and str(text).endswith(" topic partitions") for text in shown)


@pytest.mark.browser
def test_the_ui_shows_it(there: Platform, tmp_path: Path) -> None:
    executable = chromium()
    if executable is None:
        pytest.skip("no chromium on this machine")
    good = [f"y,2024-01-{day}T00:00:00Z,1" for day in (15, 16, 17, 18, 20)]
    drop(there, "readings", "browser.csv", [*good, "y,2024-01-20T00:00:00Z,1000"])
    there.wait(180, "a closed day is green", lambda: "2024-01-18" in green(there, "readings"))
    there.wait(60, "the landing is reported", lambda: "5 of 6 records landed" in reports(there, ["readings", "inbox_readings"]))
    pages = {
        "lineage": ("/assets/readings?view=lineage", "inbox_readings"),
        "partitions": ("/assets/readings?view=partitions&partition=2024-01-18", "content_hash"),
        "columns": ("/assets/readings?view=overview", "unit: degC"),
        "letters": ("/assets/readings?view=checks&checkDetail=dead_letters", "record was refused"),
        "accounting": ("/assets/readings?view=checks&checkDetail=accounting", "records are accounted for"),
        "source": ("/assets/readings/inbox_readings?view=events", "5 of 6 records landed"),
        "topic": ("/assets/followed/followed?view=overview", "on_lost_offsets"),
        "topic_lineage": ("/assets/followed?view=lineage", "kafka"),
        "sensors": ("/automation", "timestore_topics"),
    }
    with browser_page(executable) as page:
        take(page, f"http://127.0.0.1:{there.port}", tmp_path, pages)
    assert {path.stem for path in tmp_path.glob("*.png")} == set(pages)


def _kill_run(there: Platform) -> int | None:
    """kill -9 the process of the run that builds `history`; its pid, or None when there was none."""
    with there.instance() as instance:
        runs = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
        for run in runs:
            if dg.AssetKey("history") in (run.asset_selection or ()):
                for entry in instance.all_logs(run.run_id):
                    if match := re.search(r"Started process for run \(pid: (\d+)\)", entry.get_dagster_event().message or ""):
                        os.kill(int(match[1]), signal.SIGKILL)
                        return int(match[1])
    return None


def _clean_hashes(folder: Path, rows: list[str]) -> dict[str, str | None]:
    """What one undisturbed landing and build of the same rows gives."""
    home = folder / "clean"
    made = Platform(home=home, port=0, log=folder / "none")
    (home / "defs" / "history").mkdir(parents=True)
    (home / "defs" / "history" / "defs.yaml").write_text(BY_HAND, encoding="utf-8")
    drop(made, "history", "a.csv", rows)
    with made.warehouse() as warehouse:
        warehouse.land("history", [home / "inbox" / "history" / "a.csv"])
        partitions = [warehouse.datasets["history"].partition(f"{day:%Y-%m-%d}") for day in DAYS]
        return {report.partition.key: report.content_hash for report in warehouse.build("history", partitions, close=True)}
