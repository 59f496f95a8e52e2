"""What an answer says about rows that were merged in before they landed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

BufferState = Literal["ready", "starting", "full", "unavailable", "off"]
"""ready: everything produced until a moment ago is in the answer · starting: tailing has just begun and is behind · full: more
waits to be landed than may be kept, what is in the answer ends before it · unavailable: the brokers are away · off: not tailed,
or not for such a question (an older version, a page)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Streaming:
    """`merged_rows`: how many rows in range came from the buffer (before filters and deduplication). `watermark`: no more records
    are expected before it. `fresh`: whether the answer has all that had been produced a moment before. `warning`: why not.
    """

    buffer_state: BufferState
    merged_rows: int
    watermark: datetime | None
    fresh: bool
    warning: str = ""
