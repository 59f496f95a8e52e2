"""`timestore storage`: targets of the settings, a dataset declared for one, and moved to another."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from timestore_assets_tests.support.bucket_settings import credentials
from timestore_assets_tests.support.command_line import CommandLine
from timestore_assets_tests.support.object_servers import S3Server

pytestmark = pytest.mark.xdist_group("s3")

DECLARED = """type: timestore_assets.Dataset
attributes:
  name: readings
  columns: {time: timestamp, value: {type: double, nullable: true}}
  time: time
  start: 2024-01-01
  storage: archive
"""
CSV = "time,value\n2024-01-01T00:00:00Z,1.5\n2024-01-02T00:00:00Z,2.5\n2024-01-02T01:00:00Z,oops\n"


@pytest.fixture
def command(tmp_path: Path, s3_bucket: S3Server) -> CommandLine:
    """Datasets go to the target `archive`, in a bucket; the default target is a folder."""
    line = CommandLine(tmp_path)
    folder = line.home / "defs" / "readings"
    folder.mkdir(parents=True)
    (folder / "defs.yaml").write_text(DECLARED)
    (tmp_path / "readings.csv").write_text(CSV)
    archive = {"driver": "s3", "bucket": s3_bucket.bucket, "root": "warm", "endpoint": s3_bucket.endpoint}
    line.environment |= credentials(s3_bucket) | {"TIMESTORE_STORAGE_TARGETS": json.dumps({"archive": archive})}
    return line


def totals(command: CommandLine) -> dict[str, int]:
    return {row["target"]: row["objects"] for row in command.inside("storage", "list", "--json").json}


def test_a_dataset_lives_where_its_declaration_says_and_moves_on_demand(command: CommandLine, s3_bucket: S3Server) -> None:
    assert command.inside("land", "readings", "readings.csv", "--json").json["landed"] == 2
    assert command.inside("build", "readings", "--json").code == 0
    shown = command.inside("describe", "readings", "--json").json
    assert shown["storage"] == "archive"
    stored = totals(command)
    assert stored["default"] == 0
    assert stored["archive"] >= 3  # segments and dead letters, superseded ones among them
    rows = command.inside("query", "readings", "--format", "json").json

    dry = command.inside("storage", "move", "readings", "default", "--dry-run", "--json").json
    assert (dry["objects"], dry["held"].keys(), dry["new_objects_go_to"]) == (stored["archive"], {"archive"}, "archive")
    assert totals(command) == stored
    moved = command.inside("storage", "move", "readings", "default", "--json").json
    assert (moved["objects"], moved["bytes"]) == (stored["archive"], dry["bytes"])
    assert totals(command) == {"default": stored["archive"], "archive": 0}

    command.environment["TIMESTORE_GC_GRACE_SECONDS"] = "0"
    assert command.inside("gc").code == 0
    client = s3_bucket.client()
    left = client.list_objects_v2(Bucket=s3_bucket.bucket)["Contents"]
    assert all("_warehouse/" in one["Key"] for one in left), "only whose bucket it is stays"
    client.close()
    assert command.inside("query", "readings", "--format", "json").json == rows
    assert len(command.inside("deadletters", "show", "readings", "--json").json) == 1
    assert command.inside("verify", "readings").code == 0
    text = command.inside("storage", "move", "readings", "archive").out
    assert "objects" in text
    assert "of readings to archive; `timestore gc` removes the old copies after a while" in text


def test_a_list_says_where_targets_are_and_no_secret(command: CommandLine, s3_bucket: S3Server) -> None:
    for listed in (command.inside("storage", "list"), command.inside("storage", "list", "--json")):
        assert f"s3://{s3_bucket.bucket}/warm" in listed.out
        assert str(command.home / "data") in listed.out
        assert s3_bucket.secret_key not in listed.out
        assert s3_bucket.access_key not in listed.out


def test_a_target_that_is_not_set_up_is_refused_when_it_is_used(command: CommandLine) -> None:
    command.environment["TIMESTORE_STORAGE_TARGETS"] = ""
    assert command.inside("datasets").code == 0
    assert command.inside("describe", "readings").code == 0
    refused = command.inside("land", "readings", "readings.csv")
    assert (refused.code, refused.out) == (2, "")
    assert "no storage target is named 'archive'; TIMESTORE_STORAGE_TARGETS sets them up, there are: default" in refused.err
    refused = command.inside("storage", "move", "readings", "elsewhere")
    assert "no storage target is named 'elsewhere'" in refused.err


def test_settings_that_make_no_sense_are_one_line(command: CommandLine) -> None:
    command.environment["TIMESTORE_STORAGE_TARGETS"] = '{"archive": {"driver": "s3"}}'
    refused = command.inside("storage", "list")
    line = "error: TIMESTORE_STORAGE_TARGETS: archive: bucket: is missing; the s3 driver needs the name of a bucket\n"
    assert (refused.code, refused.err) == (2, line)
