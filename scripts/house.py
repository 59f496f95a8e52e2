"""Measure the house: the figures of the package's structure, by `ast` and by landing one batch.

    python scripts/house.py [ROOT]              the table for a checkout, by default this one
    python scripts/house.py --compare OLD NEW   two checkouts side by side, as Markdown
    python scripts/house.py --list [ROOT]       what is counted: arrows upward, circles, private names, a batch's files

Only the standard library is needed, but for the batch, which is landed with ROOT's `.venv` or, without one, with this Python.
Migrations are left out; tests are only compared by lines. `radon cc` gives the same complexity.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import house_arrows
from house_shape import shape

PACKAGE, TESTS = "timestore_assets", "timestore_assets_tests"
HERE = Path(__file__).resolve().parent


def main() -> None:
    parser = argparse.ArgumentParser(description="Figures of the package's structure.")
    parser.add_argument("--compare", nargs=2, metavar=("OLD", "NEW"), type=Path)
    parser.add_argument("--list", action="store_true", help="list what is counted")
    parser.add_argument("root", nargs="?", type=Path, default=HERE.parent)
    given = parser.parse_args()
    if given.compare:
        old, new = (measure(root.resolve()) for root in given.compare)
        print("| point | before | after |\n|---|---|---|")
        for point in old | new:
            print(f"| {point} | {old.get(point, '–')} | {new.get(point, '–')} |")
    elif given.list:
        list_counted(given.root.resolve())
    else:
        figures = measure(given.root.resolve())
        width = max(map(len, figures))
        for point, figure in figures.items():
            print(f"{point:{width}}  {figure}")


def measure(root: Path) -> dict[str, str]:
    return {**shape(root, PACKAGE, TESTS), **house_arrows.figures(root, PACKAGE), **batch_figures(root)}


def batch_figures(root: Path) -> dict[str, str]:
    landed = land_batch(root)
    passed, imported = landed.get("passed", {}), landed.get("imported", {})
    return {
        "files one CSV batch passes (lines)": f"{len(passed)} ({sum(passed.values()):,})" if passed else "–",
        "files imported by then (lines)": f"{len(imported)} ({sum(imported.values()):,})" if imported else "–",
    }


def land_batch(root: Path) -> dict[str, Any]:
    own = [root / ".venv" / "bin" / "python", Path(sys.executable), HERE.parent / ".venv" / "bin" / "python"]
    environment = {**os.environ, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    refused = []
    for python in (python for python in own if python.exists()):
        command = [str(python), str(HERE / "house_batch.py"), str(root)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)
        if done.returncode == 0:
            return dict(json.loads(done.stdout.splitlines()[-1]))
        refused.append(f"no batch was landed with {python}: {done.stderr.strip().splitlines()[-1]}")
    print(*refused, sep="\n", file=sys.stderr)
    return {}


def list_counted(root: Path) -> None:
    every = house_arrows.arrows(root, PACKAGE)
    print(
        "# arrows upward",
        *(f"{a.source or PACKAGE} → {a.target or PACKAGE} ({a.when})" for a in every if house_arrows.is_upward(a)),
        sep="\n",
    )
    print("\n# circles", *(" ↔ ".join(found) for found in house_arrows.circles(house_arrows.graph(every))), sep="\n")
    print("\n# private names across modules", *house_arrows.private_names(root, PACKAGE), sep="\n")
    print("\n# files one CSV batch passes", *land_batch(root).get("passed", {}), sep="\n")


if __name__ == "__main__":
    main()
