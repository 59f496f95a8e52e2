"""The coercion table: which texts and JSON values are values of which type, as DuckDB SQL.

Every format goes through these rules, so that the same records give the same rows however they were written down
(docs/semantics.md, decoding). An expression gives NULL for anything that is not a value of the type; the caller compares
with the raw value to find those. DuckDB's own casts are more generous (`1.5` to 2, `0x1F`, `yes`, surrounding blanks) and
are guarded by patterns.
"""

from __future__ import annotations

from timestore_assets.landing.local_time import bound, local_to_utc
from timestore_assets.model.types import ColumnType, duckdb_type, literal, quote

_INTEGER = "[+-]?[0-9]+"
_FLOAT = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?(?i:nan|inf|infinity)"
_DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_CLOCK = r"[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?"
_MIDNIGHT = r"00:00(?::00(?:\.0+)?)?"
_OFFSET = r"[+-](?:0[0-9]|1[0-8])(?::?[0-5][0-9])?"

FIRST_TIME = "TIMESTAMP '0001-01-01 00:00:00'"
LAST_TIME = "TIMESTAMP '9999-12-31 23:59:59.999999'"


def value_of_text(text: str, kind: ColumnType, *, zone: str | None) -> str:
    """SQL for the value of type `kind` that a VARCHAR expression holds, else NULL.

    `zone`: IANA name of the zone that naive times are in, None for UTC.
    """
    match kind.kind:
        case "string":
            return text
        case "binary":
            return f"encode({text})"
        case "bool":
            return f"CASE lower({text}) WHEN 'true' THEN true WHEN 'false' THEN false END"
        case "int32" | "int64":
            return _guarded(text, _INTEGER, f"try_cast({text} AS {duckdb_type(kind)})")
        case "float" | "double":
            return _guarded(text, _FLOAT, f"try_cast({text} AS {duckdb_type(kind)})")
        case "decimal":
            return _guarded(text, _decimal_pattern(kind.scale), f"try_cast({text} AS {duckdb_type(kind)})")
        case "date":
            return _guarded(text, f"{_DATE}(?:[ T]{_MIDNIGHT})?", in_calendar(f"try_cast(left({text}, 10) AS DATE)"))
        case "timestamp":
            return bound(_timestamp(text, zone), "time", in_calendar("time"))
        case _:
            return value_of_json(f"CASE WHEN json_valid({text}) THEN {text} END", kind, zone=zone)


def value_of_json(raw: str, kind: ColumnType, *, zone: str | None, depth: int = 0) -> str:
    """SQL for the value of type `kind` that a VARCHAR expression holding one JSON value stands for, else NULL.

    A JSON string counts as its text; a number or boolean as the text it is written as; objects and arrays only for
    struct and list columns.
    """
    if kind.item is not None:
        return _list_of_json(raw, kind.item, zone, depth)
    if kind.kind == "struct":
        return _struct_of_json(raw, kind, zone, depth)
    if kind.kind == "string":
        return f"CASE WHEN {raw}[1] NOT IN ('{{', '[') THEN {text_of_json(raw)} END"
    if kind.kind == "binary":
        return f"""CASE WHEN starts_with({raw}, '"') THEN encode({text_of_json(raw)}) END"""
    value = value_of_text(text_of_json(raw), kind, zone=zone)
    if kind.kind == "decimal":
        # DuckDB's reader makes a double of a fraction, so beyond 15 digits its text may not be what was written
        digits = f"strlen(regexp_replace({raw}, '[^0-9]', '', 'g'))"
        return f"""CASE WHEN starts_with({raw}, '"') OR NOT contains({raw}, '.') OR {digits} <= 15 THEN {value} END"""
    return value


def text_of_json(raw: str) -> str:
    """SQL for the text of a JSON value: strings unescaped, anything else as written."""
    unescaped = f"""CASE WHEN contains({raw}, '\\') THEN {raw}::JSON->>'$' ELSE substring({raw}, 2, length({raw}) - 2) END"""
    return f"""(CASE WHEN starts_with({raw}, '"') THEN {unescaped} ELSE {raw} END)"""


