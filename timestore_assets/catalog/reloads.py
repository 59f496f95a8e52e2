"""Windows of topics that are read again: source partitions of their own, beside those of the topic, whose checkpoints stay.

A reload has one for each topic partition, named `<partition>@reload/<first>-<end>/<number>`; positions in it are the broker's
offsets. The first of them is the one for whose end all rows wait: its line is 1 once the reload is done. A reload that was broken
off goes on when the same window is asked for; another window of these partitions gives it up.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import BigInteger, Connection, cast, func, select

from timestore_assets.catalog import datasets, manifest, sources
from timestore_assets.catalog.database import Database
from timestore_assets.catalog.tables import audit, segments, sessions, source_partitions
from timestore_assets.catalog.tables import sources as sources_table
from timestore_assets.model.counters import Counters
from timestore_assets.model.errors import ConflictError
from timestore_assets.model.position import Position
from timestore_assets.model.retraction import Retraction

MARK = "@reload/"
DONE_LINE = 1
_NAME = re.compile(rf"(?P<base>.+){re.escape(MARK)}(?P<first>\d+)-(?P<end>\d+)/(?P<number>\d+)")
p, a = source_partitions.c, audit.c
_REPLAYED, RELOADED = "replayed", "reloaded"


@dataclass(frozen=True, kw_only=True, slots=True)
class ReloadPart:
    """A window of one topic partition, `[first, end)` of its offsets, and how far it has been read again."""

    id: int
    """Of its own source partition."""
    base: str
    """Name of the topic partition's."""
    first: int
    end: int
    number: int
    """Of the reload; its parts have the same."""
    position: Position


@dataclass(frozen=True, kw_only=True, slots=True)
class Replays:
    """Replays of dead letters, which may land records of a window while it is read again."""

    newest: int
    """Grows with each commit of one."""
    last_session: int
    """Of theirs the last one, or the one that was asked about."""


