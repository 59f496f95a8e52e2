"""What drivers list: catalogs, schemas, tables, keys and types, in the tables that Flight SQL's specification gives for them.

There is no catalog (null) and one schema, `main`, since tools show no tables without a schema. Tables are the datasets that the
caller may read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pyarrow as pa

from timestore_assets.model.arrow_schema import arrow_schema
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.errors import InputError
from timestore_assets.model.schema import Column
from timestore_assets.querying.sql.check import SCHEMA
from timestore_assets.service.flight.calls import Call
from timestore_assets.service.flight.flight_data import schema_bytes
from timestore_assets.service.flight.sql_info import sql_info
from timestore_assets.service.flight.statements import without_zones, zoneless
from timestore_assets.service.state import Service

TABLE = "TABLE"


def _schema(text: str) -> pa.Schema:
    """Fields as the specification writes them: name and type, `!` for those that are never null."""
    fields = [part.split() for part in text.split(",")]
    return pa.schema([pa.field(name, _KINDS[kind.rstrip("!")], nullable=not kind.endswith("!")) for name, kind in fields])


_KINDS = {
    "utf8": pa.string(),
    "bool": pa.bool_(),
    "int32": pa.int32(),
    "uint8": pa.uint8(),
    "binary": pa.binary(),
    "list": pa.list_(pa.field("item", pa.string(), nullable=False)),
}
_TABLES = _schema("catalog_name utf8, db_schema_name utf8, table_name utf8!, table_type utf8!")
_KEYS = _schema(
    "pk_catalog_name utf8, pk_db_schema_name utf8, pk_table_name utf8!, pk_column_name utf8!, fk_catalog_name utf8,"
    " fk_db_schema_name utf8, fk_table_name utf8!, fk_column_name utf8!, key_sequence int32!, fk_key_name utf8,"
    " pk_key_name utf8, update_rule uint8!, delete_rule uint8!"
)
_SCHEMAS: Mapping[str, pa.Schema] = {
    "CommandGetCatalogs": _schema("catalog_name utf8!"),
    "CommandGetDbSchemas": _schema("catalog_name utf8, db_schema_name utf8!"),
    "CommandGetTableTypes": _schema("table_type utf8!"),
    "CommandGetPrimaryKeys": _schema(
        "catalog_name utf8, db_schema_name utf8, table_name utf8!, column_name utf8!, key_name utf8, key_sequence int32!"
    ),
    "CommandGetExportedKeys": _KEYS,
    "CommandGetImportedKeys": _KEYS,
    "CommandGetCrossReference": _KEYS,
    "CommandGetXdbcTypeInfo": _schema(
        "type_name utf8!, data_type int32!, column_size int32, literal_prefix utf8, literal_suffix utf8, create_params list,"
        " nullable int32!, case_sensitive bool!, searchable int32!, unsigned_attribute bool, fixed_prec_scale bool!,"
        " auto_increment bool, local_type_name utf8, minimum_scale int32, maximum_scale int32, sql_data_type int32!,"
        " datetime_subcode int32, num_prec_radix int32, interval_precision int32"
    ),
}
_Rows = Iterator[dict[str, Any]]


def listing(service: Service, call: Call, command: str, asked: Any) -> pa.Table | None:
    """The table that a command of Flight SQL asks for; None when it asks for none of these. Reads the catalog."""
    if command == "CommandGetSqlInfo":
        return sql_info(asked.info)
    if command == "CommandGetTables":
        return _tables(service, call, asked)
    schema = _SCHEMAS.get(command)
    if schema is None:
        return None
    rows = _ROWS.get(command)
    return pa.Table.from_pylist(list(rows(service, call, asked)) if rows else [], schema=schema)


def _db_schemas(_service: Service, _call: Call, asked: Any) -> _Rows:
    if _is_ours(asked, "catalog") and _matches(SCHEMA, asked, "db_schema_filter_pattern"):
        yield {"catalog_name": None, "db_schema_name": SCHEMA}


def _table_types(_service: Service, _call: Call, _asked: Any) -> _Rows:
    yield {"table_type": TABLE}


def _primary_keys(service: Service, call: Call, asked: Any) -> _Rows:
    dataset = service.visible(call.caller).get(asked.table)
    if dataset is None or dataset.dedupe is None or not _is_ours(asked, "catalog") or not _is_ours(asked, "db_schema", SCHEMA):
        return
    for number, name in enumerate(dataset.dedupe.keys, start=1):
        row = {"catalog_name": None, "db_schema_name": SCHEMA, "table_name": dataset.name, "column_name": name}
        yield {**row, "key_name": None, "key_sequence": number}


def _tables(service: Service, call: Call, asked: Any) -> pa.Table:
    schema = _TABLES.append(pa.field("table_schema", pa.binary(), nullable=False)) if asked.include_schema else _TABLES
    rows = []
    wanted = (
        _is_ours(asked, "catalog")
        and _matches(SCHEMA, asked, "db_schema_filter_pattern")
        and (not asked.table_types or TABLE in asked.table_types)
    )
    for name, dataset in service.visible(call.caller).items() if wanted else ():
        if _matches(name, asked, "table_name_filter_pattern"):
            row = {"catalog_name": None, "db_schema_name": SCHEMA, "table_name": name, "table_type": TABLE}
            described = {"table_schema": schema_bytes(_described(service, call, dataset))} if asked.include_schema else {}
            rows.append(row | described)
    return pa.Table.from_pylist(rows, schema=schema)


def _described(service: Service, call: Call, dataset: Dataset) -> pa.Schema:
    """The columns of a dataset, with what drivers want to know of each."""
    columns = service.warehouse.resolve(dataset.name)[1].schema
    plain = arrow_schema(columns)
    fields = [
        field.with_nullable(column.nullable).with_metadata(_facts(dataset.name, column))
        for field, column in zip(plain, columns, strict=True)
    ]
    described = pa.schema(fields)
    return without_zones(described) if zoneless(call) else described


def _facts(table: str, column: Column) -> dict[str, str]:
    facts = {"DB_SCHEMA_NAME": SCHEMA, "TABLE_NAME": table, "TYPE_NAME": str(column.type)}
    facts |= {"IS_AUTO_INCREMENT": "0", "IS_CASE_SENSITIVE": "0", "IS_READ_ONLY": "0", "IS_SEARCHABLE": "1"}
    if column.type.kind == "decimal":
        facts |= {"PRECISION": str(column.type.precision), "SCALE": str(column.type.scale)}
    remarks = {"REMARKS": column.description} if column.description else {}
    named = {f"ARROW:FLIGHT:SQL:{name}": value for name, value in (facts | remarks).items()}
    return named | ({"unit": column.unit} if column.unit else {})


def _is_ours(asked: Any, field: str, ours: str = "") -> bool:
    """Whether a filter that names a thing in full, if it is set, means the one that there is."""
    return not asked.HasField(field) or getattr(asked, field) == ours


def _matches(name: str, asked: Any, field: str) -> bool:
    """Whether a name is of the pattern that a field has, if it is set; InputError as `is_like`."""
    if not asked.HasField(field):
        return True
    return is_like(name, getattr(asked, field))


LONGEST_PATTERN = 1_000


def is_like(name: str, pattern: str) -> bool:
    """Whether a name is of a pattern of SQL's LIKE, escaped by a backslash; InputError when the pattern is too long.

    A regular expression would try every way to share a name out among several `%`, which takes longer than anybody lives.
    """
    if len(pattern) > LONGEST_PATTERN:
        raise InputError(f"a pattern of names has at most {LONGEST_PATTERN:,} characters, here are {len(pattern):,}")
    parts = re.findall(r"\\.|.", pattern, re.DOTALL)
    at = place = 0
    begun: tuple[int, int] | None = None
    while at < len(name):
        part = parts[place] if place < len(parts) else ""
        if part == "%":
            begun, place = (at, place), place + 1
        elif part == "_" or (part and part[-1] == name[at]):
            at, place = at + 1, place + 1
        elif begun is not None:
            # the last `%` takes a character more; what those before it take needs no second try
            begun = begun[0] + 1, begun[1]
            at, place = begun[0], begun[1] + 1
        else:
            return False
    return all(part == "%" for part in parts[place:])


# name, JDBC's number, size, what stands around a literal, largest scale, radix
_XDBC: tuple[tuple[str, int, int | None, str | None, int | None, int | None], ...] = (
    ("bool", -7, 1, None, None, None),
    ("int64", -5, 19, None, 0, 10),
    ("binary", -3, None, "'", None, None),
    ("decimal", 3, 38, None, 38, 10),
    ("int32", 4, 10, None, 0, 10),
    ("float", 7, 24, None, None, 2),
    ("double", 8, 53, None, None, 2),
    ("string", 12, None, "'", None, None),
    ("date", 91, 10, "'", None, None),
    ("timestamp", 93, 26, "'", None, None),
)
_DATETIME, _SUBCODES = 9, {"date": 1, "timestamp": 3}
_FULL, _BASIC = 3, 2


def _types(_service: Service, _call: Call, asked: Any) -> _Rows:
    for name, number, size, quotes, scale, radix in _XDBC:
        if asked.HasField("data_type") and asked.data_type != number:
            continue
        yield {
            "type_name": name,
            "data_type": number,
            "column_size": size,
            "literal_prefix": quotes,
            "literal_suffix": quotes,
            "create_params": ["precision", "scale"] if name == "decimal" else None,
            "nullable": 1,
            "case_sensitive": name == "string",
            "searchable": _FULL if name == "string" else _BASIC,
            "unsigned_attribute": None if radix is None else False,
            "fixed_prec_scale": False,
            "auto_increment": None if radix is None else False,
            "local_type_name": name,
            "minimum_scale": None if scale is None else 0,
            "maximum_scale": scale,
            "sql_data_type": _DATETIME if name in _SUBCODES else number,
            "datetime_subcode": _SUBCODES.get(name),
            "num_prec_radix": radix,
            "interval_precision": None,
        }


_ROWS: Mapping[str, Callable[[Service, Call, Any], _Rows]] = {
    "CommandGetDbSchemas": _db_schemas,
    "CommandGetTableTypes": _table_types,
    "CommandGetPrimaryKeys": _primary_keys,
    "CommandGetXdbcTypeInfo": _types,
}
