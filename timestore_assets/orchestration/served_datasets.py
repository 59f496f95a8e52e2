"""The datasets of a code location, as they were declared when Dagster loaded it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from timestore_assets.model.dataset import Dataset
from timestore_assets.orchestration.declared_state import DeclaredState
from timestore_assets.settings import Settings
from timestore_assets.warehouse import Warehouse


@dataclass(frozen=True, kw_only=True)
class ServedDatasets:
    """Both kinds by name."""

    from_files: Mapping[str, Dataset]
    over_http: Mapping[str, Dataset] = field(default_factory=dict)
    written: Mapping[str, datetime] = field(default_factory=dict)
    """When the files of `from_files` were last changed, as far as that is known."""
    state: DeclaredState | None = None
    """What was declared before they were read."""

    @cached_property
    def all(self) -> Mapping[str, Dataset]:
        return {**self.over_http, **self.from_files}

    def __or__(self, other: ServedDatasets) -> ServedDatasets:
        """These and the other's."""
        return ServedDatasets(
            from_files={**self.from_files, **other.from_files},
            over_http={**self.over_http, **other.over_http},
            written={**self.written, **other.written},
            state=self.state or other.state,
        )

    @contextmanager
    def warehouse(self) -> Iterator[Warehouse]:
        """The warehouse of this process's settings with these datasets; no file of a declaration is read for it."""
        with Warehouse.open(Settings.load(), datasets=self.from_files, written=self.written) as warehouse:
            warehouse.datasets = {**warehouse.datasets, **self.all}
            yield warehouse
