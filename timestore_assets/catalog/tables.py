"""The catalog's tables, the same on SQLite and PostgreSQL. `migrations/` makes them; a test keeps the two equal.

Times are microseconds since 1970 (`catalog.instants`); lists and mappings are JSON text that nothing but this package reads.
Ids never come back after a delete (AUTOINCREMENT, identity), because a file name, a `__source` or a lease may outlive its row.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Text, UniqueConstraint, text

from timestore_assets.catalog.table_columns import Id, counters, id_column, reference, table, text_column, whole, zero

HEAD = "0010"
"""The newest migration. A catalog that is stamped with it opens without importing Alembic."""

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

sources = table(
    "sources",
    id_column(),
    reference("datasets"),
    text_column("kind"),
    text_column("address"),
    *counters(),
    whole("watermark", nullable=True),
    Column("paused", Text, nullable=False, server_default=text("''")),  # why landing is paused; empty when it is not
    UniqueConstraint("dataset_id", "kind", "address"),
)

# a topic as long as it is the same one: deleted and made again, or its offsets begun anew, it gets the next epoch
topics = table(
    "topics",
    id_column(),
    reference("sources"),
    text_column("cluster_id"),
    text_column("topic"),
    whole("epoch"),
    text_column("topic_id", nullable=True),
    whole("created_at"),
    UniqueConstraint("source_id", "cluster_id", "topic", "epoch"),
)

source_partitions = table(
    "source_partitions",
    id_column(),
    reference("sources"),
    text_column("name"),
    whole("position_offset"),
    whole("position_line"),
    whole("retracted_version", nullable=True),  # set once its rows have been replaced: nothing lands here any more
    # no foreign keys: SQLite can't add them to a table that there is
    whole("topic_row_id", nullable=True),  # the topic it is a partition of
    whole("number", nullable=True),  # of the partition in its topic
    whole("session_id", nullable=True),  # that reads it, as long as that lives
    whole("newest", nullable=True),  # newest event time landed
    Column("quiet", BigInteger, nullable=False, server_default=text("0")),  # microseconds without anything more to read
    UniqueConstraint("source_id", "name"),
    Index(None, "topic_row_id"),
)

lost_offsets = table(
    "lost_offsets",
    id_column(),
    reference("datasets"),
    Column("source_partition_id", Id, ForeignKey("source_partitions.id"), nullable=False),
    whole("first"),
    whole("behind"),  # the offset after the last one
    text_column("reason"),
    Column("skipped", Boolean(create_constraint=False), nullable=False),
    Column("accepted", Boolean(create_constraint=False), nullable=False),
    whole("found_at"),
    UniqueConstraint("source_partition_id", "first"),
    Index(None, "dataset_id"),
)

files = table(
    "files",
    id_column(),
    reference("datasets"),
    reference("sources"),
    text_column("address"),
    text_column("sha256"),
    text_column("etag"),
    whole("bytes"),
    text_column("state"),
    text_column("reason"),
    Column("source_partition_id", Id, ForeignKey("source_partitions.id"), nullable=True),
    text_column("replaces"),
    reference("sessions", nullable=True),  # that landed its newest batch
    Column("newest", Boolean(create_constraint=False), nullable=False),  # the record that stands for its address now
    *counters(),
    whole("created_at"),
    whole("updated_at"),
    whole("schema_version", nullable=True),  # when it was first seen: its records are read by it
    Index(None, "source_id", "address"),
    Index(None, "dataset_id", "sha256"),
    Index(None, "source_partition_id"),
    Index(None, "session_id"),
)

# parts of a large file that are landed side by side, each with a checkpoint of its own; number 0 is the file's own
file_chunks = table(
    "file_chunks",
    Column("file_id", Id, ForeignKey("files.id"), primary_key=True),
    whole("number", primary_key=True),
    Column("source_partition_id", Id, ForeignKey("source_partitions.id"), nullable=False),
    whole("start_offset"),
    whole("start_line"),
    whole("end_offset"),
    whole("end_line"),
    UniqueConstraint("source_partition_id"),
)

sessions = table(
    "sessions",
    id_column(),
    reference("datasets"),
    text_column("kind"),
    text_column("holder"),
    whole("started_at"),
    whole("expires_at"),
    whole("ended_at", nullable=True),
    Index(None, "dataset_id", "ended_at"),
)

intents = table(
    "intents",
    text_column("name", primary_key=True),
    reference("sessions"),
    whole("created_at"),
    Column("storage", Text, nullable=False, server_default=text("'default'")),
    Index(None, "session_id"),
)

leases = table(
    "leases",
    id_column(),
    text_column("resource"),
    text_column("holder"),
    whole("expires_at"),
    reference("datasets", nullable=True),
    whole("version", nullable=True),  # a manifest version that this lease pins
    UniqueConstraint("resource"),
    Index(None, "dataset_id"),
)

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
    UniqueConstraint("name", "added_version"),  # a row for each of its lives: rolling back lets one begin another
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

idempotency_keys = table(
    "idempotency_keys",
    reference("datasets", primary_key=True),
    text_column("key", primary_key=True),
    text_column("digest"),
    whole("created_at"),
)

landed_rows = table(
    "landed_rows",
    reference("sources", primary_key=True),
    whole("second", primary_key=True),
    whole("rows"),
)

audit = table(
    "audit",
    id_column(),
    whole("at"),
    reference("datasets", nullable=True),
    text_column("actor"),
    text_column("action"),
    text_column("details"),
    text_column("token", nullable=True),  # of the commit that wrote it, to settle a commit whose outcome is unknown
    whole("manifest_version", nullable=True),
    UniqueConstraint("token"),
    Index(None, "dataset_id"),
)

outbox = table(
    "outbox",
    id_column(),
    reference("datasets"),
    text_column("kind"),
    text_column("coalesce_by", nullable=True),
    text_column("payload"),
    whole("created_at"),
    text_column("claimed_by", nullable=True),
    whole("claimed_until", nullable=True),
    Index(None, "dataset_id", "coalesce_by"),
)

# requests that brought records over HTTP: what became of each, so that it can be asked for and repeated
ingestions = table(
    "ingestions",
    text_column("id", primary_key=True),
    reference("datasets"),
    text_column("key", nullable=True),  # idempotency key
    text_column("digest"),  # of the request's body
    text_column("state"),
    reference("sessions"),  # that lands it
    text_column("outcome"),  # what was answered
    whole("manifest_version", nullable=True),
    text_column("actor"),
    whole("created_at"),
    whole("settled_at", nullable=True),
    UniqueConstraint("dataset_id", "key"),
    Index(None, "created_at"),
    Index(None, "session_id"),
)

tokens = table(
    "tokens",
    id_column(),
    text_column("name"),
    text_column("digest"),  # sha256 of the secret, which nobody keeps
    text_column("scopes"),
    text_column("created_by"),
    whole("created_at"),
    whole("expires_at", nullable=True),
    whole("revoked_at", nullable=True),
    UniqueConstraint("name"),
    UniqueConstraint("digest"),
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

# how each declared alert stands; turned by compare and set, together with the messages about it
alert_states = table(
    "alert_states",
    reference("datasets", primary_key=True),
    text_column("alert", primary_key=True),
    Column("is_firing", Boolean, nullable=False),
    text_column("value"),
    whole("since"),
    whole("pending_since", nullable=True),
    whole("told_at", nullable=True),
)

# what is still to be sent to a channel
alert_messages = table(
    "alert_messages",
    id_column(),
    text_column("channel"),
    text_column("key"),
    text_column("payload"),
    whole("attempts"),
    whole("due_at"),
    whole("created_at"),
    whole("sent_at", nullable=True),
    whole("held_at", nullable=True),
    UniqueConstraint("channel", "key"),
    Index(None, "due_at"),
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

# how many records came how late after their partition was sealed
late_records = table(
    "late_records",
    reference("datasets", primary_key=True),
    whole("partition_start", primary_key=True),
    reference("sources", primary_key=True),
    text_column("disposition", primary_key=True),  # corrected, dropped or held
    whole("lateness", primary_key=True),  # seconds, as the power of two that it reaches
    whole("rows"),
    whole("first_at"),
    whole("last_at"),
)
