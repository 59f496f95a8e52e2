"""Which record of a batch made a change of the schema, and a sample of its value."""

from __future__ import annotations

import re

from timestore_assets.catalog.commit_values import Evidence, SchemaChange
from timestore_assets.landing.preparing.evolve import DecidingValue
from timestore_assets.sources.batches import Batch

SAMPLE_CHARACTERS = 60
_SECRET = re.compile(
    r"pass(word|wd|phrase|code)|pwd|secret|token|credential|auth(?!ors?($|[^a-z]))|cookie|(api|private)[_-]?key|signature|iban|credit"
    r"|(^|[^a-z])(pin|ssn)([^a-z]|$)",
    re.IGNORECASE,
)
"""Names of columns that may hold what nobody should read anywhere else."""


def sample_of(column: str, text: str) -> str | None:
    """The beginning of a value in one printable line; None where the column's name says that it may be a secret."""
    if _SECRET.search(column):
        return None
    shown = "".join(char if char.isprintable() else " " for char in text[: SAMPLE_CHARACTERS + 1])
    return shown if len(shown) <= SAMPLE_CHARACTERS else f"{shown[: SAMPLE_CHARACTERS - 1]}…"


def with_evidence(change: SchemaChange, batch: Batch, value: DecidingValue) -> SchemaChange:
    """The change with what made it."""
    row, lines, partitions = value.row, batch.lines, batch.source_partitions
    evidence = Evidence(
        position=batch.positions[row].as_py(),
        line=lines[row].as_py() if lines is not None and len(lines) else None,
        source_partition_id=None if partitions is None else partitions[row].as_py(),
        sample=sample_of(change.column, value.text),
    )
    return SchemaChange(kind=change.kind, column=change.column, before=change.before, after=change.after, evidence=evidence)
