"""`timestore --help` answers at once because nothing heavy is imported for it, and a question soon: only what it needs is."""

from __future__ import annotations

import subprocess
import sys

import pytest

from timestore_assets_tests.support.command_line import CommandLine

# not pydantic: typer itself brings it to convert arguments, in a few milliseconds
HEAVY = (
    "alembic",
    "confluent_kafka",
    "dagster",
    "duckdb",
    "fastapi",
    "httpx",
    "matplotlib",
    "numpy",
    "opentelemetry",
    "pandas",
    "pandera",
    "polars",
    "prometheus_client",
    "prompt_toolkit",
    "pyarrow",
    "sqlalchemy",
    "starlette",
    "structlog",
    "uvicorn",
    "yaml",
)
SCRIPT = """
import sys
from timestore_assets.cli.main import run
code = run({arguments!r})
heavy = sorted({heavy!r} & {{name.partition('.')[0] for name in sys.modules}})
sys.stderr.write(' '.join(heavy))
sys.exit(code)
"""


def modules_imported_by(*arguments: str) -> str:
    script = SCRIPT.format(arguments=list(arguments), heavy=set(HEAVY))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    return done.stderr


def test_help_imports_nothing_heavy() -> None:
    assert modules_imported_by("--help") == ""


def test_help_of_a_command_imports_nothing_heavy() -> None:
    assert modules_imported_by("land", "--help") == ""


def test_help_of_the_streaming_commands_imports_nothing_heavy() -> None:
    assert modules_imported_by("broker", "--help") == modules_imported_by("replay", "--help") == ""


def test_help_of_the_service_imports_nothing_heavy() -> None:
    assert modules_imported_by("serve", "--help") == modules_imported_by("dev", "--help") == ""


def test_help_of_asking_imports_nothing_heavy() -> None:
    assert modules_imported_by("query", "--help") == modules_imported_by("sql", "--help") == ""


def test_version_imports_nothing_heavy() -> None:
    assert modules_imported_by("version") == ""


NOT_FOR_A_QUESTION = (
    "alembic",
    "dagster",
    "fastapi",
    "httpx",
    "obstore",
    "pandas",
    "pandera",
    "polars",
    "prompt_toolkit",
    "psycopg",
    "pyarrow.compute",
    "pyarrow.dataset",
    "pyarrow.parquet",
    "pydantic_settings",
    "sqlalchemy.dialects.postgresql",
    "sqlalchemy.orm",
    "timestore_assets.decoding",
    "timestore_assets.landing",
    "timestore_assets.orchestration",
    "timestore_assets.service",
)
"""A question in a terminal takes as long as its imports; pandas and Arrow's functions alone are a third of a second."""

DECLARATION = """
type: timestore_assets.Dataset
attributes:
  name: weather
  columns: {time: timestamp, temp: double, origin: string}
  time: time
  window: month
  start: 2013-01-01
"""
ASKING = """
import sys
from timestore_assets.cli.main import run
code = run({arguments!r})
sys.stderr.write(' '.join(sorted({names!r} & set(sys.modules))))
sys.exit(code)
"""


@pytest.fixture(scope="module")
def weather(tmp_path_factory: pytest.TempPathFactory) -> CommandLine:
    """A home with rows of weather in it."""
    line = CommandLine(tmp_path_factory.mktemp("weather"))
    declaration = line.home / "defs" / "weather" / "defs.yaml"
    declaration.parent.mkdir(parents=True)
    declaration.write_text(DECLARATION)
    (line.folder / "weather.csv").write_text("time,temp,origin\n2013-01-01T00:10:00Z,1.5,JFK\n2013-01-02T00:00:00Z,2.5,JFK\n")
    landed = line.inside("land", "weather", "weather.csv")
    assert landed.code == 0, landed.err
    return line


@pytest.mark.parametrize(
    "arguments",
    [
        ("query", "weather", "--limit", "5"),
        ("query", "weather", "--json"),
        ("sql", "SELECT origin, max(time) AS latest FROM weather GROUP BY origin"),
        ("status",),
        ("datasets",),
    ],
    ids=lambda arguments: " ".join(arguments[:3]),
)
def test_a_question_imports_nothing_that_it_does_not_need(weather: CommandLine, arguments: tuple[str, ...]) -> None:
    script = ASKING.format(arguments=list(arguments), names=set(NOT_FOR_A_QUESTION))
    done = subprocess.run(
        [sys.executable, "-c", script], env=weather.environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert (done.stderr, "weather" in done.stdout or "JFK" in done.stdout) == ("", True)


def test_loading_definitions_imports_nothing_that_only_work_on_rows_needs() -> None:
    script = "import sys, timestore_assets.definitions; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert {"confluent_kafka", "numpy", "obstore", "pandera", "polars", "pyarrow"} & set(done.stdout.split()) == set()
