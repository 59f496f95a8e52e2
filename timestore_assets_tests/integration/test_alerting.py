"""Alerts from the condition to the channel: told once when it begins and once when it ends, whoever looks and whatever fails."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pydantic import SecretStr

from timestore_assets.alerting import monitor, sending
from timestore_assets.alerting.monitor import look, statuses
from timestore_assets.alerting.sending import deliver, try_channel
from timestore_assets.model.alert import Alert
from timestore_assets.model.errors import InputError, UnavailableError
from timestore_assets.orchestration.alert_sensors import alert_sensors
from timestore_assets.orchestration.dagster_names import DATASET_TAG
from timestore_assets.orchestration.served_datasets import ServedDatasets
from timestore_assets.settings import Settings
from timestore_assets.warehouse import Warehouse
from timestore_assets_tests.support.alert_receivers import Received, mail_server, webhook
from timestore_assets_tests.support.http_service import open_warehouse, serving
from timestore_assets_tests.support.landing_warehouse import dataset

REFUSED = Alert(on="dead_letters", to=("hook",))
HEAD = "ts,station,temp\n"


@pytest.fixture
def receiver() -> Iterator[Received]:
    with webhook() as received:
        yield received


def channels(**addresses: str) -> dict[str, Any]:
    return {"alert_channels": SecretStr(json.dumps(addresses)), "alert_secret": SecretStr("key")}


@pytest.fixture
def watched(tmp_path: Path, receiver: Received) -> Iterator[Warehouse]:
    """`weather`, with alerts of refused records, files that can't be read and new columns."""
    alerts = (REFUSED, Alert(on="quarantine", to=("hook",)), Alert(on="schema", to=("hook",)))
    with open_warehouse(tmp_path, {"weather": dataset(alerts=alerts)}, **channels(hook=receiver.url)) as warehouse:
        yield warehouse


def land(warehouse: Warehouse, name: str, content: str) -> None:
    path = warehouse.settings.home_folder / name
    path.write_text(content)
    warehouse.land("weather", [path])


def due_now(warehouse: Warehouse) -> None:
    """What failed is tried again at once."""
    warehouse.catalog.database.write(lambda c: c.exec_driver_sql("UPDATE alert_messages SET due_at = 0"))


def test_an_alert_is_told_once_when_it_begins_and_once_when_it_ends(watched: Warehouse, receiver: Received) -> None:
    assert (look(watched), deliver(watched)) == (0, 0), "nothing is wrong yet"
    land(watched, "a.csv", HEAD + "2013-01-01T00:00:00Z,JFK,warm\n")
    assert (look(watched), look(watched)) == (1, 0)
    assert (deliver(watched), deliver(watched)) == (1, 0)
    land(watched, "b.csv", HEAD + "2013-01-01T00:00:00Z,JFK,hot\n")
    assert (look(watched), deliver(watched)) == (0, 0), "it goes on, which was told"
    record = watched.resolve("weather")[1]
    watched.catalog.database.write(lambda c: c.exec_driver_sql("UPDATE sources SET dead_letters = 0, landed = 2"))
    assert (look(watched), deliver(watched)) == (1, 1)
    began, ended = receiver.bodies
    assert {name: began[name] for name in ("dataset", "alert", "state", "value", "above", "summary")} == {
        "dataset": "weather",
        "alert": "dead_letters",
        "state": "firing",
        "value": "1",
        "above": 0,
        "summary": "weather: 1 record is a dead letter, above 0",
    }
    assert (ended["state"], ended["value"]) == ("recovered", "0")
    assert began["id"] != ended["id"] and began["at"] < ended["at"]
    told = [str(entry["action"]) for entry in watched.catalog.audit.newest(dataset_ids=[record.id])]
    assert [action for action in told if action.startswith("alert")] == ["alert_recovered", "alert_raised"]


