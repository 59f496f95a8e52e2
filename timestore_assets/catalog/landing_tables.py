"""Tables of what lands: sources and how far each was read, files, requests, sessions, and what came late."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Text, UniqueConstraint, text

from timestore_assets.catalog.table_columns import Id, counters, id_column, reference, table, text_column, whole

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

idempotency_keys = table(
    "idempotency_keys",
    reference("datasets", primary_key=True),
    text_column("key", primary_key=True),
    text_column("digest"),
    whole("created_at"),
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

landed_rows = table(
    "landed_rows",
    reference("sources", primary_key=True),
    whole("second", primary_key=True),
    whole("rows"),
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
