"""Reading segments: SQL over files as they were written, and over those that are held in memory and that nothing stores."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import duckdb

from timestore_assets.model.retraction import NOTHING, Retracted
from timestore_assets.model.schema import PROVENANCE_COLUMNS, Column, Schema
from timestore_assets.model.segment import TABLE_IN_DUCKDB, Segment, SegmentFormat
from timestore_assets.model.types import literal, quote
from timestore_assets.segments.engine import unreadable
from timestore_assets.segments.projection import asked_type, projection
from timestore_assets.segments.retracted_rows import may_hold, provenance_read, shown_by
from timestore_assets.segments.shared_rows import ROW_NUMBER, among, row_ranges
from timestore_assets.storage.object_store import ObjectReader

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(slots=True)
class _Attached:
    """The segment files a connection has attached: path to alias, and how many readers use each."""

    aliases: dict[Path, str] = field(default_factory=dict)
    readers: dict[Path, int] = field(default_factory=lambda: defaultdict(int))
    made: int = 0


_attached: WeakKeyDictionary[duckdb.DuckDBPyConnection, _Attached] = WeakKeyDictionary()


@contextmanager
def opened(
    con: duckdb.DuckDBPyConnection,
    segments: Sequence[Segment],
    *,
    storage: ObjectReader,
    schema: Schema,
    schema_of: Callable[[int], Schema],
    retracted: Retracted = NOTHING,
    columns: Sequence[str] | None = None,
    stored: bool = False,
    provenance: bool = True,
    strict: bool = False,
) -> Iterator[str]:
    """The rows of segments as a SQL table expression that stands after FROM, valid inside the `with`.

    Its columns are those of `columns` (all visible ones when None) in the form of `schema`, then the three provenance
    columns. `schema_of`: schema of a version, for segments written under another. `retracted`: rows that are left out.
    `stored`: give inferred columns as the raw text that the files hold. `provenance=False`: leave the provenance columns out,
    which saves a quarter of the planning time over many `.duckdb` files. `strict`: a value that can't be computed is an error
    and not null.

    Raises:
        KeyError: `columns` names one that `schema` doesn't have.
        UnavailableError: a file is missing or locked. BadFileError: a file is no segment (found now for `.duckdb` files,
        for Parquet ones when the expression is used).
    """
    hidden = PROVENANCE_COLUMNS if provenance else ()
    wanted = tuple(schema.columns if columns is None else (schema.column(name) for name in columns))
    held = [segment for segment in segments if isinstance(segment, InMemorySegment)]
    in_files = [segment for segment in segments if not isinstance(segment, InMemorySegment)]
    project = partial(projection, wanted, schema=schema, stored=stored, hidden=hidden, strict=strict)
    of_version = {
        version: project(written=schema if version == schema.version else schema_of(version))
        for version in {segment.schema_version for segment in in_files}
    }
    is_all = columns is None and provenance
    read = {*hidden, *provenance_read(retracted), *(name for one in of_version.values() for name in one.reads)}
    with ExitStack() as stack:
        paths_of = stack.enter_context(storage.reading(in_files, columns=None if is_all else sorted(read)))
        files = list(zip(in_files, paths_of, strict=True))
        databases = {path: segment.name for segment, path in files if segment.format == "duckdb"}
        aliases = _attach(con, databases)
        stack.callback(_detach, con, databases)
        selects = []
        for alike in _alike(files, retracted):
            sources = [f"{aliases[path]}.{TABLE_IN_DUCKDB}" for path in alike.paths] if alike.kind == "duckdb" else [alike.source]
            selects += [of_version[alike.version].over(source + alike.condition) for source in sources]
        tables = stack.enter_context(registered(con, held))
        selects += [project(written=one.written).over(name) for one, name in zip(held, tables, strict=True)]
        yield "(" + (" UNION ALL ".join(selects) or _nothing(wanted, stored, hidden)) + ")"


def select_from_files(
    files: Sequence[tuple[Segment, Path]],
    *,
    schema: Schema,
    schema_of: Callable[[int], Schema],
    retracted: Retracted = NOTHING,
    stored: bool = False,
) -> str:
    """The rows of segment files as a SQL table expression for which nothing has to be opened: for views that are kept.

    With `stored` its columns are those of `opened` in stored form with the provenance columns, else the visible ones alone.
    """
    hidden = PROVENANCE_COLUMNS if stored else ()
    wanted = tuple(schema.columns)
    selects = []
    for alike in _alike(files, retracted):
        written = schema if alike.version == schema.version else schema_of(alike.version)
        selected = projection(wanted, schema=schema, written=written, stored=stored, hidden=hidden)
        selects.append(selected.over(alike.source + alike.condition))
    return "(" + (" UNION ALL ".join(selects) or _nothing(wanted, stored, hidden)) + ")"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Alike:
    """Files that one SELECT can read. `source`: what stands after FROM; `condition`: the WHERE behind it, or ""."""

    kind: SegmentFormat
    version: int
    paths: Sequence[Path]
    source: str
    condition: str


def _alike(files: Sequence[tuple[Segment, Path]], retracted: Retracted) -> Iterator[_Alike]:
    """Files of one format and schema version together, apart from those that rows are left out of; a shared one by itself."""
    groups: dict[tuple[SegmentFormat, int, bool, Path | None], list[tuple[Segment, Path]]] = defaultdict(list)
    for segment, path in files:
        shared = path if segment.is_shared else None
        groups[segment.format, segment.schema_version, may_hold(segment, retracted), shared].append((segment, path))
    for (kind, version, filtered, shared), held in groups.items():
        paths = [path for _, path in held] if shared is None else [shared]
        conditions = [] if shared is None else [among(row_ranges(segment for segment, _ in held))]
        conditions += [shown_by(retracted)] if filtered else []
        yield _Alike(
            kind=kind,
            version=version,
            paths=paths,
            source=rows_in(paths, kind, numbered=shared is not None),
            condition=f" WHERE {' AND '.join(conditions)}" if conditions else "",
        )


def rows_in(paths: Sequence[Path], format: SegmentFormat, *, numbered: bool = False) -> str:
    """The rows of segment files as they are stored, as a SQL table expression; `numbered`: with their number in the file."""
    names = ", ".join(literal(str(path)) for path in paths)
    if format == "duckdb":
        return f"read_duckdb([{names}], table_name={literal(TABLE_IN_DUCKDB)})"
    # names hold `=` and the like for other reasons than hive's; the list is exact, so nothing is to be guessed from it
    options = "hive_partitioning=false, union_by_name=false" + (f", {ROW_NUMBER}=true" if numbered else "")
    return f"read_parquet([{names}], {options})"


def _nothing(wanted: Sequence[Column], stored: bool, hidden: Sequence[str]) -> str:
    parts = [f"CAST(NULL AS {asked_type(column, stored=stored)}) AS {quote(column.name)}" for column in wanted]
    parts += [f"CAST(NULL AS BIGINT) AS {name}" for name in hidden]
    return f"SELECT {', '.join(parts) or 'NULL'} WHERE false"


def _attach(con: duckdb.DuckDBPyConnection, files: Mapping[Path, str]) -> dict[Path, str]:
    """Attach what is not attached yet and count a reader on each file; all or nothing."""
    known = _attached.setdefault(con, _Attached())
    new = {}
    for path in files:
        known.readers[path] += 1
        if path not in known.aliases:
            known.made += 1
            new[path] = known.aliases[path] = f"segment_{known.made}"
    done: list[Path] = []
    try:
        for path, alias in new.items():
            con.execute(f"ATTACH {literal(str(path))} AS {alias} (READ_ONLY)")
            done.append(path)
    except duckdb.Error as error:
        failed = list(new)[len(done)]
        for path in list(new)[len(done) :]:
            del known.aliases[path]
        _detach(con, files)
        raise unreadable(files[failed], error) from error
    return {path: known.aliases[path] for path in files}


def _detach(con: duckdb.DuckDBPyConnection, files: Mapping[Path, str]) -> None:
    known = _attached[con]
    unused = []
    for path in files:
        known.readers[path] -= 1
        if known.readers[path] == 0:
            del known.readers[path]
            if alias := known.aliases.pop(path, None):
                unused.append(f"DETACH {alias}")
    if unused:
        con.execute(";".join(unused))


IN_MEMORY_VERSION = 0
"""Schema version of a held segment: none of the catalog's, whose count from 1; `written` says what the rows look like."""
_numbers = count(1)


@dataclass(frozen=True, kw_only=True, slots=True)
class InMemorySegment(Segment):
    """A delta in memory. `table`: its rows, columns as `stored_arrow_schema(written)` says. `id` is below zero."""

    table: pa.Table
    written: Schema


@contextmanager
def registered(con: duckdb.DuckDBPyConnection, segments: Sequence[InMemorySegment]) -> Iterator[list[str]]:
    """Names under which a connection reads the rows of the segments, in their order, inside the `with`."""
    with ExitStack() as stack:
        names = []
        for segment in segments:
            name = f"held_{next(_numbers)}"
            con.register(name, segment.table)
            stack.callback(con.unregister, name)
            names.append(name)
        yield names
