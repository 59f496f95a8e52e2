"""Columns that the catalog's tables are made of, the same on SQLite and PostgreSQL."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Integer, MetaData, Table, Text, text
from sqlalchemy.schema import SchemaItem

from timestore_assets.model.counters import COUNTERS

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
metadata = MetaData(naming_convention=NAMING)
Id = BigInteger().with_variant(Integer(), "sqlite")


def id_column() -> Column[int]:
    return Column("id", Id, primary_key=True, autoincrement=True)


def reference(to: str, *, primary_key: bool = False, nullable: bool = False) -> Column[int]:
    name = {"datasets": "dataset_id", "sources": "source_id", "sessions": "session_id", "segments": "segment_id"}
    return Column(name[to], Id, ForeignKey(f"{to}.id"), primary_key=primary_key, nullable=nullable)


def whole(name: str, *, nullable: bool = False, primary_key: bool = False) -> Column[int]:
    # SQLite would make a lone integer key generate itself; these keys always come from us
    return Column(name, BigInteger, nullable=nullable, primary_key=primary_key, autoincrement=False)


def zero(name: str) -> Column[int]:
    """A whole number that tables of before it was there have as 0."""
    return Column(name, BigInteger, nullable=False, server_default=text("0"))


def text_column(name: str, *, nullable: bool = False, primary_key: bool = False) -> Column[str]:
    return Column(name, Text, nullable=nullable, primary_key=primary_key)


def counters() -> list[Column[int]]:
    return [Column(name, BigInteger, nullable=False, server_default=text("0")) for name in COUNTERS]


def table(name: str, *parts: SchemaItem) -> Table:
    has_id = any(isinstance(part, Column) and part.name == "id" for part in parts)
    return Table(name, metadata, *parts, sqlite_autoincrement=has_id)
