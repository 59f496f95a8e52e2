"""The sensor that follows topics and the job that lands them, on a real Dagster instance and the embedded broker."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from confluent_kafka.admin import AdminClient
from sqlalchemy import Engine, event

from timestore_assets.orchestration.landing import topic_sensor
from timestore_assets.orchestration.landing.topic_sensor import observed
from timestore_assets.orchestration.outbox_relay import drain
from timestore_assets.orchestration.sweep import SweepCursor, WatchedLook
from timestore_assets.sources.kafka import kafka_topics
from timestore_assets_tests.support.dagster_deployment import QUIET, TOPICS, DagsterDeployment, dagster_deployment
from timestore_assets_tests.support.kafka_brokers import REAL_KAFKA, EmbeddedKafka, KafkaCluster, produce
from timestore_assets_tests.support.outages import give_up_soon

pytestmark = QUIET
FOLLOW, STREAM, BUILD = "timestore_topics", "stream_readings", "__ASSET_JOB"
TOPIC = dg.AssetKey(["readings", "readings"])
NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def broker() -> Iterator[EmbeddedKafka]:
    with EmbeddedKafka() as started:
        yield started


@pytest.fixture
def deployment(tmp_path: Path, broker: EmbeddedKafka, monkeypatch: pytest.MonkeyPatch) -> Iterator[DagsterDeployment]:
    monkeypatch.setenv("TIMESTORE_KAFKA_BOOTSTRAP_SERVERS", broker.bootstrap)
    # a tick that gives up on a busy machine is right, but not what is tested here
    monkeypatch.setattr(topic_sensor, "BROKER_SECONDS", 15.0)
    with dagster_deployment(tmp_path, TOPICS) as made:
        yield made


@pytest.fixture
def asked_of_brokers(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float]]:
    """What sensors ask brokers from here on, each with the seconds that the answer may take."""
    questions: list[tuple[str, float]] = []

    class Asking(AdminClient):
        def list_topics(self, *what: Any, timeout: float, **how: Any) -> Any:
            questions.append(("list_topics", timeout))
            return super().list_topics(*what, timeout=timeout, **how)

        def list_offsets(self, *what: Any, request_timeout: float, **how: Any) -> Any:
            questions.append(("list_offsets", request_timeout))
            return super().list_offsets(*what, request_timeout=request_timeout, **how)

        def describe_topics(self, *what: Any, request_timeout: float, **how: Any) -> Any:
            questions.append(("describe_topics", request_timeout))
            return super().describe_topics(*what, request_timeout=request_timeout, **how)

    monkeypatch.setattr(kafka_topics, "AdminClient", Asking)
    return questions


@contextmanager
def statements() -> Iterator[list[str]]:
    """The statements that databases execute meanwhile, in order."""
    executed: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        executed.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield executed
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def readings(count: int, *, first: int = 0, pad: str = "") -> list[str]:
    times = [NOON + timedelta(seconds=number) for number in range(first, first + count)]
    return [json.dumps({"device": f"d{time.second}{pad}", "at": time.isoformat(), "value": 1.5}) for time in times]


def send(deployment: DagsterDeployment, values: list[str], *, partition: int | None = None, topic: str = "readings") -> None:
    servers = deployment.settings.kafka_bootstrap_servers
    assert servers is not None
    produce(servers, topic, [(partition, None, value, None, None) for value in values])


def asked(deployment: DagsterDeployment, cursor: str | None = None) -> list[dg.RunRequest]:
    return list(deployment.tick(FOLLOW, cursor).run_requests or ())


def land(deployment: DagsterDeployment) -> dict[str, Any]:
    """Do what the sensor asks for; the session's output metadata."""
    tick = deployment.tick(FOLLOW)
    assert tick.run_requests, tick.skip_message
    (request,) = tick.run_requests
    result = deployment.run(request, STREAM)
    assert result.success
    (event,) = [event for event in result.all_events if event.event_type_value == "STEP_OUTPUT"]
    return {name: value.value for name, value in event.step_output_data.metadata.items()}


def rows(deployment: DagsterDeployment) -> int:
    with deployment.warehouse() as warehouse:
        return sum(found.rows for found in warehouse.partitions("readings"))


def check(deployment: DagsterDeployment, name: str) -> dg.AssetCheckEvaluation:
    key = dg.AssetCheckKey(dg.AssetKey("readings"), name)
    event = deployment.instance.event_log_storage.get_latest_asset_check_execution_by_key([key])[key].event
    assert event is not None
    assert event.dagster_event is not None
    return event.dagster_event.asset_check_evaluation_data


