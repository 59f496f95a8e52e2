"""Files that a person asked for by name: there whole, or as they were before."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from timestore_assets.file_access import hand_over, sync
from timestore_assets.model.errors import InputError


@contextmanager
def placed(path: Path) -> Iterator[Path]:
    """A path beside the file's, at which the file is made; it takes its place at the end, and goes when something fails.

    Raises:
        InputError: the path is a folder, or its folder does not exist.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder; write the name of a file")
    # a link stays one, and what it leads to is replaced
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise InputError(f"there is no folder {target.parent}; make it first")
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        yield partial
        if target.exists():
            partial.chmod(target.stat().st_mode & 0o7777)
        else:
            hand_over(partial)
        sync(partial)
        partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextmanager
def written(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, `placed`; what is there and is no plain file, as a pipe or `/dev/null`, is written to directly."""
    if path.exists() and not path.is_file() and not path.is_dir():
        with path.open("wb") as out:
            yield out
        return
    with placed(path) as partial, partial.open("xb") as out:
        yield out
        out.flush()
