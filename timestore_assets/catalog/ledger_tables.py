"""Tables of what happened and who is told, and of who may ask."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Index, UniqueConstraint

from timestore_assets.catalog.table_columns import id_column, reference, table, text_column, whole

audit = table(
    "audit",
    id_column(),
    whole("at"),
    reference("datasets", nullable=True),
    text_column("actor"),
    text_column("action"),
    text_column("details"),
    text_column("token", nullable=True),  # of the commit that wrote it, to settle a commit whose outcome is unknown
    whole("manifest_version", nullable=True),
    UniqueConstraint("token"),
    Index(None, "dataset_id"),
    Index(None, "at"),
)

# how far those who are told of the audit have been told
event_cursors = table(
    "event_cursors",
    text_column("consumer", primary_key=True),
    whole("audit_id"),  # rows up to it have been told
    text_column("state"),  # what the consumer keeps beside it
    whole("revision"),  # compared and set, so that of two who tell one goes on
    whole("attempts"),  # that have failed since the last one that did not
    whole("due_at"),
)

outbox = table(
    "outbox",
    id_column(),
    reference("datasets"),
    text_column("kind"),
    text_column("coalesce_by", nullable=True),
    text_column("payload"),
    whole("created_at"),
    text_column("claimed_by", nullable=True),
    whole("claimed_until", nullable=True),
    Index(None, "dataset_id", "coalesce_by"),
)

tokens = table(
    "tokens",
    id_column(),
    text_column("name"),
    text_column("digest"),  # sha256 of the secret, which nobody keeps
    text_column("scopes"),
    text_column("created_by"),
    whole("created_at"),
    whole("expires_at", nullable=True),
    whole("revoked_at", nullable=True),
    UniqueConstraint("name"),
    UniqueConstraint("digest"),
)

# how each declared alert stands; turned by compare and set, together with the messages about it
alert_states = table(
    "alert_states",
    reference("datasets", primary_key=True),
    text_column("alert", primary_key=True),
    Column("is_firing", Boolean, nullable=False),
    text_column("value"),
    whole("since"),
    whole("pending_since", nullable=True),
    whole("told_at", nullable=True),
)

# what is still to be sent to a channel
alert_messages = table(
    "alert_messages",
    id_column(),
    text_column("channel"),
    text_column("key"),
    text_column("payload"),
    whole("attempts"),
    whole("due_at"),
    whole("created_at"),
    whole("sent_at", nullable=True),
    whole("held_at", nullable=True),
    UniqueConstraint("channel", "key"),
    Index(None, "due_at"),
)
