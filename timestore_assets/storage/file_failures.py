"""What the operating system says about files, as errors of this project."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from timestore_assets.model.errors import StorageFullError, TimestoreError, UnavailableError

_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def file_failures(root: Path, *, needed: int = 0) -> Iterator[None]:
    """Turn the operating system's refusals into errors of this project that name the folder and what to do.

    `needed`: bytes that were to be written, where that is known.

    Raises:
        StorageFullError, UnavailableError: in place of OSError.
    """
    try:
        yield
    except TimestoreError:
        raise
    except OSError as error:
        if error.errno in _FULL:
            bytes_needed = f"{needed:,} bytes are needed; " if needed else ""
            raise StorageFullError(f"no room left in {root}: {bytes_needed}free some and run it again") from error
        if error.errno == errno.EXDEV:
            raise UnavailableError(f"staging and storage must be on one file system, and {root} is on another") from error
        raise UnavailableError(f"storage {root} can't be used: {error.strerror or error} ({error.filename})") from error
