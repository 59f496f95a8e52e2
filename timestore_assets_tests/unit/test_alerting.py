"""What a declaration says of alerts, when their conditions hold, and what channels are made of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from timestore_assets.alerting.channels import Mail, Slack, Webhook, channels_of
from timestore_assets.alerting.conditions import Facts, read
from timestore_assets.catalog.records import SourceRecord
from timestore_assets.declaration.from_yaml import parse_declaration
from timestore_assets.model.alert import Alert
from timestore_assets.model.counters import Counters
from timestore_assets.model.errors import DeclarationError, InputError
from timestore_assets.settings import Settings
from timestore_assets_tests.support.landing_warehouse import dataset

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
DECLARATION = """type: timestore_assets.Dataset
attributes:
  name: readings
  columns: {at: timestamp}
  time: at
  start: 2026-01-01
  alerts:
    - %s
"""


def declared(text: str) -> tuple[Alert, ...]:
    return parse_declaration(DECLARATION % text, file="defs.yaml").alerts


@pytest.mark.parametrize(
    ("text", "alert"),
    [
        ("{on: dead_letters, to: slack}", Alert(on="dead_letters", to=("slack",))),
        ("{on: quarantine, above: 3, to: [a, b, a]}", Alert(on="quarantine", to=("a", "b"), above=3)),
        ("{on: lag, above: 100000, to: ops}", Alert(on="lag", to=("ops",), above=100_000)),
        ("{on: staleness, above: 2h, to: mail}", Alert(on="staleness", to=("mail",), age=timedelta(hours=2))),
        ("{on: paused, to: ops}", Alert(on="paused", to=("ops",))),
        ("{on: schema, to: ops}", Alert(on="schema", to=("ops",))),
        (
            "{on: lag, above: 5, for: 5m, keep: 10m, remind: 1d, to: ops}",
            Alert(
                on="lag",
                to=("ops",),
                above=5,
                hold=timedelta(minutes=5),
                keep=timedelta(minutes=10),
                remind=timedelta(days=1),
            ),
        ),
    ],
)
def test_an_alert_as_it_is_declared(text: str, alert: Alert) -> None:
    assert declared(text) == (alert,)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{on: rain, to: slack}", "alerts.0.on"),
        ("{on: dead_letters}", "alerts.0.to"),
        ("{on: dead_letters, to: []}", "alerts.0.to: '' is no name of a channel"),
        ("{on: dead_letters, to: 'https://x'}", "alerts.0.to: 'https://x' is no name of a channel"),
        ("{on: dead_letters, above: -1, to: a}", "alerts.0.above: of dead_letters is a whole number"),
        ("{on: lag, to: a}", "alerts.0.above: is missing"),
        ("{on: lag, above: 1h, to: a}", "alerts.0.above: of lag is a whole number"),
        ("{on: staleness, to: a}", "alerts.0.above: of staleness is a duration"),
        ("{on: staleness, above: soon, to: a}", "alerts.0.above: of staleness is a duration"),
        ("{on: paused, above: 1, to: a}", "alerts.0.above: has no meaning for paused"),
        ("{on: paused, for: soon, to: a}", "alerts.0.for: 'soon' is not a duration"),
        ("{on: paused, remind: 0s, to: a}", "alerts.0.remind: is no time at all"),
        ("{on: paused, keep: [1], to: a}", "alerts.0.keep: '[1]' is not a duration"),
        ("{on: schema, remind: 1d, to: a}", "alerts.0.remind: has no meaning for schema"),
        ("{on: paused, for: 1m, to: a}\n    - {on: paused, for: 60s, to: b}", "alerts.1: is there twice"),
        ("{on: paused, to: a}\n    - {on: paused, to: b}", "alerts.1: is there twice"),
    ],
)
def test_what_is_wrong_with_an_alert_is_said_where_it_stands(text: str, said: str) -> None:
    with pytest.raises(DeclarationError, match=r"defs\.yaml") as raised:
        declared(text)
    assert said in str(raised.value)


def test_the_same_condition_may_tell_others_when_it_lasts() -> None:
    soon, later = declared("{on: lag, above: 5, to: chat}\n    - {on: lag, above: 5, for: 1h, to: phone}")
    assert soon.key == "lag>5" and later.key == "lag>5 for 3600s"


def facts(**known: Any) -> Facts:
    basic: dict[str, Any] = {"sources": (), "newest": None, "quarantined": 0, "lags": {}, "schema_version": 1}
    return Facts(**basic | known)


def source(**known: Any) -> SourceRecord:
    basic: dict[str, Any] = {"id": 1, "dataset_id": 1, "kind": "files", "address": "inbox/*", "counters": Counters()}
    return SourceRecord(**basic | {"watermark": None, "paused": ""} | known)


@pytest.mark.parametrize(
    ("alert", "known", "is_firing", "value"),
    [
        (Alert(on="dead_letters", to=("a",)), facts(), False, "0"),
        (Alert(on="dead_letters", to=("a",)), facts(sources=[source(counters=Counters(read=1, dead_letters=1))]), True, "1"),
        (Alert(on="quarantine", to=("a",), above=2), facts(quarantined=2), False, "2"),
        (Alert(on="quarantine", to=("a",), above=2), facts(quarantined=3), True, "3"),
        (Alert(on="lag", to=("a",), above=10), facts(lags={"t": 6, "u": 5}), True, "11"),
        (Alert(on="paused", to=("a",)), facts(sources=[source(), source(paused="offsets are lost")]), True, "1"),
        (Alert(on="staleness", to=("a",), age=timedelta(hours=1)), facts(newest=NOW - timedelta(hours=1)), False, "3600"),
        (Alert(on="staleness", to=("a",), age=timedelta(hours=1)), facts(newest=NOW - timedelta(hours=2)), True, "7200"),
        (Alert(on="staleness", to=("a",), age=timedelta(hours=1)), facts(newest=NOW + timedelta(hours=2)), False, "0"),
    ],
)
def test_when_a_condition_holds(alert: Alert, known: Facts, is_firing: bool, value: str) -> None:
    reading = read(alert, dataset(), known, now=NOW)
    assert reading is not None
    assert (reading.is_firing, reading.value) == (is_firing, value)


def test_what_cannot_be_told_is_not_told() -> None:
    assert read(Alert(on="lag", to=("a",), above=10), dataset(), facts(lags={"t": 11, "u": None}), now=NOW) is None
    assert read(Alert(on="lag", to=("a",), above=10), dataset(), facts(), now=NOW) is None
    assert read(Alert(on="staleness", to=("a",), age=timedelta(hours=1)), dataset(), facts(), now=NOW) is None


def test_a_finished_dataset_is_never_stale() -> None:
    finished = dataset(end=datetime(2025, 1, 1, tzinfo=UTC))
    reading = read(
        Alert(on="staleness", to=("a",), age=timedelta(hours=1)),
        finished,
        facts(newest=datetime(2024, 1, 1, tzinfo=UTC)),
        now=NOW,
    )
    assert reading is not None and not reading.is_firing


def settings(home: Path, channels: str) -> Settings:
    return Settings(home=home, alert_channels=SecretStr(channels), alert_secret=SecretStr("key"))


def test_channels_are_made_of_addresses(tmp_path: Path) -> None:
    named = (
        '{"hook": "https://host/x?y=1", "chat": "slack+https://hooks.example/T/B", '
        '"mail": "smtp://me%40x:p%2Fw@host/?from=a@x&to=b@x,c@x", "tls": "smtps://host?from=a@x&to=b@x"}'
    )
    assert dict(channels_of(settings(tmp_path, named))) == {
        "hook": Webhook(url="https://host/x?y=1", secret=b"key"),
        "chat": Slack(url="https://hooks.example/T/B"),
        "mail": Mail(host="host", port=587, is_tls=False, user="me@x", password="p/w", sender="a@x", receivers=("b@x", "c@x")),
        "tls": Mail(host="host", port=465, is_tls=True, user=None, password="", sender="a@x", receivers=("b@x",)),
    }
    assert dict(channels_of(Settings(home=tmp_path))) == {}


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("{", "is no JSON"),
        ("[]", "is no JSON object of name to address"),
        ('{"a": 1}', "is no JSON object of name to address"),
        ('{"a": "ftp://secret@host"}', "channel 'a' has no address of a known kind"),
        ('{"a": "smtp://secret@host/?from=x"}', "channel 'a' lacks a sender or a receiver"),
    ],
)
def test_a_wrong_address_is_named_without_being_shown(tmp_path: Path, named: str, said: str) -> None:
    with pytest.raises(InputError, match="TIMESTORE_ALERT_CHANNELS") as raised:
        channels_of(settings(tmp_path, named))
    assert said in str(raised.value) and "secret" not in str(raised.value)
    assert "secret" not in repr(Webhook(url="https://secret", secret=b"secret"))
