"""One CSV record at a time, strictly by the rules: slow, for the records whose quotes the vectorised cutter can't trust."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from timestore_assets.model.dataset import CsvDialect
from timestore_assets.sources.files.text_records import line_end

_BLANKS = b" \t"
_END_OF_RECORD = 2
"""A terminator is at most `\\r\\n`."""

Trouble = Literal["unclosed_quote", "text_after_quote"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Scanned:
    """A complete record."""

    #: As written, quotes included.
    fields: tuple[bytes, ...]
    #: End of its content.
    end: int
    #: After its terminator.
    next: int


def scan_record(
    buffer: memoryview, start: int, stop: int, *, final: bool, limit: int, dialect: CsvDialect
) -> Scanned | Trouble | None:
    """Parse the record that begins at `start` and look at no byte from `stop` on.

    A quote opens a quoted field only at a field's beginning; elsewhere it is literal text, as a lone carriage return is.
    What follows a closing quote must be a delimiter or the record's end. The outcome depends on the record's own bytes
    only, never on where a buffer happens to end: None says that more bytes are needed.

    Args:
        buffer: decoded bytes.
        start: where the record begins.
        stop: end of what is available; `final` says that the content ends there.
        limit: a record whose content is longer counts as never ending.
        dialect: delimiter and quote.
    """
    horizon = min(stop, start + limit + _END_OF_RECORD)
    ends_here = final and horizon == stop
    quoted, plain = _patterns(dialect.delimiter, dialect.quote, dialect.trim)
    delimiter, quote = ord(dialect.delimiter), dialect.quote.encode()
    fields, at = [], start
    while True:
        begin = at
        opened = bool(quote) and (
            buffer[at : at + 1] == quote or (dialect.trim and quoted.match(buffer, at, horizon) is not None)
        )
        match = (quoted if opened else plain).match(buffer, at, horizon)
        if match is None:
            return "unclosed_quote" if ends_here or horizon < stop or horizon - start > limit + 1 else None
        at = match.end()
        if at < horizon and buffer[at] == delimiter:
            fields.append(bytes(buffer[begin:at]).strip(_BLANKS) if opened and dialect.trim else bytes(buffer[begin:at]))
            at += 1
            continue
        after = _terminator(buffer, at, horizon, ends_here=ends_here)
        if after is None:
            return None if horizon == stop and horizon - start < limit + _END_OF_RECORD else "unclosed_quote"
        if after < 0:
            # a quoted text that runs over the line's end into another quote was most likely never closed
            return "text_after_quote" if line_end(buffer, start, at) < 0 else "unclosed_quote"
        return _scanned(buffer, fields, begin, at, after, opened=opened, limit=limit, start=start)


def _scanned(
    buffer: memoryview, fields: list[bytes], begin: int, at: int, after: int, *, opened: bool, limit: int, start: int
) -> Scanned | Trouble:
    # the carriage return of a terminator was taken for text of an unquoted last field
    end = at - 1 if not opened and at > begin and buffer[at - 1] == 13 else at
    if end - start > limit:
        return "unclosed_quote"
    return Scanned(fields=(*fields, bytes(buffer[begin:end])), end=end, next=after)


def _terminator(buffer: memoryview, at: int, horizon: int, *, ends_here: bool) -> int | None:
    """Where the next record begins; None when the bytes end too early, -1 when something else stands there."""
    rest = bytes(buffer[at : min(at + 2, horizon)])
    if rest.startswith(b"\n"):
        return at + 1
    if rest == b"\r\n":
        return at + 2
    if rest in (b"", b"\r"):
        return horizon if ends_here else None
    return -1


@lru_cache(maxsize=16)
def _patterns(delimiter: str, quote: str, trim: bool) -> tuple[re.Pattern[bytes], re.Pattern[bytes]]:
    separator, mark = re.escape(delimiter.encode()), re.escape(quote.encode())
    plain = re.compile(rb"[^" + separator + rb"\n]*+")
    if not quote:
        return plain, plain
    # possessive: an escaped quote is never taken for a closing one by giving back
    around = rb"[ \t]*+" if trim and delimiter != "\t" else b" *+" if trim else b""
    return re.compile(around + mark + rb"(?:[^" + mark + rb"]++|" + mark + mark + rb")*+" + mark + around), plain


def canonical(fields: tuple[bytes, ...], dialect: CsvDialect) -> bytes | None:
    """The record with literal carriage returns put into quotes, since other parsers end a record there; None without any."""
    quote = dialect.quote.encode()
    if not any(b"\r" in field and not _is_quoted(field, quote) for field in fields):
        return None
    return dialect.delimiter.encode().join(
        field if _is_quoted(field, quote) or b"\r" not in field else quote + field.replace(quote, quote + quote) + quote
        for field in fields
    )


def _is_quoted(field: bytes, quote: bytes) -> bool:
    return bool(quote) and field.startswith(quote)
