"""Alerts that wait before they turn, that remind, and messages that wait for a channel: in the catalog, whoever looks."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from timestore_assets.alerting import monitor
from timestore_assets.alerting.monitor import alert_to_plain, look, statuses
from timestore_assets.alerting.sending import LONGEST_WAIT, deliver
from timestore_assets.model.alert import Alert
from timestore_assets.model.errors import InputError
from timestore_assets.warehouse import Warehouse
from timestore_assets_tests.support.alert_receivers import Received, webhook
from timestore_assets_tests.support.http_service import open_warehouse
from timestore_assets_tests.support.landing_warehouse import dataset

MINUTE = timedelta(minutes=1)


@pytest.fixture
def receiver() -> Iterator[Received]:
    with webhook() as received:
        yield received


@dataclass(kw_only=True)
class Lookers:
    """Processes that share a catalog; those that are opened again know nothing but what it says."""

    home: Path
    catalog_url: str
    alert: Alert
    channels: str

    @contextmanager
    def opened(self, count: int = 2, **settings: Any) -> Iterator[list[Warehouse]]:
        chosen = {"alert_channels": SecretStr(self.channels)} | settings
        with ExitStack() as stack:
            declared = {"weather": dataset(alerts=(self.alert,))}
            yield [
                stack.enter_context(open_warehouse(self.home, declared, catalog_url=self.catalog_url, **chosen))
                for _ in range(count)
            ]


@pytest.fixture
def lookers(tmp_path: Path, catalog_url: str, receiver: Received) -> Lookers:
    alert = Alert(on="dead_letters", to=("hook",))
    return Lookers(home=tmp_path, catalog_url=catalog_url, alert=alert, channels=json.dumps({"hook": receiver.url}))


def refused(warehouse: Warehouse, records: int) -> None:
    """So many records are dead letters now."""
    _, record = warehouse.resolve("weather")
    known = warehouse.catalog.sources.ensure(record.id, "files", "inbox/*")
    statement = f"UPDATE sources SET dead_letters = {records}, read = {records} WHERE id = {known.id}"
    changed(warehouse, statement)


def changed(warehouse: Warehouse, statement: str) -> None:
    warehouse.catalog.database.write(lambda connection: connection.exec_driver_sql(statement))


def elapse(warehouse: Warehouse, time: timedelta) -> None:
    """As if what is written down had been so long ago."""
    micros = time // timedelta(microseconds=1)
    for table, columns in (
        ("alert_states", ("since", "pending_since", "told_at")),
        ("alert_messages", ("created_at", "due_at")),
    ):
        moved = ", ".join(f"{column} = {column} - {micros}" for column in columns)
        changed(warehouse, f"UPDATE {table} SET {moved}")


def all_look(warehouses: Sequence[Warehouse]) -> int:
    """All of them at once, each several times; how many messages that made."""
    with ThreadPoolExecutor(len(warehouses)) as threads:
        return sum(threads.map(look, [*warehouses] * 3))


def state(warehouse: Warehouse) -> str:
    (status,) = statuses(warehouse, warehouse.datasets["weather"])
    return str(alert_to_plain(status)["state"])


def test_an_alert_begins_once_when_its_condition_has_held_long_enough(lookers: Lookers, receiver: Received) -> None:
    lookers.alert = Alert(on="dead_letters", to=("hook",), hold=5 * MINUTE)
    with lookers.opened() as warehouses:
        assert (all_look(warehouses), state(warehouses[0])) == (0, "ok")
        refused(warehouses[0], 3)
        assert (all_look(warehouses), state(warehouses[0])) == (0, "pending")
        refused(warehouses[0], 0)
        elapse(warehouses[0], 6 * MINUTE)
        assert (all_look(warehouses), state(warehouses[0])) == (0, "ok"), "it did not hold at every look"
        refused(warehouses[0], 3)
        assert (all_look(warehouses), state(warehouses[0])) == (0, "pending")
        elapse(warehouses[0], 6 * MINUTE)
    with lookers.opened() as restarted:
        assert (all_look(restarted), state(restarted[0])) == (1, "firing")
        assert sum(deliver(one) for one in restarted) == 1
        record = restarted[0].resolve("weather")[1]
        told = [str(entry["action"]) for entry in restarted[0].catalog.audit.newest(dataset_ids=[record.id])]
        assert [action for action in told if action.startswith("alert")] == ["alert_raised"]
    assert [(body["state"], body["value"], body["reminder"]) for body in receiver.bodies] == [("firing", "3", False)]


def test_a_value_that_swings_about_its_limit_is_told_once(lookers: Lookers, receiver: Received) -> None:
    lookers.alert = Alert(on="dead_letters", to=("hook",), above=2, keep=10 * MINUTE)
    with lookers.opened() as warehouses:
        messages = []
        for records in (3, 2, 3, 1, 4, 2):
            refused(warehouses[0], records)
            elapse(warehouses[0], MINUTE)
            messages.append(all_look(warehouses))
        assert messages == [1, 0, 0, 0, 0, 0]
        assert state(warehouses[0]) == "firing"
        elapse(warehouses[0], 11 * MINUTE)
    with lookers.opened() as restarted:
        assert (all_look(restarted), state(restarted[0])) == (1, "ok")
        assert sum(deliver(one) for one in restarted) == 2
    assert [body["state"] for body in receiver.bodies] == ["firing", "recovered"]


def test_an_alert_that_goes_on_is_told_again(lookers: Lookers, receiver: Received) -> None:
    lookers.alert = Alert(on="dead_letters", to=("hook",), remind=timedelta(days=1))
    with lookers.opened() as warehouses:
        refused(warehouses[0], 3)
        assert (all_look(warehouses), all_look(warehouses)) == (1, 0)
        elapse(warehouses[0], timedelta(hours=23))
        assert all_look(warehouses) == 0
        elapse(warehouses[0], timedelta(days=4))
    with lookers.opened() as restarted:
        refused(restarted[0], 8)
        assert (all_look(restarted), all_look(restarted)) == (1, 0), "one, however many days nobody looked"
        assert sum(deliver(one) for one in restarted) == 2
    began, again = receiver.bodies
    assert (again["state"], again["reminder"], again["value"]) == ("firing", True, "8")
    assert str(again["summary"]).startswith("weather: 8 records are dead letters, above 0, since 20")
    assert began["id"] != again["id"] and not began["reminder"]


def tries(warehouse: Warehouse) -> list[int]:
    statement = "SELECT attempts FROM alert_messages WHERE sent_at IS NULL"
    return warehouse.catalog.database.read(lambda c: list(c.exec_driver_sql(statement).scalars()))


def test_a_wrong_setting_costs_a_message_no_tries(lookers: Lookers, receiver: Received) -> None:
    with lookers.opened(1, alert_channels=SecretStr("{")) as (warehouse,):
        refused(warehouse, 1)
        assert look(warehouse) == 1
        for _ in range(15):
            with pytest.raises(InputError, match="TIMESTORE_ALERT_CHANNELS is no JSON"):
                deliver(warehouse)
            elapse(warehouse, MINUTE)
        assert tries(warehouse) == [0]
    with lookers.opened(1) as (mended,):
        assert deliver(mended) == 1
    assert [body["state"] for body in receiver.bodies] == ["firing"]


def test_a_message_waits_for_a_channel_that_nobody_has_set(
    lookers: Lookers, receiver: Received, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), lookers.opened(alert_channels=None) as warehouses:
        refused(warehouses[0], 1)
        look(warehouses[0])
        for _ in range(15):
            assert [deliver(one) for one in warehouses] == [0, 0]
            elapse(warehouses[0], MINUTE)
        assert tries(warehouses[0]) == [0]
        (status,) = statuses(warehouses[1], warehouses[1].datasets["weather"])
        assert alert_to_plain(status)["waiting"] == 1
    assert [record.getMessage() for record in caplog.records if "hook" in record.getMessage()] == [
        "TIMESTORE_ALERT_CHANNELS names no channel 'hook'; 1 message waits for it, 7 days at most: "
        "name it there, or write another in `to:`"
    ]
    with lookers.opened(1) as (mended,):
        assert deliver(mended) == 1
        (status,) = statuses(mended, mended.datasets["weather"])
        assert alert_to_plain(status)["waiting"] == 0
    assert len(receiver.requests) == 1


def test_what_waited_a_week_is_given_up_in_the_audit(lookers: Lookers, receiver: Received) -> None:
    with lookers.opened(alert_channels=None) as warehouses:
        refused(warehouses[0], 1)
        look(warehouses[0])
        elapse(warehouses[0], LONGEST_WAIT - MINUTE)
        deliver(warehouses[0])
        assert tries(warehouses[0]) == [0]
        elapse(warehouses[0], 2 * MINUTE)
        for one in warehouses:
            deliver(one)
        assert tries(warehouses[0]) == []
        lost = [entry for entry in warehouses[0].catalog.audit.newest() if entry["action"] == "alert_undelivered"]
        assert [(entry["details"]["channel"], entry["details"]["reason"]) for entry in lost] == [
            ("hook", "nobody took it for 7 days")
        ]
    with lookers.opened(1) as (late,):
        assert deliver(late) == 0
    assert receiver.requests == []


def test_older_facts_do_not_end_what_newer_ones_began(
    lookers: Lookers, receiver: Received, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lookers.opened() as (slow, quick):
        real, asked = monitor._facts, []

        def overtaken(warehouse: Warehouse, *of: Any) -> Any:
            """While the slow one has read its facts and goes on, it gets worse, and the quick one looks."""
            facts = real(warehouse, *of)
            if warehouse is slow and not asked:
                asked.append(warehouse)
                refused(quick, 3)
                assert look(quick) == 1
            return facts

        monkeypatch.setattr(monitor, "_facts", overtaken)
        assert look(slow) == 0 and asked
        assert state(slow) == "firing"
        assert deliver(slow) == 1
    assert [body["state"] for body in receiver.bodies] == ["firing"]
