"""What a failed command says and returns."""

from __future__ import annotations

import errno
import logging
import re
import sys
import traceback
from typing import Any

import typer

from timestore_assets.model.errors import TimestoreError

BAD_INPUT = 2
REFUSED = 3
UNEXPECTED = 1
INTERRUPTED = 130
"""128 + SIGINT, as shells report it."""
BROKEN_PIPE = 141
"""128 + SIGPIPE: the reader of our output went away, which is nobody's error."""
_USAGE_ERROR: type[Exception] = next(kind for kind in typer.BadParameter.__mro__ if kind.__base__ is Exception)
"""What every error of usage is: `typer.TyperException`, or up to Typer 0.25 a class of click, which has no name in Typer."""

_OUT_OF_MEMORY = (
    "error: the process may use no more memory or threads; nothing unfinished was kept: "
    "raise its limit (ulimit -v, -u, or the container's), or lower TIMESTORE_MEMORY and TIMESTORE_THREADS"
)
_NO_ROOM_TEXTS = (
    "can't start new thread",
    "out of memory",
    "cannot allocate memory",
    "std::bad_alloc",
    "resource temporarily unavailable",
    "failed to map segment",
)


def explain(error: Exception) -> tuple[str, int]:
    """The one line for stderr and the exit code of a failure."""
    if isinstance(error, TimestoreError):
        return f"error: {one_line(str(error))}", error.exit_code
    if isinstance(error, _USAGE_ERROR):
        return f"error: {_usage_line(error)}", BAD_INPUT
    if isinstance(error, typer.Abort):
        return "stopped; nothing was done", UNEXPECTED
    if isinstance(error, OSError) and error.strerror and not is_out_of_memory(error):
        where = f"{error.filename}: " if error.filename else ""
        return f"error: {where}{error.strerror[:1].lower()}{error.strerror[1:]}", UNEXPECTED
    if is_out_of_memory(error):
        return _OUT_OF_MEMORY, UNEXPECTED
    kind = type(error).__name__
    text = one_line(str(error)) or "no message"
    return f"error: unexpected {kind}: {text} (set TIMESTORE_DEBUG=1 to see where it came from)", UNEXPECTED


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the machine, or a limit of the process or of DuckDB, has no room for more, however a library puts it."""
    text = str(error).lower()
    no_room = isinstance(error, OSError) and error.errno in (errno.ENOMEM, errno.EAGAIN)
    by_name = type(error).__name__ in ("OutOfMemoryException", "ArrowMemoryError")
    known = any(known in text for known in _NO_ROOM_TEXTS)
    return isinstance(error, MemoryError) or no_room or by_name or known or _is_half_imported(error)


def _is_half_imported(error: BaseException) -> bool:
    """Whether importing a library failed in a process whose address space is limited: some go on without a binary then."""
    try:
        import resource
    except ImportError:  # where there is no such limit
        return False
    if resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:
        return False
    # Python takes its own frames of importing out of a traceback; what is left is the library's module at work
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return any(frame.f_code.co_name == "<module>" and frame.f_globals.get("__name__") != "__main__" for frame in frames)


def one_line(text: str) -> str:
    """The text with every run of white space, line ends included, as one blank."""
    return re.sub(r"\s+", " ", text).strip()


def is_broken_pipe(error: BaseException) -> bool:
    """Whether the failure only says that nobody reads our output any more."""
    return isinstance(error, OSError) and error.errno == errno.EPIPE


def _usage_line(error: Any) -> str:
    text = one_line(error.format_message()).rstrip(".")
    context = getattr(error, "ctx", None)
    if context is None:
        return text
    return f"{text}{' See' if text.endswith('?') else '; see'} `{context.command_path} --help`"


class _Lines(logging.Formatter):
    """A line for each entry, its trace only when it is wanted."""

    def __init__(self, *, with_traces: bool) -> None:
        super().__init__("%(message)s")
        self._with_traces = with_traces

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record) if self._with_traces else one_line(record.getMessage())


class _Stderr(logging.Handler):
    """Writes to what is stderr then."""

    def emit(self, record: logging.LogRecord) -> None:
        sys.stderr.write(self.format(record) + "\n")


def log_line_handler(*, with_traces: bool) -> logging.Handler:
    """Shows warnings of the log to a person at a terminal. `with_traces`: with where they came from."""
    handler = _Stderr(logging.WARNING)
    handler.setFormatter(_Lines(with_traces=with_traces))
    return handler