def test_what_is_in_a_topic_is_landed_once(deployment: DagsterDeployment) -> None:
    send(deployment, readings(1000))
    first = deployment.tick(FOLLOW)
    assert first.run_requests is not None
    (request,) = first.run_requests
    assert request.run_config == {
        "ops": {"stream_readings_topics": {"config": {"source": "readings", "shard": 0, "of": 1}}},
    }
    assert request.tags["timestore/shard"] == "0/1"
    assert [again.run_key for again in asked(deployment)] == [request.run_key]
    done = land(deployment)
    assert (done["read"], done["landed"], done["lag"], done["dead_letters"]) == (1000, 1000, 0, 0)
    assert rows(deployment) == 1000
    after = deployment.tick(FOLLOW)
    assert (after.run_requests, after.skip_message) == ([], "all 4 topic partitions have been read to their ends")
    send(deployment, readings(10, first=1000))
    assert asked(deployment)[0].run_key != request.run_key
    assert land(deployment)["landed"] == 10
    found = deployment.instance.fetch_observations(TOPIC, limit=10).records
    texts = [record.asset_observation.description for record in found if record.asset_observation]
    assert texts == ["10 of 10 records landed", "1,000 of 1,000 records landed"]
    assert check(deployment, "stream").passed
    assert check(deployment, "lost_offsets").passed
    assert check(deployment, "accounting").passed


@pytest.mark.parametrize(
    ("servers", "reason"),
    [
        ("", "no Kafka cluster is configured: set TIMESTORE_KAFKA_BOOTSTRAP_SERVERS or run `timestore broker`"),
        ("127.0.0.1:1", "listing offsets from the Kafka brokers 127.0.0.1:1 failed: "),
    ],
)
def test_without_a_broker_a_tick_skips_with_one_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked_of_brokers: list[tuple[str, float]], servers: str, reason: str
) -> None:
    monkeypatch.setenv("TIMESTORE_KAFKA_BOOTSTRAP_SERVERS", servers)
    with dagster_deployment(tmp_path, TOPICS) as deployment:
        (source,) = deployment.dataset.kafka_sources
        watched = WatchedLook(dataset="readings", source=source.address, look=lambda *_: dg.SensorResult())
        before = SweepCursor(inner={watched.key: "as it was"}).text()
        found = deployment.tick(FOLLOW, before)
    assert found.run_requests == []
    assert found.skip_message is not None
    assert found.skip_message.startswith(reason)
    assert found.cursor == before
    assert sum(seconds for _, seconds in asked_of_brokers) < 2.0, "what a tick spends on brokers that don't answer"


def test_a_topic_that_does_not_exist_is_named(deployment: DagsterDeployment) -> None:
    assert deployment.tick(FOLLOW).skip_message == "topic readings does not exist on this cluster"


def test_a_run_that_waits_or_works_is_not_doubled(deployment: DagsterDeployment) -> None:
    send(deployment, readings(10))
    (request,) = asked(deployment)
    job = deployment.definitions.resolve_job_def(STREAM)
    deployment.instance.create_run_for_job(job, run_config=request.run_config, tags=request.tags)
    assert deployment.tick(FOLLOW).skip_message == "1 session about to begin, lag 10"


