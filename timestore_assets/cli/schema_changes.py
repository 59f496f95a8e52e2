"""Changes of schemas in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def change_in_words(change: Mapping[str, Any]) -> str:
    """A change of a schema version as a sentence."""
    column, before, after = change["column"], change["before"], change["after"]
    match change["kind"]:
        case "column_added":
            return f"{column} added as {after}"
        case "column_renamed":
            return f"{before} renamed to {after}"
        case "column_transformed":
            return f"{column} has other values" if before == after else f"{column} has other values, {after} in place of {before}"
        case "column_dropped":
            return f"{column} dropped, which was {before}"
        case "column_restored":
            return f"{column} is back as {after}"
        case _:
            return f"{column} widened from {before} to {after}"
