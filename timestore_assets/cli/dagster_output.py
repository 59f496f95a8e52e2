"""What `dev` shows of Dagster's output: errors and what they are about. The rest, several lines a second, is in a file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

_LINE = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4} - (?P<logger>\S+) - (?P<level>[A-Z]+) - (?P<text>.*)$")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_RUN = re.compile(r"^(?P<job>\S+) - (?P<run>[0-9a-f]{8})-[0-9a-f-]{27} - (?:\d+ - )?(?P<rest>.*)$")
_LOAD = re.compile(r"Error loading repository location (?P<location>[^\s:]+)")
_SENSOR = re.compile(r"caught an error for sensor (?P<sensor>\S+)")
_EXCEPTION = re.compile(r"^(?P<kind>[A-Za-z_][\w.]*): (?P<words>.+)$")
_CAUSE = "The above exception was caused by the following exception:"
_SAID_ELSEWHERE = ("Sensor tick caught an error", "STEP_FAILURE")
"""Lines that are followed by one that says the same and more."""


class LogFollower:
    """Reads what a process appends to its log, line by line and never twice."""

    def __init__(self, path: Path) -> None:
        self._path, self._at, self._rest = path, 0, b""

    def lines(self) -> Iterator[str]:
        """The lines that were completed since the last call, without colours."""
        try:
            with self._path.open("rb") as log:
                log.seek(self._at)
                data = log.read()
        except OSError:
            return
        self._at += len(data)
        *whole, self._rest = (self._rest + data).split(b"\n")
        yield from (_COLOURS.sub("", line.decode("utf-8", "replace")) for line in whole)


def errors_in(lines: Iterable[str]) -> Iterator[str]:
    """Each error in Dagster's output as one sentence: of a sensor, of a run, of a code location that can't be loaded."""
    for head, rest in _entries(lines):
        failed_load = _LOAD.search(head)
        if failed_load is not None:
            yield f"Dagster could not load {failed_load['location']}; its UI says why"
        entry = _LINE.match(head)
        if entry is None or entry["level"] not in ("ERROR", "CRITICAL") or any(one in head for one in _SAID_ELSEWHERE):
            continue
        run, sensor = _RUN.match(entry["text"]), _SENSOR.search(entry["text"])
        if run is not None:
            yield f"run {run['run']} of {run['job']}: {run['rest'].removeprefix('RUN_FAILURE - ')}"
        elif sensor is not None:
            yield f"sensor {sensor['sensor']}: {_cause(rest) or entry['text']}"
        else:
            cause = _cause(rest)
            yield f"{entry['text']}: {cause}" if cause else entry["text"]


def _entries(lines: Iterable[str]) -> Iterator[tuple[str, Sequence[str]]]:
    """Lines that begin an entry, or a warning of Python's, each with what follows it."""
    head, rest = "", list[str]()
    for line in lines:
        if _LINE.match(line) or _LOAD.search(line):
            yield head, rest
            head, rest = line, []
        else:
            rest.append(line)
    yield head, rest


def _cause(lines: Sequence[str]) -> str:
    """What the person's or this project's code raised, behind Dagster's own exceptions around it."""
    behind = lines[lines.index(_CAUSE) + 1 :] if _CAUSE in lines else lines
    found = next((match for match in map(_EXCEPTION.match, behind) if match is not None), None)
    return found["words"] if found is not None else ""
