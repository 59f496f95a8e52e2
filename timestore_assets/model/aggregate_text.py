"""Aggregates as texts: `avg:temp` and, as in SQL, `avg(temp)`, each with a name of its own if one likes.

A column's name may hold blanks and brackets; one with a comma, a quote or the word `as` in it goes in double quotes.
"""

from __future__ import annotations

import difflib
import re
from typing import Any, cast

from timestore_assets.model.errors import InputError
from timestore_assets.model.question import FUNCTIONS, SPELLINGS, Aggregate, Function

_NAME = r'"(?:[^"]|"")+"|[^\s"(),][^",]*?'
_FUNCTION = re.compile(r"\s*(?P<fn>[A-Za-z_][A-Za-z_0-9]*)\s*")
_BRACKETS = re.compile(r'\s*\(\s*(?P<inside>(?:"(?:[^"]|"")*"|\([^"()]*\)|[^"()])*?)\s*\)\s*')
_COLUMN = re.compile(rf"\s*:\s*(?P<column>{_NAME})\s*(?=\bas\b|$)", re.IGNORECASE)
_ALIAS = re.compile(rf"\s*\bas\s+(?P<alias>{_NAME})\s*$", re.IGNORECASE)
_ONE_NAME = re.compile(_NAME)
_DISTINCT = re.compile(r"distinct\s+", re.IGNORECASE)
_PERCENTILE = re.compile(r"p([0-9]{1,3}(?:_[0-9]+)?)")
_EXAMPLE = "temp"


def parse_aggregates(text: str) -> tuple[Aggregate, ...]:
    """Aggregates as people write them: `avg:temp`, `max(temp)`, `count`, `percentile(95):temp`, `first:temp as opening`.

    `p95(temp)` is a percentile, `mean` is `avg`, `std` is `stddev`, `count(distinct x)` is `count_distinct`.

    Raises:
        InputError: the text is not of that form, or names a function that there is not; says how it would be written.
    """
    return tuple(_aggregate(part.strip()) for part in _split(text))


def _split(text: str) -> list[str]:
    """Parts between commas that are neither in parentheses nor in double quotes."""
    parts = re.findall(r'(?:"(?:[^"]|"")*"|\((?:"(?:[^"]|"")*"|\([^"()]*\)|[^()"])*\)|[^,])+|(?<=,)(?=,|$)|^(?=,|$)', text)
    if any(not part.strip() for part in parts):
        raise InputError("an aggregate is empty; write them like avg:temp,max(temp),count")
    return parts


def _aggregate(text: str) -> Aggregate:
    head = _FUNCTION.match(text)
    if head is None:
        raise _no_form(text)
    name, end = head["fn"].lower(), head.end()
    brackets = _BRACKETS.match(text, end)
    end = brackets.end() if brackets else end
    column = _COLUMN.match(text, end)
    end = column.end() if column else end
    alias = _ALIAS.match(text, end)
    if (alias.end() if alias else end) != len(text):
        raise _no_form(text)
    return _made(
        name,
        inside=brackets["inside"] if brackets else None,
        column=_unquoted(column["column"]) if column else None,
        alias=_unquoted(alias["alias"]) if alias else "",
    )


def _made(name: str, *, inside: str | None, column: str | None, alias: str) -> Aggregate:
    """The aggregate of a function's name, what stands in brackets after it, and what stands behind a colon."""
    percentile: float | None = None
    if match := _PERCENTILE.fullmatch(name):
        name, percentile = "percentile", _percentage(match[1].replace("_", "."))
    fn = _function(name)
    if fn == "percentile" and percentile is None:
        inside, percentile = _taken_percentage(inside, column)
    if inside is not None:
        if column is not None:
            raise InputError(f"{fn} has a column in brackets and one behind a colon; write {fn}:{_shown(column)}")
        fn, column = _column_in(fn, inside)
    if column is None and fn != "count":
        shown = "percentile(95)" if fn == "percentile" else fn
        raise InputError(
            f"{fn} needs a column; write for instance {shown}:{_EXAMPLE}" + ("" if percentile else f" or {fn}({_EXAMPLE})")
        )
    return Aggregate(fn=fn, column=column, percentile=percentile, alias=alias)


def _function(name: str) -> Function:
    if name in FUNCTIONS:
        return name
    if name in SPELLINGS:
        return SPELLINGS[name]
    close = difflib.get_close_matches(name, [*FUNCTIONS, *SPELLINGS], n=1)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(FUNCTIONS[:-1])} and percentile(p)"
    raise InputError(f"there is no aggregate {name!r}; {hint}")


def _taken_percentage(inside: str | None, column: str | None) -> tuple[str | None, float]:
    """Of `percentile(95):temp` and `percentile(temp, 95)`: what is left in the brackets, and the percentage."""
    said = f"percentile takes a percentage; write for instance percentile(95):{_shown(column or _EXAMPLE)}"
    if not inside:
        raise InputError(said)
    if column is not None:
        return None, _percentage(inside)
    left, comma, right = inside.rpartition(",")
    if not comma:
        if re.fullmatch(r"[0-9.]+", inside):
            _percentage(inside)
            raise InputError(f"percentile needs a column; write for instance percentile({inside}):{_EXAMPLE}")
        raise InputError(f"percentile takes a percentage; write for instance percentile(95):{_shown(inside)}")
    return left.strip(), _percentage(right.strip())


def _percentage(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        raise InputError(f"percentile({text}) is not possible; the percentage is between 0 and 100")
    return value


def _column_in(fn: Function, inside: str) -> tuple[Function, str | None]:
    """The function and the column of what stands in brackets, as in SQL."""
    if fn == "count" and inside in ("", "*"):
        return fn, None
    if fn == "count" and (match := _DISTINCT.match(inside)):
        fn, inside = "count_distinct", inside[match.end() :]
    if not _ONE_NAME.fullmatch(inside):
        shown = f'{fn}("{inside}")' if inside and '"' not in inside else f"{fn}({_EXAMPLE})"
        raise InputError(f"{fn}({inside}) is not possible; write one column, for instance {shown}")
    return fn, _unquoted(inside)


def _unquoted(name: Any) -> str:
    text = cast(str, name)
    return text[1:-1].replace('""', '"') if text.startswith('"') else text.strip()


def _shown(column: str) -> str:
    """A column as it has to be written."""
    is_plain = _ONE_NAME.fullmatch(column) and not re.search(r"\bas\b", column, re.IGNORECASE)
    return column if is_plain else '"' + column.replace('"', '""') + '"'


def _no_form(text: str) -> InputError:
    forms = "avg:temp, avg(temp), percentile(95):temp or max:temp as warmest"
    return InputError(f"{text[:80]!r} is no aggregate; write for instance {forms}")
