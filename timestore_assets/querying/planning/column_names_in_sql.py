"""Column names as people type them: found whatever their case, and the closest ones named when there is none."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from timestore_assets.model.errors import InputError
from timestore_assets.model.schema import Column, Schema


def find_column(schema: Schema, name: str, *, dataset: str) -> Column:
    """The visible column of that name; as in DuckDB case does not matter.

    Raises:
        InputError: there is none; names the closest ones.
    """
    found = find_any(schema, name)
    if found is None:
        raise InputError(f"dataset {dataset!r} has no column {name!r}; {_became(schema, name) or suggestion(name, schema.names)}")
    return found


def _became(schema: Schema, name: str) -> str:
    """What became of a column that had that name, "" when none had."""
    folded = name.lower()
    former = {one.lower(): column.name for one, column in schema.former_names.items()}
    if folded in former:
        return f"it is called {former[folded]!r} now"
    retired = [one for one in schema.retired if one.name.lower() == folded and one.name in schema.retired_names]
    if not retired:
        return ""
    # of several that had the name, the last is meant
    column = max(retired, key=lambda one: one.id)
    return f"it {_ended(schema, column)}; `--as-of` a version of before shows it"


def _ended(schema: Schema, column: Column) -> str:
    ending = schema.endings.get(column.id)
    if ending is None:
        return "was dropped"
    heir, seen = ending.by, {column.id}
    while heir is not None and heir not in seen:
        shown = next((one for one in schema if one.id == heir), None)
        if shown is not None:
            return f"was renamed to {shown.name!r} in schema version {ending.version}, with other values"
        seen.add(heir)
        heir = schema.endings[heir].by if heir in schema.endings else None
    return f"was dropped in schema version {ending.version}"


def find_any(schema: Schema, name: str) -> Column | None:
    """The same, None when there is none."""
    return schema.find(name) or next((column for column in schema if column.name.lower() == name.lower()), None)


def suggestion(name: str, known: Sequence[str]) -> str:
    """`did you mean …?` with the closest names, or all of them when none is close and they are few."""
    by_folded = {one.lower(): one for one in known}
    close = difflib.get_close_matches(name.lower(), by_folded, n=3, cutoff=0.6)
    if close:
        return f"did you mean {' or '.join(by_folded[one] for one in close)}?"
    shown = ", ".join(known[:12])
    return f"there are {shown}{', …' if len(known) > 12 else ''}" if known else "there are none"


def unique(names: Iterable[str]) -> tuple[str, ...]:
    """The names in order, each once."""
    return tuple(dict.fromkeys(names))
