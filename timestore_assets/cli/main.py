"""The command tree and the process around it: exit codes, error lines, interrupts, broken pipes."""

from __future__ import annotations

import functools
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.main import get_command

from timestore_assets.cli import (
    alert_commands,
    audit_command,
    backfill_commands,
    broker,
    build,
    cache,
    deadletters,
    describe,
    dev,
    erase_command,
    gc_verify,
    init,
    land,
    late,
    lifecycle,
    lineage_commands,
    query,
    reload_topic,
    retention_commands,
    retract,
    rollback_command,
    schema_history,
    serve,
    sql_command,
    status,
    storage_commands,
    stream,
    tag_commands,
    token_commands,
    version,
    views,
)
from timestore_assets.cli.demo import demo_command, replay_flights
from timestore_assets.cli.error_reports import BROKEN_PIPE, INTERRUPTED, explain, is_broken_pipe, log_line_handler
from timestore_assets.cli.interrupts import CtrlC
from timestore_assets.cli.shell_completion import is_asked
from timestore_assets.file_access import as_umask

NAME = "timestore"
_HELP = frozenset({"-h", "--help"})
app = typer.Typer(
    name=NAME,
    help="A time-series warehouse: land files and topics, build DuckDB partitions, query them.",
    epilog="Exit codes: 0 done, 2 bad usage or input, 3 refused, 1 unexpected.",
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", "-V", help="Show the version.", is_eager=True, callback=version.show_short)
    ] = False,
) -> None:
    """The options of the command itself."""


for module in (
    demo_command,
    init,
    describe,
    land,
    late,
    stream,
    build,
    backfill_commands,
    query,
    sql_command,
    views,
    status,
    deadletters,
    late,
    schema_history,
    tag_commands,
    rollback_command,
    lifecycle,
    audit_command,
    reload_topic,
    retract,
    gc_verify,
    retention_commands,
    erase_command,
    storage_commands,
    cache,
    token_commands,
    alert_commands,
    lineage_commands,
    serve,
    dev,
    broker,
    replay_flights,
    version,
):
    module.add_to(app)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line, by default that of the process, and return its exit code.

    Every failure becomes one line on stderr; `TIMESTORE_DEBUG=1` shows where an unexpected one came from.
    """
    logging.lastResort = log_line_handler(with_traces=bool(os.environ.get("TIMESTORE_DEBUG")))
    with CtrlC() as ctrl_c, as_umask():
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


@functools.cache
def _command() -> Any:
    """What typer makes of all the functions, which takes longer than most commands."""
    return get_command(app)


def _invoke(arguments: list[str]) -> int:
    command = _command()
    if _HELP & set(arguments):
        _show_flags_without_a_type(command)
    if is_asked():
        try:
            command.main([], prog_name=NAME)
        except SystemExit as done:
            return done.code if isinstance(done.code, int) else 0
    try:
        # not `command.main`: it turns a broken pipe into exit code 1 and prints errors in boxes of several lines
        with command.make_context(NAME, arguments) as context:
            command.invoke(context)
    except typer.Exit as done:
        return done.exit_code
    return 0


def _show_flags_without_a_type(command: Any) -> None:
    """A flag takes no value, so none of its type is to be shown in help."""
    context = typer.Context(command, help_option_names=sorted(_HELP))
    for parameter in (*command.params, command.get_help_option(context)):
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""
    for inner in getattr(command, "commands", {}).values():
        _show_flags_without_a_type(inner)


def _silence_stdout() -> None:
    """Point stdout at nothing, so that the interpreter's last flush does not fail once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
