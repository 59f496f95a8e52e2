"""The command tree and the process around it: exit codes, error lines, interrupts, broken pipes."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

import typer
from typer.main import get_command

from timestore_assets.cli import (
    broker,
    build,
    cache,
    datasets,
    deadletters,
    demo,
    dev,
    init,
    land,
    query,
    replay,
    schema,
    serve,
    status,
    storage,
    stream,
    tokens,
    upkeep,
    version,
)
from timestore_assets.cli.failures import BROKEN_PIPE, INTERRUPTED, explain, is_broken_pipe
from timestore_assets.cli.interrupts import CtrlC

app = typer.Typer(
    name="timestore",
    help="A time-series warehouse: land files and topics, build DuckDB partitions, query them.",
    epilog="Exit codes: 0 done, 2 bad usage or input, 3 refused, 1 unexpected.",
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for module in (
    demo,
    init,
    datasets,
    land,
    stream,
    build,
    query,
    status,
    deadletters,
    schema,
    upkeep,
    storage,
    cache,
    tokens,
    serve,
    dev,
    broker,
    replay,
    version,
):
    module.add_to(app)


def run(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the `timestore` script: run one command line and return its exit code.

    Every failure becomes one line on stderr; `TIMESTORE_DEBUG=1` shows where an unexpected one came from.
    """
    with CtrlC() as ctrl_c:
        try:
            code = _invoke(list(sys.argv[1:] if arguments is None else arguments) or ["--help"])
            sys.stdout.flush()
        except KeyboardInterrupt:
            return _interrupted()
        except Exception as error:  # the process boundary: whatever it was becomes a line and an exit code
            return _interrupted() if ctrl_c.pressed else _failed(error)
        return code


def _interrupted() -> int:
    sys.stderr.write("interrupted\n")
    return INTERRUPTED


def _failed(error: Exception) -> int:
    if is_broken_pipe(error):
        _silence_stdout()
        return BROKEN_PIPE
    if os.environ.get("TIMESTORE_DEBUG"):
        traceback.print_exception(error)
    line, code = explain(error)
    sys.stderr.write(f"{line}\n")
    try:
        sys.stdout.flush()
    except OSError:
        # what could not be written is still buffered, and its second failure would change the exit code
        _silence_stdout()
    return code


def _invoke(arguments: list[str]) -> int:
    command = get_command(app)
    try:
        # not `command.main`: it turns a broken pipe into exit code 1 and prints errors in boxes of several lines
        with command.make_context("timestore", arguments) as context:
            command.invoke(context)
    except typer.Exit as done:
        return done.exit_code
    return 0


def _silence_stdout() -> None:
    """Point stdout at nothing, so that the interpreter's last flush does not fail once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
