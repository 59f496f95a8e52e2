"""Tables of what datasets are: their declarations, columns, policies and versions with a name."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Index, UniqueConstraint

from timestore_assets.catalog.table_columns import id_column, reference, table, text_column, whole, zero

datasets = table(
    "datasets",
    id_column(),
    text_column("name"),
    text_column("window"),
    text_column("storage"),
    text_column("definition"),
    whole("manifest_version"),
    whole("schema_version"),
    whole("collected_version"),  # versions below it can no longer be read whole
    whole("created_at"),
    whole("updated_at"),
    whole("dropped_at", nullable=True),  # its name is free then, and its rows wait for the collector
    whole("retired_at", nullable=True),  # nothing lands in it since then
    zero("last_column_id"),  # ids of columns are never given twice
    zero("floor_version"),  # versions below it can't be read, tagged or rolled back to: what they show was erased
    UniqueConstraint("name"),
)

# names that no dataset has now and one had: what declared it then does not bring it back
former_names = table(
    "former_names",
    text_column("name", primary_key=True),
    text_column("now_named", nullable=True),  # null: it was dropped
    text_column("actor"),
    whole("at"),
)

# declarations that came over HTTP; those in files are not here
declarations = table(
    "declarations",
    text_column("name", primary_key=True),
    text_column("attributes"),
    text_column("actor"),
    whole("version"),
    whole("created_at"),
    whole("updated_at"),
)

# what an operator set for a dataset in place of what its declaration says
policies = table(
    "policies",
    reference("datasets", primary_key=True),
    text_column("kind", primary_key=True),
    text_column("value"),
    text_column("actor"),
    whole("version"),
    whole("updated_at"),
)

dataset_schemas = table(
    "dataset_schemas",
    reference("datasets", primary_key=True),
    whole("version", primary_key=True),
    text_column("columns"),
    text_column("changes"),
    text_column("actor"),
    whole("created_at"),
    text_column("declared", nullable=True),  # columns and keys of the declaration that made it; null where none did
    zero("manifest_version"),  # from which on it is the one in force
    text_column("identities", nullable=True),  # ids and former names of its columns, and columns that it has no more
    text_column("cause", nullable=True),  # what in which source made it
)

# changes of schemas that people asked for, each with the schema version that it made
migrations = table(
    "migrations",
    reference("datasets", primary_key=True),
    whole("schema_version", primary_key=True),
    text_column("kind"),  # forward or rollback
    text_column("manifest"),
    text_column("digest"),  # of the manifest, so that the same one is carried out once
    text_column("ticket"),
    text_column("approved_by"),
    text_column("actor"),
    whole("at"),
)

# partitions that are to be built or landed again because of what a schema version changed
backfills = table(
    "backfills",
    id_column(),
    reference("datasets"),
    whole("schema_version"),
    text_column("cause"),
    text_column("partitions"),  # starts
    text_column("cost"),
    text_column("state"),  # asked, approved, refused or done
    text_column("actor"),
    whole("created_at"),
    whole("updated_at"),
    Index(None, "dataset_id"),
)

# versions that people gave a name; a lease without an end keeps each from being collected
tags = table(
    "tags",
    reference("datasets", primary_key=True),
    text_column("name", primary_key=True),
    whole("version"),
    Column("is_legal_hold", Boolean(create_constraint=False), nullable=False),
    text_column("note"),
    text_column("actor"),
    whole("at"),
)

saved_queries = table(
    "saved_queries",
    text_column("name", primary_key=True),
    text_column("sql"),
    text_column("parameters"),
    text_column("datasets"),  # that it reads
    text_column("description"),
    text_column("actor"),
    whole("version"),
    whole("created_at"),
    whole("updated_at"),
)
