"""Records whose partition the watermark has closed."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from timestore_assets.landing.sieve import Sieve
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.window import format_time

LATE = "late"
"""Reason code of records that the dataset's `late.policy` drops or holds."""


def closed_before(dataset: Dataset, watermark: datetime | None) -> datetime | None:
    """Start of the first partition that is still open: the watermark has not passed its end and `late.allowed`."""
    return None if watermark is None else dataset.window.start_of(watermark - dataset.late.allowed)


def refuse_late(table: pa.Table, dataset: Dataset, sieve: Sieve, *, before: datetime | None) -> None:
    """Keep back good rows of closed partitions (`late`), unless the policy is to correct those partitions.

    `before`: as `closed_before` gives it; None when nothing is closed.
    """
    if before is None or dataset.late.policy == "correct":
        return
    border = pa.scalar(before.astimezone(UTC).replace(tzinfo=None), pa.timestamp("us"))
    late = pc.fill_null(pc.less(table.column(dataset.time), border), False).to_numpy()
    verb = "dropped" if dataset.late.policy == "drop" else "held"
    reason = f"its partition was closed by the watermark, which has passed {format_time(before)}; late records are {verb}"
    sieve.refuse(np.flatnonzero(late & sieve.good()), code=LATE, column=dataset.time, reason=reason)
