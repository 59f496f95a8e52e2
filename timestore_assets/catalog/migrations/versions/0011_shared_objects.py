"""Segments that share an object: where their rows are in it, how large it is, and a row for each partition."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_BEFORE = "uq_segments_name_added_version"
_NOW = "uq_segments_name_partition_start_added_version"
_UNIQUE = ["name", "partition_start", "added_version"]


def upgrade() -> None:
    added = [sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=True) for name in ("first_row", "object_bytes")]
    if op.get_bind().dialect.name != "sqlite":
        op.drop_constraint(_BEFORE, "segments")
        op.create_unique_constraint(_NOW, "segments", _UNIQUE)
        for column in added:
            op.add_column("segments", column)
        return
    # SQLite can't drop a constraint, nor a table that others refer to: what refers to it is put aside first
    op.execute("CREATE TEMPORARY TABLE stats_aside AS SELECT segment_id, stats FROM segment_stats")
    op.drop_table("segment_stats")
    with op.batch_alter_table("segments", recreate="always", table_kwargs={"sqlite_autoincrement": True}) as batch:
        batch.drop_constraint(_BEFORE, type_="unique")
        batch.create_unique_constraint(_NOW, _UNIQUE)
        for column in added:
            batch.add_column(column)
    op.create_table(
        "segment_stats",
        sa.Column("segment_id", ID, nullable=False),
        sa.Column("stats", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["segment_id"], ["segments.id"], name=op.f("fk_segment_stats_segment_id")),
        sa.PrimaryKeyConstraint("segment_id", name=op.f("pk_segment_stats")),
        sqlite_autoincrement=False,
    )
    op.execute("INSERT INTO segment_stats (segment_id, stats) SELECT segment_id, stats FROM stats_aside")
    op.execute("DROP TABLE stats_aside")
