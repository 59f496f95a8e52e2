"""Exit codes and error lines."""

from __future__ import annotations

import errno

import pytest

from timestore_assets.cli.failures import explain, is_broken_pipe
from timestore_assets.cli.main import run
from timestore_assets.model.errors import (
    ConflictError,
    DeclarationError,
    InputError,
    RefusedError,
    TimestoreError,
    UnavailableError,
)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("x"), 2),
        (DeclarationError("x", key="columns.a", file="f.yaml", line=3), 2),
        (RefusedError("x"), 3),
        (ConflictError("x"), 3),
        (UnavailableError("x"), 1),
        (TimestoreError("x"), 1),
        (ZeroDivisionError("x"), 1),
    ],
)
def test_each_kind_of_error_has_its_exit_code(error: Exception, code: int) -> None:
    assert explain(error)[1] == code


def test_a_message_of_several_lines_becomes_one() -> None:
    line, _ = explain(InputError("first\n  second\tthird"))
    assert line == "error: first second third"


def test_an_unexpected_error_names_its_kind_and_how_to_see_more() -> None:
    line, _ = explain(ZeroDivisionError("division by zero"))
    assert line == "error: unexpected ZeroDivisionError: division by zero (set TIMESTORE_DEBUG=1 to see where it came from)"


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["lnd"], "No such command 'lnd'. Did you mean 'land'?"),
        (["land"], "Missing argument 'DATASET'"),
        (["land", "weather", "x.csv", "--chunk-rows", "many"], "Invalid value for '--chunk-rows'"),
        (["land", "weather", "x.csv", "--chunk-rows", "0"], "Invalid value for '--chunk-rows'"),
        (["query", "weather", "--nonsense"], "No such option: --nonsense"),
        (["schema"], "Missing command"),
        (["partitions", "a", "b"], "unexpected extra argument"),
    ],
)
def test_bad_usage_is_one_line_on_stderr_and_code_2(arguments: list[str], part: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert part in captured.err
    assert captured.err.count("\n") == 1
    assert "--help" in captured.err


def test_only_an_epipe_is_a_broken_pipe() -> None:
    assert is_broken_pipe(BrokenPipeError(errno.EPIPE, "Broken pipe"))
    assert not is_broken_pipe(OSError(errno.ENOSPC, "No space left on device"))
    assert not is_broken_pipe(ValueError("pipe"))


def test_without_arguments_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 0
    assert "Usage: timestore" in capsys.readouterr().out
