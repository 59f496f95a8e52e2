"""`timestore --help` answers at once because nothing heavy is imported for it."""

from __future__ import annotations

import subprocess
import sys

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


def test_loading_definitions_imports_nothing_that_only_work_on_rows_needs() -> None:
    script = "import sys, timestore_assets.definitions; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert {"confluent_kafka", "numpy", "obstore", "pandera", "polars", "pyarrow"} & set(done.stdout.split()) == set()
