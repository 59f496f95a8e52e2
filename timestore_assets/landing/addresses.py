"""What a file is known by, also when its content can't be had."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from timestore_assets.sources.files.identity import FileIdentity, etag_of


def address_of(path: Path, base: Path) -> str:
    """What a file is known by: its path below the base, or its absolute path; `/`-separated."""
    # not resolved: a link is known by its own name
    absolute, root = (Path(os.path.abspath(one)) for one in (path, base))  # noqa: PTH100
    return (absolute.relative_to(root) if absolute.is_relative_to(root) else absolute).as_posix()


def outside_identity(path: Path, address: str) -> FileIdentity | None:
    """Stands for the identity of a file whose content can't be had: where it is and what it looks like from outside."""
    try:
        status = path.stat()
    except OSError:
        return None
    etag = etag_of(status)
    digest = hashlib.sha256(f"unreadable\0{address}\0{etag}".encode()).hexdigest()
    return FileIdentity(sha256=digest, etag=etag, size=status.st_size)
