"""Where a statement ends, and what is proposed while it is written."""

from __future__ import annotations

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from timestore_assets.cli.prompt.prompt_session import COMMANDS, is_finished
from timestore_assets.cli.prompt.sql_completion import SqlCompleter
from timestore_assets.cli.prompt.statement_split import all_statements, split_statements

COLUMNS = {"meters": ["meter", "at", "watts", "wind speed"], "weather": ["temp", "at"]}


@pytest.mark.parametrize(
    ("text", "complete", "rest"),
    [
        ("", (), ""),
        ("select 1", (), "select 1"),
        ("select 1;", ("select 1",), ""),
        ("select 1; ; select 2;\n-- nothing; more\n", ("select 1", "select 2"), ""),
        ("select ';' ; select \";\"", ("select ';'",), 'select ";"'),
        ("select 'it''s;' -- a;\n; x", ("select 'it''s;' -- a;",), "x"),
        ("/* ; */ select 1; /* open ;", ("/* ; */ select 1",), ""),
        ("select 'open ;", (), "select 'open ;"),
        ("select $$a;b$$; select $x;", ("select $$a;b$$", "select $x"), ""),
        ("select $t$;$$;$t$ - 1 / 2;", ("select $t$;$$;$t$ - 1 / 2",), ""),
    ],
)
def test_statements_are_cut_where_sql_ends_them(text: str, complete: tuple[str, ...], rest: str) -> None:
    found = split_statements(text)
    assert (found.complete, found.rest) == (complete, rest)
    assert all_statements(text) == (*complete, *([rest] if rest else []))


@pytest.mark.parametrize(
    ("text", "finished"),
    [("", True), ("\\d", True), ("quit", True), ("help", True), ("select 1", False), ("select 1;", True), ("a; b", False)],
)
def test_enter_runs_what_is_finished(text: str, finished: bool) -> None:
    assert is_finished(text) is finished


def proposed(text: str, *, asked: bool = True) -> list[str]:
    completer = SqlCompleter(lambda: COLUMNS, lambda name: COLUMNS[name], COMMANDS)
    before, _, after = text.partition("|")
    document = Document(before + after, len(before))
    return [one.text for one in completer.get_completions(document, CompleteEvent(completion_requested=asked))]


def test_what_is_proposed() -> None:
    assert proposed("select * from ") == ["meters", "weather"]
    assert proposed("describe we") == ["weather"]
    assert proposed("select wat| from meters") == ["watts"]
    assert proposed("select w.| from weather w") == ["temp", "at"]
    assert proposed("select weather.t") == ["temp"]
    assert proposed("select wat") == ["watts"], "of any dataset, before one is named"
    assert proposed('select "wi| from meters') == ['"wind speed"']
    assert proposed("| from meters") == ["meter", "at", "watts", '"wind speed"', "meters", "weather"]
    assert proposed("| from meters", asked=False) == []
    assert "WHERE" in proposed("select 1 WHE") and "where" in proposed("select 1 whe")
    assert "arg_max" in proposed("select arg_m")
    assert "read_csv" not in proposed("select read_")
    assert proposed("\\ti") == ["\\timing"]
    assert proposed("\\d me") == ["meters"]
