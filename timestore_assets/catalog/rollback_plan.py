"""What a rollback to a version would change, as a function of what the catalog holds.

The target is what was live then and what landed since, as it landed: builds made since fall away, landings stay. A partition
whose landings since can't be had as they landed any more, because builds merged and the collector removed them, stays as it
is if it held nothing then; otherwise the rollback is refused, for it would lose them.

Retractions are as they were then, but for those of a replaced content: what replaced it landed since and stays, so it goes on
hiding the rows of the former one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, and_, func, or_, select

from timestore_assets.catalog import schema_versions
from timestore_assets.catalog.empty_seals import sealed_empty
from timestore_assets.catalog.instants import from_micros
from timestore_assets.catalog.leases import require_readable
from timestore_assets.catalog.manifest import live
from timestore_assets.catalog.portable import chunked
from timestore_assets.catalog.retractions import made_by_landing
from timestore_assets.catalog.schema_migrations import migrated_since
from timestore_assets.catalog.stored_segments import parse_ids
from timestore_assets.catalog.tables import (
    partitions,
    retractions,
    segment_stats,
    segments,
    source_partitions,
    sources,
)
from timestore_assets.model.errors import RefusedError
from timestore_assets.model.window import Window

Place = tuple[str, int]
"""Which segment it is, however often it was live: the name of its object, and the start of its partition."""
Segments = Mapping[Place, Row[Any]]
Bounds = tuple[int, int | None, int | None, int | None]
"""Of a retraction: source partition, first and end position, last session."""
s, r = segments.c, retractions.c
_EXPIRED = "expired"
_NAMED = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class RollbackPlan:
    """Rows of segments that go, come, or begin another life in place, and retractions that come back or are taken back."""

    start_version: int
    to_version: int
    goes: tuple[Row[Any], ...] = ()
    comes: tuple[Row[Any], ...] = ()
    renewed: tuple[Row[Any], ...] = ()
    """Live then and now, but rows of them are hidden no more: a build that has left those out must find them changed."""
    landings: tuple[Row[Any], ...] = ()
    """Landed since, and there after it."""
    hides: tuple[Bounds, ...] = ()
    shows: tuple[int, ...] = ()
    """Ids of retractions that are taken back."""
    after: Mapping[int, tuple[Row[Any], ...]] = field(default_factory=dict)
    """Segments of each partition that changes, by its start, as they are then."""
    before: Mapping[int, tuple[Row[Any], ...]] = field(default_factory=dict)
    hidden: frozenset[int] = frozenset()
    """Source partitions of which rows are hidden then."""
    expired: tuple[int, ...] = ()
    """Starts of partitions that held rows then and have expired since: no rollback brings them back."""
    sealed_empty: frozenset[int] = frozenset()
    """Starts of the partitions that have no rows after it, and were sealed like that."""

    @property
    def nothing(self) -> bool:
        """Whether all is as it was."""
        return not (self.after or self.hides or self.shows)


def plan_rollback(
    connection: Connection, dataset: Row[Any], to: int, *, with_landings: bool, reopened: Collection[int] = (), now: int
) -> RollbackPlan:
    """What has to change; `dataset`: its row, locked if it is going to be done.

    Args:
        with_landings: what landed since goes, too. reopened: source partitions whose content is given its place back.

    Raises:
        RefusedError: the version can't be read, the schema was migrated since, or landings would be lost.
    """
    require_target(connection, dataset, to, now=now)
    fixed = _fixed(connection, dataset.id)
    then = _named(connection, dataset.id, live(to), but=fixed)
    present = _named(connection, dataset.id, live(None), but=fixed)
    since = landed_since(connection, dataset.id, to, but=fixed)
    closed = _closed(connection, dataset.id) - set(reopened)
    # nobody would see a row of these: what took their place has landed
    landings = {} if with_landings else {name: row for name, row in since.items() if name in present or _shows(row, closed)}
    untouched = set() if with_landings else _unrestorable(connection, dataset, to, then)
    target = {name: row for name, row in (then | landings).items() if row.partition_start not in untouched}
    target |= {name: row for name, row in present.items() if row.partition_start in untouched}
    standing = _standing(connection, dataset.id, to, with_landings=with_landings)
    hides, shows, hidden = _retractions(connection, dataset.id, to, _sources(target.values()), closed, standing)
    taken_back = {shown.source_partition_id for shown in shows}
    goes = [row for name, row in present.items() if name not in target]
    comes = [row for name, row in target.items() if name not in present]
    renewed = [row for name, row in present.items() if name in target and taken_back.intersection(parse_ids(row.source_ids))]
    newly_hidden = {source for source, *_ in hides}
    starts = {row.partition_start for row in (*goes, *comes, *renewed)}
    starts |= {row.partition_start for row in target.values() if newly_hidden.intersection(parse_ids(row.source_ids))}
    after = _by_start(starts, target.values())
    return RollbackPlan(
        start_version=dataset.manifest_version,
        to_version=to,
        goes=tuple(goes),
        comes=tuple(comes),
        renewed=tuple(renewed),
        landings=tuple(row for name, row in landings.items() if name in target),
        hides=tuple(hides),
        shows=tuple(shown.id for shown in shows),
        after=after,
        before=_by_start(starts, present.values()),
        hidden=hidden,
        expired=_expired_since(connection, dataset.id, to, fixed),
        sealed_empty=sealed_empty(connection, dataset, to, [start for start, rows in after.items() if not rows]),
    )


def require_target(connection: Connection, dataset: Row[Any], to: int, *, now: int) -> None:
    """RefusedError when a dataset can't be rolled back to that version, whatever it holds."""
    if not 0 <= to <= dataset.manifest_version:
        raise RefusedError(f"dataset {dataset.name!r} has no version {to}; the newest is {dataset.manifest_version}")
    require_readable(connection, dataset, to, now=now)


