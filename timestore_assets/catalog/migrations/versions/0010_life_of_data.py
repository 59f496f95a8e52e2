"""Columns with an id for life, segments and retractions that may come back, migrations, archives, backfills, tags, lateness."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _add_columns()
    _give_ids()
    _segments()
    _retractions()
    _migrations()
    _backfills()
    _tags()
    _late_records()


def _whole(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=nullable)


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=nullable)


def _of_dataset(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name=op.f(f"fk_{table}_dataset_id"))


def _add_columns() -> None:
    zero = sa.text("0")
    for table, name in (("datasets", "last_column_id"), ("datasets", "floor_version"), ("dataset_schemas", "manifest_version")):
        op.add_column(table, sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=False, server_default=zero))
    for name in ("identities", "cause"):
        op.add_column("dataset_schemas", _text(name, nullable=True))
    for table in ("files", "dead_letter_files"):
        op.add_column(table, _whole("schema_version", nullable=True))
    op.add_column("partitions", _whole("landing_collected", nullable=True))
    op.add_column("dead_letter_files", _text("late", nullable=True))


def _give_ids() -> None:
    """Nothing was ever renamed, so a name stands for one column throughout a dataset's schemas."""
    connection = op.get_bind()
    kind = sa.table("dataset_schemas", *(sa.column(name) for name in ("dataset_id", "version", "columns", "identities")))
    datasets = sa.table("datasets", sa.column("id"), sa.column("last_column_id"))
    ids: dict[int, dict[str, int]] = {}
    for dataset_id, version, text in connection.execute(
        sa.select(kind.c.dataset_id, kind.c.version, kind.c.columns).order_by(kind.c.dataset_id, kind.c.version)
    ).all():
        of_dataset = ids.setdefault(dataset_id, {})
        columns: list[dict[str, Any]] = json.loads(text)
        names = [column["name"] for column in columns]
        identities = {"columns": {name: {"id": of_dataset.setdefault(name, len(of_dataset) + 1)} for name in names}}
        written = json.dumps(identities, separators=(",", ":"), sort_keys=True)
        connection.execute(
            kind.update().where(kind.c.dataset_id == dataset_id, kind.c.version == version).values(identities=written)
        )
    # nothing was renamed until now, so whatever is there goes by the names of today
    for table in ("files", "dead_letter_files"):
        op.execute(f"UPDATE {table} SET schema_version = (SELECT schema_version FROM datasets WHERE datasets.id = {table}.dataset_id)")
    for dataset_id, of_dataset in ids.items():
        connection.execute(datasets.update().where(datasets.c.id == dataset_id).values(last_column_id=len(of_dataset)))


def _segments() -> None:
    """A row for each time that a segment was live: its name is unique no more."""
    if op.get_bind().dialect.name != "sqlite":
        op.drop_constraint("uq_segments_name", "segments")
        op.create_unique_constraint("uq_segments_name_added_version", "segments", ["name", "added_version"])
        op.add_column("segments", _whole("first_version", nullable=True))
        return
    # SQLite can't drop a constraint, nor a table that others refer to: what refers to it is put aside first
    op.execute("CREATE TEMPORARY TABLE stats_aside AS SELECT segment_id, stats FROM segment_stats")
    op.drop_table("segment_stats")
    with op.batch_alter_table("segments", recreate="always", table_kwargs={"sqlite_autoincrement": True}) as batch:
        batch.drop_constraint("uq_segments_name", type_="unique")
        batch.create_unique_constraint("uq_segments_name_added_version", ["name", "added_version"])
        batch.add_column(_whole("first_version", nullable=True))
    op.create_table(
        "segment_stats",
        sa.Column("segment_id", ID, nullable=False),
        _text("stats"),
        sa.ForeignKeyConstraint(["segment_id"], ["segments.id"], name=op.f("fk_segment_stats_segment_id")),
        sa.PrimaryKeyConstraint("segment_id", name=op.f("pk_segment_stats")),
        sqlite_autoincrement=False,
    )
    op.execute("INSERT INTO segment_stats (segment_id, stats) SELECT segment_id, stats FROM stats_aside")
    op.execute("DROP TABLE stats_aside")


