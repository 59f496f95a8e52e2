"""OpenLineage events: what they say of landings and builds, that they arrive at least once, and that nothing waits for them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from confluent_kafka import Consumer
from openlineage.client import event_v2
from openlineage.client.serde import Serde

from timestore_assets.lineage.emitting import CONSUMER, emit, emit_again
from timestore_assets.model.dataset import FileSource, HttpSource
from timestore_assets.model.errors import TimestoreError
from timestore_assets.orchestration.lineage_sensor import lineage_sensors
from timestore_assets.orchestration.served_datasets import ServedDatasets
from timestore_assets.settings import Settings
from timestore_assets.warehouse import Warehouse
from timestore_assets_tests.support.alert_receivers import Received, webhook
from timestore_assets_tests.support.command_warehouse import CommandWarehouse
from timestore_assets_tests.support.dagster_deployment import QUIET
from timestore_assets_tests.support.http_service import open_warehouse, serving
from timestore_assets_tests.support.kafka_brokers import EmbeddedKafka
from timestore_assets_tests.support.kafka_cluster import KafkaCluster
from timestore_assets_tests.support.landing_warehouse import dataset
from timestore_assets_tests.support.topic_warehouse import wait_until

pytestmark = QUIET
SOURCES = (FileSource(prefix="inbox/weather/"), HttpSource())
WEATHER = replace(dataset(sources=SOURCES), description="Observations", owners=("team:weather",))
RUN = "1d9f2a1e-1111-4222-8333-444455556666"
GOOD, BAD = "2013-01-01T00:00:00Z,x,1", "2013-01-02T00:00:00Z,x,999"
Event = dict[str, Any]


@pytest.fixture
def receiver() -> Iterator[Received]:
    with webhook() as found:
        yield found


def opened(folder: Path, address: str, catalog_url: str | None = None, **more: Any) -> Any:
    return open_warehouse(folder, {"weather": WEATHER}, catalog_url=catalog_url, openlineage=address, **more)


def land(warehouse: Warehouse, name: str, *lines: str, actor: str = "cli:ada") -> None:
    folder = warehouse.settings.home_folder / "inbox" / "weather"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("ts,station,temp\n" + "".join(f"{line}\n" for line in lines))
    warehouse.land("weather", [folder / name], actor=actor)


def build(warehouse: Warehouse, *keys: str, actor: str = f"dagster run {RUN}") -> None:
    partitions = [warehouse.datasets["weather"].partition(key) for key in keys]
    list(warehouse.build("weather", partitions, close=True, actor=actor))


def states(events: Sequence[Event]) -> list[tuple[str, str]]:
    return [(event["job"]["name"], event["eventType"]) for event in events]


def lines(path: Path) -> list[Event]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def sent(warehouse: Warehouse, path: Path) -> list[Event]:
    """Land and build a little, and what that tells."""
    emit(warehouse)
    land(warehouse, "a.csv", GOOD, BAD)
    build(warehouse, "2013-01-01")
    assert emit(warehouse).sent == 4
    return lines(path)


def test_a_landing_and_a_build_are_runs_with_all_their_facets(tmp_path: Path, catalog_url: str) -> None:
    path = tmp_path / "told" / "events.jsonl"
    with opened(tmp_path / "home", path.as_uri(), catalog_url) as warehouse:
        events = sent(warehouse, path)
        source = str(warehouse.settings.home_folder / "inbox" / "weather")
    assert states(events) == [
        ("weather.landing", "START"), ("weather.build", "START"), ("weather.build", "COMPLETE"), ("weather.landing", "COMPLETE"),
    ]  # fmt: skip
    assert path.stat().st_mode & 0o077 == 0
    built, landed = events[2], events[3]
    assert landed["run"]["runId"] == events[0]["run"]["runId"] != built["run"]["runId"]

    [read], [written] = landed["inputs"], landed["outputs"]
    assert (read["namespace"], read["name"]) == ("file", source)
    assert [field["name"] for field in read["facets"]["schema"]["fields"]] == ["ts", "station", "temp"]
    assert read["inputFacets"]["inputStatistics"]["rowCount"] == 2
    found = {one["assertion"]: one["success"] for one in read["inputFacets"]["dataQualityAssertions"]["assertions"]}
    assert found.pop("accounting") and not found.pop("dead_letters") and found.pop("late_records")
    assert len(found) == 1 and not any(found.values()), "the code that the record was refused for"
    assert (written["namespace"], written["name"]) == ("timestore", "weather")
    assert written["outputFacets"]["outputStatistics"] | {"size": 0} == {
        **written["outputFacets"]["outputStatistics"], "rowCount": 1, "fileCount": 1, "size": 0,
    }  # fmt: skip
    facets = written["facets"]
    assert [field["name"] for field in facets["schema"]["fields"]] == ["ts", "station", "temp"]
    [upstream] = facets["columnLineage"]["fields"]["temp"]["inputFields"]
    assert (upstream["namespace"], upstream["name"], upstream["field"]) == ("file", source, "temp")
    assert facets["version"]["datasetVersion"] == "1"
    assert facets["documentation"]["description"] == "Observations" and facets["ownership"]["owners"][0]["name"] == "team:weather"

    assert built["run"]["facets"]["parent"]["run"]["runId"] == RUN and "parent" not in landed["run"]["facets"]
    assert built["run"]["facets"]["nominalTime"]["nominalStartTime"] == "2013-01-01T00:00:00Z"
    [upstream] = built["outputs"][0]["facets"]["columnLineage"]["fields"]["temp"]["inputFields"]
    assert (upstream["namespace"], upstream["name"]) == ("timestore", "weather")
    assert {tag["key"]: tag["value"] for tag in landed["run"]["facets"]["tags"]["tags"]}["actor"] == "cli:ada"


def test_each_event_is_one_that_the_clients_classes_take(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with opened(tmp_path / "home", path.as_uri()) as warehouse:
        events = sent(warehouse, path)
    for event in events:
        facets = [*event["run"]["facets"].values(), *event["job"]["facets"].values()]
        for data in (*event["inputs"], *event["outputs"]):
            facets += [*data["facets"].values(), *data.get("inputFacets", {}).values(), *data.get("outputFacets", {}).values()]
        assert facets and all(one["_producer"].startswith("urn:timestore-assets:") for one in facets)
        assert all("openlineage.io/spec/" in one["_schemaURL"] for one in facets)
        uuid.UUID(event["run"]["runId"])
        again = event_v2.RunEvent(
            eventType=event_v2.RunState(event["eventType"]),
            eventTime=event["eventTime"],
            producer=event["producer"],
            run=event_v2.Run(**event["run"]),
            job=event_v2.Job(**event["job"]),
            inputs=[event_v2.InputDataset(**one) for one in event["inputs"]],
            outputs=[event_v2.OutputDataset(**one) for one in event["outputs"]],
        )
        assert json.loads(Serde.to_json(again)) == event


def test_over_http_with_a_key_and_no_secret_in_what_is_sent(tmp_path: Path, receiver: Received) -> None:
    with opened(tmp_path, receiver.url, openlineage_api_key="top", openlineage_namespace="prod") as warehouse:
        emit(warehouse)
        land(warehouse, "a.csv", GOOD)
        assert emit(warehouse).sent == 2
    headers = receiver.requests[0][0]
    assert headers["Authorization"] == "Bearer top" and headers["Content-Type"] == "application/json"
    assert {(event["job"]["namespace"], event["outputs"][0]["namespace"]) for event in receiver.bodies} == {("prod", "prod")}
    assert "top" not in str(receiver.bodies) and "hidden" not in str(receiver.bodies)


def test_a_receiver_that_is_down_gets_all_later_and_nothing_else_waits(tmp_path: Path, receiver: Received) -> None:
    with opened(tmp_path, receiver.url) as warehouse:
        emit(warehouse)
        land(warehouse, "a.csv", GOOD)
        receiver.answers = [503]
        first = emit(warehouse)
        assert first.problem == "the receiver answered 503" and first.sent == 0
        cursor = warehouse.catalog.event_cursors.of(CONSUMER)
        assert cursor.attempts == 1 and cursor.due_at > datetime.now(UTC)
        assert (emit(warehouse).sent, len(receiver.requests)) == (0, 1), "it is left alone for a while"
        build(warehouse, "2013-01-01")
        assert emit(warehouse, at_once=True).sent == 4
        assert warehouse.catalog.event_cursors.of(CONSUMER).attempts == 0
    assert len({event["run"]["runId"] for event in receiver.bodies}) == 2


def test_an_event_that_is_refused_for_good_is_left_out(tmp_path: Path, receiver: Received) -> None:
    with opened(tmp_path, receiver.url) as warehouse:
        emit(warehouse)
        land(warehouse, "a.csv", GOOD)
        receiver.answers = [422]
        done = emit(warehouse)
    assert (done.sent, done.refused, done.problem) == (1, 1, "")


def test_one_that_nobody_listens_at_is_told_without_its_address(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with opened(tmp_path, "http://ada:hidden@127.0.0.1:9/") as warehouse:
        emit(warehouse)
        land(warehouse, "a.csv", GOOD)
        assert emit(warehouse).problem == "the receiver could not be reached (ConnectionError)"
    assert "it is tried again in 5 s" in caplog.text and "hidden" not in caplog.text and "127.0.0.1" not in caplog.text


@pytest.mark.parametrize("address", ["ftp://hidden/x", "http://", "file:///", "kafka://hidden:9092/", "hidden", "http://[hidden"])
def test_a_wrong_address_is_refused_without_showing_it(tmp_path: Path, address: str) -> None:
    with opened(tmp_path, address) as warehouse, pytest.raises(TimestoreError, match="write https://host") as refused:
        emit(warehouse)
    assert "hidden" not in str(refused.value)


def test_a_topic_gets_them_keyed_by_job(tmp_path: Path, any_kafka: KafkaCluster | EmbeddedKafka) -> None:
    topic = f"lineage-{uuid.uuid4().hex}"
    any_kafka.create_topic(topic)
    with opened(tmp_path, f"kafka://{any_kafka.bootstrap.split(',')[0]}/{topic}") as warehouse:
        emit(warehouse)
        land(warehouse, "a.csv", GOOD)
        assert emit(warehouse).sent == 2
    consumer = Consumer({"bootstrap.servers": any_kafka.bootstrap, "group.id": topic, "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    found: list[Any] = []

    def are_there() -> bool:
        found.extend(consumer.consume(10, 0.5))
        return len(found) >= 2

    try:
        wait_until(are_there, "both events are there")
    finally:
        consumer.close()
    assert {message.key() for message in found} == {b"run:timestore/weather.landing"}
    assert [json.loads(message.value())["eventType"] for message in found] == ["START", "COMPLETE"]


def test_brokers_that_are_away_are_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("timestore_assets.lineage.receivers.TIMEOUT_SECONDS", 1.0)
    with opened(tmp_path, "kafka://127.0.0.1:9/lineage") as warehouse:
        emit(warehouse)
        land(warehouse, "a.csv", GOOD)
        assert "the brokers did not take it" in emit(warehouse).problem
        assert warehouse.catalog.event_cursors.of(CONSUMER).attempts == 1


EMIT = """
import sys
from pathlib import Path
from timestore_assets.lineage.emitting import emit
from timestore_assets_tests.integration.test_lineage_events import opened
with opened(Path(sys.argv[1]), sys.argv[2], sys.argv[3] or None) as warehouse:
    print("begun", flush=True)
    emit(warehouse)
