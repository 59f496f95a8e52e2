"""A bounded look at a file: its columns, how many records it has and what times they span."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from timestore_assets.cli.proposal.column_guesses import Guess, guess_text_columns
from timestore_assets.cli.proposal.dialect import FoundMarks, find_marks
from timestore_assets.cli.proposal.file_shape import shape_of
from timestore_assets.cli.proposal.parquet_footer import footer_of
from timestore_assets.cli.proposal.time_forms import Times, texts_of
from timestore_assets.model.dataset import CsvDialect, FileFormat, FileSource
from timestore_assets.model.errors import BadFileError, InputError
from timestore_assets.model.field_path import Step
from timestore_assets.model.position import START
from timestore_assets.model.types import STRING

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from timestore_assets.sources.batches import BadRecord, FileBatch

SAMPLE_ROWS = 500_000
SAMPLE_BYTES = 64_000_000
DOCUMENTS = 50_000
"""JSON documents are looked at one by one, in Python."""
TABLE = "sample"
_DISTINCT = 20_000
Steps = tuple[Step, ...]
NOTHING: Mapping[str, Steps] = {}


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """What was looked at."""

    path: Path
    format: str
    dialect: CsvDialect
    """How a text file is written, with `marks` and, by column, `units`."""
    marks: FoundMarks
    units: Mapping[str, str]
    path_columns: Mapping[str, str | None]
    """Those that only the folders of the path give."""
    record_path: tuple[str, ...]
    """Members that lead to the records of a JSON document."""
    other_paths: tuple[tuple[str, ...], ...]
    """Those that lead to other arrays of objects."""
    fields: Mapping[str, Steps]
    """Where columns are that are inside objects."""
    texts: Mapping[str, str]
    """SQL of each column's text over the view `sample` of the connection that holds the records (JSON: scalar members)."""
    guesses: tuple[Guess, ...]
    """The columns."""
    rows: int
    """Records looked at."""
    estimated_rows: int
    """Of the whole file."""
    counted: bool
    """That is their number."""
    ranges: Mapping[str, tuple[datetime, datetime]]
    """Smallest and largest time of the whole file, of columns that it says them of."""
    complete: bool
    """They are all there are."""
    refused: int
    """Records that the reader refused, for the reason `refusal` as an example."""
    refusal: str = ""


def take(path: Path, con: duckdb.DuckDBPyConnection) -> Sample:
    """Look at the beginning of a file.

    Raises:
        InputError: it is missing, a folder, unreadable, empty, or no table of records.
    """
    from timestore_assets.sources.files.input_file import LocalFile
    from timestore_assets.sources.files.open_reader import open_reader

    check_readable(path)
    file = LocalFile(path)
    shape = shape_of(file)
    source = FileSource(prefix="", csv=shape.found.csv, path=shape.path)
    wanted: FileFormat = "json" if shape.path else "auto"
    reader = open_reader(file, source, format=wanted, memory_bytes=SAMPLE_BYTES, chunk_rows=SAMPLE_ROWS)
    batches, complete = _first_batches(reader.batches(START))
    table = _table(batches)
    complete = complete and (batches[0].encoding != "json" or table.num_rows <= DOCUMENTS)
    bad = [record for batch in batches for record in batch.bad]
    if table.num_rows == 0:
        raise InputError(_nothing_in(path, bad))
    columns = {name: value for name, value in _path_columns(path).items() if name not in table.column_names}
    look = _look(con, batches, table, columns)
    rows = table.num_rows + len(bad)
    share = min(1.0, reader.bytes_read / max(path.stat().st_size, 1))
    footer = footer_of(path) if reader.format == "parquet" and not complete else None
    return Sample(
        path=path,
        format=reader.format,
        dialect=shape.found.csv,
        marks=look.marks,
        units=shape.found.units,
        path_columns=columns,
        record_path=shape.path,
        other_paths=shape.other_paths,
        fields=look.fields,
        texts=look.texts,
        guesses=tuple(look.guesses),
        rows=rows,
        estimated_rows=footer.rows if footer else rows if complete or share <= 0 else round(rows / share),
        counted=complete or footer is not None,
        ranges=footer.ranges if footer else {},
        complete=complete,
        refused=len(bad),
        refusal=f"line {bad[0].line:,}: {bad[0].reason}" if bad else "",
    )


def _path_columns(path: Path) -> dict[str, str | None]:
    """What folders such as `region=eu/` say, the nearest ones: those further up may have been there before the data."""
    from timestore_assets.sources.files.path_columns import path_values

    parts = path.absolute().parts
    first = len(parts) - 1
    while first > 0 and "=" in parts[first - 1]:
        first -= 1
    return dict(path_values("/".join(parts[first:])))


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


