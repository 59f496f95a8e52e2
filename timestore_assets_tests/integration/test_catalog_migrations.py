"""Migrations make exactly the declared tables, once, and an up-to-date catalog opens without Alembic."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Table, inspect, text
from sqlalchemy.engine.interfaces import ReflectedColumn

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.database import Database
from timestore_assets.catalog.migrate import MIGRATIONS, ensure_current, revision
from timestore_assets.catalog.table_columns import metadata
from timestore_assets.catalog.tables import HEAD, datasets, segment_stats, segments
from timestore_assets.model.errors import InputError, RefusedError
from timestore_assets.model.segment import ColumnStats
from timestore_assets_tests.support.catalog_dataset import WEATHER
from timestore_assets_tests.support.catalogs import PostgresServer, fresh_database, sqlite_url


@pytest.fixture
def database(catalog_url: str) -> Iterator[Database]:
    opened = Database.open(catalog_url, schema="timestore")
    yield opened
    opened.close()


@pytest.fixture
def empty(tmp_path: Path, catalog_url: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """An empty database of the kind of the catalog's."""
    with ExitStack() as stack:
        if catalog_url.startswith("sqlite"):
            yield sqlite_url(tmp_path / "empty.sqlite")
        else:
            yield stack.enter_context(fresh_database(request.getfixturevalue("postgres")))


def test_the_tables_equal_the_sum_of_the_migrations(database: Database, empty: str) -> None:
    migrated = Database.open(empty, schema="timestore")
    with closing(migrated):
        migrated.write(lambda c: _migrated(c, migrated.schema, "head"))
        with migrated.engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_server_default": True})
            assert compare_metadata(context, metadata) == []
        # a new catalog is made without them
        assert database.read(_described) == migrated.read(_described)


def _said(column: ReflectedColumn) -> str:
    # 0010 made the table under another name first, which its sequence has kept
    return repr(sorted(column.items(), key=str)).replace("retractions_now_id_seq", "retractions_id_seq")


def _described(connection: Connection) -> dict[str, Any]:
    """All that the database says of its tables, but for the order of columns."""
    looked = inspect(connection)
    made = connection.execute(text("SELECT name, sql FROM sqlite_master")) if connection.dialect.name == "sqlite" else ()
    growing = {row.name for row in made if "AUTOINCREMENT" in (row.sql or "")}
    return {
        name: {
            "columns": {column["name"]: _said(column) for column in looked.get_columns(name)},
            "key": looked.get_pk_constraint(name),
            "foreign": sorted(looked.get_foreign_keys(name), key=str),
            "unique": sorted(looked.get_unique_constraints(name), key=str),
            "indexes": sorted(looked.get_indexes(name), key=str),
            "ids never come back": name in growing,
        }
        for name in looked.get_table_names()
    }


def test_head_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


def test_migrating_again_changes_nothing(database: Database) -> None:
    ensure_current(database)
    assert database.read(revision) == HEAD


@pytest.mark.parametrize(
    ("stamp", "message"), [("9999", r"revision 9999.*update timestore"), ("0005", r"0005, of before .* to revision 0011")]
)
def test_a_catalog_of_a_version_that_is_unknown_is_refused(
    database: Database, catalog_url: str, stamp: str, message: str
) -> None:
    database.write(lambda connection: connection.execute(text(f"UPDATE alembic_version SET version_num = '{stamp}'")))
    try:
        with pytest.raises(RefusedError, match=message):
            Catalog.open(catalog_url)
    finally:
        database.write(lambda connection: connection.execute(text(f"UPDATE alembic_version SET version_num = '{HEAD}'")))


def test_opening_a_current_catalog_does_not_import_alembic(sqlite_catalog_url: str) -> None:
    script = (
        "import sys; from timestore_assets.catalog.catalog import Catalog; "
        f"Catalog.open({sqlite_catalog_url!r}).datasets.all(); "
        "print([name for name in ('alembic', 'psycopg', 'pyarrow', 'duckdb') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_two_catalogs_in_one_postgresql_database(postgres: PostgresServer) -> None:
    with fresh_database(postgres) as url:
        first, second = Catalog.open(url, schema="one"), Catalog.open(url, schema="two")
        first.datasets.register(WEATHER, actor="test")
        assert [record.name for record in first.datasets.all()] == ["weather"]
        assert second.datasets.all() == []
        first.close()
        second.close()


def test_a_schema_name_is_not_sql(postgres: PostgresServer) -> None:
    with pytest.raises(InputError, match="lower-case"):
        Catalog.open(postgres.url("postgres"), schema='x"; DROP SCHEMA public; --')


def test_a_restored_backup_is_in_wal_mode_again(sqlite_catalog_url: str, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "catalog.sqlite")) as original:
        original.execute("VACUUM INTO ?", [str(tmp_path / "backup.sqlite")])
    Catalog.open(sqlite_url(tmp_path / "backup.sqlite")).close()
    with closing(sqlite3.connect(tmp_path / "backup.sqlite")) as restored:
        assert restored.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_segments_and_their_statistics_outlive_the_revision_in_which_they_share_objects(empty: str) -> None:
    with ExitStack() as stack:
        before = Database.open(empty, schema="timestore")
        stack.callback(before.close)
        before.write(lambda c: _migrated(c, before.schema, "0010"))
        before.write(_with_a_segment)
        catalog = stack.enter_context(closing(Catalog.open(empty, schema="timestore")))
        (segment,) = catalog.manifest.segments(1)
        assert (segment.name, segment.first_row, segment.object_bytes) == ("a.parquet", None, None)
        assert segment.stats["x"] == ColumnStats(min=1, max=2, nulls=0)


def _migrated(connection: Connection, schema: str | None, to: str) -> None:
    if schema is not None:
        connection.execute(text(f'CREATE SCHEMA IF NOT EXISTS "{schema}"'))
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, to)


def _with_a_segment(connection: Connection) -> None:
    connection.execute(datasets.insert().values(_filled(datasets)))
    connection.execute(segments.insert().values(_filled(segments) | {"name": "a.parquet", "sorted_by": "[]", "added_version": 1}))
    connection.execute(segment_stats.insert().values(segment_id=1, stats='{"x":[1,2,0]}'))


def _filled(table: Table) -> dict[str, Any]:
    """Some value in each column that must have one."""
    needed = [column for column in table.c if not column.nullable]
    return {column.name: "" if column.type.python_type is str else column.type.python_type(1) for column in needed}
