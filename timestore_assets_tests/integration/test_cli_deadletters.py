"""`timestore deadletters`: what list, show and replay print, their JSON and exit codes, for files and for topics."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from timestore_assets.settings import Settings
from timestore_assets.warehouse import Warehouse
from timestore_assets_tests.support.command_line import CommandLine
from timestore_assets_tests.support.dead_letter_replays import Message, land_topic
from timestore_assets_tests.support.landing_warehouse import LandingWarehouse

DECLARATION = """
type: timestore_assets.Dataset
attributes:
  name: meters
  columns:
    at: {type: timestamp}
    meter: {type: string}
    watts: {type: double, nullable: true, le: 100}
  time: at
  start: 2024-01-01
  late: {policy: hold}
  sources:
    - files: {prefix: inbox/meters/, format: csv}
    - kafka: {topic: power, format: json}
"""
ROWS = "at,meter,watts\n2024-01-01,kitchen,10\n2024-01-01,cellar,500\n2024-01-02,cellar,600\nsoon,cellar,1\n"
AT = datetime(2024, 2, 1, 12, tzinfo=UTC)


@pytest.fixture
def shell(tmp_path: Path) -> CommandLine:
    line = CommandLine(tmp_path)
    declare(line, DECLARATION)
    (line.folder / "rows.csv").write_text(ROWS)
    assert line.inside("land", "meters", "rows.csv").code == 0
    return line


def declare(shell: CommandLine, text: str) -> None:
    declaration = shell.home / "defs" / "meters" / "defs.yaml"
    declaration.parent.mkdir(parents=True, exist_ok=True)
    declaration.write_text(text)


def mend(shell: CommandLine) -> None:
    declare(shell, DECLARATION.replace("le: 100", "le: 1000"))


def land_messages(shell: CommandLine) -> None:
    """One good record, one refused and one held of the topic."""
    messages = [
        Message(value=b'{"at": "2024-02-01", "meter": "m"}', partition=1, offset=4),
        Message(value=b"\xff", partition=1, offset=5, key=b"\xfe", headers=(("h", b"v"), ("x", b"\xfd")), timestamp=AT),
        Message(value=b'{"at": "2024-01-05", "meter": "old"}', partition=1, offset=6, key=b"k"),
    ]
    with Warehouse.open(Settings(home=shell.home)) as warehouse:
        dataset = warehouse.declared("meters")
        ground = LandingWarehouse(
            root=shell.folder,
            catalog=warehouse.catalog,
            store=warehouse.storage.target("default"),
            limits=warehouse.limits,
            dataset=dataset,
            now=datetime.now(UTC),
        )
        land_topic(ground, messages, source=dataset.kafka_sources[0], late_before=AT - timedelta(days=10))


def test_a_replay_lands_what_fits_now_and_says_what_does_not(shell: CommandLine) -> None:
    before = shell.inside("deadletters", "replay", "meters", "--json").json
    assert (before["files"], before["records"], before["landed"], before["refused"]) == (1, 3, 0, 3)
    mend(shell)
    done = shell.inside("deadletters", "replay", "meters", "--json").json
    assert (done["records"], done["landed"], done["refused"], done["settled"]) == (3, 2, 1, 1)
    assert done["reasons"] == {"bad_value": 1}
    assert done["partitions"] == ["2024-01-01", "2024-01-02"]
    assert done["counters"] == {"read": 0, "landed": 2, "duplicates": 0, "late_dropped": 0, "held": 0, "dead_letters": -2}
    (source,) = [one for one in shell.inside("status", "--json").json["datasets"] if one["dataset"] == "meters"]
    files = next(one for one in source["sources"] if one["source"].startswith("files:"))
    assert (files["read"], files["landed"], files["dead_letters"]) == (4, 3, 1)
    rows = shell.inside("sql", "SELECT meter, watts FROM meters ORDER BY watts", "--json").json
    assert rows == [{"meter": "kitchen", "watts": 10}, {"meter": "cellar", "watts": 500}, {"meter": "cellar", "watts": 600}]
    assert shell.inside("verify", "meters").code == 0


def test_what_a_person_reads_of_a_replay(shell: CommandLine) -> None:
    mend(shell)
    out = shell.inside("deadletters", "replay", "meters").out
    assert "landed" in out
    assert "bad_value" in out
    assert "timestore build meters" in out
    assert "no dead letters that a replay could land" in shell.inside("deadletters", "replay", "meters", "--kind", "held").out


def test_options_choose_what_is_replayed(shell: CommandLine) -> None:
    mend(shell)
    assert shell.inside("deadletters", "replay", "meters", "--reason", "bad_value", "--json").json["records"] == 1
    assert shell.inside("deadletters", "replay", "meters", "--limit-files", "1", "--kind", "all", "--json").json["landed"] == 2


@pytest.mark.parametrize("command", ["list", "show", "replay"])
def test_a_kind_that_does_not_exist_is_told(shell: CommandLine, command: str) -> None:
    done = shell.inside("deadletters", command, "meters", "--kind", "lost")
    assert done.code == 2
    assert "write one of refused, late_dropped, held" in done.err
    assert done.err.count("\n") == 1


def test_an_unknown_dataset_and_a_declaration_that_its_rows_dont_allow(shell: CommandLine) -> None:
    assert shell.inside("deadletters", "replay", "meter").code == 2
    declare(shell, DECLARATION.replace("{type: double, nullable: true, le: 100}", "{type: bool, nullable: true}"))
    done = shell.inside("deadletters", "replay", "meters")
    assert (done.code, done.err.count("\n")) == (3, 1)


def test_records_of_a_topic_show_all_that_the_broker_kept(shell: CommandLine) -> None:
    land_messages(shell)
    shown = shell.inside("deadletters", "show", "meters", "--json").json
    refused = next(one for one in shown if one["code"] == "invalid_utf8")
    assert (refused["topic"], refused["partition"], refused["offset"], refused["position"]) == ("power", 1, 5, 5)
    assert refused["timestamp"] == "2024-02-01T12:00:00Z"
    assert refused["kind"] == "refused"
    assert base64.b64decode(refused["raw_base64"]) == b"\xff"
    assert base64.b64decode(refused["key_base64"]) == b"\xfe"
    assert refused["headers"] == [{"name": "h", "value": "v"}, {"name": "x", "value_base64": "/Q=="}]
    (held,) = shell.inside("deadletters", "show", "meters", "--kind", "held", "--json").json
    assert (held["kind"], held["code"], held["key"], held["offset"]) == ("held", "late", "k", 6)
    of_file = next(one for one in shown if one["source"].endswith("rows.csv"))
    assert (of_file["topic"], of_file["partition"], of_file["offset"], of_file["key"]) == (None, None, None, None)
    out = shell.inside("deadletters", "show", "meters", "--kind", "held").out
    assert "power" in out
    assert "held" in out


def test_the_list_sums_by_source_kind_and_reason(shell: CommandLine) -> None:
    land_messages(shell)
    listed = shell.inside("deadletters", "list", "meters", "--json").json
    found = {(one["source"], one["kind"], one["reason"]): one["records"] for one in listed}
    assert found == {
        ("files:inbox/meters/**/*", "refused", "failed_check"): 2,
        ("files:inbox/meters/**/*", "refused", "bad_value"): 1,
        ("kafka:power", "refused", "invalid_utf8"): 1,
        ("kafka:power", "held", "late"): 1,
    }
    (held,) = shell.inside("deadletters", "list", "meters", "--kind", "held", "--json").json
    assert held["reason"] == "late"
    none = shell.inside("deadletters", "list", "meters", "--kind", "late_dropped").out
    assert "no dead letters of the kind late_dropped" in none


def test_held_records_land_when_a_person_says_so(shell: CommandLine) -> None:
    land_messages(shell)
    done = shell.inside("deadletters", "replay", "meters", "--kind", "held", "--json").json
    assert (done["landed"], done["counters"]["held"]) == (1, -1)
    assert {"meter": "old"} in shell.inside("sql", "SELECT meter FROM meters", "--json").json
