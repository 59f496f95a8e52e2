"""Statements beside SELECT that only read: `EXPLAIN` of one, whose plan is given as rows, and `SHOW TABLES`.

`DESCRIBE` and `SUMMARIZE` are SELECTs to DuckDB's parser. What is explained is checked as if it were to run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

Kind = Literal["select", "explain", "tables"]
_BLANKS = r"(?:\s|--[^\n]*(?:\n|$)|/\*(?:[^*]|\*(?!/))*\*/)"
_EXPLAIN = re.compile(rf"{_BLANKS}*explain\b{_BLANKS}*", re.IGNORECASE)
_TABLES = re.compile(rf"{_BLANKS}*show{_BLANKS}+tables{_BLANKS}*;?{_BLANKS}*", re.IGNORECASE)
_SHOWN = re.compile(rf"{_BLANKS}*(describe|desc|summarize|show)\b", re.IGNORECASE)
_PIVOT = re.compile(r"\bpivot\b", re.IGNORECASE)
EXPLAIN = "EXPLAIN (FORMAT json) "

# of what DuckDB tells about a step: nothing with names of files, of their aliases, or of this project's own tables
_DETAILS = (
    "Conditions",
    "Join Type",
    "Filters",
    "Groups",
    "Aggregates",
    "Order By",
    "Top",
    "Offset",
    "Limit",
    "Expression",
    "Projections",
)
_HIDDEN = re.compile(r"\b__(source|position|session|rows)\b")
_COMPRESSION = re.compile(r"__internal_\w+\(([^()]*)\)")
_MOST_TEXT = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """`text`: the SELECT of a statement; the whole text when it is none of the others."""

    kind: Kind
    text: str


def form_of(text: str) -> Form:
    """What kind of statement a text is, by its first words."""
    if _TABLES.fullmatch(text):
        return Form(kind="tables", text=text)
    if match := _EXPLAIN.match(text):
        return Form(kind="explain", text=text[match.end() :])
    return Form(kind="select", text=text)


def is_shown(text: str) -> bool:
    """Whether it is a `DESCRIBE` or `SUMMARIZE`, which can't be described in its turn."""
    return _SHOWN.match(text) is not None


def hint(text: str) -> str:
    """Why a text that looks like reading is no SELECT to the parser; "" when nothing is known."""
    if _PIVOT.search(text):
        return "name the values of a PIVOT: PIVOT t ON column IN ('a', 'b') USING sum(x)"
    return ""


TABLES_SCHEMA = pa.schema([("name", pa.string())])
PLAN_SCHEMA = pa.schema([("step", pa.string()), ("rows", pa.int64()), ("details", pa.string())])
"""`step`: with a dot for each step that its rows go through later. `rows`: as DuckDB estimates them, null where it doesn't."""


def tables(names: Sequence[str]) -> pa.RecordBatch:
    """The answer to `SHOW TABLES`."""
    return pa.RecordBatch.from_pydict({"name": sorted(names)}, schema=TABLES_SCHEMA)


def plan_rows(document: str) -> pa.RecordBatch:
    """DuckDB's plan, which it gives as JSON, with what is no secret of where rows are kept."""
    steps = list(_steps(json.loads(document)))
    columns = [[step[i] for step in steps] for i in range(len(PLAN_SCHEMA))]
    return pa.RecordBatch.from_arrays(
        [pa.array(*pair) for pair in zip(columns, PLAN_SCHEMA.types, strict=True)], schema=PLAN_SCHEMA
    )


def _steps(plan: list[dict[str, Any]]) -> Iterator[tuple[str, int | None, str]]:
    left = [(0, node) for node in reversed(plan)]
    while left:
        depth, node = left.pop()
        info = node.get("extra_info") or {}
        name = str(node.get("name", "")).strip().lower().replace("_", " ")
        rows = str(info.get("Estimated Cardinality", ""))
        details = "; ".join(f"{key.lower()} {_plain(info[key])}" for key in _DETAILS if info.get(key))
        yield "· " * depth + name, int(rows) if rows.isdigit() else None, details
        left += [(depth + 1, child) for child in reversed(node.get("children") or [])]


def _plain(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    text = _COMPRESSION.sub(r"\1", _HIDDEN.sub("(hidden)", " ".join(text.split())))
    return text if len(text) <= _MOST_TEXT else f"{text[: _MOST_TEXT - 1]}…"
