"""Write `requirements.lock`: the newest versions that pyproject.toml allows, resolved in a throw-away environment.

Only names and versions are written, so that the file works with whatever index a machine is set up for. With `--keep` what is
pinned stays, and only what is new is added.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent
LOCK = ROOT / "requirements.lock"
HEADER = "# Made by `make lock` from pyproject.toml: the core, every extra and development, with everything they pull in.\n"


def is_own(wanted: str) -> bool:
    """Whether it names other extras, which stand in the file themselves."""
    return wanted.startswith("timestore-assets[")


def main() -> None:
    parser = argparse.ArgumentParser(description="Pin what pyproject.toml asks for.")
    parser.add_argument("--keep", action="store_true", help="leave what is pinned as it is, and only add what is new")
    given = parser.parse_args()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [
        *project["build-system"]["requires"],
        *project["project"]["dependencies"],
        *(wanted for extra in project["project"]["optional-dependencies"].values() for wanted in extra if not is_own(wanted)),
        *project["dependency-groups"]["dev"],
    ]
    kept = ["--constraint", str(LOCK)] if given.keep else []
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = str(Path(folder) / "bin" / "python")
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--upgrade", *kept, *wanted, "editables"], check=True)
        frozen = subprocess.run([python, "-m", "pip", "freeze"], check=True, capture_output=True, text=True).stdout
    pins = [line for line in frozen.splitlines() if "==" in line]
    LOCK.write_text(HEADER + "\n".join(pins) + "\n")
    print(f"requirements.lock: {len(pins)} packages", file=sys.stderr)


if __name__ == "__main__":
    main()
