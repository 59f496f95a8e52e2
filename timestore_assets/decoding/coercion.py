"""The coercion table: which texts and JSON values are values of which type, as DuckDB SQL.

Every format goes through these rules, so that the same records give the same rows however they were written down
(docs/semantics.md, decoding). An expression gives NULL for anything that is not a value of the type; the caller compares
with the raw value to find those. DuckDB's own casts are more generous (`1.5` to 2, `0x1F`, `yes`, surrounding blanks) and
are guarded by patterns. Blanks around numbers, booleans and times are no part of them. How a source writes its numbers and times
is its `Spelling`; what is written as it usually is takes the short way through these expressions.
"""

from __future__ import annotations

from dataclasses import replace

from timestore_assets.decoding.spelling import bound, date_of_text, in_calendar, time_of_text, trimmed, with_point
from timestore_assets.model.record_form import POINT, Spelling
from timestore_assets.model.types import ColumnType, duckdb_type, literal, quote

__all__ = ["describe", "in_calendar", "not_finite", "text_of_json", "value_of_json", "value_of_text"]

_INTEGER = "[+-]?[0-9]+"
_BASE64 = "(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"
_FLOAT = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?(?i:nan|inf|infinity)"


def value_of_text(
    text: str, kind: ColumnType, *, zone: str | None = None, spelling: Spelling | None = None, usual: bool = False
) -> str:
    """SQL for the value of type `kind` that a VARCHAR expression holds, else NULL.

    `zone`: IANA name of the zone that naive times are in, None for UTC. `spelling`: how values are written, with their zone.
    `usual`: take usual spellings only, which DuckDB plans in half the time; what they leave NULL is to be asked for again.
    """
    spelling = spelling or Spelling(zone=zone)
    match kind.kind:
        case "string":
            return text
        case "binary":
            return f"encode({text})"
        case "bool":
            words = "CASE lower({0}) WHEN 'true' THEN true WHEN 'false' THEN false {1}END"
            return words.format(text, "" if usual else f"ELSE {words.format(trimmed(text), '')} ")
        case "int32" | "int64":
            return _number(text, kind, _INTEGER, spelling, usual)
        case "float" | "double":
            return _number(text, kind, _FLOAT, spelling, usual)
        case "decimal":
            return _number(text, kind, _decimal_pattern(kind.scale), spelling, usual)
        case "date":
            return date_of_text(text, spelling, usual=usual)
        case "timestamp":
            return time_of_text(text, spelling, usual=usual)
        case _:
            return value_of_json(f"CASE WHEN json_valid({text}) THEN {text} END", kind, spelling=spelling)


def value_of_json(
    raw: str, kind: ColumnType, *, zone: str | None = None, spelling: Spelling | None = None, depth: int = 0
) -> str:
    """SQL for the value of type `kind` that a VARCHAR expression holding one JSON value stands for, else NULL.

    A JSON string counts as its text; a number or boolean as the text it is written as, with a point whatever the marks of texts
    are; objects and arrays only for struct and list columns, and `{"base64": "…"}` for bytes, which need not be a text.
    """
    spelling = spelling or Spelling(zone=zone)
    if kind.item is not None:
        return _list_of_json(raw, kind.item, spelling, depth)
    if kind.kind == "struct":
        return _struct_of_json(raw, kind, spelling, depth)
    if kind.kind == "string":
        return f"CASE WHEN {raw}[1] NOT IN ('{{', '[') THEN {text_of_json(raw)} END"
    if kind.kind == "binary":
        return f"""CASE WHEN starts_with({raw}, '"') THEN encode({text_of_json(raw)}) ELSE {_bytes_of_object(raw)} END"""
    value = value_of_text(text_of_json(raw), kind, spelling=spelling)
    if spelling.marks != POINT and (kind.is_numeric or spelling.unit is not None):
        number = value_of_text(raw, kind, spelling=replace(spelling, marks=POINT))
        value = f"""CASE WHEN starts_with({raw}, '"') THEN {value} ELSE {number} END"""
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


