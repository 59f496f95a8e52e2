"""Tables of what lies in storage targets, and of the partitions that it makes up."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, ForeignKey, Index, Text, UniqueConstraint, text

from timestore_assets.catalog.table_columns import Id, id_column, reference, table, text_column, whole

# one row: which warehouse this is the catalog of; the same id lies as an object in every storage target
warehouse = table(
    "warehouse",
    text_column("warehouse_id", primary_key=True),
    whole("generation"),  # only grows, here and in the targets: a catalog that is behind them was restored
    whole("created_at"),
)

# what this catalog has written of itself into a storage target; what lies there beyond that is of a younger one
warehouse_targets = table(
    "warehouse_targets",
    text_column("storage", primary_key=True),
    whole("generation"),
    whole("kept_until", nullable=True),  # unknown objects written until then are kept: another catalog may name them
)

# objects that the catalog has forgotten and whose files are about to go, so that a killed collection is finished by the next
collected_objects = table("collected_objects", text_column("storage", primary_key=True), text_column("name", primary_key=True))

segments = table(
    "segments",
    id_column(),
    reference("datasets"),
    whole("partition_start"),
    text_column("name"),
    text_column("kind"),
    text_column("format"),
    text_column("storage"),
    whole("rows"),
    whole("bytes"),
    whole("min_time"),
    whole("max_time"),
    whole("schema_version"),
    whole("level"),
    text_column("semantic_key", nullable=True),
    text_column("sorted_by"),
    Column("deduplicated", Boolean(create_constraint=False), nullable=False),
    text_column("source_ids"),
    text_column("content_hash", nullable=True),
    Column("waiting_for", Id, ForeignKey("source_partitions.id"), nullable=True),  # whose last batch publishes it
    whole("added_version", nullable=True),
    whole("added_at", nullable=True),
    whole("removed_version", nullable=True),
    whole("removed_at", nullable=True),
    whole("first_version", nullable=True),  # that first showed it, when this is not its first life
    text_column("sha256", nullable=True),  # of the object's bytes as they were written; null for those of before there was one
    whole("first_row", nullable=True),  # in an object that holds rows of several partitions; null: it is this segment's alone
    whole("object_bytes", nullable=True),  # of that object, of which `bytes` is a share
    # a row for each partition that it holds rows of, and for each of its lives: rolling back lets one begin another
    UniqueConstraint("name", "partition_start", "added_version"),
    # all that finding a version's segments needs, so that planning reads this index and not the table
    Index("ix_segments_live", "dataset_id", "removed_version", "partition_start", "id", "added_version", "min_time", "max_time"),
    Index(None, "dataset_id", "partition_start"),
    Index(None, "waiting_for"),
)

# apart from `segments`, so that planning over thousands of them does not page through their statistics
segment_stats = table("segment_stats", reference("segments", primary_key=True), text_column("stats"))

# rows that readers leave out: of a source partition, between two positions, of sessions up to one; null is no bound
retractions = table(
    "retractions",
    id_column(),
    reference("datasets"),
    Column("source_partition_id", Id, ForeignKey("source_partitions.id"), nullable=False),
    whole("first_position", nullable=True),
    whole("end_position", nullable=True),  # the position after the last one
    whole("last_session", nullable=True),  # rows that land there again later are shown
    whole("added_version"),
    whole("removed_version", nullable=True),  # builds have dropped all its rows, or it was taken back
    Index(None, "dataset_id"),
)

partitions = table(
    "partitions",
    reference("datasets", primary_key=True),
    whole("start", primary_key=True),
    text_column("state"),
    whole("superseded_rows"),
    Column("retracted", Boolean(create_constraint=False), nullable=False),
    text_column("content_hash", nullable=True),
    whole("manifest_version"),
    whole("landing_collected", nullable=True),  # first version of the newest delta as landed that was collected
)

build_requests = table(
    "build_requests",
    reference("datasets", primary_key=True),
    whole("partition_start", primary_key=True),
    text_column("reason"),
    whole("requested_at"),
)

dead_letter_files = table(
    "dead_letter_files",
    id_column(),
    reference("datasets"),
    reference("sources"),
    text_column("name"),
    whole("rows"),
    whole("bytes"),
    text_column("reasons"),
    whole("created_at"),
    Column("kind", Text, nullable=False, server_default=text("'refused'")),
    Column("forward", Boolean(create_constraint=False), nullable=False, server_default=text("false")),  # to a topic, not yet done
    whole("settled_at", nullable=True),  # a replay has disposed of its records anew
    Column("storage", Text, nullable=False, server_default=text("'default'")),
    text_column("sha256", nullable=True),
    whole("schema_version", nullable=True),  # by which its records were refused
    text_column("late", nullable=True),  # of late records: partition starts, lateness and rows
    UniqueConstraint("name"),
    Index(None, "dataset_id"),
)

# what dropped columns held: an object for each partition
archives = table(
    "archives",
    id_column(),
    reference("datasets"),
    whole("schema_version"),
    whole("column_id"),
    whole("partition_start"),
    text_column("storage"),
    text_column("name"),
    whole("rows"),
    whole("bytes"),
    text_column("sha256"),
    whole("created_at"),
    UniqueConstraint("dataset_id", "schema_version", "column_id", "partition_start"),
)
