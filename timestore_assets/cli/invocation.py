"""How this command is called here, so that the commands we tell people to type work when they paste them."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path


def timestore(*arguments: str) -> str:
    """A command line for a shell: `timestore land weather data.csv`, with the script's path when it is not on PATH."""
    return " ".join((_script(), *map(shlex.quote, arguments)))


def _script() -> str:
    if shutil.which("timestore"):
        return "timestore"
    script = Path(sys.executable).parent / "timestore"
    if not script.exists():
        return f"{shlex.quote(sys.executable)} -m timestore_assets.cli"
    relative = os.path.relpath(script)
    return shlex.quote(str(script) if relative.startswith("..") else relative)
