"""What a file is known by, also when its content can't be had."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from timestore_assets.sources.files.input_file import FileIdentity, InputFile, LocalFile


def address_of(path: Path, base: Path) -> str:
    """What a file is known by: its path below the base, or its absolute path; `/`-separated."""
    # not resolved: a link is known by its own name
    absolute, root = (Path(os.path.abspath(one)) for one in (path, base))  # noqa: PTH100
    return (absolute.relative_to(root) if absolute.is_relative_to(root) else absolute).as_posix()


def local_file(path: Path, base: Path) -> LocalFile:
    """A local file, known by its path below the base, or by its absolute path."""
    return LocalFile(path, address_of(path, base))


def outside_identity(file: InputFile) -> FileIdentity | None:
    """Stands for the identity of a file whose content can't be had: where it is and what it looks like from outside."""
    status = file.looks()
    if status is None:
        return None
    digest = hashlib.sha256(f"unreadable\0{file.address}\0{status.etag}".encode()).hexdigest()
    return FileIdentity(sha256=digest, etag=status.etag, size=status.size)
