"""What DuckDB says when a question fails, as one sentence of this project without paths, plans or internals.

A read that failed is put down to a segment whose bytes are not those that were committed, where there is one. Only then: a read
does not compare digests by itself, as it would have to read whole files of which it needs a column or a few pages.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import duckdb

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.model.errors import (
    BadFileError,
    InputError,
    MissingObjectError,
    StorageFullError,
    TimeLimitError,
    TimestoreError,
    UnavailableError,
)
from timestore_assets.model.segment import Segment
from timestore_assets.querying.planning.syntax import TOO_DEEP
from timestore_assets.storage.disk_errors import says_full
from timestore_assets.storage.object_store import ObjectReader, damaged, first_damaged

A_FILE = "<file>"
"""What stands for a path in a message that is shown."""

_KIND = re.compile(r"^(?P<kind>[A-Za-z][A-Za-z /_-]*?) Error: (?P<text>.*)", re.DOTALL)
_PATH = re.compile(r"(?<![\w<])(?:/[^\s'\":,;()\[\]]+){2,}")
_INTERNAL = re.compile(r"\bsegment_\d+\.(main\.)?|\b(memory|temp|system)\.(main\.)?|\b__(source|position|session)\b")
_INPUT = {
    "Binder",
    "Catalog",
    "Conversion",
    "Expression Depth",
    "Invalid Input",
    "Invalid Type",
    "Mismatch Type",
    "Out of Range",
    "Parser",
    "Syntax",
}
_OF_THE_QUESTION = {"Binder", "Catalog", "Expression Depth", "Parser", "Syntax"}
"""What DuckDB says of SQL before it reads anything; rarely a file is to blame for it."""
_MOST = 10_000
"""Characters of a message that are looked at: it can hold a value of any length."""
_MISSING = ("No files found", "No such file", "does not exist", "Could not set lock", "Could not read")


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """Turn what goes wrong inside DuckDB into an error of this project. `doing`: as it reads after "while".

    Raises:
        InputError, TimeLimitError, UnavailableError: in place of DuckDB's own errors and those that Arrow wraps them in.
    """
    try:
        yield
    except (duckdb.Error, OSError, UnicodeDecodeError) as error:  # the last: names of columns in a damaged file
        raise explain(str(error), doing) from error


def explain(text: str, doing: str) -> TimestoreError:
    """The error that stands for a message of DuckDB."""
    match = _KIND.match(text)
    kind, said = (match["kind"], match["text"]) if match else ("", text)
    if kind == "INTERRUPT":
        return TimeLimitError(f"stopped {doing}: the time limit was reached; narrow the range or ask for less")
    if kind == "Out of Memory":
        return UnavailableError(f"the memory limit is too small for {doing}; narrow the range or raise TIMESTORE_MEMORY")
    if kind == "IO" and any(sign in said for sign in _MISSING):
        return UnavailableError(f"a segment file can't be read while {doing}; `timestore verify` says which")
    if says_full(said):
        return UnavailableError(f"no room is left for temporary files while {doing}; free some and ask again")
    if kind == "Expression Depth" or "Max expression depth" in said[:200]:
        return InputError(f"SQL: {TOO_DEEP}")
    sentence = plain(said[:_MOST])
    return InputError(sentence) if kind in _INPUT else UnavailableError(f"{doing} failed: {sentence}")


def plain(text: str) -> str:
    """The first line of a message with the candidates it names, but no path and no name that only this project uses."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    kept = lines[:1] + [line for line in lines[1:3] if line.startswith("Candidate bindings")]
    said = _INTERNAL.sub("", _PATH.sub(A_FILE, " ".join(kept)))
    said = re.sub(r"\s*Did you mean.*", "", said)
    return said.replace("!", ";", 1).strip(" ;") if len(kept) > 1 else said.strip()


MOST_BYTES = 1_000_000_000
"""So much is hashed at most after a failure: a second or two, which nobody can use to keep the machine busy."""


@contextmanager
def suspecting(
    catalog: Catalog, storage: ObjectReader, segments: Sequence[Segment], *, their_sql: bool = False
) -> Iterator[None]:
    """Let a failure to read these segments say which of them is damaged.

    Args:
        their_sql: a user's own SQL is run, whose faults are found by binding it; hashing files for those would be slow.

    Raises:
        DamagedError: in place of the error, if one is.
    """
    try:
        yield
    except (InputError, UnavailableError) as error:
        found = _damaged(catalog, storage, segments) if _is_suspicious(error, their_sql=their_sql) else None
        if found is None:
            raise
        what = "restore the object from a copy, or ask for another time; `timestore verify` says what else is"
        raise damaged("segment", found.name, what) from error


def _is_suspicious(error: TimestoreError, *, their_sql: bool) -> bool:
    """Whether a file may be to blame. A damaged page can come out as any value and any error, once something is read."""
    if isinstance(error, MissingObjectError | StorageFullError):
        return False
    if isinstance(error, UnavailableError | BadFileError) or A_FILE in str(error):
        return True
    said = _KIND.match(str(error.__cause__ or ""))
    return said is not None and not (their_sql and said["kind"] in _OF_THE_QUESTION)


def _damaged(catalog: Catalog, storage: ObjectReader, segments: Sequence[Segment]) -> Segment | None:
    # a look that fails, too, leaves the failure as it was
    with suppress(TimestoreError, OSError):
        few: list[Segment] = []
        left = MOST_BYTES
        for segment in sorted(segments, key=lambda one: (one.kind != "delta", one.bytes)):
            left -= segment.bytes
            if left < 0:
                break
            few.append(segment)
        return first_damaged(few, catalog.manifest.digests([segment.id for segment in few]), storage=storage)
    return None
