"""What lies under a watched prefix: the files that match, and what was found in their place but can't be one.

Which of them are ready to be landed is a pure function of two observations, so that it can be replayed and tested.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from timestore_assets.model.errors import InputError
from timestore_assets.sources.files.input_file import as_text, etag_of

_UNFINISHED = (".tmp", ".part", ".processed")
_DATA_NAME = re.compile(r"\.(csv|tsv|txt|json|jsonl|ndjson|parquet|pq)(\.(gz|zst|zip))?$", re.IGNORECASE)

ProblemCode = Literal["directory", "broken_link", "outside_prefix", "not_a_file", "unreadable"]


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class ListedFile:
    """A file under the prefix. `address`: path relative to the listing's base, `/`-separated. `size`: stored bytes."""

    address: str
    size: int
    etag: str


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class ListingProblem:
    """An entry that matches but is no readable file; `reason` is one sentence."""

    address: str
    code: ProblemCode
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """Both in order of address."""

    files: tuple[ListedFile, ...]
    problems: tuple[ListingProblem, ...] = ()


def list_files(root: Path, glob: str = "**/*", *, base: Path | None = None) -> Listing:
    """Files below `root` whose path relative to it matches `glob` (`*`, `?`, `[…]`, `{a,b}`, `**/`).

    Names that begin with `.` or `_` or end in `.tmp`, `.part` or `.processed` are not looked at, nor is anything in folders
    of such names. Links are followed to files only, and only to those below `root`: a watched prefix is no way out of
    itself. Addresses are relative to `base` (default: `root`). A missing root is an empty listing.

    Raises:
        InputError: the glob is malformed.
    """
    pattern, base = glob_pattern(glob), (base or root)
    files: list[ListedFile] = []
    problems: list[ListingProblem] = []
    real_root = root.resolve()
    for entry in _walk(root):
        if isinstance(entry, ListingProblem):
            problems.append(entry)
            continue
        path = Path(entry.path)
        if not pattern.fullmatch(path.relative_to(root).as_posix()):
            continue
        found = _look_at(entry, path, address_of(path, base), real_root)
        if isinstance(found, ListedFile):
            files.append(found)
        elif found is not None:
            problems.append(found)
    return Listing(files=tuple(sorted(files)), problems=tuple(sorted(problems)))


def address_of(path: Path, base: Path) -> str:
    """How a file is named in the catalog: its path relative to `base`, or its absolute path when it lies elsewhere.

    Bytes that are no UTF-8 are escaped, see `file_names`.
    """
    path, base = Path(os.path.normpath(path.absolute())), Path(os.path.normpath(base.absolute()))
    return as_text(path.relative_to(base).as_posix() if path.is_relative_to(base) else path.as_posix())


def ignored(name: str) -> bool:
    """Whether a file or folder name says: hidden, unfinished or done with."""
    return name.startswith((".", "_")) or name.endswith(_UNFINISHED)


def _walk(root: Path) -> Iterator[os.DirEntry[str] | ListingProblem]:
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                found = sorted((entry for entry in entries if not ignored(entry.name)), key=lambda entry: entry.name)
        except FileNotFoundError:
            continue
        except OSError as error:
            reason = f"the folder cannot be listed: {(error.strerror or 'unknown error').lower()}"
            yield ListingProblem(address=address_of(folder, root), code="unreadable", reason=reason)
            continue
        yield from found
        waiting.extend(folder / entry.name for entry in found if entry.is_dir(follow_symlinks=False))


def _look_at(entry: os.DirEntry[str], path: Path, address: str, root: Path) -> ListedFile | ListingProblem | None:
    try:
        status = entry.stat()
    except FileNotFoundError:
        if not entry.is_symlink():
            return None  # it left between listing and looking
        return ListingProblem(address=address, code="broken_link", reason="the link points to nothing")
    except OSError as error:
        return ListingProblem(address=address, code="unreadable", reason=f"{(error.strerror or 'unknown error').lower()}")
    if entry.is_symlink() and not path.resolve().is_relative_to(root):
        return ListingProblem(
            address=address, code="outside_prefix", reason="the link leaves the watched prefix; copy or hard-link the file"
        )
    if stat.S_ISDIR(status.st_mode):
        return _directory(path, address)
    if not stat.S_ISREG(status.st_mode):
        return ListingProblem(address=address, code="not_a_file", reason="it is a pipe, socket or device")
    if not os.access(path, os.R_OK):
        return ListingProblem(address=address, code="unreadable", reason="permission denied")
    return ListedFile(address=address, size=status.st_size, etag=etag_of(status))


