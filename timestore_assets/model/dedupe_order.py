"""Which of several rows with equal keys stays: one order, used by builds and by queries over unbuilt rows alike."""

from __future__ import annotations

from timestore_assets.model.dataset import Dedupe
from timestore_assets.model.schema import POSITION_COLUMN, SESSION_COLUMN, SOURCE_COLUMN, Schema
from timestore_assets.model.types import quote

ARRIVAL = (SESSION_COLUMN, SOURCE_COLUMN, POSITION_COLUMN)
"""Hidden columns that together say in which order rows arrived."""


def keeping_order(dedupe: Dedupe, schema: Schema) -> str:
    """SQL terms for ORDER BY under which the row to keep comes first among rows with equal keys.

    With `by` that column decides, then the rest of the row by column name, so that neither the order of arrival nor the order
    in which evolution found columns can change the outcome; arrival only settles between rows that are equal. Without
    `by` arrival decides. The terms need every visible column of `schema` in its stored form (inferred ones as raw text) and the
    hidden ones: a reader that casts inferred columns first would break ties differently.
    """
    direction = "DESC" if dedupe.keep == "last" else "ASC"
    arrival = [f"{quote(name)} {direction}" for name in ARRIVAL]
    if dedupe.by is None:
        return ", ".join(arrival)
    settled = {dedupe.by, *dedupe.keys}
    content = [dedupe.by, *sorted(name for name in schema.names if name not in settled)]
    return ", ".join([*(f"{quote(name)} {direction} NULLS LAST" for name in content), *arrival])
