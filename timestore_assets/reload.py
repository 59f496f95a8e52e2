"""Landing what a dataset's own file sources hold of a time now, instead of when a sensor comes to it.

What is to be landed, and what several calls did as one; `Warehouse` looks and lands.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from timestore_assets.landing.files.land_report import LandReport
from timestore_assets.model.counters import NO_COUNTS
from timestore_assets.model.dataset import Dataset, FileSource
from timestore_assets.model.errors import InputError

if TYPE_CHECKING:
    from timestore_assets.catalog.catalog import Catalog
    from timestore_assets.catalog.records import DatasetRecord
    from timestore_assets.sources.files.input_file import InputFile
    from timestore_assets.sources.folders import SourceFiles


UnsettledFiles = Sequence[tuple[FileSource, Sequence["InputFile"]]]
"""What is to be landed, by source."""


def unsettled_files(
    catalog: Catalog,
    dataset: Dataset,
    record: DatasetRecord,
    files_of: Callable[[FileSource], SourceFiles],
    start: datetime | None,
    end: datetime | None,
) -> UnsettledFiles:
    """The files of the dataset's sources for times in `[start, end)` (None: its own bounds) that are new or have changed.

    A source whose prefix names folders by time is listed there only, any other one as a whole. A file that has landed and looks
    the same is left out: nothing of it could be new.

    Raises:
        InputError: the dataset has no file source. UnavailableError: a store can't be reached.
    """
    if not dataset.file_sources:
        raise InputError(f"dataset {dataset.name!r} has no file source to look at; name the files to land")
    first, last = _within(dataset, start, end)
    found: list[tuple[FileSource, list[InputFile]]] = []
    for source in dataset.file_sources:
        known = catalog.sources.ensure(record.id, source.kind, source.address)
        settled = partial(catalog.files.settled_etags, known.id)
        found.append((source, list(files_of(source).unsettled(first, last, settled))))
    return found


def merged_reports(reports: Sequence[LandReport]) -> LandReport:
    """Several calls' reports on one dataset as one, in the order in which they were made."""
    return replace(
        reports[-1],
        files=tuple(file for report in reports for file in report.files),
        counters=sum((report.counters for report in reports), NO_COUNTS),
        partitions=tuple(sorted({key for report in reports for key in report.partitions})),
        schema_changes=tuple(change for report in reports for change in report.schema_changes),
        seconds=sum(report.seconds for report in reports),
        dead_letter_reasons=dict(sum((Counter(report.dead_letter_reasons) for report in reports), Counter[str]())),
        ignored_columns=dict(sum((Counter(report.ignored_columns) for report in reports), Counter[str]())),
        discarded_values=dict(sum((Counter(report.discarded_values) for report in reports), Counter[str]())),
        unread_path_columns=tuple(sorted({name for report in reports for name in report.unread_path_columns})),
        bytes=sum(report.bytes for report in reports),
        parts=sum(report.parts for report in reports),
        segments=sum(report.segments for report in reports),
    )


def _within(dataset: Dataset, start: datetime | None, end: datetime | None) -> tuple[datetime, datetime]:
    limit = dataset.upper_bound(datetime.now(UTC))
    first, last = max(start or dataset.start, dataset.start), min(end or limit, limit)
    return first, max(first, last)
