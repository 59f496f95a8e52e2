"""What planning costs: the figures that `benchmarks/planning.py` prints, where that script is there."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.suite.workers import ROOT


def planned(missing: dict[str, str], *, seconds: float) -> str | None:
    """What the script prints; None, and the reason noted, where it can't be run."""
    script = ROOT / "benchmarks" / "planning.py"
    if not script.exists():
        missing["planning"] = "benchmarks/planning.py is not there"
        return None
    try:
        done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=seconds, check=True)
    except subprocess.TimeoutExpired:
        missing["planning"] = f"it was not done within {seconds:.0f} s"
    except subprocess.CalledProcessError as error:
        missing["planning"] = f"failed: {(error.stderr or str(error)).strip().splitlines()[-1][:200]}"
    else:
        print(done.stdout, flush=True)
        return done.stdout.rstrip()
    return None