def _retractions() -> None:
    """Ranges of source partitions, each with a life of its own; what was retracted whole has no bounds."""
    op.create_table(
        "retractions_now",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("dataset_id", ID, nullable=False),
        sa.Column("source_partition_id", ID, nullable=False),
        _whole("first_position", nullable=True),
        _whole("end_position", nullable=True),
        _whole("last_session", nullable=True),
        _whole("added_version"),
        _whole("removed_version", nullable=True),
        _of_dataset("retractions"),
        sa.ForeignKeyConstraint(
            ["source_partition_id"], ["source_partitions.id"], name=op.f("fk_retractions_source_partition_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_retractions_now")),
        sqlite_autoincrement=True,
    )
    kept = "dataset_id, source_partition_id, added_version, removed_version"
    op.execute(f"INSERT INTO retractions_now ({kept}) SELECT {kept} FROM retractions")
    op.drop_table("retractions")
    op.rename_table("retractions_now", "retractions")
    if op.get_bind().dialect.name != "sqlite":
        op.execute("ALTER INDEX pk_retractions_now RENAME TO pk_retractions")
    op.create_index(op.f("ix_retractions_dataset_id"), "retractions", ["dataset_id"], unique=False)


def _migrations() -> None:
    op.create_table(
        "migrations",
        sa.Column("dataset_id", ID, nullable=False),
        _whole("schema_version"),
        _text("kind"),
        _text("manifest"),
        _text("digest"),
        _text("ticket"),
        _text("approved_by"),
        _text("actor"),
        _whole("at"),
        _of_dataset("migrations"),
        sa.PrimaryKeyConstraint("dataset_id", "schema_version", name=op.f("pk_migrations")),
    )
    op.create_table(
        "archives",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("dataset_id", ID, nullable=False),
        _whole("schema_version"),
        _whole("column_id"),
        _whole("partition_start"),
        _text("storage"),
        _text("name"),
        _whole("rows"),
        _whole("bytes"),
        _text("sha256"),
        _whole("created_at"),
        _of_dataset("archives"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_archives")),
        sa.UniqueConstraint(
            "dataset_id",
            "schema_version",
            "column_id",
            "partition_start",
            name=op.f("uq_archives_dataset_id_schema_version_column_id_partition_start"),
        ),
        sqlite_autoincrement=True,
    )


def _backfills() -> None:
    op.create_table(
        "backfills",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("dataset_id", ID, nullable=False),
        _whole("schema_version"),
        _text("cause"),
        _text("partitions"),
        _text("cost"),
        _text("state"),
        _text("actor"),
        _whole("created_at"),
        _whole("updated_at"),
        _of_dataset("backfills"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_backfills")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_backfills_dataset_id"), "backfills", ["dataset_id"], unique=False)


def _tags() -> None:
    op.create_table(
        "tags",
        sa.Column("dataset_id", ID, nullable=False),
        _text("name"),
        _whole("version"),
        sa.Column("is_legal_hold", sa.Boolean(), nullable=False),
        _text("note"),
        _text("actor"),
        _whole("at"),
        _of_dataset("tags"),
        sa.PrimaryKeyConstraint("dataset_id", "name", name=op.f("pk_tags")),
    )


def _late_records() -> None:
    op.create_table(
        "late_records",
        sa.Column("dataset_id", ID, nullable=False),
        _whole("partition_start"),
        sa.Column("source_id", ID, nullable=False),
        _text("disposition"),
        _whole("lateness"),
        _whole("rows"),
        _whole("first_at"),
        _whole("last_at"),
        _of_dataset("late_records"),
        sa.ForeignKeyConstraint(["source_id"], ["sources.id"], name=op.f("fk_late_records_source_id")),
        sa.PrimaryKeyConstraint(
            "dataset_id", "partition_start", "source_id", "disposition", "lateness", name=op.f("pk_late_records")
        ),
    )
