"""Which partitions hold rows of before a schema version that have to be written anew for it, and what that costs.

It is told from the live segments, each of which names the schema version that it was written under; so it is right whoever
builds, and however a build ends.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import BigInteger, Connection, cast, func, select

from timestore_assets.catalog import datasets, schema_versions
from timestore_assets.catalog.manifest import live
from timestore_assets.catalog.portable import chunked
from timestore_assets.catalog.tables import audit, segments
from timestore_assets.model.stored_columns import computed_since, needs_rewrite

ASSUMED_BYTES_PER_SECOND = 20_000_000
"""Of sealed segments that a build writes, where no build has said how long it took: about what two cores do."""
_RECENT = 50
"""Builds that an estimate looks at."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RewriteCost:
    """What partitions hold now, and how long building them may take."""

    partitions: int
    rows: int
    bytes: int
    seconds: float
    #: What the seconds are told from.
    basis: str

    def plain(self) -> dict[str, Any]:
        return asdict(self)


def outdated_versions(connection: Connection, dataset_id: int, *, made: int, everything: bool = False) -> list[int]:
    """Schema versions of live segments that the rewrite for version `made` concerns.

    They are older, and lack a column that it computes and that is still shown. `everything`: being older is enough.
    """
    c = segments.c
    older = select(c.schema_version).distinct().where(c.dataset_id == dataset_id, c.schema_version < made, live(None))
    versions = sorted(connection.execute(older).scalars())
    if everything or not versions:
        return versions
    current = datasets.row(connection, dataset_id).schema_version
    asked = computed_since(
        schema_versions.schema(connection, dataset_id, made), schema_versions.schema(connection, dataset_id, current)
    )
    return [one for one in versions if needs_rewrite(schema_versions.schema(connection, dataset_id, one), asked)]


def outdated_partitions(
    connection: Connection, dataset_id: int, versions: Collection[int], *, only: Collection[int] | None = None
) -> list[int]:
    """Starts of the partitions with live segments of these schema versions, in order of time. `only`: among these."""
    c = segments.c
    found: set[int] = set()
    for chunk in chunked(versions):
        here = select(c.partition_start).distinct()
        here = here.where(c.dataset_id == dataset_id, c.schema_version.in_(chunk), live(None))
        found.update(connection.execute(here).scalars())
    return sorted(found if only is None else found.intersection(only))


def rewrite_cost(connection: Connection, dataset_id: int, starts: Sequence[int]) -> RewriteCost:
    """What rewriting these partitions costs, by what they hold and by how long recent builds of the dataset took."""
    c = segments.c
    rows = size = 0
    for chunk in chunked(starts):
        sums = select(_sum(c.rows), _sum(c.bytes)).where(c.dataset_id == dataset_id, c.partition_start.in_(chunk), live(None))
        more = connection.execute(sums).one()
        rows, size = rows + (more[0] or 0), size + (more[1] or 0)
    pace, basis = _bytes_per_second(connection, dataset_id)
    return RewriteCost(partitions=len(starts), rows=rows, bytes=size, seconds=round(size / pace, 1), basis=basis)


def _bytes_per_second(connection: Connection, dataset_id: int) -> tuple[float, str]:
    newest = (
        select(audit.c.details)
        .where(audit.c.dataset_id == dataset_id, audit.c.action == "built")
        .order_by(audit.c.id.desc())
        .limit(_RECENT)
    )
    built = [details for text in connection.execute(newest).scalars() if _is_timed(details := json.loads(text))]
    if not built:
        return ASSUMED_BYTES_PER_SECOND, f"assumed {ASSUMED_BYTES_PER_SECOND // 1_000_000} MB/s, no build has been timed yet"
    # by the bytes of all of them: small partitions cost more than their bytes say, and count as they are here
    pace = sum(one["bytes"] for one in built) / sum(one["seconds"] for one in built)
    return pace, f"as fast as the last {len(built)} builds" if len(built) > 1 else "as fast as the last build"


def _is_timed(details: Mapping[str, Any]) -> bool:
    return bool(details.get("seconds") and details.get("bytes"))


def _sum(expression: Any) -> Any:
    return cast(func.sum(expression), BigInteger)
