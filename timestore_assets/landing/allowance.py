"""How many columns evolution may still add to a dataset today."""

from __future__ import annotations

from datetime import datetime, timedelta

from timestore_assets.catalog.port import Catalog
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.window import parse_time

PERIOD = timedelta(days=1)


def columns_left(catalog: Catalog, dataset_id: int, dataset: Dataset, *, now: datetime) -> int:
    """Of `evolution.max_new_columns` what the additions of the last day leave; columns declared since don't count."""
    since = now - PERIOD
    recent = [version for version in catalog.schema_history(dataset_id) if parse_time(version["created_at"]) > since]
    added = {
        change["column"]
        for version in recent
        for change in version["changes"]
        if change["kind"] == "column_added" and dataset.schema.find(change["column"]) is None
    }
    return max(0, dataset.evolution.max_new_columns - len(added))
