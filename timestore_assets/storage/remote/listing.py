"""Listing a bucket to its end, also when the connection breaks off in the middle of a page, which no client tries again."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from timestore_assets.model.errors import UnreachableError
from timestore_assets.storage.remote.errors import translated

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ObjectStore

_PAUSE_SECONDS = 0.2


def whole_listing(store: ObjectStore, place: str, folder: str, *, retry_seconds: float) -> Iterator[Sequence[ObjectMeta]]:
    """Pages of the objects below a folder, in order of their names and each object once.

    `place`: the bucket in a sentence. `retry_seconds`: how long to go on without a page.

    Raises:
        UnavailableError: as `translated` says.
    """
    last: str | None = None
    began = time.monotonic()
    while True:
        try:
            for page in _behind(store, place, folder, last):
                last, began = page[-1]["path"], time.monotonic()
                yield page
        except UnreachableError:
            if time.monotonic() - began + _PAUSE_SECONDS > retry_seconds:
                raise
            time.sleep(_PAUSE_SECONDS)
        else:
            return


def _behind(store: ObjectStore, place: str, folder: str, last: str | None) -> Iterator[Sequence[ObjectMeta]]:
    import obstore

    with translated(place):
        for page in obstore.list(store, prefix=folder or None, offset=last):
            # some stores take no notice of where to begin
            if behind := [found for found in page if last is None or found["path"] > last]:
                yield behind
