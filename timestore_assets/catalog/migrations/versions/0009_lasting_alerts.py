"""Alerts that wait before they turn, reminders, and messages that wait for a channel which nobody has set."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("pending_since", "told_at"):
        op.add_column("alert_states", sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=True))
    op.add_column("alert_messages", sa.Column("held_at", sa.BigInteger(), autoincrement=False, nullable=True))