def test_a_session_that_fails_is_tried_again_after_a_pause(
    deployment: DagsterDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_up_soon(monkeypatch)
    send(deployment, readings(10))
    (request,) = asked(deployment)
    data = deployment.home / "data"
    data.write_text("a file where the folder should be")
    assert not deployment.run(request, STREAM).success
    data.unlink()
    with monkeypatch.context() as slower:
        slower.setenv("TIMESTORE_PARTITION_BUILD_BACKOFF_MS", "600000")
        waiting = deployment.tick(FOLLOW)
        assert waiting.run_requests == []
        assert "ended without progress; tried again at" in str(waiting.skip_message)
    assert asked(deployment)[0].run_key == str(request.run_key).removesuffix(":0") + ":1"
    assert land(deployment)["landed"] == 10


def test_lag_asks_for_several_sessions_that_share_the_topic(
    deployment: DagsterDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIMESTORE_STREAM_LAG_PER_SESSION", "500")
    for partition in range(4):
        send(deployment, readings(500, first=500 * partition), partition=partition)
    requests = asked(deployment)
    assert [request.tags["timestore/shard"] for request in requests] == ["0/4", "1/4", "2/4", "3/4"]
    assert len({request.run_key for request in requests}) == 4
    limits = {pool.name: pool.limit for pool in deployment.instance.event_log_storage.get_pool_limits()}
    assert limits["timestore_stream"] == 4
    for request in requests:
        assert deployment.run(request, STREAM).success
    assert rows(deployment) == 2000
    send(deployment, readings(10, first=2000))
    assert [request.tags["timestore/shard"] for request in asked(deployment)] == ["0/1"]


def test_a_backlog_pauses_landing_until_it_is_built(deployment: DagsterDeployment, monkeypatch: pytest.MonkeyPatch) -> None:
    send(deployment, readings(10))
    assert land(deployment)["landed"] == 10
    send(deployment, readings(10, first=10))
    with monkeypatch.context() as strict:
        strict.setenv("TIMESTORE_BACKLOG_HIGH_DELTAS", "1")
        strict.setenv("TIMESTORE_BACKLOG_LOW_DELTAS", "0")
        paused = deployment.tick(FOLLOW)
        assert paused.run_requests == []
        assert paused.skip_message is not None
        assert paused.skip_message.startswith("landing is paused: 1 unbuilt deltas; it goes on below ")
        with deployment.warehouse() as warehouse:
            drain(warehouse, deployment.instance)
            assert warehouse.status("readings").sources[0].record.paused
            shown = check(deployment, "stream")
            assert not shown.passed
            assert "is paused: 1 unbuilt deltas" in str(shown.description)
            partition = warehouse.datasets["readings"].partition("2024-01-01")
            assert [report.outcome for report in warehouse.build("readings", [partition], close=True)] == ["built"]
        assert len(asked(deployment)) == 1
    assert land(deployment)["landed"] == 10
    assert check(deployment, "stream").passed
    found = deployment.instance.fetch_observations(TOPIC, limit=10).records
    texts = [record.asset_observation.description for record in found if record.asset_observation]
    assert texts[:2] == ["10 of 10 records landed", "landing goes on"]
    assert str(texts[2]).startswith("landing is paused: 1 unbuilt deltas")


def test_lost_offsets_stop_landing_until_somebody_takes_note(deployment: DagsterDeployment) -> None:
    send(deployment, readings(10), partition=0)
    assert land(deployment)["landed"] == 10
    send(deployment, readings(80, first=10, pad="x" * 100_000), partition=0)
    assert land(deployment)["landed"] == 0, "the session puts the lost range on record"
    stopped = deployment.tick(FOLLOW)
    assert stopped.run_requests == []
    assert stopped.skip_message is not None
    assert stopped.skip_message.startswith("the brokers deleted offsets before they were read (readings/0 10 to ")
    assert stopped.skip_message.endswith(
        "; take note of them with `timestore stream readings --accept-lost-offsets`, or declare `on_lost_offsets: continue`"
    )
    failed = check(deployment, "lost_offsets")
    assert (failed.passed, failed.severity) == (False, dg.AssetCheckSeverity.ERROR)
    send(deployment, readings(5, first=200), partition=1)
    assert land(deployment)["landed"] == 5, "other topic partitions go on"
    with deployment.warehouse() as warehouse:
        _, record = warehouse.resolve("readings")
        assert warehouse.catalog.topics.accept_lost(record.id, actor="test") == 1
        (lost,) = warehouse.catalog.topics.lost_ranges(record.id)
    assert land(deployment)["landed"] == 90 - lost.end
    assert check(deployment, "lost_offsets").passed
    assert rows(deployment) == 15 + 90 - lost.end


def test_cancelling_a_run_ends_its_session_behind_a_commit(deployment: DagsterDeployment) -> None:
    declared = deployment.declare(lambda _: TOPICS.replace("idle: 1s", "idle: 1m"))
    patient = DagsterDeployment(home=deployment.home, dataset=declared, instance=deployment.instance)
    send(patient, readings(100))
    (request,) = asked(patient)
    threading.Thread(target=_interrupt_when, args=(patient, 100), daemon=True).start()
    assert not patient.run(request, STREAM).success, "left alone it would have ended well"
    (run,) = patient.instance.get_runs()
    assert run.status == dg.DagsterRunStatus.CANCELED
    said = [entry.user_message for entry in patient.instance.all_logs(run.run_id)]
    assert any("it was asked to stop" in line for line in said)
    with patient.warehouse() as warehouse:
        (source,) = warehouse.resolve("readings")[0].kafka_sources
        lag = warehouse.lag("readings", source)
    assert (lag.lag, {one.held_by for one in lag.partitions}) == (0, {None}), "the session has let go"


def _interrupt_when(deployment: DagsterDeployment, landed: int) -> None:
    deadline = time.monotonic() + 60
    while rows(deployment) < landed and time.monotonic() < deadline:
        time.sleep(0.05)
    (run,) = deployment.instance.get_runs()
    deployment.instance.report_run_canceling(run)  # as the button in the UI does
    os.kill(os.getpid(), signal.SIGINT)


def test_lag_and_throughput_are_observed_once_a_minute(deployment: DagsterDeployment) -> None:
    send(deployment, readings(600), partition=2)
    source = deployment.dataset.kafka_sources[0]
    now = datetime.now(UTC)
    with deployment.warehouse() as warehouse:
        ((first,), cursor) = observed(
            deployment.dataset, warehouse.lag("readings", source), None, cursor=None, now=now - timedelta(minutes=2)
        )
    assert first.asset_key == TOPIC
    figures = {name: value.value for name, value in first.metadata.items()}
    assert (figures["lag"], figures["high_watermark"], figures["topic_partitions_behind"]) == (600, 600, 1)
    land(deployment)
    with deployment.warehouse() as warehouse:
        lag = warehouse.lag("readings", source)
    assert observed(deployment.dataset, lag, NOON, cursor=cursor, now=now - timedelta(seconds=61)) == ((), cursor)
    ((second,), cursor) = observed(deployment.dataset, lag, NOON, cursor=cursor, now=now)
    assert (second.metadata["lag"].value, second.metadata["records_per_second"].value) == (0, 5.0)
    ((third,), cursor) = observed(deployment.dataset, lag, NOON, cursor=cursor, now=now + timedelta(minutes=1))
    assert third.metadata["records_per_second"].value == 0.0
    events, _ = observed(deployment.dataset, lag, NOON, cursor=cursor, now=now + timedelta(minutes=2))
    assert list(events) == [], "nothing changed"
    tick = deployment.tick(FOLLOW, "of another version")
    assert json.loads(str(tick.cursor))["version"] == 1
    assert len(deployment.tick(FOLLOW, tick.cursor).asset_events) == 0


def test_each_topic_of_a_list_is_an_asset_and_shows_its_own_lag(deployment: DagsterDeployment) -> None:
    declared = deployment.declare(lambda _: TOPICS.replace("topic: readings", "topics: [north, south]"))
    both = DagsterDeployment(home=deployment.home, dataset=declared, instance=deployment.instance)
    keys = {key.path[-1] for key in both.definitions.resolve_all_asset_keys() if len(key.path) > 1}
    assert keys == {"north", "south"}
    send(both, readings(30), topic="north")
    send(both, readings(20, first=30), topic="south")
    seen = both.tick(FOLLOW).asset_events
    assert {event.asset_key.path[-1]: event.metadata["lag"].value for event in seen} == {"north": 30, "south": 20}
    assert land(both)["landed"] == 50
    (record,) = both.instance.fetch_observations(dg.AssetKey("readings"), limit=10).records
    assert record.asset_observation is not None
    assert record.asset_observation.description == "50 of 50 records landed", "of the source as a whole, so at the dataset"


@REAL_KAFKA[0]
def test_a_tick_asks_as_little_over_500_topic_partitions_as_over_4(
    tmp_path: Path, kafka: KafkaCluster, monkeypatch: pytest.MonkeyPatch, asked_of_brokers: list[tuple[str, float]]
) -> None:
    monkeypatch.setenv("TIMESTORE_KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap)
    monkeypatch.setattr(topic_sensor, "BROKER_SECONDS", 15.0)
    ticks = []
    for partitions in (4, 500):
        topic = f"wide-{os.getpid()}-{time.time_ns()}"
        kafka.create_topic(topic, partitions)
        with dagster_deployment(tmp_path / str(partitions), TOPICS.replace("topic: readings,", f"topic: {topic},")) as deployment:
            send(deployment, readings(2000), topic=topic)
            assert land(deployment)["landed"] == 2000
            deployment.tick(FOLLOW)
            asked_of_brokers.clear()
            with statements() as executed:
                tick = deployment.tick(FOLLOW)
            assert tick.skip_message == f"all {partitions} topic partitions have been read to their ends"
            ticks.append((list(asked_of_brokers), executed))
    assert ticks[0] == ticks[1]
    assert [call for call, _ in ticks[0][0]] == ["list_topics", "list_offsets", "list_offsets", "describe_topics"]
