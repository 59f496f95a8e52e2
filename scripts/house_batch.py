"""Land one small CSV into a fresh warehouse and print, as JSON, the project's files in which a function ran meanwhile.

`python scripts/house_batch.py ROOT` with a Python that has the project's dependencies; ROOT comes first on the path.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
from inspect import CO_OPTIMIZED
from pathlib import Path
from types import FrameType
from typing import Any

DECLARATION = """\
type: timestore_assets.Dataset
attributes:
  name: weather
  columns:
    ts: {type: timestamp}
    station: {type: string}
    temp: {type: double, nullable: true, ge: -60, le: 140}
  time: ts
  window: day
  start: 2013-01-01
  sources:
    - files: {prefix: inbox/weather/, format: csv}
"""
RECORDS = "ts,station,temp\n" + "".join(f"2013-01-0{day}T00:00:00Z,JFK,{day}.5\n" for day in range(1, 6))


def main(root: Path) -> None:
    sys.path.insert(0, str(root))
    package = f"{root / 'timestore_assets'}{os.sep}"
    ran: set[str] = set()

    def is_import(frame: FrameType | None) -> bool:
        """Whether a module of the project is just being executed, whose calls are not the batch's."""
        while frame is not None:
            if frame.f_code.co_name == "<module>" and frame.f_code.co_filename.startswith(package):
                return True
            frame = frame.f_back
        return False

    def called(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event != "call" or code.co_filename in ran or not code.co_filename.startswith(package):
            return
        # a class's body is code too, but no function
        if code.co_flags & CO_OPTIMIZED and not is_import(frame):
            ran.add(code.co_filename)

    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "defs" / "weather").mkdir(parents=True)
        (home / "defs" / "weather" / "defs.yaml").write_text(DECLARATION)
        (home / "weather.csv").write_text(RECORDS)
        for name in [name for name in os.environ if name.startswith("TIMESTORE_")]:
            del os.environ[name]
        os.environ |= {"TIMESTORE_HOME": str(home / "home"), "TIMESTORE_DEFS": str(home / "defs")}

        from timestore_assets.warehouse import Warehouse

        with Warehouse.open() as warehouse:
            threading.setprofile(called)
            sys.setprofile(called)
            report = warehouse.land("weather", [home / "weather.csv"])
            sys.setprofile(None)
            threading.setprofile(None)  # takes it away again
        modules = [module for name, module in sys.modules.items() if name.split(".")[0] == "timestore_assets"]
        imported = sorted(
            {file for module in modules if (file := getattr(module, "__file__", None)) and "migrations" not in file}
        )
    passed = sorted(path for path in ran if "migrations" not in path)
    print(json.dumps({"passed": _sized(passed, root), "imported": _sized(imported, root), "report": str(report)}))


def _sized(paths: list[str], root: Path) -> dict[str, int]:
    return {str(Path(path).relative_to(root)): len(Path(path).read_text().splitlines()) for path in paths}


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
