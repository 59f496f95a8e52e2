"""Asking for statements at a terminal until the person has enough: history, completion, timing, and commands of its own."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.completion import ThreadedCompleter
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.lexers import PygmentsLexer
from pygments.lexers.sql import SqlLexer  # type: ignore[import-untyped] # it ships no types

from timestore_assets.cli.answer_output import AnswerOutput
from timestore_assets.cli.describe import print_column_table
from timestore_assets.cli.error_reports import explain
from timestore_assets.cli.interruptible_sql import answered
from timestore_assets.cli.interrupts import CtrlC
from timestore_assets.cli.output import duration, print_table, stderr, stdout
from timestore_assets.cli.prompt.sql_completion import SqlCompleter
from timestore_assets.cli.prompt.statement_split import all_statements, split_statements
from timestore_assets.model.as_of import as_of_words

if TYPE_CHECKING:
    from timestore_assets.model.as_of import AsOfEach
    from timestore_assets.model.schema import Schema
    from timestore_assets.warehouse import Warehouse

COMMANDS = {
    "\\d": "the datasets, or the columns of one: \\d NAME",
    "\\x": "a line for each value: always, or only for a row that is too wide",
    "\\o": "write the next answer to a file: \\o FILE.parquet",
    "\\limit": "rows that are shown: \\limit 200",
    "\\timing": "how long answers take, or not",
    "\\pager": "long answers by PAGER, or not",
    "\\?": "this help",
    "\\q": "leave, as Ctrl-D does",
}
WELCOME = "One statement, ended by a semicolon; each dataset is a view. \\d lists them, \\? helps, \\q leaves."
_LEAVING = re.compile(r"\s*(\\q|exit|quit)\s*;?\s*", re.IGNORECASE)
_HELPING = re.compile(r"\s*(\\\?|\\h|help)\s*;?\s*", re.IGNORECASE)


def history_file() -> Path:
    """Where what was typed is kept: it belongs to a person, not to a warehouse that several may use."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "timestore" / "sql_history"


