"""Alembic's entry: migrations run on the connection, and inside the transaction, that `catalog.migrate` hands over."""

from __future__ import annotations

from alembic import context

from timestore_assets.catalog import tables  # noqa: F401 - they are in the metadata by being imported
from timestore_assets.catalog.table_columns import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, render_as_batch=connection.dialect.name == "sqlite")
with context.begin_transaction():
    context.run_migrations()
