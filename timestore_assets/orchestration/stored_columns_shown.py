"""Datasets with the columns that the catalog has, for what Dagster shows of them; one look at it for all that are loaded."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from timestore_assets.catalog.open_catalog import open_catalog
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.errors import TimestoreError
from timestore_assets.settings import Settings

_PATIENCE_SECONDS = 1.0
_PAUSE_SECONDS = 30.0
"""How long a catalog that could not be asked is left alone: components are loaded one by one."""
_away_until = 0.0


def shown_datasets(datasets: Iterable[Dataset], settings: Settings) -> Mapping[str, Dataset]:
    """By name those that the catalog knows, with its columns; none when there is no catalog yet, or it can't be asked now."""
    global _away_until
    if not settings.is_on_postgres and not (settings.home_folder / "catalog.sqlite").exists():
        return {}
    if time.monotonic() < _away_until:
        return {}
    try:
        catalog = open_catalog(settings, patience=_PATIENCE_SECONDS)
        try:
            return {dataset.name: found for dataset in datasets if (found := catalog.datasets.looked_up(dataset)) is not None}
        finally:
            catalog.close()
    except TimestoreError:
        _away_until = time.monotonic() + _PAUSE_SECONDS
        return {}
