"""Segments that hold rows of an earlier schema which have to be computed whenever they are read: building them anew pays.

That is derived from the segments' schema versions and nowhere kept, so a rewrite can be broken off and gone on with at any time.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.records import DatasetRecord
from timestore_assets.model.stored_columns import needs_rewrite


def outdated_versions(catalog: Catalog, record: DatasetRecord, *, among: Collection[int] | None = None) -> frozenset[int]:
    """Schema versions whose rows the present one computes a column of, and all that an approved backfill wants rewritten.

    `among`: only these are of interest, all when None.
    """
    earlier = {one for one in (range(1, record.schema.version) if among is None else among) if one < record.schema.version}
    if not earlier:
        return frozenset()
    below = catalog.backfills.rewritten_below(record.id)
    wanted = {one for one in earlier if one < below}
    if any(column.expression for column in record.schema):
        others = earlier - wanted
        wanted |= {one for one in others if needs_rewrite(catalog.datasets.schema(record.id, one), record.schema)}
    return frozenset(wanted)


def outdated_partitions(catalog: Catalog, record: DatasetRecord) -> Mapping[datetime, int]:
    """How many live segments of such versions each partition has, by its start; those without are missing."""
    versions = outdated_versions(catalog, record)
    return catalog.partitions.written_in(record.id, versions) if versions else {}
