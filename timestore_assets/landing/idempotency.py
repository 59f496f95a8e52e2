"""Idempotency keys: an envelope whose key is known brings nothing, and one that uses a known key for other content is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from timestore_assets.catalog.records import IdempotencyKey
from timestore_assets.landing.sieve import Rows, Sieve
from timestore_assets.sources.port import Batch
from timestore_assets.sources.records_digest import records_digest

KEY_COLUMN = "idempotency_key"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Envelope:
    key: str
    digest: str
    rows: Rows


def sift_by_key(batch: Batch, sieve: Sieve, known: Callable[[Sequence[str]], Mapping[str, str]]) -> tuple[IdempotencyKey, ...]:
    """Leave out rows whose envelope has landed before, refuse re-used keys (`key_reused`), and give the new keys.

    `known`: of these keys those already used, with the digests of what they stood for.
    """
    if KEY_COLUMN not in batch.records.column_names:
        return ()
    envelopes = list(_envelopes(batch))
    used = dict(known(sorted({envelope.key for envelope in envelopes}))) if envelopes else {}
    new: dict[str, str] = {}
    for envelope in envelopes:
        digest = used.get(envelope.key)
        if digest is None:
            used[envelope.key] = new[envelope.key] = envelope.digest
        elif digest == envelope.digest:
            sieve.leave_out(envelope.rows)
        else:
            reason = f"idempotency key {envelope.key[:60]!r} was used before for other content"
            sieve.refuse(envelope.rows, code="key_reused", reason=reason)
    return tuple(IdempotencyKey(key=key, digest=digest) for key, digest in new.items())


def _envelopes(batch: Batch) -> Iterator[_Envelope]:
    """Runs of rows of one envelope: their positions rise by one, those of different lines by more."""
    keys = batch.records.column(KEY_COLUMN)
    positions = batch.positions.to_numpy(zero_copy_only=False)
    values = batch.records.column("value")
    for rows in np.split(np.arange(len(positions)), np.flatnonzero(np.diff(positions) != 1) + 1):
        key = keys[int(rows[0])].as_py() if len(rows) else None
        if key is not None:
            yield _Envelope(key=key, digest=records_digest(values.slice(int(rows[0]), len(rows)).to_pylist()), rows=rows)
