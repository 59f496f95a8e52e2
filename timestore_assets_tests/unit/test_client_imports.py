"""Importing the client imports nothing of the warehouse and nothing heavy; what a call needs is imported by the call."""

from __future__ import annotations

import subprocess
import sys

HEAVY = {"dagster", "duckdb", "fastapi", "httpx", "numpy", "pandas", "pandera", "polars", "pyarrow", "pydantic", "sqlalchemy"}
SCRIPT = f"""
import sys
from timestore_assets import AsyncTimestoreClient, TimestoreClient
print(sorted({HEAVY!r} & {{name.partition('.')[0] for name in sys.modules}}))
"""


def test_importing_the_client_is_light() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
