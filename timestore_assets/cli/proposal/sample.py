"""A bounded look at a file: its columns, how many records it has and what times they span."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from timestore_assets.cli.proposal.guess import Guess
from timestore_assets.model.dataset import CsvDialect, FileSource
from timestore_assets.model.errors import BadFileError, InputError
from timestore_assets.model.position import START

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from timestore_assets.sources.port import FileBatch

SAMPLE_ROWS = 500_000
SAMPLE_BYTES = 64_000_000
DOCUMENTS = 50_000
"""JSON documents are looked at one by one, in Python."""
DELIMITERS = ",;\t|"
TABLE = "sample"


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """What was looked at.

    `guesses`: the columns. `rows`: records looked at; `complete`: they are all there are; `estimated_rows`: of the whole file.
    `refused`: records that the reader refused. `naive`: whether times could come without a zone.
    The records themselves are the view `sample` of the connection they were read into (JSON: scalar members as text).
    """

    path: Path
    format: str
    delimiter: str
    guesses: tuple[Guess, ...]
    rows: int
    estimated_rows: int
    complete: bool
    refused: int


def take(path: Path, con: duckdb.DuckDBPyConnection) -> Sample:
    """Look at the beginning of a file.

    Raises:
        InputError: it is missing, a folder, unreadable, empty, or no table of records.
    """
    from timestore_assets.sources.files.input_file import LocalFile
    from timestore_assets.sources.files.open import open_reader

    check_readable(path)
    delimiter = sniff_delimiter(path)
    source = FileSource(prefix="", csv=CsvDialect(delimiter=delimiter))
    reader = open_reader(LocalFile(path), source, format="auto", memory_bytes=SAMPLE_BYTES, chunk_rows=SAMPLE_ROWS)
    batches, complete = _first_batches(reader.batches(START))
    table = _table(batches)
    complete = complete and (batches[0].encoding != "json" or table.num_rows <= DOCUMENTS)
    refused = sum(len(batch.bad) for batch in batches)
    if table.num_rows == 0:
        raise InputError(_nothing_in(path, refused))
    guesses = _guesses(con, batches, table)
    rows = table.num_rows + refused
    share = min(1.0, reader.bytes_read / max(path.stat().st_size, 1))
    return Sample(
        path=path,
        format=reader.format,
        delimiter=delimiter,
        guesses=tuple(guesses),
        rows=rows,
        estimated_rows=rows if complete or share <= 0 else round(rows / share),
        complete=complete,
        refused=refused,
    )


def check_readable(path: Path) -> None:
    """Raises InputError when the path is no file that can be opened."""
    if path.is_dir():
        raise InputError(f"{path} is a folder; give one of the files in it")
    if not path.exists():
        raise InputError(f"there is no file {path}")
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise InputError(f"{path} can't be opened: {error.strerror}") from None


def sniff_delimiter(path: Path) -> str:
    """The separator that occurs most in the first line outside quotes; a comma when none does."""
    from timestore_assets.sources.files.compression import DecodedStream
    from timestore_assets.sources.files.input_file import LocalFile

    with DecodedStream(LocalFile(path)) as stream:
        buffer = bytearray(1 << 16)
        head = bytes(buffer[: stream.fill(memoryview(buffer))])
    line = head.split(b"\n", 1)[0].decode("utf-8", errors="replace")
    unquoted = "".join(line.split('"')[::2])
    return max(DELIMITERS, key=unquoted.count) if any(char in unquoted for char in DELIMITERS) else ","


def _first_batches(batches: Iterator[FileBatch]) -> tuple[list[FileBatch], bool]:
    """As many batches as the sample may hold, and whether they are all."""
    taken: list[FileBatch] = []
    for batch in batches:
        taken.append(batch)
        if batch.last:
            return taken, True
        if sum(one.records.num_rows for one in taken) >= SAMPLE_ROWS or sum(one.records.nbytes for one in taken) >= SAMPLE_BYTES:
            return taken, False
    return taken, True


def _table(batches: list[FileBatch]) -> pa.Table:
    import pyarrow as pa

    return pa.concat_tables([batch.records for batch in batches], promote_options="default")


def _guesses(con: duckdb.DuckDBPyConnection, batches: list[FileBatch], table: pa.Table) -> list[Guess]:
    """Guesses for all columns; leaves the records behind as the view `sample`."""
    from timestore_assets.cli.proposal.arrow_columns import guess_arrow_columns
    from timestore_assets.cli.proposal.documents import guess_members, scalar_table
    from timestore_assets.cli.proposal.text_columns import guess_text_columns

    if batches[0].encoding == "json":
        documents = _documents(table)
        guesses = guess_members(documents)
        con.register(TABLE, scalar_table(documents, (guess.name for guess in guesses)))
        return _with_times(con, guesses)
    con.register(TABLE, table)
    if batches[0].encoding == "text":
        return guess_text_columns(con, TABLE, table.column_names)
    return _with_times(con, guess_arrow_columns(table))


def _documents(table: pa.Table) -> list[dict[str, object]]:
    documents = []
    for value in table.column("value").slice(0, DOCUMENTS).to_pylist():
        try:
            document = json.loads(value or b"null")
        except (ValueError, RecursionError):
            continue
        if isinstance(document, dict):
            documents.append(document)
    if not documents:
        raise BadFileError("not_tabular", "none of its first records is a JSON object")
    return documents


def _with_times(con: duckdb.DuckDBPyConnection, guesses: list[Guess]) -> list[Guess]:
    """The same guesses, with times and dates recognised in columns of text."""
    from timestore_assets.cli.proposal.text_columns import guess_text_columns

    strings = [guess.name for guess in guesses if guess.kind == "string"]
    found = {guess.name: guess for guess in guess_text_columns(con, TABLE, strings)}
    times = {name: guess for name, guess in found.items() if guess.kind in ("timestamp", "date") and not guess.tokens}
    return [times.get(guess.name, guess) for guess in guesses]


def _nothing_in(path: Path, refused: int) -> str:
    if refused:
        return f"{path.name} holds no readable record: all {refused} looked at are malformed"
    return f"{path.name} has column names but no record; give a file with some"
