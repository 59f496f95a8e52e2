"""Topics: epochs, claims, watermarks, lost offsets, and what becomes of dead letters."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
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
        sa.UniqueConstraint(
            "source_id", "cluster_id", "topic", "epoch", name=op.f("uq_topics_source_id_cluster_id_topic_epoch")
        ),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "lost_offsets",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("dataset_id", ID, nullable=False),
        sa.Column("source_partition_id", ID, nullable=False),
        sa.Column("first", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("behind", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("skipped", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("accepted", sa.Boolean(create_constraint=False), nullable=False),
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
    op.add_column("sources", sa.Column("watermark", sa.BigInteger(), autoincrement=False, nullable=True))
    op.add_column("sources", sa.Column("paused", sa.Text(), nullable=False, server_default=sa.text("''")))
    for name in ("topic_row_id", "number", "session_id", "newest"):
        op.add_column("source_partitions", sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=True))
    op.add_column("source_partitions", sa.Column("quiet", sa.BigInteger(), nullable=False, server_default=sa.text("0")))
    op.create_index(op.f("ix_source_partitions_topic_row_id"), "source_partitions", ["topic_row_id"], unique=False)
    op.add_column(
        "dead_letter_files", sa.Column("kind", sa.Text(), nullable=False, server_default=sa.text("'refused'"))
    )
    op.add_column(
        "dead_letter_files",
        sa.Column("forward", sa.Boolean(create_constraint=False), nullable=False, server_default=sa.text("false")),
    )
    op.add_column("dead_letter_files", sa.Column("settled_at", sa.BigInteger(), autoincrement=False, nullable=True))
