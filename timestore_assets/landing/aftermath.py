"""What happens to a file once its rows are safe: kept, deleted or renamed, as the source's `after` says."""

from __future__ import annotations

import itertools
from pathlib import Path

from timestore_assets.model.dataset import FileSource
from timestore_assets.model.errors import BadFileError
from timestore_assets.sources.files.identity import etag_of, regular_file

PROCESSED = ".processed"
"""Ending of a renamed file; listings leave out files with it."""


def put_away(source: FileSource, path: Path, etag: str) -> None:
    """Delete or rename a landed file if it still is what was landed. Doing it again, after a crash in between, is fine."""
    if source.after == "keep":
        return
    try:
        if etag_of(regular_file(path)) != etag:
            return
    except BadFileError:
        return
    try:
        if source.after == "delete":
            path.unlink(missing_ok=True)
        else:
            path.rename(_free_name(path))
    except OSError:
        # the rows are safe and the file is known: it stays where it is, and is only looked at again
        return


def _free_name(path: Path) -> Path:
    names = (path.with_name(f"{path.name}{f'.{number}' if number else ''}{PROCESSED}") for number in itertools.count())
    return next(name for name in names if not name.exists())
