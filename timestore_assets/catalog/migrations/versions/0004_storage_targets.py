"""Storage targets of dead letters and intents; parts of large files that are landed side by side."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    for table in ("intents", "dead_letter_files"):
        op.add_column(table, sa.Column("storage", sa.Text(), nullable=False, server_default=sa.text("'default'")))
    op.create_table(
        "file_chunks",
        sa.Column("file_id", ID, autoincrement=False, nullable=False),
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
    )