def describe(kind: ColumnType, spelling: Spelling | None = None) -> str:
    """What a value of the type has to be, in the words of a reason."""
    if spelling is not None and spelling.unit is not None:
        return f"a number of {spelling.unit} since 1970"
    if spelling is not None and spelling.format is not None:
        return f"a {kind} written as {spelling.format}"
    if spelling is not None and spelling.marks != POINT and kind.is_numeric:
        return f"a number with {spelling.marks.decimal!r} as its decimal mark" + _thousands(spelling)
    return {
        "bool": "true or false",
        "int32": "a whole number of 32 bits",
        "int64": "a whole number of 64 bits",
        "float": "a number",
        "double": "a number",
        "date": "a date like 2013-01-31",
        "timestamp": "a time like 2013-01-31T06:00:00Z",
        "string": "a text",
        "binary": 'a text (in JSON bytes that are none as {"base64": "…"})',
        "decimal": f"a {kind} (in JSON with more than 15 digits only as a string)",
    }.get(kind.kind, f"a {kind}")


def _thousands(spelling: Spelling) -> str:
    return f" and {spelling.marks.thousands!r} between groups of three digits" if spelling.marks.thousands else ""


def _number(text: str, kind: ColumnType, pattern: str, spelling: Spelling, usual: bool) -> str:
    def taken(number: str) -> str:
        return f"WHEN regexp_full_match({number}, {literal(pattern)}) THEN try_cast({number} AS {duckdb_type(kind)})"

    if usual and spelling.marks == POINT:
        return f"CASE {taken(text)} END"
    other = bound(with_point(text, spelling.marks), "spelt", f"CASE {taken('spelt')} END")
    # another spelling, such as one with blanks around it, is looked for only where the usual one was not found
    return other if spelling.marks != POINT else f"CASE {taken(text)} ELSE {other} END"


def _decimal_pattern(scale: int) -> str:
    # more digits than the scale holds would be rounded away silently; zeros lose nothing
    fraction = f"[0-9]{{0,{scale}}}0*"
    return rf"[+-]?(?:[0-9]+(?:\.{fraction})?|\.[0-9]{fraction})" if scale else r"[+-]?[0-9]+(?:\.0*)?"


def _bytes_of_object(raw: str) -> str:
    """SQL for the bytes that `{"base64": "…"}` (RFC 4648, section 4, padded) stands for, NULL for anything else."""
    text = f"json_extract_string({raw}::JSON, '/base64')"
    alone = f"json_keys({raw}::JSON) = ['base64'] AND json_type({raw}::JSON, '/base64') = 'VARCHAR'"
    value = f"CASE WHEN {alone} AND regexp_full_match({text}, {literal(_BASE64)}) THEN from_base64({text}) END"
    return f"CASE WHEN starts_with({raw}, '{{') THEN {value} END"


def _list_of_json(raw: str, item: ColumnType, spelling: Spelling, depth: int) -> str:
    name = f"e{depth}"
    # in parentheses: an index behind it would else belong to the type, as in VARCHAR[1]
    element = f"({name}::VARCHAR)"
    items = f"from_json({raw}, '[\"JSON\"]')"
    value = value_of_json(element, item, spelling=spelling, depth=depth + 1)
    bad = f"coalesce(list_bool_or(list_transform({items}, lambda {name}: {name} IS NOT NULL AND ({value}) IS NULL)), false)"
    values = f"list_transform({items}, lambda {name}: {value})"
    return f"CASE WHEN starts_with({raw}, '[') THEN CASE WHEN NOT {bad} THEN {values} END END"


def _struct_of_json(raw: str, kind: ColumnType, spelling: Spelling, depth: int) -> str:
    bad, packed = [], []
    for name, field in kind.fields:
        # a JSON null reads as 'null' here, unlike from from_json
        member = f"nullif(json_extract({raw}::JSON, {literal(json_pointer(name))})::VARCHAR, 'null')"
        value = value_of_json(member, field, spelling=spelling, depth=depth)
        bad.append(f"({member} IS NOT NULL AND ({value}) IS NULL)")
        packed.append(f"{quote(name)} := {value}")
    names = ", ".join(literal(name) for name, _ in kind.fields)
    # an undeclared field would vanish silently
    unknown = f"NOT list_has_all([{names}], json_keys({raw}::JSON))"
    checks = " OR ".join([unknown, *bad])
    return f"CASE WHEN starts_with({raw}, '{{') THEN CASE WHEN NOT ({checks}) THEN struct_pack({', '.join(packed)}) END END"


def json_pointer(name: str) -> str:
    """The JSON pointer (RFC 6901) of a key of an object."""
    return "/" + name.replace("~", "~0").replace("/", "~1")
