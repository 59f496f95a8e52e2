"""What makes a local file the same file: its content's sha256. The etag is only a cheap hint that spares hashing again."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from timestore_assets.sources.files.input_file import FileIdentity, changed, unreadable

if TYPE_CHECKING:
    from timestore_assets.sources.files.input_file import InputFile

_READ_BYTES = 1 << 20


def hashed(file: InputFile) -> FileIdentity:
    """Hash a file by streaming, in constant memory.

    Raises:
        BadFileError: no regular, readable file is there, or it changed meanwhile (`changed_while_reading`).
    """
    before = file.status()
    digest, size = hashlib.sha256(), 0
    try:
        with file.open() as stream:
            while block := stream.read(_READ_BYTES):
                digest.update(block)
                size += len(block)
    except OSError as error:
        raise unreadable(file.name, error) from None
    after = file.status()
    if after.etag != before.etag or after.size != size:
        raise changed(file.name)
    return FileIdentity(sha256=digest.hexdigest(), etag=before.etag, size=size)
