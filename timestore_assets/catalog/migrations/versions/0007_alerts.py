"""How alerts stand, and what is to be sent about them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "alert_states",
        sa.Column("dataset_id", ID, nullable=False),
        sa.Column("alert", sa.Text(), nullable=False),
        sa.Column("is_firing", sa.Boolean(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("since", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name=op.f("fk_alert_states_dataset_id")),
        sa.PrimaryKeyConstraint("dataset_id", "alert", name=op.f("pk_alert_states")),
    )
    op.create_table(
        "alert_messages",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("attempts", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("due_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("created_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("sent_at", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alert_messages")),
        sa.UniqueConstraint("channel", "key", name=op.f("uq_alert_messages_channel_key")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_alert_messages_due_at"), "alert_messages", ["due_at"], unique=False)