def test_a_webhook_is_signed_and_can_tell_what_comes_again(watched: Warehouse, receiver: Received) -> None:
    land(watched, "a.csv", HEAD + "2013-01-01T00:00:00Z,JFK,warm\n")
    look(watched)
    receiver.answers = [500, 302]
    assert deliver(watched) == 0, "not taken"
    due_now(watched)
    assert deliver(watched) == 0, "a redirect is not followed"
    due_now(watched)
    assert deliver(watched) == 1
    assert len({headers["Idempotency-Key"] for headers, _ in receiver.requests}) == 1
    headers, body = receiver.requests[-1]
    assert headers["X-Timestore-Signature"] == f"sha256={hmac.new(b'key', body, hashlib.sha256).hexdigest()}"
    assert headers["Idempotency-Key"] == json.loads(body)["id"]


def test_new_columns_and_files_that_cannot_be_read_are_told(watched: Warehouse, receiver: Received) -> None:
    assert look(watched) == 0, "the schema that was there is no news"
    land(watched, "a.csv", "ts,station,temp,humidity\n2013-01-01T00:00:00Z,JFK,1,50\n")
    (watched.settings.home_folder / "b.parquet").write_bytes(b"PAR1 no such thing PAR1")
    watched.land("weather", [watched.settings.home_folder / "b.parquet"], format="parquet")
    assert (look(watched), look(watched), deliver(watched)) == (2, 0, 2)
    quarantine, schema = sorted(receiver.bodies, key=lambda body: str(body["alert"]))
    assert (quarantine["state"], quarantine["value"]) == ("firing", "1")
    assert (schema["state"], schema["value"]) == ("changed", "2")
    assert "humidity added as int64" in schema["summary"]


def test_many_who_look_and_send_at_once_tell_once(watched: Warehouse, receiver: Received) -> None:
    land(watched, "a.csv", HEAD + "2013-01-01T00:00:00Z,JFK,warm\n")
    with ThreadPoolExecutor(6) as threads:
        assert sum(threads.map(lambda _: look(watched), range(12))) == 1
        assert sum(threads.map(lambda _: deliver(watched), range(12))) == 1
    assert len(receiver.requests) == 1


def test_a_sender_that_died_before_it_said_so_leaves_it_to_the_next(watched: Warehouse, receiver: Received) -> None:
    land(watched, "a.csv", HEAD + "2013-01-01T00:00:00Z,JFK,warm\n")
    look(watched)
    (claimed,) = watched.catalog.alerts.claim(["hook"], limit=9, ttl=timedelta(seconds=-1))
    assert deliver(watched) == 1
    assert receiver.bodies[0]["id"] == claimed.key


def test_what_nobody_takes_is_given_up_in_the_audit(
    watched: Warehouse, receiver: Received, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "ATTEMPTS", 2)
    receiver.answers = [503, 503]
    land(watched, "a.csv", HEAD + "2013-01-01T00:00:00Z,JFK,warm\n")
    look(watched)
    for _ in range(4):
        assert deliver(watched) == 0
        due_now(watched)
    assert len(receiver.requests) == 2
    (lost,) = [entry for entry in watched.catalog.audit.newest() if entry["action"] == "alert_undelivered"]
    assert lost["details"]["reason"] == "it answered 503" and "secret" not in str(lost)


def test_slack_and_mail(tmp_path: Path, receiver: Received) -> None:
    alert = replace(REFUSED, to=("chat", "mail", "gone"))
    with mail_server() as mailbox:
        addresses = {
            "chat": f"slack+{receiver.url}",
            "mail": f"smtp://127.0.0.1:{mailbox.port}/?from=timestore@here.example&to=me@here.example,you@here.example",
        }
        with open_warehouse(tmp_path, {"weather": dataset(alerts=(alert,))}, **channels(**addresses)) as warehouse:
            land(warehouse, "a.csv", HEAD + "2013-01-01T00:00:00Z,<JFK>,warm\n")
            assert (look(warehouse), deliver(warehouse)) == (3, 2), "one channel is not set up"
            try_channel(warehouse, "mail", actor="me")
    assert receiver.bodies == [
        {"text": ":red_circle: [timestore] weather: dead_letters firing\nweather: 1 record is a dead letter, above 0"}
    ]
    first, second = mailbox.mails
    assert first["Subject"] == "[timestore] weather: dead_letters firing"
    assert first["To"] == "me@here.example, you@here.example"
    assert "weather: 1 record is a dead letter, above 0" in str(first.get_payload())
    assert "a try of channel mail, by me" in str(second.get_payload())


