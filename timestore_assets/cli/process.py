"""The process of one command: it collects garbage seldom, and ends without taking apart what it has imported.

A short question is answered in the time that its imports take. Python's collector would go through all of them again and again
while they come, and several times more before the process ends: a third of its work.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys

_NEW_OBJECTS = 50_000
"""Between two collections; Python's 700 come together a hundred times in the imports alone. A few megabytes in what runs long."""


def main() -> int:
    """Entry point of the `timestore` script; see `cli.main.run`."""
    gc.set_threshold(_NEW_OBJECTS)
    end = _QuickEnd()
    # what was there before (coverage, a debugger) has to be called after ours, so the process ends in full for it
    if not atexit._ncallbacks():
        atexit.register(end)
    from timestore_assets.cli.main import run

    end.code = run()
    return end.code


class _QuickEnd:
    """The first to be registered and so the last to be called: threads have been waited for, and whoever asked to be told of
    the end has been told.

    Attributes: `code`, with which the process ends; None while it is not known, as where an error ends it.
    """

    code: int | None = None

    def __call__(self) -> None:
        if self.code is None:
            return
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except (OSError, ValueError, AttributeError):
            return  # closed by whoever reads it, or by us: Python itself knows what to do
        os._exit(self.code)
