"""Datasets that were dropped, renamed or retired."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("dropped_at", "retired_at"):
        op.add_column("datasets", sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=True))
    op.create_table(
        "former_names",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("now_named", sa.Text(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_former_names")),
    )
