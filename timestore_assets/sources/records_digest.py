"""The digest of records that share an idempotency key, the same whichever way they came."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def records_digest(records: Iterable[bytes | None]) -> str:
    """SHA-256 over the records' original bytes, as hex digits."""
    digest = hashlib.sha256()
    for record in records:
        # the length keeps the borders of the records part of the content
        digest.update(len(record or b"").to_bytes(8, "big") + (record or b""))
    return digest.hexdigest()
