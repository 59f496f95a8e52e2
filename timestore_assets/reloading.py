"""Landing what a dataset's own file sources hold of a time now, instead of when a sensor comes to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from timestore_assets.catalog.records import Counters
from timestore_assets.landing.report import LandReport, Progress
from timestore_assets.model.dataset import Dataset, FileFormat, FileSource
from timestore_assets.model.errors import InputError

if TYPE_CHECKING:
    from timestore_assets.sources.files.input_file import InputFile
    from timestore_assets.warehouse import Warehouse


Found = Sequence[tuple[FileSource, Sequence["InputFile"]]]
"""What is to be landed, by source."""


def unsettled_files(warehouse: Warehouse, name: str, start: datetime | None, end: datetime | None) -> Found:
    """The files of the dataset's sources for times in `[start, end)` (None: its own bounds) that are new or have changed.

    A source whose prefix names folders by time is listed there only, any other one as a whole. A file that has landed and looks
    the same is left out: nothing of it could be new.

    Raises:
        InputError: the dataset has no file source. UnavailableError: a store can't be reached.
    """
    dataset, record = warehouse.resolve(name)
    if not dataset.file_sources:
        raise InputError(f"dataset {name!r} has no file source to look at; name the files to land")
    first, last = _within(dataset, start, end)
    found: list[tuple[FileSource, list[InputFile]]] = []
    for source in dataset.file_sources:
        known = warehouse.catalog.source(record.id, source.kind, source.address)
        settled = partial(warehouse.catalog.settled_etags, known.id)
        found.append((source, list(warehouse.source_files(source).unsettled(first, last, settled))))
    return found


def land_found(
    warehouse: Warehouse,
    name: str,
    found: Found,
    *,
    format: FileFormat | None = None,
    chunk_rows: int | None = None,
    progress: Progress | None = None,
    actor: str = "command line",
) -> LandReport:
    """Land what `unsettled_files` found; see `landing.session.Lander.land_files`."""
    wishes = partial(warehouse.land_source, format=format, chunk_rows=chunk_rows, progress=progress, actor=actor)
    return together([wishes(name, source, files) for source, files in found])


def together(reports: Sequence[LandReport]) -> LandReport:
    """Several calls' reports on one dataset as one, in the order in which they were made."""
    return replace(
        reports[-1],
        files=tuple(file for one in reports for file in one.files),
        counters=sum((one.counters for one in reports), Counters()),
        partitions=tuple(sorted({key for one in reports for key in one.partitions})),
        schema_changes=tuple(change for one in reports for change in one.schema_changes),
        seconds=sum(one.seconds for one in reports),
        dead_letter_reasons=dict(sum((Counter(one.dead_letter_reasons) for one in reports), Counter[str]())),
        ignored_columns=dict(sum((Counter(one.ignored_columns) for one in reports), Counter[str]())),
        bytes=sum(one.bytes for one in reports),
        parts=sum(one.parts for one in reports),
        segments=sum(one.segments for one in reports),
    )


def _within(dataset: Dataset, start: datetime | None, end: datetime | None) -> tuple[datetime, datetime]:
    limit = dataset.upper_bound(datetime.now(UTC))
    first, last = max(start or dataset.start, dataset.start), min(end or limit, limit)
    return first, max(first, last)
