"""The checksum that every object in an object store carries: made where the file was written, checked where it is read."""

from __future__ import annotations

import hashlib
from pathlib import Path

METADATA_KEY = "sha256"
"""Name of the object's metadata that holds it; Azure takes only what could name a variable."""


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
