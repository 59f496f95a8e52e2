"""What DuckDB says when a question fails, as one sentence of this project without paths, plans or internals."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from timestore_assets.model.errors import InputError, TimeLimitError, TimestoreError, UnavailableError

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
_MISSING = ("No files found", "No such file", "does not exist", "Could not set lock", "Could not read")


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """Turn what goes wrong inside DuckDB into an error of this project. `doing`: as it reads after "while".

    Raises:
        InputError, TimeLimitError, UnavailableError: in place of DuckDB's own errors and those that Arrow wraps them in.
    """
    try:
        yield
    except (duckdb.Error, OSError) as error:
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
    if "No space left" in said:
        return UnavailableError(f"no room is left for temporary files while {doing}; free some and ask again")
    sentence = plain(said)
    return InputError(sentence) if kind in _INPUT else UnavailableError(f"{doing} failed: {sentence}")


def plain(text: str) -> str:
    """The first line of a message with the candidates it names, but no path and no name that only this project uses."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    kept = lines[:1] + [line for line in lines[1:3] if line.startswith("Candidate bindings")]
    said = _INTERNAL.sub("", _PATH.sub("<file>", " ".join(kept)))
    said = re.sub(r"\s*Did you mean.*", "", said)
    return said.replace("!", ";", 1).strip(" ;") if len(kept) > 1 else said.strip()