def _directory(path: Path, address: str) -> ListingProblem | None:
    """A folder named like a data file is a mistake unless it holds files, as a partitioned Parquet folder does."""
    if not _DATA_NAME.search(path.name):
        return None
    try:
        with os.scandir(path) as entries:
            if any(not ignored(entry.name) for entry in entries):
                return None
    except OSError:
        return None  # the walk reports it
    return ListingProblem(address=address, code="directory", reason="it is a directory named like a file")


@lru_cache(maxsize=256)
def glob_pattern(glob: str) -> re.Pattern[str]:
    """The regular expression that a path relative to the prefix must match as a whole.

    Raises:
        InputError: a bracket or brace is not closed, or the glob is absolute or climbs out with `..`.
    """
    if glob.startswith("/") or ".." in glob.split("/"):
        raise InputError(f"glob {glob!r} must stay below its prefix; write for instance '**/*.csv'")
    out, at = [], 0
    while at < len(glob):
        text, length = _glob_token(glob, at)
        out.append(text)
        at += length
    return re.compile("".join(out), re.DOTALL)


def _glob_token(glob: str, at: int) -> tuple[str, int]:
    if glob.startswith("**/", at) and (at == 0 or glob[at - 1] == "/"):
        return "(?:[^/]+/)*", 3
    if glob.startswith("**", at):
        return ".*", 2
    char = glob[at]
    if char in "*?":
        return ("[^/]*" if char == "*" else "[^/]"), 1
    if char not in "[{":
        return re.escape(char), 1
    end = glob.find("]" if char == "[" else "}", at + 2)
    if end < 0:
        raise InputError(f"glob {glob!r} has a {char!r} that is never closed")
    inside = glob[at + 1 : end]
    if char == "{":
        return "(?:" + "|".join(re.escape(part) for part in inside.split(",")) + ")", end + 1 - at
    negated = "^/" if inside[0] in "!^" else ""
    return "[" + negated + inside[bool(negated) :].replace("\\", "\\\\").replace("[", "\\[") + "]", end + 1 - at


CURSOR_VERSION = 1
MAX_WATCHED = 10_000
"""Files that are watched at a time. The cursor stays below 200 kB; the rest waits until the first ones are settled."""


def plan(
    listing: Listing, cursor: str | None, settled: Mapping[str, str], *, limit: int = MAX_WATCHED
) -> tuple[tuple[ListedFile, ...], str]:
    """The files to land now, in order of address, and the cursor for the next observation.

    A file is eligible when it looks exactly as it did at the observation before, so that a half-copied one is left
    alone. One that is settled is looked at again only when its etag is another: this holds for landed, duplicate,
    rejected and quarantined files alike. An eligible file stays eligible until it is settled, so a lost run loses no file.

    Args:
        listing: what is there now.
        cursor: what the last call returned; None, another version's or an unreadable one just costs one observation.
        settled: etag by address of files whose fate is decided.
        limit: how many unsettled files are watched at a time.
    """
    waiting = sorted(file for file in listing.files if settled.get(file.address) != file.etag)[:limit]
    marks = {file: _mark(file) for file in waiting}
    seen = _parse(cursor)
    eligible = tuple(file for file in waiting if marks[file] in seen)
    return eligible, json.dumps({"version": CURSOR_VERSION, "seen": sorted(marks.values())}, separators=(",", ":"))


def _mark(file: ListedFile) -> str:
    """A fingerprint of address and looks: 64 bits, so that long paths can't make the cursor grow."""
    return hashlib.blake2b(
        f"{file.address}\0{file.etag}\0{file.size}".encode("utf-8", "surrogateescape"), digest_size=8
    ).hexdigest()


def _parse(cursor: str | None) -> frozenset[str]:
    try:
        value = json.loads(cursor or "{}")
    except ValueError:
        return frozenset()
    if not isinstance(value, dict) or value.get("version") != CURSOR_VERSION or not isinstance(value.get("seen"), list):
        return frozenset()
    return frozenset(mark for mark in value["seen"] if isinstance(mark, str))
