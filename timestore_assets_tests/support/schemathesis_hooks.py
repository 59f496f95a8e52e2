"""How schemathesis writes the formats of bodies that it doesn't know."""

from __future__ import annotations

from typing import Any

import schemathesis

TEXTS = ("application/x-ndjson", "text/csv", "application/vnd.apache.arrow.stream")


@schemathesis.serializer(*TEXTS)
def text(_context: Any, value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode("utf-8", errors="replace")


@schemathesis.hook
def filter_case(_context: Any, case: Any) -> bool:
    """A body of text is always text: there is no sending something of another type in its place."""
    return case.media_type not in TEXTS or isinstance(case.body, str | bytes)
