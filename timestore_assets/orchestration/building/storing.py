"""Stores what a person's own asset computed as rows of a declared dataset.

The value becomes a Parquet file at a fixed address, the asset's and partition's name, and is landed by the one landing path
with `on_change: replace`: storing again replaces exactly what the same asset stored for the same partition before.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from timestore_assets.file_access import make_folder
from timestore_assets.landing.files.lander import Lander
from timestore_assets.model.dataset import Dataset, FileSource
from timestore_assets.model.errors import InputError
from timestore_assets.model.types import literal, quote
from timestore_assets.model.window import format_time
from timestore_assets.segments.engine import EngineLimits, connect
from timestore_assets.sources.folders import local_file

if TYPE_CHECKING:
    from timestore_assets.landing.files.land_report import LandReport
    from timestore_assets.warehouse import Warehouse

_BATCH_ROWS = 250_000
_MARK = "timestore.output"
"""Parquet metadata with the address: two empty partitions would otherwise be the same file, hence duplicates."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Slot:
    """What a stored value replaces: all that `asset` stored before under `partition`."""

    asset: str
    partition: str = "all"
    start: datetime | None = None
    """Times the rows have to lie in, up to `end`; both None where the asset has no time partitions."""
    end: datetime | None = None

    @property
    def source(self) -> FileSource:
        return FileSource(prefix=f"asset:{self.asset}", format="parquet", on_change="replace")

    @property
    def address(self) -> str:
        return f"{self.asset}/{self.partition.replace('/', '_').replace(':', '')}.parquet"


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """What one value became; `landed` and `dead_letters` count rows."""

    landed: int
    dead_letters: int
    manifest_version: int


def store(warehouse: Warehouse, name: str, value: object, slots: Sequence[Slot], *, actor: str) -> Stored:
    """Replace the rows of each slot in dataset `name` by those of `value`, and ask for the builds.

    A slot's rows change in one commit; rows go to the slot that their time lies in when there are several.

    Raises:
        InputError: the value is no frame, rows lie outside the slots' times, or landing refused the file as a whole.
    """
    dataset, record = warehouse.resolve(name)
    with _staged(warehouse.limits) as folder:
        whole = folder / "value.parquet"
        write_frame(value, whole, mark=slots[0].address)
        _check_times(warehouse.limits, dataset, whole, slots)
        reports = []
        for slot in slots:
            path = folder / slot.address
            path.parent.mkdir(parents=True, exist_ok=True)
            if len(slots) == 1:
                whole.rename(path)
            else:
                _cut(warehouse.limits, dataset, whole, path, slot)
            reports.append(_land(warehouse, dataset, path, slot, folder, actor=actor))
    partitions = [dataset.partition(key) for key in sorted({key for report in reports for key in report.partitions})]
    warehouse.catalog.partitions.request_builds(record.id, partitions, reason=f"stored by {slots[0].asset}")
    return Stored(
        landed=sum(report.counters.landed for report in reports),
        dead_letters=sum(report.counters.dead_letters for report in reports),
        manifest_version=reports[-1].manifest_version,
    )


def _land(warehouse: Warehouse, dataset: Dataset, path: Path, slot: Slot, folder: Path, *, actor: str) -> LandReport:
    lander = Lander(warehouse.writing)
    report = lander.land_files(dataset, slot.source, [local_file(path, folder)], format="parquet", actor=actor)
    for file in report.files:
        if file.state in ("quarantined", "rejected"):
            raise InputError(f"what {slot.asset} returned can't be stored in {dataset.name}: {file.reason}")
    return report


def write_frame(value: object, path: Path, *, mark: str) -> None:
    """Write a frame of any of the kinds as Parquet, without holding more than it holds already.

    Raises:
        InputError: the value is none of them.
    """
    if type(value).__module__.partition(".")[0] == "polars" and _write_polars(value, path, mark):
        return
    if isinstance(value, duckdb.DuckDBPyRelation):
        _write_batches(value.to_arrow_reader(_BATCH_ROWS), path, mark)
    elif isinstance(value, pa.RecordBatchReader):
        _write_batches(value, path, mark)
    elif isinstance(value, pa.Table):
        _write_batches(value.to_reader(_BATCH_ROWS), path, mark)
    else:
        kinds = "polars DataFrame or LazyFrame, pyarrow Table or RecordBatchReader, DuckDB relation"
        what = "None" if value is None else f"a {type(value).__name__}"
        raise InputError(f"{what} can't be stored; return a {kinds}, an empty one for no rows")


def _write_polars(value: object, path: Path, mark: str) -> bool:
    """Whether it was a frame; only a value of Polars' brings Polars in, which not every installation has."""
    import polars as pl

    if isinstance(value, pl.DataFrame):
        value = value.lazy()
    if not isinstance(value, pl.LazyFrame):
        return False
    value.sink_parquet(path, metadata={_MARK: mark})
    return True


def _write_batches(reader: pa.RecordBatchReader, path: Path, mark: str) -> None:
    schema = reader.schema.with_metadata({_MARK: mark})
    with pq.ParquetWriter(path, schema) as writer:
        for batch in reader:
            writer.write_batch(batch.cast(schema))


def _check_times(limits: EngineLimits, dataset: Dataset, path: Path, slots: Sequence[Slot]) -> None:
    if slots[0].start is None:
        if len(slots) > 1:
            raise InputError("one value can't be told apart into partitions that are no times; give the asset a multi_run policy")
        return
    if dataset.time not in pq.read_schema(path).names:
        return  # landing explains what is missing, and which column it may have been
    inside = " OR ".join(_within(dataset, slot) for slot in slots)
    with connect(limits) as engine:
        rows, first, last = engine.execute(
            f"SELECT count(*), min({quote(dataset.time)}), max({quote(dataset.time)}) FROM read_parquet({literal(str(path))}) "
            f"WHERE NOT ({inside})"
        ).fetchone() or (0, None, None)
    if rows:
        raise InputError(
            f"{rows:,} rows that {slots[0].asset} returned lie outside the partitions it was asked for: "
            f"{dataset.time} from {first} to {last}; filter them out"
        )


def _cut(limits: EngineLimits, dataset: Dataset, whole: Path, path: Path, slot: Slot) -> None:
    """The rows of one slot as a file of its own, in the order they have."""
    with connect(limits) as engine:
        engine.execute(
            f"COPY (FROM read_parquet({literal(str(whole))}) WHERE {_within(dataset, slot)}) TO {literal(str(path))} "
            f"(FORMAT parquet, KV_METADATA {{{quote(_MARK)}: {literal(slot.address)}}})"
        )


def _within(dataset: Dataset, slot: Slot) -> str:
    if slot.start is None or slot.end is None:
        return "true"
    time = f"{quote(dataset.time)}::TIMESTAMPTZ"
    return f"({time} >= {_instant(slot.start)} AND {time} < {_instant(slot.end)})"


def _instant(time: datetime) -> str:
    return f"{literal(format_time(time))}::TIMESTAMPTZ"


@contextmanager
def _staged(limits: EngineLimits) -> Iterator[Path]:
    root = limits.temp_dir
    make_folder(root)
    folder = Path(tempfile.mkdtemp(prefix="output-", dir=root))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
