"""Long answers go through the pager that the person at the terminal has chosen, as with git and psql."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from contextlib import suppress

_USUAL = "less"
_LESS_OPTIONS = "FRX"
"""For `less`, unless LESS says otherwise: end when it fits, keep colours, leave the text on the screen."""


def page(text: str) -> bool:
    """Show a text by `PAGER` (`less` where it is not set). False when there is none to show it; nothing is printed then."""
    command = shlex.split(os.environ.get("PAGER", _USUAL))
    if not command or command == ["cat"]:
        return False
    environment = {"LESS": _LESS_OPTIONS, **os.environ}
    sys.stdout.flush()
    try:
        pager = subprocess.Popen(command, stdin=subprocess.PIPE, env=environment)  # noqa: S603 - the user's own PAGER
    except OSError:
        return False
    if pager.stdin is not None:
        # who has seen enough leaves before the end
        with suppress(BrokenPipeError), pager.stdin as pipe:
            pipe.write(text.encode())
    while True:
        # Ctrl-C is for the pager, which is still there
        with suppress(KeyboardInterrupt):
            pager.wait()
            return True