@dataclass(frozen=True, kw_only=True, slots=True)
class _Look:
    """What was found in the records: guesses for all columns, SQL of their texts, marks of numbers, what is inside objects."""

    guesses: list[Guess]
    texts: dict[str, str]
    marks: FoundMarks
    fields: Mapping[str, Steps]


def _look(
    con: duckdb.DuckDBPyConnection, batches: list[FileBatch], table: pa.Table, path_columns: Mapping[str, str | None]
) -> _Look:
    """Look at the records, which are left as the view `sample`; into objects only where no time is beside them."""
    from timestore_assets.cli.proposal.opened_objects import open_documents, open_table

    encoding = batches[0].encoding
    if encoding == "json":
        documents = _documents(table)
        look = _look_at_documents(con, documents, path_columns)
        if not _has_time(con, look) and (opened := open_documents(documents)):
            inside = _look_at_documents(con, opened.documents, path_columns, opened.fields)
            return inside if _has_time(con, inside) else _look_at_documents(con, documents, path_columns)
        return look
    if encoding == "text":
        return _looked(con, [Guess(name=name, type=STRING) for name in table.column_names], table, encoding, path_columns, {})
    look = _look_at_table(con, table, path_columns)
    if not _has_time(con, look) and (open_one := open_table(table)):
        inside = _look_at_table(con, open_one.table, path_columns, open_one.fields)
        return inside if _has_time(con, inside) else _look_at_table(con, table, path_columns)
    return look


def _has_time(con: duckdb.DuckDBPyConnection, look: _Look) -> bool:
    return bool(Times(con=con, table=TABLE, texts=look.texts).found(look.guesses))


def _look_at_documents(
    con: duckdb.DuckDBPyConnection,
    documents: list[dict[str, object]],
    path_columns: Mapping[str, str | None],
    fields: Mapping[str, Steps] = NOTHING,
) -> _Look:
    from timestore_assets.cli.proposal.typed_columns import guess_members, scalar_table

    guesses = guess_members(documents)
    table = scalar_table(documents, (guess.name for guess in guesses))
    return _looked(con, guesses, table, "json", path_columns, fields)


def _look_at_table(
    con: duckdb.DuckDBPyConnection,
    table: pa.Table,
    path_columns: Mapping[str, str | None],
    fields: Mapping[str, Steps] = NOTHING,
) -> _Look:
    from timestore_assets.cli.proposal.typed_columns import guess_arrow_columns, lookable

    return _looked(con, guess_arrow_columns(table), lookable(table), "typed", path_columns, fields)


def _looked(
    con: duckdb.DuckDBPyConnection,
    guesses: list[Guess],
    table: pa.Table,
    encoding: str,
    path_columns: Mapping[str, str | None],
    fields: Mapping[str, Steps],
) -> _Look:
    for name, value in path_columns.items():
        table = table.append_column(name, [[value] * table.num_rows])
        guesses.append(Guess(name=name, type=STRING, note="in the path alone"))
    con.register(TABLE, table)
    texts = texts_of((field.name, _is_text(field)) for field in table.schema)
    names = [guess.name for guess in guesses if guess.kind == "string" and guess.name in texts]
    marks = find_marks({name: _distinct(con, texts[name]) for name in names})
    found = {guess.name: guess for guess in guess_text_columns(con, TABLE, names, marks.marks)}
    whole = set(names if encoding == "text" else path_columns)
    kept = {name: guess for name, guess in found.items() if name in whole or _is_time(guess) or name in marks.columns}
    guesses = [replace(kept.get(guess.name, guess), note=guess.note) for guess in guesses]
    return _Look(guesses=guesses, texts=texts, marks=marks, fields=fields)


def _is_text(field: pa.Field[Any]) -> bool:
    import pyarrow.types as pt

    return bool(pt.is_string(field.type) or pt.is_large_string(field.type))


def _is_time(guess: Guess) -> bool:
    return guess.kind in ("timestamp", "date") and not guess.tokens


def _distinct(con: duckdb.DuckDBPyConnection, text: str) -> list[str]:
    query = f"SELECT DISTINCT {text} AS t FROM {TABLE} WHERE {text} IS NOT NULL LIMIT {_DISTINCT}"
    return [value for (value,) in con.execute(query).fetchall()]


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


def _nothing_in(path: Path, bad: Sequence[BadRecord]) -> str:
    if bad:
        first = f"; line {bad[0].line:,}, for instance: {bad[0].reason}"
        return f"{path.name} holds no readable record: all {len(bad)} looked at are malformed{first}"
    return f"{path.name} has column names but no record; give a file with some"
