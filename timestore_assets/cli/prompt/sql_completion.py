"""What could come next in a statement that is being written: datasets, their columns, words of SQL."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from timestore_assets.model.types import quote
from timestore_assets.querying.planning.sql_words import AGGREGATES, SCALARS, WINDOWS

_KEYWORDS = """
select from where group by order limit offset having qualify distinct as and or not in is null between like ilike case when then
else end join left inner full cross asof using on union all except intersect with recursive values desc asc nulls last filter
over partition pivot unpivot exclude replace interval timestamp date true false describe summarize explain show tables
"""
KEYWORDS = _KEYWORDS.upper().split()
_WORD = re.compile(r'(?:"[^"]*|\w+)$')
_PLAIN = re.compile(r"[A-Za-z_]\w*")
_AFTER_TABLE = re.compile(r"\b(?:from|join|describe|summarize)\s+\S*$", re.IGNORECASE)
_QUALIFIED = re.compile(r'(?P<table>\w+)\.(?P<part>"[^"]*|\w*)$')
_ALIAS = r'\b"?{name}"?\s+(?:as\s+)?{alias}\b'
_MOST_LOOKED_AT = 50
_FUNCTIONS = sorted(name for name in SCALARS | AGGREGATES | WINDOWS if _PLAIN.fullmatch(name))


class SqlCompleter(Completer):
    """`columns`: by name of the dataset, called when a text mentions it; None where there is none.

    `commands`: those of the prompt itself, which begin with a backslash.
    """

    def __init__(
        self, datasets: Callable[[], Iterable[str]], columns: Callable[[str], Sequence[str]], commands: Mapping[str, str]
    ) -> None:
        self._datasets, self._columns, self._commands = datasets, columns, commands

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
        before = document.text_before_cursor
        if before.lstrip().startswith("\\"):
            yield from self._of_commands(before.lstrip())
            return
        if match := _QUALIFIED.search(before):
            dataset = self._named(match["table"], document.text)
            yield from _matching(match["part"], self._columns(dataset) if dataset else (), "column")
            return
        found = _WORD.search(before)
        word = found[0] if found else ""
        if _AFTER_TABLE.search(before):
            yield from _matching(word, sorted(self._datasets()), "dataset")
            return
        if not word and not complete_event.completion_requested:
            return
        yield from _matching(word, self._columns_of(document.text), "column")
        yield from _matching(word, sorted(self._datasets()), "dataset")
        if word and not word.startswith('"'):
            yield from _matching(word, KEYWORDS, "", is_word=True)
            yield from _matching(word, _FUNCTIONS, "function", is_word=True)

    def _of_commands(self, before: str) -> Iterator[Completion]:
        command, blank, name = before.partition(" ")
        if blank:
            yield from _matching(name, sorted(self._datasets()), "dataset")
            return
        for known, meaning in self._commands.items():
            if known.startswith(command):
                yield Completion(known, start_position=-len(command), display_meta=meaning)

    def _columns_of(self, text: str) -> list[str]:
        """Columns of the datasets that the statement mentions; of all while it mentions none, as before its FROM is written."""
        words = {word.lower() for word in re.findall(r"\w+", text)}
        names = list(self._datasets())
        mentioned = [name for name in names if name.lower() in words] or names[:_MOST_LOOKED_AT]
        return list(dict.fromkeys(column for name in mentioned for column in self._columns(name)))

    def _named(self, table: str, text: str) -> str | None:
        """The dataset that a table's name or alias stands for."""
        for name in self._datasets():
            pattern = _ALIAS.format(name=re.escape(name), alias=re.escape(table))
            if name.lower() == table.lower() or re.search(pattern, text, re.IGNORECASE):
                return name
        return None


def _matching(word: str, names: Iterable[str], meta: str, *, is_word: bool = False) -> Iterator[Completion]:
    """Names that begin as the word does, as they have to be written."""
    wanted = word.lstrip('"').lower()
    for name in names:
        if name.lower().startswith(wanted):
            # what somebody writes small stays small
            text = name.lower() if is_word and word.islower() else name
            yield Completion(text if is_word else _written(text), start_position=-len(word), display_meta=meta)


def _written(name: str) -> str:
    return name if _PLAIN.fullmatch(name) else quote(name)
