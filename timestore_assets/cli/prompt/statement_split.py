"""Texts of several SQL statements, cut at the semicolons between them; those in texts, names and comments separate nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass

_PIECE = re.compile(
    r"""(?P<text>'(?:[^']|'')*(?P<text_end>'|$)|"(?:[^"]|"")*(?P<name_end>"|$))
    |(?P<comment>--[^\n]*|/\*(?:[^*]|\*(?!/))*(?P<comment_end>\*/|$))
    |(?P<dollar>\$(?P<tag>[A-Za-z_]\w*|)\$)
    |(?P<end>;)
    |(?P<blank>\s+)
    |[^'"$;/\s-]+|.""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitStatements:
    """`complete`: those that a semicolon ends, without it. `rest`: what follows, "" when it is blanks and comments alone."""

    complete: tuple[str, ...]
    rest: str


def split_statements(text: str) -> SplitStatements:
    """The statements of a text; empty ones are left out."""
    complete: list[str] = []
    start = place = 0
    is_empty = True
    while place < len(text):
        match = _PIECE.match(text, place)
        if match is None:  # the last alternative takes any character
            break
        place = match.end()
        if match["dollar"]:
            end = text.find(match["dollar"], place)
            place = len(text) if end < 0 else end + len(match["dollar"])
        if match["end"]:
            if not is_empty:
                complete.append(text[start : match.start()].strip())
            start, is_empty = place, True
        elif not (match["blank"] or match["comment"]):
            is_empty = False
    return SplitStatements(complete=tuple(complete), rest="" if is_empty else text[start:].strip())


def all_statements(text: str) -> tuple[str, ...]:
    """Also the last one, which nothing has to end."""
    found = split_statements(text)
    return (*found.complete, found.rest) if found.rest else found.complete
