"""`schema migrate` as a person types it: the dry run, the execution, and the declaration that follows it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from timestore_assets_tests.support.command_line import CommandLine

DECLARATION = """\
type: timestore_assets.Dataset
attributes:
  name: weather
  columns:
    ts: timestamp
    station: string
    temp: {type: double, nullable: true, unit: degF, le: 140}
    code: {type: string, nullable: true}
    note: {type: string, nullable: true}
  time: ts
  start: 2024-01-01
  partition_by: [station]
"""
MANIFEST = """\
dataset: weather
governance: {ticketId: OPS-12, approvedBy: ann}
operations:
  - rename: {from: station, to: site}
  - transform: {column: temp, expression: (temp - 32) * 5 / 9, unit: degC, incoming: new}
  - cast: {column: code, type: int64}
  - drop: {column: note, archive: false}
"""
ROWS = "ts,station,temp,code,note\n2024-01-01T00:00:00Z,JFK,50,1,a\n2024-01-02T00:00:00Z,LGA,59,two,b\n"


@pytest.fixture
def shell(tmp_path: Path) -> CommandLine:
    """A home in which two rows have landed, and a manifest beside it."""
    line = CommandLine(tmp_path)
    path = declaration(line)
    path.parent.mkdir(parents=True)
    path.write_text(DECLARATION)
    (tmp_path / "m.yaml").write_text(MANIFEST)
    (tmp_path / "weather.csv").write_text(ROWS)
    done = line.inside("land", "weather", "weather.csv")
    assert done.code == 0, done.err
    return line


def declaration(line: CommandLine) -> Path:
    return line.home / "defs" / "weather" / "defs.yaml"


def migrate(shell: CommandLine, *options: str, text: str = MANIFEST) -> tuple[int, str]:
    (shell.folder / "m.yaml").write_text(text)
    done = shell.inside("schema", "migrate", "--manifest", "m.yaml", *options)
    return done.code, done.out + done.err


NULLED = MANIFEST.replace("type: int64", "type: int64, on_error: null")


def names(shell: CommandLine) -> list[str]:
    return [one["name"] for one in shell.inside("schema", "show", "weather", "--json").json["columns"]]


def test_a_dry_run_shows_values_cost_and_why_it_would_be_refused(shell: CommandLine) -> None:
    code, out = migrate(shell)
    assert code == 3, "it would be refused"
    assert "station renamed to site" in out and "note dropped, which was string" in out
    assert "50.0    10.0" in out and "two     NULL" in out
    assert "To be rewritten when a backfill is approved: 2 partitions with 2 rows" in out
    assert "Refused: 1 value of 'code' would become NULL" in out and "`on_error: null` in operations.2.cast" in out
    assert names(shell)[1] == "station"


def test_a_dry_run_that_can_be_carried_out_says_how(shell: CommandLine) -> None:
    code, out = migrate(shell, text=NULLED)
    assert code == 0 and "schema migrate --manifest m.yaml --execute` does it" in out
    assert "Mind: the checks of 'temp'" in out
    assert names(shell)[1] == "station"


def test_a_refused_migration_is_not_carried_out(shell: CommandLine) -> None:
    code, out = migrate(shell, "--execute")
    assert code == 3 and "weather" in out and "would become NULL" in out
    assert names(shell)[1] == "station"


def test_the_file_is_changed_after_the_migration(shell: CommandLine) -> None:
    code, out = migrate(shell, "--execute", text=NULLED)
    assert code == 0, out
    assert "weather has schema version 2, in force from version 2" in out and "OPS-12, approved by ann" in out
    lines = out.partition("and deploy it:\n")[2]
    written = yaml.safe_load(lines)
    assert written == {
        "columns": {
            "site": "string",
            "temp": {"type": "double", "nullable": True, "unit": "degC"},
            "code": {"type": "int64", "nullable": True},
        },
        "partition_by": ["site"],
    }
    assert names(shell) == ["ts", "site", "temp", "code"], "the file of before is behind, and serves on"
    plain = yaml.safe_load(declaration(shell).read_text())
    attributes = plain["attributes"]
    attributes["columns"] = {"ts": "timestamp", **written["columns"]}
    attributes["partition_by"] = written["partition_by"]
    declaration(shell).write_text(yaml.safe_dump(plain, sort_keys=False))
    assert names(shell) == ["ts", "site", "temp", "code"]
    assert shell.inside("schema", "show", "weather", "--json").json["version"] == 2
    for option in ("--execute", "--dry-run"):
        code, out = migrate(shell, option, text=NULLED)
        assert code == 0 and "was migrated so before" in out


def test_the_manifest_itself_may_ask_for_it(shell: CommandLine) -> None:
    asked = NULLED + "execution: {dryRun: false}\n"
    assert "Nothing was done" in migrate(shell, "--dry-run", text=asked)[1]
    assert "has schema version 2" in migrate(shell, text=asked)[1]


def test_what_was_migrated_is_shown(shell: CommandLine) -> None:
    assert "was never migrated" in shell.inside("schema", "migrations", "weather").out
    migrate(shell, "--execute", text=NULLED)
    shown = shell.inside("schema", "migrations", "weather").out
    assert "OPS-12" in shown and "ann" in shown and "station renamed to site" in shown
    (one,) = shell.inside("schema", "migrations", "weather", "--json").json
    assert (one["ticket"], one["kind"], one["schema_version"]) == ("OPS-12", "forward", 2)
    assert "temp has other values" in shell.inside("schema", "history", "weather").out


def test_a_migration_is_taken_back_and_carried_out_again(shell: CommandLine) -> None:
    migrate(shell, "--execute", text=NULLED)
    before = shell.inside("schema", "restore", "weather", "--to", "1", "--ticket", "OPS-13")
    assert before.code == 0 and "has the columns of schema version 1 again, as version 3" in before.out, before.err
    assert "note is back as string" in before.out and names(shell) == ["ts", "station", "temp", "code", "note"]
    found = shell.inside("sql", "SELECT temp, note FROM weather ORDER BY ts", "--format", "csv").out
    assert found.split() == ["temp,note", "50.0,a", "59.0,b"]
    assert shell.inside("schema", "restore", "weather", "--to", "2", "--json").json["schema_version"] == 4
    assert names(shell) == ["ts", "site", "temp", "code"]
    found = shell.inside("sql", "SELECT temp, code FROM weather ORDER BY ts", "--format", "csv").out
    assert found.split() == ["temp,code", "10.0,1", "15.0,"]
    refused = shell.inside("schema", "restore", "weather", "--to", "9")
    assert refused.code == 2 and "has no schema version 9 before 4" in refused.err


def test_rows_and_columns_go_back_together(shell: CommandLine) -> None:
    migrate(shell, "--execute", text=NULLED)
    before = names(shell)
    planned = shell.inside("rollback", "weather", "--to", "1", "--dry-run")
    assert planned.code == 0 and "Columns are those of schema version 1 again" in planned.out
    assert names(shell) == before
    assert shell.inside("rollback", "weather", "--to", "1", "--yes").code == 0
    assert names(shell) == ["ts", "station", "temp", "code", "note"]
    assert shell.inside("rollback", "weather", "--to", "2", "--yes", "--json").json["schema_version"] == 2
    assert names(shell) == before


def test_a_sample_is_said_to_be_one(shell: CommandLine) -> None:
    found = shell.inside("schema", "migrate", "--manifest", "m.yaml", "--sample", "1", "--json")
    assert found.code == 3

    assert json.loads(found.out)["rows_tried"] == 2, "a row of each partition"


def test_mistakes_are_explained_with_their_line(shell: CommandLine) -> None:
    code, out = migrate(shell, text=MANIFEST.replace("column: note", "column: nope"))
    assert code == 2 and "m.yaml:7: operations.3.drop.column: dataset 'weather' has no column 'nope'; did you mean note?" in out
    assert migrate(shell, "--dry-run", "--execute")[0] == 2
    code, out = migrate(shell, text=MANIFEST.replace("dataset: weather", "dataset: whether"))
    assert code == 2 and "no dataset is named 'whether'" in out
    assert shell.inside("schema", "migrate", "--manifest", "none.yaml").code == 2


def test_a_file_that_is_ahead_does_not_keep_its_migration_from_being_done(shell: CommandLine) -> None:
    """Whoever deployed the file first, or restored the catalog of before, is told to migrate: that has to work."""
    ahead = DECLARATION.replace("station", "site")
    declaration(shell).write_text(ahead)
    refused = shell.inside("query", "weather")
    assert refused.code == 3 and "migrate it first (`timestore schema migrate`)" in refused.err
    manifest = "dataset: weather\ngovernance: {ticketId: T, approvedBy: a}\noperations: [{rename: {from: station, to: site}}]\n"
    assert "station renamed to site" in migrate(shell, text=manifest)[1]
    code, out = migrate(shell, "--execute", text=manifest)
    assert code == 0 and "has schema version 2" in out
    assert names(shell)[1] == "site"
    assert [row["site"] for row in shell.inside("query", "weather", "--json").json] == ["JFK", "LGA"]
    assert "station renamed to site" in shell.inside("schema", "events", "weather").out


def test_a_column_with_a_default_alone_is_added(shell: CommandLine) -> None:
    manifest = (
        "dataset: weather\ngovernance: {ticketId: T, approvedBy: a}\noperations: [{add: {column: x, type: int64, default: 5}}]\n"
    )
    assert migrate(shell, "--execute", text=manifest)[0] == 0
    assert shell.inside("query", "weather", "--columns", "x", "--json").json == [{"x": 5}, {"x": 5}]


KEPT = """\
dataset: weather
governance: {ticketId: OPS-12, approvedBy: ann}
operations:
  - drop: {column: note, archive: true}