class Reloads:
    """Each method is one short transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, dataset_id: int, source_id: int, windows: Sequence[Retraction]) -> list[ReloadPart]:
        """The parts of a reload of these windows, in their order: those of one that was broken off, or new ones.

        `windows`: ranges of the topic's source partitions.
        """
        return self._database.write(lambda c: begin(c, dataset_id, source_id, windows, now=self._database.now(c)))

    def done(self, source_id: int) -> list[ReloadPart]:
        """Parts whose rows are shown, unless they were closed."""
        return self._database.read(lambda c: done(c, source_id))

    def at_work(self, source_id: int) -> list[ReloadPart]:
        """Parts of reloads that are under way, or were broken off."""
        return self._database.read(lambda c: at_work(c, source_id))

    def replays(self, dataset_id: int, *, session_id: int) -> Replays:
        """What has been replayed in the dataset, by that session or one that began later."""
        return self._database.read(lambda c: replays(c, dataset_id, session_id=session_id))

    def standing_for(self, source_partition_ids: Sequence[int]) -> dict[int, int]:
        """Source partitions of reloads that are done, to the one of these that each was read from."""
        return self._database.read(lambda c: standing_for(c, source_partition_ids))

    def read_again(self, source_partition_ids: Sequence[int]) -> dict[int, list[tuple[int, int]]]:
        """Of these source partitions, windows `[first, end)` whose records have landed once more by a later reload."""
        return self._database.read(lambda c: read_again(c, source_partition_ids))


def begin(
    connection: Connection, dataset_id: int, source_id: int, windows: Sequence[Retraction], *, now: int
) -> list[ReloadPart]:
    """See `Reloads.begin`."""
    dataset = datasets.lock(connection, dataset_id)
    rows = connection.execute(select(p.id, p.name).where(p.id.in_([one.source for one in windows])))
    names: dict[int, str] = {row.id: row.name for row in rows}
    wanted = [(names[one.source], one.first or 0, one.end or 0) for one in windows]
    open_ones = at_work(connection, source_id)
    for number in {part.number for part in open_ones}:
        parts = {(part.base, part.first, part.end): part for part in open_ones if part.number == number}
        if parts.keys() == set(wanted):
            return [parts[one] for one in wanted]
    bases = {base for base, _, _ in wanted}
    given_up = {part.number for part in open_ones if part.base in bases}
    for part in open_ones:
        if part.number in given_up:
            _give_up(connection, source_id, part, version=dataset.manifest_version, now=now)
    number = 1 + max(
        (int(found["number"]) for name in _names(connection, source_id) if (found := _NAME.fullmatch(name))), default=0
    )
    return [_new_part(connection, source_id, base, first, end, number) for base, first, end in wanted]


def done(connection: Connection, source_id: int) -> list[ReloadPart]:
    """See `Reloads.done`."""
    known = _known(connection, source_id)
    finished = {part.number for part in known if part.position.line == DONE_LINE}
    return [part for part in known if part.number in finished]


def at_work(connection: Connection, source_id: int) -> list[ReloadPart]:
    """See `Reloads.at_work`."""
    known = _known(connection, source_id)
    finished = {part.number for part in known if part.position.line == DONE_LINE}
    return [part for part in known if part.number not in finished]


def reloaded_since(connection: Connection, dataset_id: int, since: int) -> dict[int, list[tuple[int, int]]]:
    """By source partition of a topic the windows that were swapped in after that time."""
    told = select(a.details).where(a.dataset_id == dataset_id, a.action == RELOADED, a.at > since)
    leads = {span[0] for text in connection.execute(told).scalars() for span in json.loads(text)["spans"]}
    windows: dict[int, list[tuple[int, int]]] = {}
    for row in connection.execute(select(p.name, p.source_id).where(p.id.in_(leads))).all():
        found = _NAME.fullmatch(row.name)
        for part in done(connection, row.source_id):
            if found and part.number == int(found["number"]):
                named = select(p.id).where(p.source_id == row.source_id, p.name == part.base)
                base: int = connection.execute(named).scalar_one()
                windows.setdefault(base, []).append((part.first, part.end))
    return windows


def standing_for(connection: Connection, source_partition_ids: Sequence[int]) -> dict[int, int]:
    """See `Reloads.standing_for`."""
    rows = connection.execute(select(p.id, p.name, p.source_id).where(p.id.in_(source_partition_ids))).all()
    bases = {(row.source_id, row.name): row.id for row in rows}
    return {
        part.id: bases[source_id, part.base]
        for source_id in {row.source_id for row in rows}
        for part in done(connection, source_id)
        if (source_id, part.base) in bases
    }


def read_again(connection: Connection, source_partition_ids: Sequence[int]) -> dict[int, list[tuple[int, int]]]:
    """See `Reloads.read_again`."""
    windows: dict[int, list[tuple[int, int]]] = {}
    for row in connection.execute(select(p.id, p.name, p.source_id).where(p.id.in_(source_partition_ids))):
        found = _NAME.fullmatch(row.name)
        base, number = (found["base"], int(found["number"])) if found else (row.name, 0)
        later = [part for part in done(connection, row.source_id) if part.base == base and part.number > number]
        if later:
            windows[row.id] = [(part.first, part.end) for part in later]
    return windows


def require_same(connection: Connection, judged: Mapping[int, Sequence[tuple[int, int]]]) -> None:
    """See that no window of these source partitions was swapped in since dead letters of them were judged.

    Raises:
        ConflictError: one was, and its records have landed by it.
    """
    if not judged:
        return
    now = read_again(connection, list(judged))
    if any(sorted(now.get(source, ())) != sorted(windows) for source, windows in judged.items()):
        raise ConflictError("a window of the topic was reloaded meanwhile; judge its dead letters again")


def replays(connection: Connection, dataset_id: int, *, session_id: int) -> Replays:
    """See `Reloads.replays`."""
    newest, since = _newest_replay(connection, dataset_id), select(sessions.c.started_at).where(sessions.c.id == session_id)
    told = select(a.details).where(a.dataset_id == dataset_id, a.action == _REPLAYED, a.at >= since.scalar_subquery())
    at_work = [int(json.loads(text)["session"]) for text in connection.execute(told).scalars()]
    return Replays(newest=newest, last_session=max([session_id, *at_work]))


def require_no_replay(connection: Connection, dataset_id: int, *, since: int) -> None:
    """See that nothing was replayed since what a reload takes out was looked up.

    Raises:
        ConflictError: something was, and its rows may have to leave as well.
    """
    if _newest_replay(connection, dataset_id) != since:
        raise ConflictError("dead letters were replayed meanwhile; look again which rows the window had")


def _newest_replay(connection: Connection, dataset_id: int) -> int:
    newest = select(func.coalesce(func.max(a.id), 0)).where(a.dataset_id == dataset_id, a.action == _REPLAYED)
    return int(connection.execute(newest).scalar_one())


def _new_part(connection: Connection, source_id: int, base: str, first: int, end: int, number: int) -> ReloadPart:
    made = sources.ensure_partition(connection, source_id, f"{base}{MARK}{first}-{end}/{number}")
    connection.execute(source_partitions.update().where(p.id == made.id).values(position_offset=first))
    return ReloadPart(id=made.id, base=base, first=first, end=end, number=number, position=Position(offset=first))


def _give_up(connection: Connection, source_id: int, part: ReloadPart, *, version: int, now: int) -> None:
    """Rows that wait for a reload which nobody ends have not landed: they are held, and the collector takes their objects."""
    s = segments.c
    waiting = s.waiting_for == part.id, s.added_version.is_(None), s.removed_version.is_(None)
    rows: int = connection.execute(select(cast(func.coalesce(func.sum(s.rows), 0), BigInteger)).where(*waiting)).scalar_one()
    sources.add_counters(connection, sources_table, source_id, Counters(landed=-rows, held=rows))
    sources.retract(connection, [part.id], version=version)
    manifest.abandon_waiting(connection, [part.id], version=version, now=now)


def _names(connection: Connection, source_id: int) -> Sequence[str]:
    return connection.execute(select(p.name).where(p.source_id == source_id, p.name.contains(MARK))).scalars().all()


def _known(connection: Connection, source_id: int) -> list[ReloadPart]:
    """All parts that were not closed, in order of their making."""
    rows = connection.execute(
        select(source_partitions)
        .where(p.source_id == source_id, p.name.contains(MARK), p.retracted_version.is_(None))
        .order_by(p.id)
    )
    parts = []
    for row in rows:
        if found := _NAME.fullmatch(row.name):
            first, end, number = (int(found[name]) for name in ("first", "end", "number"))
            position = Position(offset=row.position_offset, line=row.position_line)
            parts.append(ReloadPart(id=row.id, base=found["base"], first=first, end=end, number=number, position=position))
    return parts
