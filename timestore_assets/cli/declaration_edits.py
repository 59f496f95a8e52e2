"""Declaration files as `init` makes them, when their dataset is dropped or gets another name.

Only those in TIMESTORE_HOME/defs are touched: any other belongs to a project that has its own way to change them.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from timestore_assets.declaration.from_yaml import parse_declaration
from timestore_assets.declarations import read_declaration
from timestore_assets.file_access import hand_over
from timestore_assets.model.errors import DeclarationError, InputError, UnavailableError
from timestore_assets.settings import Settings


def is_ours(path: Path, settings: Settings) -> bool:
    """Whether a file is one that these functions may touch."""
    return path.absolute().parent.parent == (settings.home_folder / "defs").absolute()


def remove(path: Path) -> None:
    """Remove a declaration, and its folder if nothing else is in it.

    Raises:
        UnavailableError: it can't be removed.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise UnavailableError(f"{path} can't be removed: {error.strerror}; remove it yourself") from None
    with suppress(OSError):
        path.parent.rmdir()


def rename_in(path: Path, to: str) -> Path:
    """Write another name into a declaration, all else as it is; its folder follows when it is called by the old name.

    Returns where the file is then.

    Raises:
        InputError: the name isn't written in a way that can be changed here. UnavailableError: the file can't be written.
    """
    before = read_declaration(path)
    text = path.read_text(encoding="utf-8")
    line = re.compile(rf"^(\s+name:\s*)([\"']?){re.escape(before.name)}\2(?=\s*(?:#.*)?$)", re.MULTILINE)
    changed, found = line.subn(rf"\g<1>{to}", text)
    with suppress(DeclarationError):
        if found == 1 and parse_declaration(changed) == replace(before, name=to):
            _write(path, changed)
            return _with_folder(path, before.name, to)
    raise InputError(f"`name:` can't be changed in {path}; write `name: {to}` there yourself")


def _write(path: Path, text: str) -> None:
    staged = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        staged.write_text(text, encoding="utf-8")
        hand_over(staged)
        staged.replace(path)
    except OSError as error:
        raise UnavailableError(f"{path} can't be written: {error.strerror}; write the new name there yourself") from None


def _with_folder(path: Path, before: str, to: str) -> Path:
    folder, wanted = path.parent, path.parent.with_name(to)
    # what else lies there may be named by its path elsewhere
    if folder.name != before or wanted.exists() or [one.name for one in folder.iterdir()] != [path.name]:
        return path
    with suppress(OSError):
        return folder.rename(wanted) / path.name
    return path
