"""Which archives of dropped columns a dataset has, a line for each column, with what is still to be written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from timestore_assets.catalog.archives import Archive
from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.records import DatasetRecord


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchivedColumn:
    """A column that was dropped to be archived. `schema_version`: that dropped it. `is_whole`: nothing is left to be written."""

    column: str
    schema_version: int
    is_whole: bool
    files: tuple[Archive, ...]
    """By partition; one for each that is written."""

    @property
    def rows(self) -> int:
        return sum(one.rows for one in self.files)

    @property
    def bytes(self) -> int:
        return sum(one.bytes for one in self.files)

    @property
    def places(self) -> tuple[str, ...]:
        """Storage targets, and absolute folders outside of all."""
        return tuple(sorted({one.storage for one in self.files}))


def archived_columns(catalog: Catalog, record: DatasetRecord) -> list[ArchivedColumn]:
    """By schema version, in the order in which columns were made."""
    pending = {one.schema_version for one in catalog.archives.pending(record.id)}
    files: dict[tuple[int, int], list[Archive]] = {
        (version, column_id): [] for version in pending for column_id in catalog.migrations.archived(record.id, version)
    }
    for archive in catalog.archives.of(record.id):
        files.setdefault((archive.schema_version, archive.column_id), []).append(archive)
    names = {version: _names(catalog, record, version) for version in {version for version, _ in files}}
    return [
        ArchivedColumn(
            column=names[version].get(column_id, f"#{column_id}"),
            schema_version=version,
            is_whole=version not in pending,
            files=tuple(found),
        )
        for (version, column_id), found in sorted(files.items())
    ]


def _names(catalog: Catalog, record: DatasetRecord, version: int) -> Mapping[int, str]:
    """What columns that a schema version had no more were called."""
    return {column.id: column.name for column in catalog.datasets.schema(record.id, version).retired}
