"""From what a person types after `land` to the files that are meant."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from timestore_assets.model.errors import InputError


def expand(uris: Sequence[str]) -> tuple[list[Path], list[str]]:
    """The files that paths, `file://` URIs, folders and globs name, in the order given and without repetitions.

    A folder means every file below it except those that a watched prefix ignores too (`.*`, `_*`, `*.tmp`, `*.part`, …).

    Returns:
        The files, and one sentence for each entry of a folder that should be one but can't be read.

    Raises:
        InputError: a URI names nothing, or has a scheme that can't be read.
    """
    found: dict[Path, None] = {}
    problems: list[str] = []
    for uri in uris:
        for path in _expand_one(uri, problems):
            found.setdefault(path)
    return list(found), problems


def _expand_one(uri: str, problems: list[str]) -> list[Path]:
    text = _local(uri)
    path = Path(text).expanduser()
    if path.is_dir():
        return _below(path, problems)
    if path.exists() or path.is_symlink():
        return [path]
    if glob.has_magic(text):
        # pathlib's glob takes no absolute pattern
        matches = sorted(match for match in glob.glob(str(path), recursive=True) if not Path(match).is_dir())  # noqa: PTH207
        if matches:
            return [Path(match) for match in matches]
        raise InputError(f"no file matches {uri!r}")
    raise InputError(f"there is no file {uri!r}")


def _local(uri: str) -> str:
    if "://" not in uri:
        return uri
    parts = urlsplit(uri)
    if parts.scheme != "file":
        raise InputError(f"{uri!r} can't be read: {parts.scheme}:// is not supported; give a local path, a folder or a glob")
    return unquote(parts.path)


def _below(folder: Path, problems: list[str]) -> list[Path]:
    from timestore_assets.sources.files.listing import list_files

    listing = list_files(folder)
    problems.extend(f"{folder / problem.address}: {problem.reason}" for problem in listing.problems)
    if not listing.files and not listing.problems:
        raise InputError(f"there is no file to land in the folder {str(folder)!r}")
    return [folder / file.address for file in listing.files]
