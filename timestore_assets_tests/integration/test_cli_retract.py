"""`retract` as a person types it: what it says, what it refuses, and the command line to land again, which works."""

from __future__ import annotations

from pathlib import Path

import pytest

from timestore_assets_tests.support.command_line import CommandLine
from timestore_assets_tests.support.kafka_brokers import EmbeddedKafka, KafkaCluster, produce
from timestore_assets_tests.support.topic_warehouse import new_topic, value

ROWS = "at,meter,watts\n2024-01-01T00:00:00Z,kitchen,5.25\n2024-01-02T00:00:00Z,hall,7.5\n"


@pytest.fixture
def shell(tmp_path: Path) -> CommandLine:
    """A home in which `init` has declared `power` and two rows have landed."""
    line = CommandLine(tmp_path)
    (tmp_path / "power.csv").write_text(ROWS)
    for arguments in (("init", "power.csv", "--window", "day", "--yes"), ("land", "power", "power.csv")):
        done = line.inside(*arguments)
        assert done.code == 0, done.err
    return line


def rows(shell: CommandLine) -> int:
    return len(shell.inside("query", "power", "--json").json)


def test_a_file_is_taken_out_and_back(shell: CommandLine) -> None:
    tried = shell.inside("retract", "power", "--file", "power.csv", "--dry-run")
    assert "2 rows of power in 2 partitions would be left out." in tried.out and rows(shell) == 2, tried.err
    done = shell.inside("retract", "power", "--file", "power.csv")
    assert done.code == 0 and "retract power --undo 1" in done.out and rows(shell) == 0
    (listed,) = shell.inside("retract", "power", "--list", "--json").json
    assert (listed["id"], listed["rows"], listed["state"]) == (1, 2, "hidden")
    back = shell.inside("retract", "power", "--undo", "1")
    assert back.out == "2 rows of power are shown again.\n" and rows(shell) == 2
    assert "undone" in shell.inside("retract", "power", "--list").out


def test_the_line_that_lands_it_again_works(shell: CommandLine) -> None:
    done = shell.inside("retract", "power", "--file", "power.csv")
    (line,) = [one for one in done.out.splitlines() if one.startswith("To land them again: ")]
    again = shell.shell(line.removeprefix("To land them again: "))
    assert again.code == 0 and rows(shell) == 2, again.err


def test_once_built_it_says_what_to_do_instead(shell: CommandLine) -> None:
    made = shell.inside("retract", "power", "--file", "power.csv", "--json").json
    assert shell.inside("build", "power").code == 0
    late = shell.inside("retract", "power", "--undo", str(made["id"]))
    assert late.code == 3 and f"roll back to version {made['manifest_version'] - 1} instead" in late.err
    assert shell.inside("retract", "power", "--list", "--json").json[0]["state"] == "dropped"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "say what is meant by exactly one of"),
        (("--file", "a", "--key", "b"), "exactly one of"),
        (("--list", "--undo", "1"), "exactly one of"),
        (("--file", "a", "--from", "1"), "--from and --to are those of a topic"),
        (("--source", "t/0"), "say from where to where"),
        (("--source", "t/0", "--from", "9", "--to", "9"), "--from 9 is not before --to 9"),
        (("--source", "t", "--from", "noonish"), "'noonish' is not a time"),
        (("--source", "t/0", "--from", "1"), "has read no topic 't'; it has read: none"),
        (("--undo", "7"), "there is no retraction 7"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(shell: CommandLine, arguments: tuple[str, ...], words: str) -> None:
    done = shell.inside("retract", "power", *arguments)
    assert done.code == 2 and words in done.err and done.err.count("\n") == 1


TOPIC = """type: timestore_assets.Dataset
attributes:
  name: readings
  columns: {ts: timestamp, station: string, temp: {type: double, nullable: true}}
  time: ts
  start: 2013-01-01
  sources: [kafka: {topic: NAME}]
"""


@pytest.mark.xdist_group("kafka")
def test_a_range_of_a_topic_is_taken_out_and_read_again_by_the_line_it_says(
    tmp_path: Path, any_kafka: KafkaCluster | EmbeddedKafka
) -> None:
    topic = new_topic(any_kafka)
    produce(any_kafka.bootstrap, topic, [(0, None, value(number), None, None) for number in range(20)])
    shell = CommandLine(tmp_path)
    shell.environment["TIMESTORE_KAFKA_BOOTSTRAP_SERVERS"] = any_kafka.bootstrap
    declaration = shell.home / "defs" / "readings" / "defs.yaml"
    declaration.parent.mkdir(parents=True)
    declaration.write_text(TOPIC.replace("NAME", topic))

    def stations() -> list[int]:
        found = shell.inside("query", "readings", "--columns", "station", "--json")
        return sorted(int(row["station"][1:]) for row in found.json)

    assert shell.inside("stream", "readings", "--json").json["landed"] == 20
    done = shell.inside("retract", "readings", "--source", f"{topic}/0", "--from", "5", "--to", "12")
    assert done.code == 0 and "7 rows of readings in 1 partition are left out." in done.out, done.err
    assert stations() == [*range(5), *range(12, 20)]
    (line,) = [one for one in done.out.splitlines() if one.startswith("To land them again: ")]
    again = shell.shell(line.removeprefix("To land them again: "))
    assert again.code == 0 and f"{topic}/0 5-12" in again.out, again.err
    assert stations() == list(range(20))
    nothing = shell.inside("reload", "readings", "--source", f"{topic}/1", "--from", "0")
    assert nothing.code == 3 and "nothing of" in nothing.err