def schema_back(connection: Connection, dataset: Row[Any], to: int) -> int | None:
    """The schema version whose columns come back with that version, since a migration lies between; else None.

    Evolution only adds columns, which older rows may lack: those stay.
    """
    then = schema_versions.version_at(connection, dataset.id, to)
    return None if migrated_since(connection, dataset.id, then) is None else then


def landed_since(connection: Connection, dataset_id: int, to: int, *, but: Collection[int] = ()) -> Segments:
    """Deltas as they landed after a version, whether live, merged by builds or rolled back since."""
    first = func.coalesce(s.first_version, s.added_version)
    return _named(connection, dataset_id, and_(s.kind == "delta", s.level == 0, first > to), but=but)


def _named(connection: Connection, dataset_id: int, condition: Any, *, but: Collection[int]) -> dict[Place, Row[Any]]:
    """Rows by their place, each segment's newest life, apart from those of some partitions."""
    rows = connection.execute(select(segments).where(s.dataset_id == dataset_id, condition).order_by(s.id))
    return {place_of(row): row for row in rows if row.partition_start not in but}


def place_of(row: Row[Any]) -> Place:
    """Which segment a row is a life of."""
    return row.name, row.partition_start


def _fixed(connection: Connection, dataset_id: int) -> set[int]:
    """Starts of partitions that retention has ended, which no rollback brings back."""
    p = partitions.c
    return set(connection.execute(select(p.start).where(p.dataset_id == dataset_id, p.state == _EXPIRED)).scalars())


def _expired_since(connection: Connection, dataset_id: int, to: int, expired: set[int]) -> tuple[int, ...]:
    if not expired:
        return ()
    held = select(s.partition_start).where(s.dataset_id == dataset_id, live(to)).distinct()
    return tuple(sorted(expired.intersection(connection.execute(held).scalars())))


