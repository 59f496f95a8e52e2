"""Exit codes and error lines."""

from __future__ import annotations

import errno
import logging
import subprocess
import sys
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from timestore_assets.cli.error_reports import explain, is_broken_pipe, log_line_handler
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


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("can't start new thread"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        duckdb.OutOfMemoryException("Out of Memory Error: could not allocate block"),
        pa.ArrowMemoryError("malloc of size 128 failed"),
    ],
)
def test_a_lack_of_memory_is_one_sentence_that_says_what_to_raise(error: Exception) -> None:
    line, code = explain(error)
    assert code == 1
    assert "unexpected" not in line
    assert "TIMESTORE_MEMORY" in line


def test_a_person_sees_a_line_of_the_log_and_its_trace_only_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    for with_traces, shown in ((False, 1), (True, 4)):
        try:
            raise LookupError("x")
        except LookupError as error:
            entry = logging.LogRecord(
                "n", logging.WARNING, "f", 1, "refused %s", ("a.csv",), (type(error), error, error.__traceback__)
            )
        log_line_handler(with_traces=with_traces).handle(entry)
        lines = capsys.readouterr().err.splitlines()
        assert lines[0] == "refused a.csv"
        assert len(lines) >= shown


def test_a_library_that_is_only_half_imported_for_lack_of_memory_is_a_lack_of_memory(tmp_path: Path) -> None:
    (tmp_path / "halfway.py").write_text("undefined_without_its_binary")
    script = f"""
import resource, sys
sys.path.insert(0, {str(tmp_path)!r})
from timestore_assets.cli.error_reports import explain
for limit in (resource.RLIM_INFINITY, 8_000_000_000):
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    try:
        import halfway
    except NameError as error:
        print(explain(error)[0])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    first, second = done.stdout.splitlines()
    assert first.startswith("error: unexpected NameError")
    assert second.startswith("error: the process may use no more memory")
