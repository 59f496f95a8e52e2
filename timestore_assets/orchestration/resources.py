"""The Dagster resources: the warehouse itself, and a DuckDB connection in which every dataset is a view."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from dagster_duckdb import DuckDBResource
from pydantic import Field

from timestore_assets.model.dataset import Dataset
from timestore_assets.settings import Settings
from timestore_assets.warehouse import Warehouse

if TYPE_CHECKING:
    import duckdb


class WarehouseResource(dg.ConfigurableResource):  # type: ignore[type-arg] # what it provides is itself
    """Opens the warehouse of this process's settings (`TIMESTORE_*`)."""

    home: str | None = Field(default=None, description="Stands in for TIMESTORE_HOME.")

    def settings(self) -> Settings:
        return Settings.load() if self.home is None else Settings(home=Path(self.home))

    @contextmanager
    def opened(self, *datasets: Dataset) -> Iterator[Warehouse]:
        """The open warehouse; `datasets` are those of the code location, which win over what the folders say by now."""
        with Warehouse.open(self.settings()) as warehouse:
            warehouse.datasets = {**warehouse.datasets, **{dataset.name: dataset for dataset in datasets}}
            yield warehouse


class DatasetsDuckDBResource(DuckDBResource):
    """`dagster-duckdb`'s resource, with every dataset as a view in the connection it gives.

    The views answer as of the moment the connection was made and hold that version until it is closed.
    """

    database: str = Field(default=":memory:", description="DuckDB database that the views are added to (as temporary ones).")
    warehouse: WarehouseResource

    @contextmanager
    def get_connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection in UTC; closed, with the versions its views hold, at the end."""
        from timestore_assets.querying.rendering.frames import duckdb_views

        with self.warehouse.opened() as warehouse, super().get_connection() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            resolved = {name: warehouse.resolve(name) for name in warehouse.datasets}
            with duckdb_views(connection, warehouse.querier, resolved):
                yield connection
