"""Server processes of tests: they can't outlive whoever started them, and each is ended by its own number."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

# the watchdog kills the server when our end of the pipe closes, whatever we died of
WATCHED = 'exec 3<&0; (read -r _ <&3; kill -9 $$) & exec 3<&-; exec "$@" </dev/null'
STOP_SECONDS = 30.0
POLL_SECONDS = 0.02
LOG_CHARACTERS = 2000


class EndedEarlyError(Exception):
    """The process ended before it answered; the text has the end of its log."""


@contextlib.contextmanager
def watched(
    command: Sequence[str], *, log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run the command until the block ends. `environment` is added to ours; all it prints goes to `log`."""
    with log.open("ab") as out:
        process = subprocess.Popen(
            ["sh", "-c", WATCHED, "sh", *command],
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=out,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
    try:
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen[bytes], *, kill: bool = False, seconds: float = STOP_SECONDS) -> None:
    """End a process that was begun with `WATCHED` in a group of its own, at once or with `seconds` to do it by itself."""
    if not kill:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
    # the group still exists by its watchdog, so the number can't be anybody else's
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdin:
        process.stdin.close()


def wait_until(answers: Callable[[], bool], process: subprocess.Popen[bytes], *, log: Path, seconds: float) -> None:
    """Wait until the server answers.

    Raises:
        EndedEarlyError: it ended. TimeoutError: it did not answer in time. Both texts have the end of its log.
    """
    deadline = time.monotonic() + seconds
    while not answers():
        if process.poll() is not None:
            raise EndedEarlyError(f"ended with {process.returncode}: {_tail(log)}")
        if time.monotonic() > deadline:
            raise TimeoutError(f"no answer within {seconds:.0f} s: {_tail(log)}")
        time.sleep(POLL_SECONDS)


def _tail(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-LOG_CHARACTERS:]
