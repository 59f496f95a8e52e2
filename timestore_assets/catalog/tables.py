"""The catalog's tables, the same on SQLite and PostgreSQL. `migrations/` makes them; a test keeps the two equal.

Times are microseconds since 1970 (`catalog.instants`); lists and mappings are JSON text that nothing but this package reads.
Ids never come back after a delete (AUTOINCREMENT, identity), because a file name, a `__source` or a lease may outlive its row.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, MetaData, Table, Text, UniqueConstraint, text
from sqlalchemy.schema import SchemaItem

HEAD = "0005"
"""The newest migration. A catalog that is stamped with it opens without importing Alembic."""

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
metadata = MetaData(naming_convention=NAMING)
Id = BigInteger().with_variant(Integer(), "sqlite")
COUNTERS = ("read", "landed", "duplicates", "late_dropped", "held", "dead_letters")


def _id() -> Column[int]:
    return Column("id", Id, primary_key=True, autoincrement=True)


def _of(table: str, *, primary_key: bool = False, nullable: bool = False) -> Column[int]:
    name = {"datasets": "dataset_id", "sources": "source_id", "sessions": "session_id", "segments": "segment_id"}
    return Column(name[table], Id, ForeignKey(f"{table}.id"), primary_key=primary_key, nullable=nullable)


def _whole(name: str, *, nullable: bool = False, primary_key: bool = False) -> Column[int]:
    # SQLite would make a lone integer key generate itself; these keys always come from us
    return Column(name, BigInteger, nullable=nullable, primary_key=primary_key, autoincrement=False)


def _text(name: str, *, nullable: bool = False, primary_key: bool = False) -> Column[str]:
    return Column(name, Text, nullable=nullable, primary_key=primary_key)


def _counters() -> list[Column[int]]:
    return [Column(name, BigInteger, nullable=False, server_default=text("0")) for name in COUNTERS]


def _table(name: str, *parts: SchemaItem) -> Table:
    has_id = any(isinstance(part, Column) and part.name == "id" for part in parts)
    return Table(name, metadata, *parts, sqlite_autoincrement=has_id)


datasets = _table(
    "datasets",
    _id(),
    _text("name"),
    _text("window"),
    _text("storage"),
    _text("definition"),
    _whole("manifest_version"),
    _whole("schema_version"),
    _whole("collected_version"),  # versions below it can no longer be read whole
    _whole("created_at"),
    _whole("updated_at"),
    UniqueConstraint("name"),
)

dataset_schemas = _table(
    "dataset_schemas",
    _of("datasets", primary_key=True),
    _whole("version", primary_key=True),
    _text("columns"),
    _text("changes"),
    _text("actor"),
    _whole("created_at"),
)

sources = _table(
    "sources",
    _id(),
    _of("datasets"),
    _text("kind"),
    _text("address"),
    *_counters(),
    _whole("watermark", nullable=True),
    Column("paused", Text, nullable=False, server_default=text("''")),  # why landing is paused; empty when it is not
    UniqueConstraint("dataset_id", "kind", "address"),
)

# a topic as long as it is the same one: deleted and made again, or its offsets begun anew, it gets the next epoch
topics = _table(
    "topics",
    _id(),
    _of("sources"),
    _text("cluster_id"),
    _text("topic"),
    _whole("epoch"),
    _text("topic_id", nullable=True),
    _whole("created_at"),
    UniqueConstraint("source_id", "cluster_id", "topic", "epoch"),
)

source_partitions = _table(
    "source_partitions",
    _id(),
    _of("sources"),
    _text("name"),
    _whole("position_offset"),
    _whole("position_line"),
    _whole("retracted_version", nullable=True),  # set once its rows have been replaced: nothing lands here any more
    # no foreign keys: SQLite can't add them to a table that there is
    _whole("topic_row_id", nullable=True),  # the topic it is a partition of
    _whole("number", nullable=True),  # of the partition in its topic
    _whole("session_id", nullable=True),  # that reads it, as long as that lives
    _whole("newest", nullable=True),  # newest event time landed
    Column("quiet", BigInteger, nullable=False, server_default=text("0")),  # microseconds without anything more to read
    UniqueConstraint("source_id", "name"),
    Index(None, "topic_row_id"),
)

lost_offsets = _table(
    "lost_offsets",
    _id(),
    _of("datasets"),
    Column("source_partition_id", Id, ForeignKey("source_partitions.id"), nullable=False),
    _whole("first"),
    _whole("behind"),  # the offset after the last one
    _text("reason"),
    Column("skipped", Boolean(create_constraint=False), nullable=False),
    Column("accepted", Boolean(create_constraint=False), nullable=False),
    _whole("found_at"),
    UniqueConstraint("source_partition_id", "first"),
    Index(None, "dataset_id"),
)

files = _table(
    "files",
    _id(),
    _of("datasets"),
    _of("sources"),
    _text("address"),
    _text("sha256"),
    _text("etag"),
    _whole("bytes"),
    _text("state"),
    _text("reason"),
    Column("source_partition_id", Id, ForeignKey("source_partitions.id"), nullable=True),
    _text("replaces"),
    _of("sessions", nullable=True),  # that landed its newest batch
    Column("newest", Boolean(create_constraint=False), nullable=False),  # the record that stands for its address now
    *_counters(),
    _whole("created_at"),
    _whole("updated_at"),
    Index(None, "source_id", "address"),
    Index(None, "dataset_id", "sha256"),
    Index(None, "source_partition_id"),
    Index(None, "session_id"),
)

# parts of a large file that are landed side by side, each with a checkpoint of its own; number 0 is the file's own
file_chunks = _table(
    "file_chunks",
    Column("file_id", Id, ForeignKey("files.id"), primary_key=True),
    _whole("number", primary_key=True),
    Column("source_partition_id", Id, ForeignKey("source_partitions.id"), nullable=False),
    _whole("start_offset"),
    _whole("start_line"),
    _whole("end_offset"),
    _whole("end_line"),
    UniqueConstraint("source_partition_id"),
)

sessions = _table(
    "sessions",
    _id(),
    _of("datasets"),
    _text("kind"),
    _text("holder"),
    _whole("started_at"),
    _whole("expires_at"),
    _whole("ended_at", nullable=True),
    Index(None, "dataset_id", "ended_at"),
)

intents = _table(
    "intents",
    _text("name", primary_key=True),
    _of("sessions"),
    _whole("created_at"),
    Column("storage", Text, nullable=False, server_default=text("'default'")),
    Index(None, "session_id"),
)

leases = _table(
    "leases",
    _id(),
    _text("resource"),
    _text("holder"),
    _whole("expires_at"),
    _of("datasets", nullable=True),
    _whole("version", nullable=True),  # a manifest version that this lease pins
    UniqueConstraint("resource"),
    Index(None, "dataset_id"),
)

segments = _table(
    "segments",
    _id(),
    _of("datasets"),
    _whole("partition_start"),
    _text("name"),
    _text("kind"),
    _text("format"),
    _text("storage"),
    _whole("rows"),
    _whole("bytes"),
    _whole("min_time"),
    _whole("max_time"),
    _whole("schema_version"),
    _whole("level"),
    _text("semantic_key", nullable=True),
    _text("sorted_by"),
    Column("deduplicated", Boolean(create_constraint=False), nullable=False),
    _text("source_ids"),
    _text("content_hash", nullable=True),
    Column("waiting_for", Id, ForeignKey("source_partitions.id"), nullable=True),  # whose last batch publishes it
    _whole("added_version", nullable=True),
    _whole("added_at", nullable=True),
    _whole("removed_version", nullable=True),
    _whole("removed_at", nullable=True),
    UniqueConstraint("name"),
    # all that finding a version's segments needs, so that planning reads this index and not the table
    Index("ix_segments_live", "dataset_id", "removed_version", "partition_start", "id", "added_version", "min_time", "max_time"),
    Index(None, "dataset_id", "partition_start"),
    Index(None, "waiting_for"),
)

# apart from `segments`, so that planning over thousands of them does not page through their statistics
segment_stats = _table("segment_stats", _of("segments", primary_key=True), _text("stats"))

retractions = _table(
    "retractions",
    _of("datasets", primary_key=True),
    Column("source_partition_id", Id, ForeignKey("source_partitions.id"), primary_key=True),
    _whole("added_version"),
    _whole("removed_version", nullable=True),  # builds have dropped all its rows
)

partitions = _table(
    "partitions",
    _of("datasets", primary_key=True),
    _whole("start", primary_key=True),
    _text("state"),
    _whole("superseded_rows"),
    Column("retracted", Boolean(create_constraint=False), nullable=False),
    _text("content_hash", nullable=True),
    _whole("manifest_version"),
)

build_requests = _table(
    "build_requests",
    _of("datasets", primary_key=True),
    _whole("partition_start", primary_key=True),
    _text("reason"),
    _whole("requested_at"),
)

dead_letter_files = _table(
    "dead_letter_files",
    _id(),
    _of("datasets"),
    _of("sources"),
    _text("name"),
    _whole("rows"),
    _whole("bytes"),
    _text("reasons"),
    _whole("created_at"),
    Column("kind", Text, nullable=False, server_default=text("'refused'")),
    Column("forward", Boolean(create_constraint=False), nullable=False, server_default=text("false")),  # to a topic, not yet done
    _whole("settled_at", nullable=True),  # a replay has disposed of its records anew
    Column("storage", Text, nullable=False, server_default=text("'default'")),
    UniqueConstraint("name"),
    Index(None, "dataset_id"),
)

idempotency_keys = _table(
    "idempotency_keys",
    _of("datasets", primary_key=True),
    _text("key", primary_key=True),
    _text("digest"),
    _whole("created_at"),
)

landed_rows = _table(
    "landed_rows",
    _of("sources", primary_key=True),
    _whole("second", primary_key=True),
    _whole("rows"),
)

audit = _table(
    "audit",
    _id(),
    _whole("at"),
    _of("datasets", nullable=True),
    _text("actor"),
    _text("action"),
    _text("details"),
    _text("token", nullable=True),  # of the commit that wrote it, to settle a commit whose outcome is unknown
    _whole("manifest_version", nullable=True),
    UniqueConstraint("token"),
    Index(None, "dataset_id"),
)

outbox = _table(
    "outbox",
    _id(),
    _of("datasets"),
    _text("kind"),
    _text("coalesce_by", nullable=True),
    _text("payload"),
    _whole("created_at"),
    _text("claimed_by", nullable=True),
    _whole("claimed_until", nullable=True),
    Index(None, "dataset_id", "coalesce_by"),
)

# requests that brought records over HTTP: what became of each, so that it can be asked for and repeated
ingestions = _table(
    "ingestions",
    _text("id", primary_key=True),
    _of("datasets"),
    _text("key", nullable=True),  # idempotency key
    _text("digest"),  # of the request's body
    _text("state"),
    _of("sessions"),  # that lands it
    _text("outcome"),  # what was answered
    _whole("manifest_version", nullable=True),
    _text("actor"),
    _whole("created_at"),
    _whole("settled_at", nullable=True),
    UniqueConstraint("dataset_id", "key"),
    Index(None, "created_at"),
    Index(None, "session_id"),
)

tokens = _table(
    "tokens",
    _id(),
    _text("name"),
    _text("digest"),  # sha256 of the secret, which nobody keeps
    _text("scopes"),
    _text("created_by"),
    _whole("created_at"),
    _whole("expires_at", nullable=True),
    _whole("revoked_at", nullable=True),
    UniqueConstraint("name"),
    UniqueConstraint("digest"),
)

saved_queries = _table(
    "saved_queries",
    _text("name", primary_key=True),
    _text("sql"),
    _text("parameters"),
    _text("datasets"),  # that it reads
    _text("description"),
    _text("actor"),
    _whole("version"),
    _whole("created_at"),
    _whole("updated_at"),
)

# declarations that came over HTTP; those in files are not here
declarations = _table(
    "declarations",
    _text("name", primary_key=True),
    _text("attributes"),
    _text("actor"),
    _whole("version"),
    _whole("created_at"),
    _whole("updated_at"),
)

# what an operator set for a dataset in place of what its declaration says
policies = _table(
    "policies",
    _of("datasets", primary_key=True),
    _text("kind", primary_key=True),
    _text("value"),
    _text("actor"),
    _whole("version"),
    _whole("updated_at"),
)
