"""What a failed command says and returns."""

from __future__ import annotations

import errno
import re

import typer

from timestore_assets.model.errors import TimestoreError

BAD_INPUT = 2
REFUSED = 3
UNEXPECTED = 1
INTERRUPTED = 130
"""128 + SIGINT, as shells report it."""
BROKEN_PIPE = 141
"""128 + SIGPIPE: the reader of our output went away, which is nobody's error."""


def explain(error: Exception) -> tuple[str, int]:
    """The one line for stderr and the exit code of a failure."""
    if isinstance(error, TimestoreError):
        return f"error: {one_line(str(error))}", error.exit_code
    if isinstance(error, typer.TyperException):
        return f"error: {_usage_line(error)}", BAD_INPUT
    if isinstance(error, typer.Abort):
        return "stopped; nothing was done", UNEXPECTED
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"error: {where}{error.strerror[:1].lower()}{error.strerror[1:]}", UNEXPECTED
    kind = type(error).__name__
    text = one_line(str(error)) or "no message"
    return f"error: unexpected {kind}: {text} (set TIMESTORE_DEBUG=1 to see where it came from)", UNEXPECTED


def one_line(text: str) -> str:
    """The text with every run of white space, line ends included, as one blank."""
    return re.sub(r"\s+", " ", text).strip()


def is_broken_pipe(error: BaseException) -> bool:
    """Whether the failure only says that nobody reads our output any more."""
    return isinstance(error, OSError) and error.errno == errno.EPIPE


def _usage_line(error: typer.TyperException) -> str:
    text = one_line(error.format_message()).rstrip(".")
    context = getattr(error, "ctx", None)
    return f"{text}; see `{context.command_path} --help`" if context is not None else text