def not_finite(value: str, kind: ColumnType, *, depth: int = 0) -> str | None:
    """SQL that is true when a value is, or holds, NaN or an infinity; None for types that can't."""
    if kind.is_float:
        return f"NOT isfinite({value})"
    if kind.item is not None:
        name = f"f{depth}"
        inner = not_finite(name, kind.item, depth=depth + 1)
        return inner and f"list_bool_or(list_transform({value}, lambda {name}: {inner}))"
    if kind.kind == "struct":
        parts = [not_finite(f"{value}[{literal(name)}]", field, depth=depth) for name, field in kind.fields]
        found = [f"coalesce({part}, false)" for part in parts if part]
        return f"({' OR '.join(found)})" if found else None
    return None


def describe(kind: ColumnType) -> str:
    """What a value of the type has to be, in the words of a reason."""
    return {
        "bool": "true or false",
        "int32": "a whole number of 32 bits",
        "int64": "a whole number of 64 bits",
        "float": "a number",
        "double": "a number",
        "date": "a date like 2013-01-31",
        "timestamp": "a time like 2013-01-31T06:00:00Z",
        "string": "a text",
        "binary": "a text of bytes",
        "decimal": f"a {kind} (in JSON with more than 15 digits only as a string)",
    }.get(kind.kind, f"a {kind}")


def _guarded(text: str, pattern: str, value: str) -> str:
    return f"CASE WHEN regexp_full_match({text}, {literal(pattern)}) THEN {value} END"


def _decimal_pattern(scale: int) -> str:
    # more digits than the scale holds would be rounded away silently; zeros lose nothing
    fraction = f"[0-9]{{0,{scale}}}0*"
    return rf"[+-]?(?:[0-9]+(?:\.{fraction})?|\.[0-9]{fraction})" if scale else r"[+-]?[0-9]+(?:\.0*)?"


def _timestamp(text: str, zone: str | None) -> str:
    # a cast to TIMESTAMP drops an offset silently, so only texts without one go that way
    local = f"try_cast({text} AS TIMESTAMP)"
    offset = f"make_timestamp(epoch_us(try_cast({text} AS TIMESTAMPTZ)))"
    day = f"{_DATE}(?:[ T]{_CLOCK}"
    if zone is None:
        first, cases = f"{day}Z?)?", local
    else:
        first, cases = f"{day})?", local_to_utc(local, zone)
    with_offset = f"WHEN regexp_full_match({text}, {literal(f'{_DATE}[ T]{_CLOCK}(?:Z|{_OFFSET})')}) THEN {offset}"
    return f"CASE WHEN regexp_full_match({text}, {literal(first)}) THEN {cases} {with_offset} END"


def in_calendar(value: str) -> str:
    """SQL for a DATE or TIMESTAMP expression, NULL outside the years 1 to 9999.

    DuckDB's calendar goes far beyond them; Python, most Arrow consumers and RFC 3339 can't write such times.
    """
    return f"CASE WHEN {value} BETWEEN {FIRST_TIME} AND {LAST_TIME} THEN {value} END"


def _list_of_json(raw: str, item: ColumnType, zone: str | None, depth: int) -> str:
    name = f"e{depth}"
    # in parentheses: an index behind it would else belong to the type, as in VARCHAR[1]
    element = f"({name}::VARCHAR)"
    items = f"from_json({raw}, '[\"JSON\"]')"
    value = value_of_json(element, item, zone=zone, depth=depth + 1)
    bad = f"coalesce(list_bool_or(list_transform({items}, lambda {name}: {name} IS NOT NULL AND ({value}) IS NULL)), false)"
    values = f"list_transform({items}, lambda {name}: {value})"
    return f"CASE WHEN starts_with({raw}, '[') THEN CASE WHEN NOT {bad} THEN {values} END END"


def _struct_of_json(raw: str, kind: ColumnType, zone: str | None, depth: int) -> str:
    bad, packed = [], []
    for name, field in kind.fields:
        # a JSON null reads as 'null' here, unlike from from_json
        member = f"nullif(json_extract({raw}::JSON, {literal('/' + _pointer(name))})::VARCHAR, 'null')"
        value = value_of_json(member, field, zone=zone, depth=depth)
        bad.append(f"({member} IS NOT NULL AND ({value}) IS NULL)")
        packed.append(f"{quote(name)} := {value}")
    names = ", ".join(literal(name) for name, _ in kind.fields)
    # an undeclared field would vanish silently
    unknown = f"NOT list_has_all([{names}], json_keys({raw}::JSON))"
    checks = " OR ".join([unknown, *bad])
    return f"CASE WHEN starts_with({raw}, '{{') THEN CASE WHEN NOT ({checks}) THEN struct_pack({', '.join(packed)}) END END"


def _pointer(name: str) -> str:
    """A key as one step of a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")
