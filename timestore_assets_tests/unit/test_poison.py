"""Whose fault an error is: the input's, or that of catalog, store, disk and memory."""

from __future__ import annotations

import errno
import logging
import sqlite3
from concurrent.futures import CancelledError

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from sqlalchemy.exc import OperationalError

from timestore_assets.decoding.poison import cause, is_poison, log_poison, poisoned
from timestore_assets.model.errors import BadFileError, ForgottenError, StorageFullError, UnavailableError
from timestore_assets_tests.support.poison_errors import FOREIGN

OF_THE_MACHINE = [
    MemoryError(),
    pa.ArrowMemoryError("malloc of size 1 failed"),
    duckdb.OutOfMemoryException("out of memory"),
    duckdb.IOException("could not write"),
    duckdb.InterruptException("interrupted"),
    OSError(errno.ENOSPC, "No space left on device"),
    OSError(errno.EIO, "Input/output error"),
    OSError(errno.EMFILE, "Too many open files"),
    ConnectionResetError("reset"),
    TimeoutError("late"),
    sqlite3.OperationalError("database is locked"),
    OperationalError("SELECT 1", {}, sqlite3.OperationalError("disk I/O error")),
    StorageFullError("no room left"),
    UnavailableError("not there"),
    ForgottenError("no such session"),
    RuntimeError("can't start new thread"),
    CancelledError(),
]


def test_what_libraries_raise_belongs_to_the_input() -> None:
    assert len(FOREIGN) > 40
    assert {"DataError", "ArrowInvalid", "OverflowError", "InternalException"} <= {type(error).__name__ for error in FOREIGN}


@pytest.mark.parametrize("error", OF_THE_MACHINE, ids=lambda error: type(error).__name__)
def test_what_catalog_store_disk_and_memory_raise_does_not(error: BaseException) -> None:
    assert not is_poison(error)


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), SystemExit(1), GeneratorExit()])
def test_nor_do_interruptions(interruption: BaseException) -> None:
    assert not is_poison(interruption)


def test_nor_does_an_interruption_in_the_words_of_duckdb() -> None:
    """Ctrl-C while records are judged: taken for poison, it was swallowed and the landing went on."""
    assert not is_poison(RuntimeError("Query interrupted"))
    assert is_poison(RuntimeError("a record says: Query interrupted"))


def test_an_error_of_a_decoder_without_a_number_of_the_system_is_about_the_bytes() -> None:
    assert is_poison(OSError("Corrupt snappy compressed data"))


def test_a_cause_is_one_short_line_that_can_be_printed() -> None:
    assert cause(ValueError("\n bad \x1b[31m value\nline 2")) == "ValueError: bad  [31m value"
    assert cause(KeyError()) == "KeyError"
    assert len(cause(ValueError("x" * 10_000))) < 300


def test_a_trace_is_logged_once_for_each_cause(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    for _ in range(3):
        try:
            raise LookupError("of this very line")
        except LookupError as error:
            log_poison("record 1", error)
    assert [bool(entry.exc_info) for entry in caplog.records] == [True, False, False]
    assert "refused record 1: LookupError: of this very line" in caplog.text


def judge_without(bad: set[int]) -> object:
    def judge(rows: np.ndarray) -> None:
        for row in rows.tolist():
            if row in bad:
                raise ValueError(f"row {row}")

    return judge


@pytest.mark.parametrize("bad", [{0}, {99}, {3, 4, 70}, set(range(100)), set()])
def test_exactly_the_bad_rows_are_found(bad: set[int]) -> None:
    found = poisoned(np.arange(100), judge_without(bad), ValueError("all"))
    assert found == {row: f"the record can't be judged (ValueError: row {row})" for row in bad}


def test_what_fails_without_any_row_is_no_row_s_fault() -> None:
    def judge(_rows: np.ndarray) -> None:
        raise ValueError("the schema")

    with pytest.raises(ValueError, match="all of them"):
        poisoned(np.arange(5), judge, ValueError("all of them"))


def test_what_only_fails_together_is_no_row_s_fault() -> None:
    def judge(rows: np.ndarray) -> None:
        if len(rows) > 6:
            raise ValueError("too many at once")

    with pytest.raises(ValueError, match="too many at once"):
        poisoned(np.arange(8), judge, ValueError("too many at once"))


def test_a_full_disk_ends_the_search() -> None:
    def judge(rows: np.ndarray) -> None:
        if len(rows):
            raise StorageFullError("no room")

    with pytest.raises(StorageFullError):
        poisoned(np.arange(8), judge, ValueError("first"))


def test_bad_file_errors_say_themselves_whose_fault_they_are() -> None:
    assert not is_poison(BadFileError("corrupt", "it is damaged"))
