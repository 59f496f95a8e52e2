"""A DuckDB file with a view for each dataset, over the segments where they lie: for any tool that opens DuckDB files.

The views need nothing of this project. They show one manifest version, deduplicated and without what was retracted, and hold
until its segments are collected; writing the file again brings them up to date.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import duckdb

from timestore_assets.catalog.records import DatasetRecord
from timestore_assets.catalog.snapshot_pin import SnapshotPin
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.errors import InputError, UnavailableError
from timestore_assets.model.schema import Column
from timestore_assets.model.segment import Segment
from timestore_assets.model.types import literal, quote
from timestore_assets.querying.planning.query_plan import Plan
from timestore_assets.querying.planning.statement import no_rows
from timestore_assets.querying.reading.querier import Querier
from timestore_assets.segments.deduplicate import first_of_each
from timestore_assets.segments.reader import select_from_files
from timestore_assets.storage.disk_errors import not_spilled

MARK = "timestore.views"
"""The table, in a schema of its own, by which such a file is known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenView:
    """A dataset in the file. `left_out`: why it is not, else ""; then the other figures are 0."""

    dataset: str
    version: int = 0
    segments: int = 0
    left_out: str = ""


def is_view_file(path: Path) -> bool:
    """Whether a file that is there was written by `write_views`."""
    try:
        with closing(duckdb.connect(str(path), read_only=True)) as con:
            con.execute(f"SELECT dataset FROM {MARK} LIMIT 0").fetchall()
    except duckdb.Error:
        return False
    return True


def write_views(
    path: Path, querier: Querier, datasets: Mapping[str, tuple[Dataset, DatasetRecord]], *, now: datetime | None = None
) -> list[WrittenView]:
    """Make the file at a path where nothing is; each dataset is a view of its newest version.

    A dataset with objects that are not on this machine gets none, and its report says so.

    Raises:
        UnavailableError: a segment file is missing, or the disk takes no more; no file is left then.
    """
    written = []
    # views are all it holds, so the form that every DuckDB of the last years reads will do
    with closing(duckdb.connect(str(path), config={"storage_compatibility_version": "v1.0.0"})) as con:
        con.execute("CREATE SCHEMA timestore").fetchall()
        con.execute(f"CREATE TABLE {MARK} (dataset VARCHAR, manifest_version BIGINT, written_at TIMESTAMP)").fetchall()
        for name in sorted(datasets):
            dataset, record = datasets[name]
            found = _write_view(con, querier, dataset, record)
            written.append(found)
            if not found.left_out:
                moment = (now or datetime.now(UTC)).astimezone(UTC).replace(tzinfo=None)
                con.execute(f"INSERT INTO {MARK} VALUES (?, ?, ?)", [name, found.version, moment]).fetchall()
        _finish(con, path)
    return written


def _finish(con: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Write what the file's log holds into it: closing does so too, and keeps to itself that it failed."""
    try:
        con.execute("CHECKPOINT").fetchall()
    except duckdb.Error as error:
        con.close()
        for left in (path, path.with_name(f"{path.name}.wal")):
            left.unlink(missing_ok=True)
        doing = "writing a file of views"
        said = not_spilled(path.parent, doing, str(error))
        raise said or UnavailableError(
            f"{doing} in {path.parent} failed ({str(error).splitlines()[0]}); check the disk"
        ) from None


def _write_view(con: duckdb.DuckDBPyConnection, querier: Querier, dataset: Dataset, record: DatasetRecord) -> WrittenView:
    claim = querier.claim(record)
    try:
        dataset, record = querier.in_force(dataset, record, claim.version)
        chosen = querier.planned(dataset, record, version=claim.version)
        away = next((one for one in chosen.whole.segments if querier.storage.path(one) is None), None)
        if away is not None:
            why = f"its segments are not on this machine, but in the target {away.storage!r}; `timestore sql` reads them"
            return WrittenView(dataset=dataset.name, left_out=why)
        _create(con, querier, dataset, record, claim, chosen)
    finally:
        claim.release()
    return WrittenView(dataset=dataset.name, version=claim.version, segments=len(chosen.whole.segments))


def _create(
    con: duckdb.DuckDBPyConnection, querier: Querier, dataset: Dataset, record: DatasetRecord, claim: SnapshotPin, chosen: Plan
) -> None:
    name = quote(dataset.name)
    try:
        con.execute(f"CREATE VIEW {name} AS {_select(querier, dataset, record, claim, chosen)}").fetchall()
    except duckdb.Error as error:
        raise InputError(f"dataset {dataset.name!r} can't be a view of DuckDB: {str(error).splitlines()[0]}") from error
    said = [dataset.description.rstrip("."), f"manifest version {claim.version}; times are in UTC"]
    con.execute(f"COMMENT ON VIEW {name} IS {literal('; '.join(filter(None, said)))}").fetchall()
    for column in record.schema:
        if comment := _comment(column):
            con.execute(f"COMMENT ON COLUMN {name}.{quote(column.name)} IS {literal(comment)}").fetchall()


def _comment(column: Column) -> str:
    return "; ".join(filter(None, (column.unit, column.description)))


def _select(querier: Querier, dataset: Dataset, record: DatasetRecord, claim: SnapshotPin, chosen: Plan) -> str:
    """The rows of a version as one SELECT that needs nothing to be opened before."""
    schema = record.schema
    names = ", ".join(quote(name) for name in schema.names)
    schema_of = lru_cache(maxsize=None)(lambda wanted: querier.catalog.datasets.schema(record.id, wanted))
    retracted = querier.catalog.manifest.retracted(record.id, version=claim.version)

    def rows(segments: Sequence[Segment], *, stored: bool) -> str:
        files = [(one, path) for one in segments if (path := querier.storage.path(one)) is not None]
        absolute = [(one, path.resolve()) for one, path in files]
        return select_from_files(absolute, schema=schema, schema_of=schema_of, retracted=retracted, stored=stored)

    parts = []
    if chosen.whole.unique:
        parts.append(f"SELECT {names} FROM {rows(chosen.whole.unique, stored=False)}")
    if chosen.whole.overlapping and dataset.dedupe:
        visible = ", ".join(f"{column.read_expression} AS {quote(column.name)}" for column in schema)
        kept = f"SELECT * FROM {rows(chosen.whole.overlapping, stored=True)} {first_of_each(dataset.dedupe, schema)}"
        parts.append(f"SELECT {visible} FROM ({kept})")
    return " UNION ALL ".join(parts) or f"SELECT {names} FROM {no_rows(schema, schema.names)}"
