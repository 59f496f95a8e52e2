"""From the keys that say how records are written to values, refusing what can't be meant."""

from __future__ import annotations

import re
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from timestore_assets.declaration.attributes import FilesAttributes, RecordAttributes, TextAttributes, TimeAttributes
from timestore_assets.declaration.field_paths import fields_of_source
from timestore_assets.model.dataset import CsvDialect
from timestore_assets.model.errors import DeclarationError
from timestore_assets.model.record_form import NAMED_FORMATS, NumberMarks, PathColumns, RecordForm, TimeForm
from timestore_assets.model.schema import Schema
from timestore_assets.model.text_encoding import UTF_8, WIDE, canonical_encoding, hides

_OFFSET = re.compile(r"[+-](?:0[0-9]|1[0-8]):[0-5][0-9]")
_YEAR = re.compile(r"%-?[YyGcxD]")
_THOUSANDS = (".", ",", "'", " ", "_")


def record_form(attributes: RecordAttributes, schema: Schema, key: str) -> RecordForm:
    """How a source's records are written.

    Raises:
        DeclarationError: with the key that is wrong and what to write instead.
    """
    thousands = attributes.thousands
    if thousands is not None:
        thousands = " " if thousands.isspace() else "'" if thousands == "’" else thousands
        if thousands not in _THOUSANDS:
            marks = ", ".join(repr(mark) for mark in _THOUSANDS)
            raise DeclarationError(f"is {thousands!r}; write one of {marks}", key=f"{key}.thousands")
    if thousands == attributes.decimal:
        raise DeclarationError(
            f"is {thousands!r}, which is the decimal mark; write `decimal:` with the other one", key=f"{key}.thousands"
        )
    return RecordForm(
        times=tuple(_time(name, time, schema, f"{key}.times.{name}") for name, time in attributes.times.items()),
        marks=NumberMarks(decimal=attributes.decimal, thousands=thousands),
        wrapper=attributes.wrapper,
        fields=fields_of_source(attributes.fields, schema, f"{key}.fields"),
    )


def csv_dialect(attributes: TextAttributes, key: str) -> CsvDialect:
    """How a source's CSV is written; errors as `record_form`."""
    encoding = _encoding(attributes, key)
    comment = attributes.comment
    if comment is not None:
        if not comment.isascii() or not comment.isprintable() or comment[0].isspace():
            raise DeclarationError(f"is {comment!r}; write one to eight ASCII characters such as '#'", key=f"{key}.comment")
        if comment[0] in (attributes.quote, attributes.delimiter):
            raise DeclarationError(f"begins with {comment[0]!r}, which is the quote or the delimiter", key=f"{key}.comment")
    return CsvDialect(
        delimiter=attributes.delimiter,
        quote=attributes.quote,
        nulls=tuple(attributes.nulls),
        comment=comment,
        skip=attributes.skip,
        units_row=attributes.units_row,
        trim=attributes.trim,
        encoding=encoding,
    )


def path_columns(attributes: FilesAttributes, key: str) -> PathColumns:
    """Which folders of an address are columns; errors as `record_form`."""
    names = attributes.path_columns
    if names == "hive":
        return "hive"
    if len(set(names)) < len(names):
        raise DeclarationError("names a column twice", key=f"{key}.path_columns")
    for name in names:
        if not name or "=" in name or "/" in name:
            raise DeclarationError(
                f"names {name!r}; write names such as region, for folders such as `region=eu/`", key=f"{key}.path_columns"
            )
    return tuple(names)


def check_zone(zone: str | None, key: str) -> None:
    """Refuse what names no zone; an offset such as +01:00 is one without summer time."""
    if zone is None or _OFFSET.fullmatch(zone):
        return
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError):
        raise DeclarationError(
            f"{zone!r} is no IANA zone; write for instance America/New_York, or an offset such as +01:00", key=f"{key}.timezone"
        ) from None


def _encoding(attributes: TextAttributes, key: str) -> str:
    encoding = canonical_encoding(attributes.encoding)
    if encoding is None:
        raise DeclarationError(
            f"{attributes.encoding!r} is not known; write for instance utf-8, latin-1, cp1252, iso8859-15 or utf-16",
            key=f"{key}.encoding",
        )
    for name in ("delimiter", "quote", "comment"):
        if hides(encoding, getattr(attributes, name) or ""):
            raise DeclarationError(f"can't be told from the text in {encoding}; save the files as UTF-8", key=f"{key}.{name}")
    lines = isinstance(attributes, FilesAttributes) and attributes.format in ("jsonl", "json", "envelopes")
    if lines and encoding not in {UTF_8, *WIDE}:
        raise DeclarationError("is of CSV; JSON is UTF-8 or UTF-16", key=f"{key}.encoding")
    return encoding


def _time(name: str, time: TimeAttributes, schema: Schema, key: str) -> TimeForm:
    column = schema.find(name)
    if column is None:
        raise DeclarationError(f"{name!r} is not a declared column; the columns are {', '.join(schema.names)}", key=key)
    if column.type.kind not in ("timestamp", "date"):
        raise DeclarationError(f"column {name!r} is a {column.type}, no timestamp or date", key=key)
    if column.type.kind == "date" and (time.unit or time.timezone):
        raise DeclarationError("a date has no unit and no zone; write `format:`", key=key)
    if time.unit and (time.format or (time.columns and len(time.columns) > 1)):
        raise DeclarationError("is of one number, so it goes without format and several columns", key=f"{key}.unit")
    if not (time.format or time.unit or time.columns or time.timezone):
        raise DeclarationError("says nothing; write format, unit, columns or timezone", key=key)
    if len(set(time.columns)) < len(time.columns) or not all(time.columns):
        raise DeclarationError("names a field twice, or none", key=f"{key}.columns")
    if time.format is not None:
        _check_format(time.format, f"{key}.format")
    check_zone(time.timezone, key)
    return TimeForm(column=name, format=time.format, unit=time.unit, columns=tuple(time.columns), timezone=time.timezone)


def _check_format(form: str, key: str) -> None:
    import duckdb

    if form in NAMED_FORMATS:
        return
    if not _YEAR.search(form):
        raise DeclarationError(
            f"{form!r} names no year; write for instance %d/%m/%Y %H:%M, or one of {', '.join(NAMED_FORMATS)}", key=key
        )
    try:
        with duckdb.connect() as con:
            con.execute("SELECT try_strptime('', ?)", [form])
    except duckdb.Error as error:
        problem = str(error).partition("\n")[0].partition(": ")[2]
        raise DeclarationError(f"{form!r} is no format: {problem}", key=key) from None
