"""Which listed files are ready to be landed: a pure function of two observations, so that it can be replayed and tested."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from timestore_assets.sources.files.listing import ListedFile, Listing

CURSOR_VERSION = 1
MAX_WATCHED = 10_000
"""Files that are watched at a time. The cursor stays below 200 kB; the rest waits until the first ones are settled."""


def plan(
    listing: Listing, cursor: str | None, settled: Mapping[str, str], *, limit: int = MAX_WATCHED
) -> tuple[tuple[ListedFile, ...], str]:
    """The files to land now, in order of address, and the cursor for the next observation.

    A file is eligible when it looks exactly as it did at the observation before, so that a half-copied one is left
    alone. One that is settled is looked at again only when its etag is another: this holds for landed, duplicate,
    rejected and quarantined files alike. An eligible file stays eligible until it is settled, so a lost run loses no file.

    Args:
        listing: what is there now.
        cursor: what the last call returned; None, another version's or an unreadable one just costs one observation.
        settled: etag by address of files whose fate is decided.
        limit: how many unsettled files are watched at a time.
    """
    waiting = sorted(file for file in listing.files if settled.get(file.address) != file.etag)[:limit]
    marks = {file: _mark(file) for file in waiting}
    seen = _parse(cursor)
    eligible = tuple(file for file in waiting if marks[file] in seen)
    return eligible, json.dumps({"version": CURSOR_VERSION, "seen": sorted(marks.values())}, separators=(",", ":"))


def _mark(file: ListedFile) -> str:
    """A fingerprint of address and looks: 64 bits, so that long paths can't make the cursor grow."""
    return hashlib.blake2b(
        f"{file.address}\0{file.etag}\0{file.size}".encode("utf-8", "surrogateescape"), digest_size=8
    ).hexdigest()


def _parse(cursor: str | None) -> frozenset[str]:
    try:
        value = json.loads(cursor or "{}")
    except ValueError:
        return frozenset()
    if not isinstance(value, dict) or value.get("version") != CURSOR_VERSION or not isinstance(value.get("seen"), list):
        return frozenset()
    return frozenset(mark for mark in value["seen"] if isinstance(mark, str))
