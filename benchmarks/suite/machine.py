"""Where figures were measured: the machine, what else it did, and versions."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.suite.workers import ROOT


def machine() -> dict[str, Any]:
    """What stands beside the figures."""
    return {
        "processor": _named("/proc/cpuinfo", "model name"),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(int(_named("/proc/meminfo", "MemTotal").split()[0]) / 1e6, 1),
        "kernel": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
        "commit": _commit(),
        "began": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "load": load(),
    }


def load() -> list[float]:
    """Processes that wanted a core, on average of one and of fifteen minutes."""
    one, _, fifteen = os.getloadavg()
    return [round(one, 1), round(fifteen, 1)]


def _named(path: str, name: str) -> str:
    for line in Path(path).read_text().splitlines():
        if line.startswith(name):
            return line.partition(":")[2].strip()
    return "unknown 0"


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"
