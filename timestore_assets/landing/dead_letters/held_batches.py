"""Records that are held for being late, as somebody looks at them before accepting or refusing them: by batch, with samples.

What one commit held of its records is a batch, a dead-letter file of its own. It is accepted or refused whole.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.records import DeadLetterFile, LateRows
from timestore_assets.landing.dead_letters.dead_letter_reader import DeadLetter, first_letters
from timestore_assets.model.errors import InputError
from timestore_assets.storage.object_store import ObjectReader

SAMPLES = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldBatch:
    """Held records of one commit."""

    id: int
    """What to name it by."""
    source: str
    """Kind and address."""
    records: int
    held_at: datetime
    partitions: tuple[LateRows, ...]
    """Where they would land, and how late they were; empty when they were held before this was noted."""
    samples: tuple[DeadLetter, ...]
    """The first of them."""


def held_batches(
    catalog: Catalog, storage: ObjectReader, dataset_id: int, *, limit: int, samples: int = SAMPLES
) -> tuple[list[HeldBatch], int]:
    """The oldest held batches of a dataset, at most so many, and how many there are.

    Raises:
        DamagedError, UnavailableError: the samples of one can't be read.
    """
    waiting = [found for found in catalog.dead_letters.of(dataset_id) if found[1].kind == "held"]
    shown = [
        HeldBatch(
            id=file.id,
            source=f"{source.kind}:{source.address}",
            records=file.rows,
            held_at=at,
            partitions=file.late,
            samples=tuple(first_letters(storage, file, samples)),
        )
        for source, file, at in waiting[:limit]
    ]
    return shown, len(waiting)


def require_held(files: Sequence[DeadLetterFile], wanted: Collection[int], *, dataset: str) -> None:
    """InputError when one of these batches is not held, or not any more."""
    held = {file.id for file in files if file.kind == "held"}
    if unknown := set(wanted) - held:
        raise InputError(f"{dataset!r} holds no batch {min(unknown)}, or not any more; list what it holds again")