"""


@pytest.mark.parametrize("at", [1, 3])
def test_killed_before_the_cursor_moves_the_same_events_come_again(
    tmp_path: Path, catalog_url: str, receiver: Received, at: int
) -> None:
    with opened(tmp_path, receiver.url, catalog_url) as warehouse:
        emit(warehouse)
        land(warehouse, "a.csv", GOOD)
        build(warehouse, "2013-01-01")
    with subprocess.Popen([sys.executable, "-c", EMIT, str(tmp_path), receiver.url, catalog_url]) as child:
        # it is dead when the receiver has the event and it does not know of that
        receiver.before_answer = lambda count: os.kill(child.pid, signal.SIGKILL) if count == at else None
        assert child.wait(timeout=120) == -signal.SIGKILL
    receiver.before_answer = lambda _: None
    told = list(receiver.bodies)
    assert len(told) == at
    with opened(tmp_path, receiver.url, catalog_url) as warehouse:
        wait_until(lambda: emit(warehouse).sent == 4, "the dead one's lease is free")
    again = receiver.bodies[at:]
    assert again[:at] == told
    assert sorted(state for _, state in states(again)) == ["COMPLETE", "COMPLETE", "START", "START"]


def test_two_at_a_time_send_nothing_twice(tmp_path: Path, receiver: Received) -> None:
    with opened(tmp_path, receiver.url) as warehouse:
        emit(warehouse)
        land(warehouse, "a.csv", GOOD)
        receiver.before_answer = lambda count: None if count > 1 else others.append(emit(warehouse).sent)
        others: list[int] = []
        assert emit(warehouse).sent == 2
    assert others == [0] and len(receiver.bodies) == 2


def test_what_was_before_is_sent_when_it_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with opened(tmp_path / "home", path.as_uri()) as warehouse:
        land(warehouse, "a.csv", GOOD)
        assert emit(warehouse).began and not path.exists()
        assert emit_again(warehouse, datetime.now(UTC) - timedelta(hours=1)).sent == 2
        assert emit_again(warehouse, datetime.now(UTC) - timedelta(hours=1)).sent == 2
        assert emit_again(warehouse, datetime.now(UTC) + timedelta(hours=1)).sent == 0
        assert emit(warehouse).sent == 0
    events = lines(path)
    assert events[:2] == events[2:]


def test_a_failure_is_told_with_its_reason(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with opened(tmp_path / "home", path.as_uri()) as warehouse:
        emit(warehouse)
        land(warehouse, "a.csv", GOOD)
        for segment in warehouse.settings.data_folder.rglob("*.parquet"):
            segment.unlink()
        with pytest.raises(TimestoreError) as raised:
            build(warehouse, "2013-01-01")
        emit(warehouse)
    [failed] = [event for event in lines(path) if event["eventType"] == "FAIL"]
    assert failed["job"]["name"] == "weather.build"
    assert failed["run"]["facets"]["errorMessage"]["message"] == str(raised.value)


def test_the_service_sends_them_beside_its_requests(tmp_path: Path, receiver: Received, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("timestore_assets.service.lineage_loop.EVERY_SECONDS", 0.2)
    with opened(tmp_path, receiver.url) as warehouse:
        emit(warehouse)
        with serving(warehouse) as http:
            http.client.post("/datasets/weather/ingest", json={"records": [{"ts": "2013-01-01T00:00:00Z", "station": "x"}]})
            wait_until(lambda: bool(receiver.requests), "the service has told")
    first = receiver.bodies[0]
    assert states([first]) == [("weather.landing", "START")]
    assert first["inputs"][0]["name"] == "weather/ingest"
    assert first["job"]["facets"]["jobType"]["processingType"] == "SERVICE"


def test_the_sensor_is_there_where_a_receiver_is(tmp_path: Path, receiver: Received, monkeypatch: pytest.MonkeyPatch) -> None:
    served = ServedDatasets(from_files={"weather": WEATHER})
    assert lineage_sensors(served, Settings(home=tmp_path)) == []
    monkeypatch.setenv("TIMESTORE_HOME", str(tmp_path))
    monkeypatch.setenv("TIMESTORE_OPENLINEAGE", receiver.url)
    with opened(tmp_path, receiver.url) as warehouse:
        emit(warehouse)
        land(warehouse, "a.csv", GOOD)
    [sensor] = lineage_sensors(served, Settings.load())
    with dg.DagsterInstance.ephemeral() as instance:
        result = sensor.evaluate_tick(dg.build_sensor_context(instance))
    assert result.skip_message == "2 events sent" and len(receiver.bodies) == 2


def test_the_commands(tmp_path: Path) -> None:
    made = CommandWarehouse.at(tmp_path, None, None)
    assert "no receiver is set" in made.refused("lineage", "emit").err
    path = tmp_path / "events.jsonl"
    made.line.environment["TIMESTORE_OPENLINEAGE"] = path.as_uri()
    first = made.line.inside("lineage", "emit")
    assert "lineage emit --since" in first.err
    made.run("land", "readings", made.here("a.csv", b"device,at,value\na,2024-01-01T00:00:00Z,1\n"))
    assert made.run("lineage", "emit")["sent"] == 2 == len(lines(path))
    assert made.line.inside("lineage", "emit", "--since", "-1h").out == "2 events sent\n"
    columns = {row["column"]: row for row in made.run("lineage", "columns", "readings")}
    assert columns["value"]["fields"][0]["field"] == "value" and columns["value"]["expression"] is None
    assert "value (" in made.line.inside("lineage", "columns", "readings").out