def test_a_password_is_never_sent_in_the_clear(tmp_path: Path) -> None:
    with mail_server() as mailbox:
        address = f"smtp://me:secret@127.0.0.1:{mailbox.port}/?from=a@x.example&to=b@x.example"
        with open_warehouse(tmp_path, **channels(mail=address)) as warehouse:
            with pytest.raises(UnavailableError, match=r"channel 'mail': the mail server did not take it") as raised:
                try_channel(warehouse, "mail", actor="me")
            assert "secret" not in str(raised.value)
            with pytest.raises(InputError, match=r"no channel is named 'chat'; there are: mail"):
                try_channel(warehouse, "chat", actor="me")
    assert mailbox.mails == []


def test_a_dataset_that_cannot_be_looked_at_keeps_nobody_else_from_it(
    watched: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    land(watched, "a.csv", HEAD + "2013-01-01T00:00:00Z,JFK,warm\n")
    broken = replace(watched.datasets["weather"], name="broken")
    watched.datasets = {"broken": broken, **watched.datasets}
    true_statuses = statuses

    def failing(warehouse: Warehouse, chosen: Any) -> Any:
        if chosen.name == "broken":
            raise UnavailableError("not now")
        return true_statuses(warehouse, chosen)

    monkeypatch.setattr(monitor, "statuses", failing)
    assert look(watched) == 1


def test_the_service_looks_and_tells_and_lists(tmp_path: Path, receiver: Received) -> None:
    settings = channels(hook=receiver.url) | {"alert_interval_seconds": 1}
    with open_warehouse(tmp_path, {"weather": dataset(alerts=(REFUSED,))}, **settings) as warehouse:
        land(warehouse, "a.csv", HEAD + "2013-01-01T00:00:00Z,JFK,warm\n")
        with serving(warehouse) as http:
            for _ in range(200):
                listed = http.client.get("/admin/alerts").json()
                if receiver.requests and listed["alerts"][0]["state"] == "firing":
                    break
                http.service.alerts._stopped.wait(0.1)
            assert listed["channels"] == ["hook"]
            (alert,) = listed["alerts"]
            assert {**alert, "since": None, "waiting": 0} == {
                "dataset": "weather",
                "alert": "dead_letters",
                "above": 0,
                "for": None,
                "keep": None,
                "remind": None,
                "waiting": 0,
                "to": ["hook"],
                "state": "firing",
                "since": None,
                "value": "1",
                "summary": "1 record is a dead letter, above 0",
            }
            assert http.client.post("/admin/alerts/channels/hook/test").json() == {"channel": "hook"}
            assert http.client.post("/admin/alerts/channels/none/test").status_code == 404
    assert [body["state"] for body in receiver.bodies] == ["firing", "test"]


@dg.op
def fails() -> None:
    raise dg.Failure("the disk is full")


@dg.job
def nightly() -> None:
    fails()


def test_sensors_of_dagster_tell_of_alerts_and_of_failed_runs(
    tmp_path: Path, receiver: Received, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIMESTORE_HOME", str(tmp_path))
    monkeypatch.setenv("TIMESTORE_ALERT_CHANNELS", json.dumps({"hook": receiver.url}))
    monkeypatch.setenv("TIMESTORE_ALERT_RUN_FAILURES", "hook")
    alerts, run_failures = alert_sensors(ServedDatasets(from_files={}), Settings.load())
    with dg.DagsterInstance.ephemeral() as instance:
        with dg.build_sensor_context(instance=instance) as context:
            skipped = alerts(context)
        assert isinstance(skipped, dg.SkipReason) and skipped.skip_message == "nothing to tell"
        result = nightly.execute_in_process(instance=instance, tags={DATASET_TAG: "readings"}, raise_on_error=False)
        failure = dg.build_run_status_sensor_context(
            sensor_name=run_failures.name,
            dagster_instance=instance,
            dagster_run=result.dagster_run,
            dagster_event=result.get_run_failure_event(),
        ).for_run_failure()
        for _ in range(2):
            run_failures(failure)
    (told,) = receiver.bodies
    assert (told["run"], told["job"], told["alert"]) == (result.run_id, "nightly", "run_failed")
    assert told["dataset"] == "readings"
    assert "failed" in told["summary"]
