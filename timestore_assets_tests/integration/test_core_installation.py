"""What an installation without extras can do, and the sentence that it says where a package is missing for more."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from timestore_assets_tests.support.command_line import CommandLine
from timestore_assets_tests.support.partial_installation import core_requirements, environment_with
from timestore_assets_tests.support.shaped_files import avro_file, excel_file

DECLARATION = """
type: timestore_assets.Dataset
attributes:
  name: meters
  columns:
    meter: {type: string}
    at: {type: timestamp}
    watts: {type: double, nullable: true}
  time: at
  window: day
  start: 2024-01-01
  dedupe: {keys: [meter, at]}
  sources:
    - files: {prefix: inbox/meters/, format: csv}
    - kafka: {topic: meters, bootstrap_servers: "127.0.0.1:1"}
    - http: {}
"""
ROWS = "meter,at,watts\nkitchen,2024-01-01T00:00:00Z,10\ncellar,2024-01-01T12:00:00Z,30.5\nkitchen,2024-01-02T00:00:00Z,low\n"
NOT_INSTALLED = (
    "boto3", "confluent_kafka", "dagster_aws", "dagster_postgres", "dagster_webserver", "fastapi", "fastavro", "httptools", "jwt",
    "matplotlib", "obstore", "openlineage", "opentelemetry", "pandas", "pandera", "polars", "prometheus_client", "psycopg",
    "psycopg2", "python_calamine",
    "starlette", "uvicorn",
    "uvloop",
)  # fmt: skip


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> CommandLine:
    folder = tmp_path_factory.mktemp("core")
    line = CommandLine(folder)
    line.environment = environment_with(folder / "site", core_requirements(), line.environment)
    declaration = line.home / "defs" / "meters" / "defs.yaml"
    declaration.parent.mkdir(parents=True)
    declaration.write_text(DECLARATION)
    constrained = line.home / "defs" / "checked" / "defs.yaml"
    constrained.parent.mkdir()
    constrained.write_text(DECLARATION.replace("name: meters", "name: checked").replace("nullable: true", "ge: 0"))
    (folder / "meters.csv").write_text(ROWS)
    return line


def python(core: CommandLine, script: str, **environment: str) -> Any:
    """What a script prints as JSON in its last line."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=core.folder,
        env={**core.environment, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_the_packages_of_the_extras_can_not_be_imported_here(core: CommandLine) -> None:
    script = f"""
import json
found = []
for name in {NOT_INSTALLED!r}:
    try:
        __import__(name)
    except ModuleNotFoundError:
        continue
    found.append(name)
print(json.dumps(found))
"""
    assert python(core, script) == []


def test_a_file_is_landed_built_and_asked(core: CommandLine) -> None:
    assert core.run("--help").code == 0
    landed = core.run("land", "meters", "meters.csv", "--json").json
    assert (landed["read"], landed["landed"], landed["dead_letters"]) == (3, 2, 1)
    assert core.run("build", "meters").code == 0
    rows = core.run("query", "meters", "--columns", "meter,watts", "--json").json
    assert rows == [{"meter": "kitchen", "watts": 10.0}, {"meter": "cellar", "watts": 30.5}]


def test_dagster_loads_datasets_of_every_kind_of_source(core: CommandLine) -> None:
    script = """
import json
import dagster as dg
from timestore_assets.definitions import defs

loaded = defs()
dg.Definitions.validate_loadable(loaded)
print(json.dumps(sorted(sensor.name for sensor in loaded.sensors)))
"""
    assert {"timestore_files", "timestore_topics", "timestore_builds"} <= set(python(core, script))


def test_a_run_that_needs_a_missing_package_fails_with_one_sentence(core: CommandLine) -> None:
    script = """
import json
import dagster as dg
from timestore_assets.definitions import defs

job = defs().resolve_job_def("stream_meters")
config = {"ops": {"stream_meters_topics": {"config": {"source": "meters"}}}}
ran = job.execute_in_process(run_config=config, raise_on_error=False)
failed = [event.step_failure_data for event in ran.all_events if event.event_type_value == "STEP_FAILURE"]
print(json.dumps([one.user_failure_data.description for one in failed]))
"""
    sentence = "topics need the package confluent_kafka, which is not installed: pip install 'timestore-assets[kafka]'"
    assert python(core, script) == [f"streaming into meters: {sentence}"]


ASKED: dict[str, tuple[list[str], dict[str, str], str]] = {
    "serve": (["serve"], {}, "serve"),
    "checks": (["land", "checked", "meters.csv"], {}, "checks"),
    "dev": (["dev"], {}, "serve,ui"),
    "demo": (["demo"], {}, "demo"),
    "broker": (["broker"], {}, "kafka"),
    "stream": (["stream", "meters"], {}, "kafka"),
    "postgres": (["status"], {"TIMESTORE_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}, "postgres"),
    "secret": (["status"], {"TIMESTORE_DATABASE_URL_SECRET": "none"}, "cloud"),
    "bucket": (["land", "meters", "s3://none/meters.csv"], {"AWS_ACCESS_KEY_ID": "none"}, "cloud"),
    "avro": (["init", "a.avro"], {}, "avro"),
    "lineage": (["lineage", "emit"], {"TIMESTORE_OPENLINEAGE": "https://127.0.0.1:1"}, "openlineage"),
    "sheet": (["init", "a.xlsx"], {}, "spreadsheets"),
    "target": (["land", "meters", "again.csv"], {"TIMESTORE_STORAGE_DRIVER": "s3", "TIMESTORE_S3_BUCKET": "none"}, "cloud"),
}


def test_a_command_that_needs_a_missing_package_says_in_one_sentence_how_to_install_it(core: CommandLine) -> None:
    (core.folder / "again.csv").write_text(ROWS.replace("kitchen", "attic"))
    avro_file(core.folder / "a.avro")
    excel_file(core.folder / "a.xlsx")
    script = f"""
import contextlib, io, json, os
from unittest.mock import patch
from timestore_assets.cli.main import run

said = {{}}
for name, (arguments, environment, _) in {ASKED!r}.items():
    err = io.StringIO()
    with patch.dict(os.environ, environment), contextlib.redirect_stderr(err):
        said[name] = [run(arguments), err.getvalue()]
print(json.dumps(said))
"""
    said = python(core, script)
    for name, (_, _, extra) in ASKED.items():
        code, error = said[name]
        assert code == 2, (name, error)
        assert error.startswith("error: ") and error.count("\n") == 1, (name, error)
        assert error.endswith(f" not installed: pip install 'timestore-assets[{extra}]'\n"), (name, error)
