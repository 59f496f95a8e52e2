"""Which partitions without rows were sealed at a version: no segment says so, but the audit log does.

A build that takes the last rows out of a partition seals it with the hash of nothing. Once routine rows of the audit are
forgotten nobody knows any more, and such a partition counts as open: there is nothing in it to build.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import Connection, Row, select

from timestore_assets.catalog.instants import from_micros
from timestore_assets.catalog.tables import audit
from timestore_assets.model.hash_sums import EMPTY
from timestore_assets.model.window import Window

_SEALED = "sealed"
a = audit.c


def sealed_empty(connection: Connection, dataset: Row[Any], version: int, starts: Collection[int]) -> frozenset[int]:
    """Of these partitions, none of which has rows at that version, the ones that were sealed in it."""
    window = Window(dataset.window)
    keys = {window.key_of(from_micros(start)): start for start in starts}
    if not keys:
        return frozenset()
    # few builds leave nothing, so this keeps all other partitions from being looked for one by one
    left_nothing = select(a.details).where(
        a.dataset_id == dataset.id, a.action == "built", a.manifest_version <= version, a.details.contains(EMPTY)
    )
    ever = {json.loads(details)["partition"] for details in connection.execute(left_nothing).scalars()}
    return frozenset(keys[key] for key in sorted(ever & keys.keys()) if _is_sealed(connection, dataset.id, key, version))


def _is_sealed(connection: Connection, dataset_id: int, key: str, version: int) -> bool:
    """By what was done last with it; a rollback made of it what it was in the version that was gone back to."""
    while (last := _last(connection, dataset_id, key, version)) is not None:
        if "to" not in last:
            return (last["state"], last["content_hash"]) == (_SEALED, EMPTY)
        version = last["to"]
    return False


def _last(connection: Connection, dataset_id: int, key: str, version: int) -> Mapping[str, Any] | None:
    """Of the newest build or rollback up to a version that may have changed the partition."""
    statement = (
        select(a.details)
        .where(a.dataset_id == dataset_id, a.manifest_version <= version)
        .where((a.action == "built") & a.details.contains(json.dumps(key), autoescape=True) | (a.action == "rolled_back"))
        .order_by(a.id.desc())
    )
    for text in connection.execute(statement).scalars():
        details: Mapping[str, Any] = json.loads(text)
        listed = details.get("partitions", ())
        is_built = details.get("partition") == key and details["state"] is not None
        # a rollback of very many partitions doesn't list all of them
        if is_built or key in listed or details.get("partition_count", 0) > len(listed):
            return details
    return None
