"""`timestore cache`: a window is fetched ahead from an S3 server, looked at and forgotten; a local target needs none of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from timestore_assets_tests.support.bucket_settings import credentials, target_settings
from timestore_assets_tests.support.command_line import CommandLine
from timestore_assets_tests.support.object_server_fixtures import REAL_S3
from timestore_assets_tests.support.object_servers import S3Server

pytestmark = REAL_S3

DECLARED = """type: timestore_assets.Dataset
attributes:
  name: meter
  columns:
    device: {type: string}
    ts: {type: timestamp}
    value: {type: double}
  time: ts
  start: 2024-01-01
"""


def shell(folder: Path, environment: dict[str, str]) -> CommandLine:
    """A home with three days of one dataset landed."""
    folder.mkdir()
    (folder / "defs" / "meter").mkdir(parents=True)
    (folder / "defs" / "meter" / "defs.yaml").write_text(DECLARED)
    lines = [f"{device},2024-01-0{day}T00:00:00Z,{day}.5" for day in (1, 2, 3) for device in "ab"]
    (folder / "rows.csv").write_text("\n".join(["device,ts,value", *lines]) + "\n")
    made = CommandLine(folder)
    made.environment |= {"TIMESTORE_DEFS": str(folder / "defs"), **environment}
    assert made.inside("land", "meter", str(folder / "rows.csv")).code == 0
    return made


@pytest.fixture(scope="module")
def remote(s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> CommandLine:
    bucket = s3_server.with_bucket("cli-cache")
    settings = {f"TIMESTORE_{name}".upper(): str(value) for name, value in target_settings(bucket).items()}
    return shell(tmp_path_factory.mktemp("cache") / "remote", settings | credentials(bucket))


def test_a_window_that_was_primed_is_read_from_this_machine(remote: CommandLine) -> None:
    assert remote.inside("cache", "clear").code == 0
    window = ("--from", "2024-01-02", "--to", "2024-01-04")
    report = remote.inside("cache", "prime", "meter", *window, "--json").json
    assert (report["dataset"], report["objects"], report["local_objects"]) == ("meter", 2, 0)
    before = remote.inside("cache", "status", "--json").json
    assert before["files"] == 2
    assert 0 < before["bytes"] <= before["max_bytes"]
    assert before["unkept_bytes"] == 0
    rows = remote.inside("query", "meter", *window, "--format", "json").json
    assert len(rows) == 4
    assert remote.inside("cache", "status", "--json").json == before


def test_columns_are_checked_and_the_table_says_what_is_kept(remote: CommandLine) -> None:
    assert "no column 'valu'" in remote.inside("cache", "prime", "meter", "--columns", "valu").err
    primed = remote.inside("cache", "prime", "meter", "--columns", "value, device")
    assert "3 segments of meter" in primed.out
    assert "3 files" in remote.inside("cache", "status").out
    assert "removed 3 files" in remote.inside("cache", "clear").out
    assert remote.inside("cache", "status", "--json").json["files"] == 0


def test_a_window_larger_than_the_cache_is_refused(remote: CommandLine) -> None:
    remote.environment["TIMESTORE_QUERY_CACHE_MAX_BYTES"] = "1000"
    try:
        refused = remote.inside("cache", "prime", "meter")
    finally:
        del remote.environment["TIMESTORE_QUERY_CACHE_MAX_BYTES"]
    assert refused.code == 2
    assert "TIMESTORE_QUERY_CACHE_MAX_BYTES" in refused.err


def test_a_local_target_has_nothing_to_fetch(tmp_path: Path) -> None:
    local = shell(tmp_path / "local", {})
    assert "nothing is to be done" in local.inside("cache", "prime", "meter").out
    assert local.inside("cache", "status", "--json").json["files"] == 0
    assert "removed 0 files" in local.inside("cache", "clear").out
    assert not (local.home / "cache").exists()
