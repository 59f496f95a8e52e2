"""Indexes by session, so that a session can be forgotten without reading all files and requests."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(op.f("ix_files_session_id"), "files", ["session_id"])
    op.create_index(op.f("ix_ingestions_session_id"), "ingestions", ["session_id"])
