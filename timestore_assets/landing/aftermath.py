"""What happens to a file once its rows are safe: kept, deleted or renamed, as the source's `after` says."""

from __future__ import annotations

from timestore_assets.model.dataset import FileSource
from timestore_assets.model.errors import BadFileError
from timestore_assets.sources.files.input_file import InputFile


def put_away(source: FileSource, file: InputFile, etag: str) -> None:
    """Delete or rename a landed file if it still is what was landed. Doing it again, after a crash in between, is fine."""
    if source.after == "keep":
        return
    try:
        if file.status().etag != etag:
            return
        if source.after == "delete":
            file.delete()
        else:
            file.mark_processed()
    except (BadFileError, OSError):
        # the rows are safe and the file is known: it stays where it is, and is only looked at again
        return