def _unrestorable(connection: Connection, dataset: Row[Any], to: int, then: Segments) -> set[int]:
    """Partitions of whose landings since some are only left in what builds made of them; they stay as they are."""
    p = partitions.c
    rows = connection.execute(select(p.start).where(p.dataset_id == dataset.id, p.landing_collected > to)).scalars().all()
    held = {row.partition_start for row in then.values()}
    if lost := sorted(held.intersection(rows)):
        window = Window(dataset.window)
        keys = [window.key_of(from_micros(start)) for start in lost]
        named = ", ".join(keys[:_NAMED]) + (f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else "")
        raise RefusedError(
            f"rows that landed after version {to} are only left in later builds of {named}, so rolling dataset "
            f"{dataset.name!r} back would lose them; choose a later version, or say --and-landings to do without them"
        )
    return set(rows)


def _closed(connection: Connection, dataset_id: int) -> set[int]:
    """Source partitions whose content was replaced: nothing of them is shown, and nothing lands there again."""
    p = source_partitions.c
    own = select(sources.c.id).where(sources.c.dataset_id == dataset_id)
    rows = connection.execute(select(p.id).where(p.source_id.in_(own), p.retracted_version.is_not(None)))
    return set(rows.scalars())


def _shows(row: Row[Any], closed: set[int]) -> bool:
    held = parse_ids(row.source_ids)
    return not held or not closed.issuperset(held)


def _sources(rows: Iterable[Row[Any]]) -> set[int]:
    return {source for row in rows for source in parse_ids(row.source_ids)}


def _retractions(
    connection: Connection, dataset_id: int, to: int, held: set[int], closed: set[int], standing: Sequence[Row[Any]]
) -> tuple[list[Bounds], list[Row[Any]], frozenset[int]]:
    """Bounds of those that begin again, rows of those that end, and the source partitions of which rows are hidden after it.

    `held`: source partitions of which there are rows after it. `standing`: made since, and valid after it as well.
    """
    stays = {row.id for row in standing}
    at_target = and_(r.added_version <= to, or_(r.removed_version.is_(None), r.removed_version > to))
    rows = connection.execute(
        select(retractions).where(r.dataset_id == dataset_id, or_(r.removed_version.is_(None), at_target)).order_by(r.id)
    ).all()
    present = [row for row in rows if row.removed_version is None]
    kept = [
        row
        for row in present
        if row.added_version <= to or row.id in stays or (_is_whole(row) and row.source_partition_id in closed)
    ]
    known = {_bounds(row) for row in kept}
    wanted: dict[Bounds, None] = {_bounds(row): None for row in rows if row.added_version <= to}
    wanted |= {(source, None, None, None): None for source in sorted(closed)} | {_bounds(row): None for row in standing}
    hides = [bounds for bounds in wanted if bounds[0] in held and bounds not in known]
    shows = [row for row in present if row not in kept]
    hidden = {bounds[0] for bounds in (*known, *hides)}
    return hides, shows, frozenset(hidden)


def _standing(connection: Connection, dataset_id: int, to: int, *, with_landings: bool) -> list[Row[Any]]:
    """Retractions of landings since that stay, such as of a reload: what took the place of the rows is there still."""
    if with_landings:
        return []
    of_landing = made_by_landing(connection, dataset_id)
    rows = connection.execute(select(retractions).where(r.dataset_id == dataset_id, r.added_version > to).order_by(r.id))
    return [row for row in rows if not _is_whole(row) and of_landing(row.added_version)]


def _bounds(row: Row[Any]) -> Bounds:
    return (row.source_partition_id, row.first_position, row.end_position, row.last_session)


def _is_whole(row: Row[Any]) -> bool:
    return _bounds(row)[1:] == (None, None, None)


def _by_start(starts: set[int], rows: Iterable[Row[Any]]) -> dict[int, tuple[Row[Any], ...]]:
    found: dict[int, list[Row[Any]]] = defaultdict(list)
    for row in rows:
        if row.partition_start in starts:
            found[row.partition_start].append(row)
    return {start: tuple(found[start]) for start in sorted(starts)}


def stats_of(connection: Connection, ids: Sequence[int]) -> dict[int, str]:
    """Statistics as text, by the id of the segment's row."""
    found: dict[int, str] = {}
    for some in chunked(ids):
        rows = connection.execute(select(segment_stats).where(segment_stats.c.segment_id.in_(some)))
        found.update((row.segment_id, row.stats) for row in rows)
    return found
