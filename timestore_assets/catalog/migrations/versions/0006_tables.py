"""All tables. The revisions before this one were never released, and are part of it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = None
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "collected_objects",
        sa.Column("storage", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("storage", "name", name=op.f("pk_collected_objects")),
        sqlite_autoincrement=False,
    )
    op.create_table(
        "datasets",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("window", sa.Text(), nullable=False),
        sa.Column("storage", sa.Text(), nullable=False),
        sa.Column("definition", sa.Text(), nullable=False),
        sa.Column("manifest_version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("schema_version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("collected_version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("created_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("updated_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_datasets")),
        sa.UniqueConstraint("name", name=op.f("uq_datasets_name")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "declarations",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("attributes", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("created_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("updated_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_declarations")),
        sqlite_autoincrement=False,
    )
    op.create_table(
        "saved_queries",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("sql", sa.Text(), nullable=False),
        sa.Column("parameters", sa.Text(), nullable=False),
        sa.Column("datasets", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("created_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("updated_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_saved_queries")),
        sqlite_autoincrement=False,
    )
    op.create_table(
        "tokens",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("expires_at", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("revoked_at", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tokens")),
        sa.UniqueConstraint("digest", name=op.f("uq_tokens_digest")),
        sa.UniqueConstraint("name", name=op.f("uq_tokens_name")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "warehouse",
        sa.Column("warehouse_id", sa.Text(), nullable=False),
        sa.Column("generation", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("created_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("warehouse_id", name=op.f("pk_warehouse")),
        sqlite_autoincrement=False,
    )
    op.create_table(
        "warehouse_targets",
        sa.Column("storage", sa.Text(), nullable=False),
        sa.Column("generation", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kept_until", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.PrimaryKeyConstraint("storage", name=op.f("pk_warehouse_targets")),
        sqlite_autoincrement=False,
    )
    op.create_table(
        "audit",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("dataset_id", ID, nullable=True),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("details", sa.Text(), nullable=False),
        sa.Column("token", sa.Text(), nullable=True),
        sa.Column("manifest_version", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name=op.f("fk_audit_dataset_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
        sa.UniqueConstraint("token", name=op.f("uq_audit_token")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_audit_dataset_id"), "audit", ["dataset_id"], unique=False)
    op.create_table(
        "build_requests",
        sa.Column("dataset_id", ID, nullable=False),
        sa.Column("partition_start", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("requested_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name=op.f("fk_build_requests_dataset_id")),
        sa.PrimaryKeyConstraint("dataset_id", "partition_start", name=op.f("pk_build_requests")),
        sqlite_autoincrement=False,
    )
    op.create_table(
        "dataset_schemas",
        sa.Column("dataset_id", ID, nullable=False),
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("columns", sa.Text(), nullable=False),
        sa.Column("changes", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("declared", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name=op.f("fk_dataset_schemas_dataset_id")),
        sa.PrimaryKeyConstraint("dataset_id", "version", name=op.f("pk_dataset_schemas")),
        sqlite_autoincrement=False,
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("dataset_id", ID, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name=op.f("fk_idempotency_keys_dataset_id")),
        sa.PrimaryKeyConstraint("dataset_id", "key", name=op.f("pk_idempotency_keys")),
        sqlite_autoincrement=False,
    )
    op.create_table(
        "leases",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("resource", sa.Text(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("dataset_id", ID, nullable=True),
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name=op.f("fk_leases_dataset_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_leases")),
        sa.UniqueConstraint("resource", name=op.f("uq_leases_resource")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_leases_dataset_id"), "leases", ["dataset_id"], unique=False)
    op.create_table(
        "outbox",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("dataset_id", ID, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("coalesce_by", sa.Text(), nullable=True),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("claimed_by", sa.Text(), nullable=True),
        sa.Column("claimed_until", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name=op.f("fk_outbox_dataset_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_outbox_dataset_id_coalesce_by"), "outbox", ["dataset_id", "coalesce_by"], unique=False)
    op.create_table(
        "partitions",
        sa.Column("dataset_id", ID, nullable=False),
        sa.Column("start", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("superseded_rows", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("retracted", sa.Boolean(), nullable=False),
        sa.Column("content_hash", sa.Text(), nullable=True),
        sa.Column("manifest_version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name=op.f("fk_partitions_dataset_id")),
        sa.PrimaryKeyConstraint("dataset_id", "start", name=op.f("pk_partitions")),
        sqlite_autoincrement=False,
    )
    op.create_table(
        "policies",
        sa.Column("dataset_id", ID, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("updated_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name=op.f("fk_policies_dataset_id")),
        sa.PrimaryKeyConstraint("dataset_id", "kind", name=op.f("pk_policies")),
        sqlite_autoincrement=False,
    )
    op.create_table(
        "sessions",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("dataset_id", ID, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("expires_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ended_at", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name=op.f("fk_sessions_dataset_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sessions")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_sessions_dataset_id_ended_at"), "sessions", ["dataset_id", "ended_at"], unique=False)
    op.create_table(
        "sources",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("dataset_id", ID, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("read", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("landed", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("duplicates", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("late_dropped", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("held", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("dead_letters", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("watermark", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("paused", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name=op.f("fk_sources_dataset_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sources")),
        sa.UniqueConstraint("dataset_id", "kind", "address", name=op.f("uq_sources_dataset_id_kind_address")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "dead_letter_files",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("dataset_id", ID, nullable=False),
        sa.Column("source_id", ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("rows", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("bytes", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("reasons", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), server_default=sa.text("'refused'"), nullable=False),
        sa.Column("forward", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("settled_at", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("storage", sa.Text(), server_default=sa.text("'default'"), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name=op.f("fk_dead_letter_files_dataset_id")),
        sa.ForeignKeyConstraint(["source_id"], ["sources.id"], name=op.f("fk_dead_letter_files_source_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dead_letter_files")),
        sa.UniqueConstraint("name", name=op.f("uq_dead_letter_files_name")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_dead_letter_files_dataset_id"), "dead_letter_files", ["dataset_id"], unique=False)
    op.create_table(
        "ingestions",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("dataset_id", ID, nullable=False),
        sa.Column("key", sa.Text(), nullable=True),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("session_id", ID, nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("manifest_version", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("settled_at", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name=op.f("fk_ingestions_dataset_id")),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.id"], name=op.f("fk_ingestions_session_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ingestions")),
        sa.UniqueConstraint("dataset_id", "key", name=op.f("uq_ingestions_dataset_id_key")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_ingestions_created_at"), "ingestions", ["created_at"], unique=False)
    op.create_index(op.f("ix_ingestions_session_id"), "ingestions", ["session_id"], unique=False)
    op.create_table(
        "intents",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("session_id", ID, nullable=False),
        sa.Column("created_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("storage", sa.Text(), server_default=sa.text("'default'"), nullable=False),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.id"], name=op.f("fk_intents_session_id")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_intents")),
        sqlite_autoincrement=False,
    )
    op.create_index(op.f("ix_intents_session_id"), "intents", ["session_id"], unique=False)
    op.create_table(
        "landed_rows",
        sa.Column("source_id", ID, nullable=False),
        sa.Column("second", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("rows", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(["source_id"], ["sources.id"], name=op.f("fk_landed_rows_source_id")),
        sa.PrimaryKeyConstraint("source_id", "second", name=op.f("pk_landed_rows")),
        sqlite_autoincrement=False,
    )
    op.create_table(
        "source_partitions",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("source_id", ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("position_offset", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("position_line", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("retracted_version", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("topic_row_id", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("session_id", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("newest", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("quiet", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.ForeignKeyConstraint(["source_id"], ["sources.id"], name=op.f("fk_source_partitions_source_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_source_partitions")),
        sa.UniqueConstraint("source_id", "name", name=op.f("uq_source_partitions_source_id_name")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_source_partitions_topic_row_id"), "source_partitions", ["topic_row_id"], unique=False)
    op.create_table(
        "topics",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("source_id", ID, nullable=False),
        sa.Column("cluster_id", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("topic_id", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(["source_id"], ["sources.id"], name=op.f("fk_topics_source_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_topics")),
        sa.UniqueConstraint("source_id", "cluster_id", "topic", "epoch", name=op.f("uq_topics_source_id_cluster_id_topic_epoch")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "files",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("dataset_id", ID, nullable=False),
        sa.Column("source_id", ID, nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("etag", sa.Text(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("source_partition_id", ID, nullable=True),
        sa.Column("replaces", sa.Text(), nullable=False),
        sa.Column("session_id", ID, nullable=True),
        sa.Column("newest", sa.Boolean(), nullable=False),
        sa.Column("read", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("landed", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("duplicates", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("late_dropped", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("held", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("dead_letters", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("updated_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name=op.f("fk_files_dataset_id")),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.id"], name=op.f("fk_files_session_id")),
        sa.ForeignKeyConstraint(["source_id"], ["sources.id"], name=op.f("fk_files_source_id")),
        sa.ForeignKeyConstraint(["source_partition_id"], ["source_partitions.id"], name=op.f("fk_files_source_partition_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_files")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_files_dataset_id_sha256"), "files", ["dataset_id", "sha256"], unique=False)
    op.create_index(op.f("ix_files_session_id"), "files", ["session_id"], unique=False)
    op.create_index(op.f("ix_files_source_id_address"), "files", ["source_id", "address"], unique=False)
    op.create_index(op.f("ix_files_source_partition_id"), "files", ["source_partition_id"], unique=False)
    op.create_table(
        "lost_offsets",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("dataset_id", ID, nullable=False),
        sa.Column("source_partition_id", ID, nullable=False),
        sa.Column("first", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("behind", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("skipped", sa.Boolean(), nullable=False),
        sa.Column("accepted", sa.Boolean(), nullable=False),
        sa.Column("found_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name=op.f("fk_lost_offsets_dataset_id")),
        sa.ForeignKeyConstraint(
            ["source_partition_id"], ["source_partitions.id"], name=op.f("fk_lost_offsets_source_partition_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lost_offsets")),
        sa.UniqueConstraint("source_partition_id", "first", name=op.f("uq_lost_offsets_source_partition_id_first")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_lost_offsets_dataset_id"), "lost_offsets", ["dataset_id"], unique=False)
    op.create_table(
        "retractions",
        sa.Column("dataset_id", ID, nullable=False),
        sa.Column("source_partition_id", ID, nullable=False),
        sa.Column("added_version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("removed_version", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name=op.f("fk_retractions_dataset_id")),
        sa.ForeignKeyConstraint(
            ["source_partition_id"], ["source_partitions.id"], name=op.f("fk_retractions_source_partition_id")
        ),
        sa.PrimaryKeyConstraint("dataset_id", "source_partition_id", name=op.f("pk_retractions")),
        sqlite_autoincrement=False,
    )
    op.create_table(
        "segments",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("dataset_id", ID, nullable=False),
        sa.Column("partition_start", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("format", sa.Text(), nullable=False),
        sa.Column("storage", sa.Text(), nullable=False),
        sa.Column("rows", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("bytes", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("min_time", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("max_time", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("schema_version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("level", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("semantic_key", sa.Text(), nullable=True),
        sa.Column("sorted_by", sa.Text(), nullable=False),
        sa.Column("deduplicated", sa.Boolean(), nullable=False),
        sa.Column("source_ids", sa.Text(), nullable=False),
        sa.Column("content_hash", sa.Text(), nullable=True),
        sa.Column("waiting_for", ID, nullable=True),
        sa.Column("added_version", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("added_at", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("removed_version", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("removed_at", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("sha256", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name=op.f("fk_segments_dataset_id")),
        sa.ForeignKeyConstraint(["waiting_for"], ["source_partitions.id"], name=op.f("fk_segments_waiting_for")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_segments")),
        sa.UniqueConstraint("name", name=op.f("uq_segments_name")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_segments_dataset_id_partition_start"), "segments", ["dataset_id", "partition_start"], unique=False)
    op.create_index(
        "ix_segments_live",
        "segments",
        ["dataset_id", "removed_version", "partition_start", "id", "added_version", "min_time", "max_time"],
        unique=False,
    )
    op.create_index(op.f("ix_segments_waiting_for"), "segments", ["waiting_for"], unique=False)
    op.create_table(
        "file_chunks",
        sa.Column("file_id", ID, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("source_partition_id", ID, nullable=False),
        sa.Column("start_offset", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("start_line", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("end_offset", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("end_line", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(["file_id"], ["files.id"], name=op.f("fk_file_chunks_file_id")),
        sa.ForeignKeyConstraint(
            ["source_partition_id"], ["source_partitions.id"], name=op.f("fk_file_chunks_source_partition_id")
        ),
        sa.PrimaryKeyConstraint("file_id", "number", name=op.f("pk_file_chunks")),
        sa.UniqueConstraint("source_partition_id", name=op.f("uq_file_chunks_source_partition_id")),
        sqlite_autoincrement=False,
    )
    op.create_table(
        "segment_stats",
        sa.Column("segment_id", ID, nullable=False),
        sa.Column("stats", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["segment_id"], ["segments.id"], name=op.f("fk_segment_stats_segment_id")),
        sa.PrimaryKeyConstraint("segment_id", name=op.f("pk_segment_stats")),
        sqlite_autoincrement=False,
    )
