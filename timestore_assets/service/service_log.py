"""What the service writes down: one line of JSON for each request and each failure, never a payload, a query or a secret."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any, Self, TextIO

import structlog
from structlog.typing import Processor

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
CHATTY = ("uvicorn.error", "httpx", "httpcore", "urllib3", "asyncio")
"""Loggers of libraries of which only warnings are of interest."""


class Log:
    """Lines of JSON with `time`, `level` and `event`."""

    def __init__(self, logger: Any, *, level: int) -> None:
        self._logger, self._level = logger, level

    @classmethod
    def to(cls, stream: TextIO, *, level: str) -> Self:
        """A log that writes lines of at least that level to a stream."""
        processors: list[Processor] = [
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            _ordered,
            structlog.processors.JSONRenderer(default=str),
        ]
        wrapper = structlog.make_filtering_bound_logger(LEVELS[level])
        logger = structlog.wrap_logger(structlog.WriteLogger(stream), processors=processors, wrapper_class=wrapper)
        return cls(logger, level=LEVELS[level])

    @classmethod
    def none(cls) -> Self:
        """A log that writes nothing."""
        wrapper = structlog.make_filtering_bound_logger(logging.CRITICAL)
        silent = structlog.wrap_logger(structlog.ReturnLogger(), processors=[], wrapper_class=wrapper)
        return cls(silent, level=logging.CRITICAL)

    def request(self, **facts: Any) -> None:
        """A request has been answered."""
        status = facts.get("status")
        write = self._logger.warning if isinstance(status, int) and status >= 500 else self._logger.info
        write("request", **facts)

    def note(self, event: str, **facts: Any) -> None:
        self._logger.info(event, **facts)

    def warn(self, event: str, **facts: Any) -> None:
        self._logger.warning(event, **facts)

    def failure(self, event: str, error: BaseException, **facts: Any) -> None:
        """Something failed that nobody foresaw: with its type and where it was raised, without any value."""
        self._logger.error(event, error=type(error).__name__, trace=_places(error), **facts)

    @contextmanager
    def hearing_others(self) -> Iterator[None]:
        """While entered, what libraries and threads log goes the same way."""
        root, handler = logging.getLogger(), _Forwarding(self)
        before = root.level
        root.addHandler(handler)
        root.setLevel(max(self._level, logging.INFO))
        quiet = [(logging.getLogger(name), logging.getLogger(name).level) for name in CHATTY]
        for logger, _ in quiet:
            logger.setLevel(logging.WARNING)
        try:
            yield
        finally:
            root.removeHandler(handler)
            root.setLevel(before)
            for logger, level in quiet:
                logger.setLevel(level)

    def heard(self, record: logging.LogRecord) -> None:
        """What a library logged."""
        facts = {} if record.exc_info is None or record.exc_info[1] is None else {"trace": _places(record.exc_info[1])}
        self._logger.log(record.levelno, record.getMessage(), logger=record.name, **facts)


def _ordered(_logger: Any, _method: str, facts: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """What every line has comes first, for people who read it."""
    first = {name: facts.pop(name) for name in ("time", "level", "event")}
    return {**first, **facts}


class _Forwarding(logging.Handler):
    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        self._log.heard(record)


def _places(error: BaseException) -> list[str]:
    """Where an error came from: files of this project and of libraries without their folders, and no source text or values."""
    frames = traceback.extract_tb(error.__traceback__, limit=-20)
    return [f"{_short(frame.filename)}:{frame.lineno} {frame.name}" for frame in frames]


def _short(path: str) -> str:
    for mark in ("site-packages/", "timestore_assets/"):
        _, found, rest = path.rpartition(mark)
        if found:
            return rest if mark.startswith("site") else found + rest
    return path.rpartition("/")[2]