class SqlPrompt:
    """Runs statements of a warehouse as they are typed. `output`: how answers are shown at first. `as_of`: the versions that all
    of them read, the newest by default.
    """

    def __init__(self, warehouse: Warehouse, output: AnswerOutput, *, as_of: AsOfEach | None = None) -> None:
        self._warehouse, self._output, self._as_of = warehouse, replace(output, at_prompt=True), as_of
        self._next_file: str | None = None
        self._is_timed = True

    def run(self) -> None:
        """Until the person leaves. No failure of a statement ends it."""
        completer = SqlCompleter(lambda: self._warehouse.datasets, self._columns(), COMMANDS)
        session: PromptSession[str] = PromptSession(
            message="timestore> ",
            multiline=Condition(lambda: not is_finished(get_app().current_buffer.text)),
            prompt_continuation=lambda width, *_: "...> ".rjust(width),
            completer=ThreadedCompleter(completer),
            complete_while_typing=False,
            history=_history(),
            lexer=PygmentsLexer(SqlLexer),
            enable_open_in_editor=True,
        )
        stdout().print(WELCOME, style="dim", markup=False)
        if self._as_of is not None:
            _tell(f"everything is answered as of {', '.join(as_of_words(self._as_of))}")
        with _usual_ctrl_c():
            while (text := _asked(session)) is not None and not _LEAVING.fullmatch(text):
                with CtrlC() as ctrl_c:
                    self._answer(text, ctrl_c)

    def _answer(self, text: str, ctrl_c: CtrlC) -> None:
        try:
            if _HELPING.fullmatch(text) or text.lstrip().startswith("\\"):
                self._command(text.strip())
                return
            self._warehouse.refresh()
            for statement in all_statements(text):
                self._run(statement)
        except KeyboardInterrupt:
            _complain("interrupted")
        except Exception as error:  # whatever it was, the next statement may work
            _complain("interrupted" if ctrl_c.pressed else explain(error)[0])

    def _run(self, statement: str) -> None:
        output = self._output
        if self._next_file is not None:
            output = AnswerOutput.chosen(None, self._next_file, json=False)
            self._next_file = None
        began = time.monotonic()
        with answered(self._warehouse, statement, as_of=self._as_of) as answer:
            output.write(answer, said=lambda: (duration(time.monotonic() - began),) if self._is_timed else ())

    def _command(self, text: str) -> None:
        name, _, argument = text.partition(" ")
        argument = argument.strip().rstrip(";").strip()
        steps: dict[str, Callable[[str], None]] = {
            "\\d": self._describe,
            "\\x": self._expand,
            "\\o": self._to_file,
            "\\limit": self._limit,
            "\\timing": self._time,
            "\\pager": self._page,
        }
        name = name.rstrip(";")
        if name in steps:
            steps[name](argument)
        elif _HELPING.fullmatch(text):
            print_table(["", "~"], list(COMMANDS.items()))
            stdout().print("SELECT, DESCRIBE x, SUMMARIZE x, EXPLAIN …, SHOW TABLES; Tab completes.", style="dim", markup=False)
        else:
            _complain(f"there is no command {name}; \\? lists them")

    def _describe(self, name: str) -> None:
        self._warehouse.refresh()
        if name:
            print_column_table(self._schema(name.strip('"')))
            return
        declared = sorted(self._warehouse.datasets.values(), key=lambda one: one.name)
        rows = ([one.name, one.time, one.window.value, one.description] for one in declared)
        print_table(["dataset", "time", "window", "~description"], rows)

    def _schema(self, name: str) -> Schema:
        """The columns that statements see."""
        meant = self._as_of.get(name) if isinstance(self._as_of, Mapping) else self._as_of
        if meant is None:
            return self._warehouse.resolve(name)[1].schema
        return self._warehouse.in_force(name, self._warehouse.version_of(name, meant))[1].schema

    def _expand(self, _: str) -> None:
        expanded = None if self._output.expanded else True
        self._output = replace(self._output, expanded=expanded)
        _tell("a line for each value" if expanded else "rows as a table; a single row that is too wide as lines")

    def _to_file(self, name: str) -> None:
        AnswerOutput.chosen(None, name, json=False)
        self._next_file = name
        _tell(f"the next answer goes to {name}")

    def _limit(self, number: str) -> None:
        if not number.isdigit():
            _complain("write how many rows, for instance \\limit 200")
            return
        self._output = replace(self._output, limit=int(number))
        _tell(f"up to {int(number):,} rows are shown")

    def _time(self, _: str) -> None:
        self._is_timed = not self._is_timed
        _tell(f"timing is {'on' if self._is_timed else 'off'}")

    def _page(self, _: str) -> None:
        self._output = replace(self._output, paged=not self._output.paged)
        _tell(f"the pager is {'on' if self._output.paged else 'off'}")

    def _columns(self) -> Callable[[str], Sequence[str]]:
        """Names of a dataset's columns; asked again for datasets whose declaration is another one by now."""

        @lru_cache(maxsize=1000)
        def known(name: str, _declared: int) -> tuple[str, ...]:
            record = self._warehouse.catalog.datasets.find(name)
            schema = self._warehouse.datasets[name].schema if record is None else record.schema
            return tuple(schema.names)

        return lambda name: known(name, id(self._warehouse.datasets[name]))


def is_finished(text: str) -> bool:
    """Whether Enter runs what was typed: a command, nothing, or statements of which the last has its semicolon."""
    if not text.strip() or text.lstrip().startswith("\\") or _LEAVING.fullmatch(text) or _HELPING.fullmatch(text):
        return True
    found = split_statements(text)
    return bool(found.complete) and not found.rest


@contextmanager
def _usual_ctrl_c() -> Iterator[None]:
    """Ctrl-C is counted for each statement: many of them in an evening end none but the one that runs."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _asked(session: PromptSession[str]) -> str | None:
    """What was typed; "" when Ctrl-C took it back, None at the end."""
    try:
        return session.prompt()
    except KeyboardInterrupt:
        return ""
    except EOFError:
        return None


def _history() -> History:
    file = history_file()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
    except OSError:
        return InMemoryHistory()
    return FileHistory(file)


def _tell(text: str) -> None:
    stdout().print(text, style="dim", markup=False)


def _complain(text: str) -> None:
    stderr().print(text, markup=False, soft_wrap=True)