"""


def test_archives_are_listed_with_where_they_are(shell: CommandLine) -> None:
    assert "Nothing of weather was archived." in shell.inside("schema", "archives", "weather").out
    code, out = migrate(shell, "--execute", text=KEPT)
    assert code == 3 and "nothing says where" in out
    code, out = migrate(shell, "--execute", "--archive-to", "default", "--archive-dir", "kept", text=KEPT)
    assert code != 0 and "name one of them" in out
    code, out = migrate(shell, "--execute", "--archive-to", "default", "--archive-format", "parquet", text=KEPT)
    assert code == 0 and "Archived 2 rows in 2 files in storage target default." in out
    listed = shell.inside("schema", "archives", "weather").out
    assert "note" in listed and "storage target default" in listed
    (found,) = shell.inside("schema", "archives", "weather", "--json").json
    assert (found["schema_version"], found["partitions"], found["rows"], found["is_whole"]) == (2, 2, 2, True)
    addresses = [one["address"] for one in found["files"]]
    assert all(Path(one.removeprefix("file://")).is_file() for one in addresses)
    assert len(shell.inside("schema", "archives", "weather", "--files").out.split(".parquet")) == 3
    audit = shell.inside("audit", "--ticket", "OPS-12", "--json").json
    assert [row["action"] for row in audit] == ["schema_migrated"]


def test_taking_back_is_tried_first(shell: CommandLine) -> None:
    code, out = migrate(shell, "--execute", text=NULLED)
    assert code == 0, out
    tried = shell.inside("schema", "restore", "weather", "--to", "1", "--dry-run")
    assert tried.code == 0 and "Nothing was done" in tried.out and "note is back as string" in tried.out
    assert names(shell)[1] == "site"
    (shell.folder / "since.csv").write_text("ts,site,temp,code\n2024-01-03T00:00:00Z,JFK,50,1\n")
    assert shell.inside("land", "weather", "since.csv").code == 0
    refused = shell.inside("schema", "restore", "weather", "--to", "1", "--dry-run")
    assert refused.code == 3 and "Refused: rows of dataset 'weather' that were written since have no" in refused.out
