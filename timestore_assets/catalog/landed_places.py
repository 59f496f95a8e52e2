"""Where records that have landed came from, by what the audit says of each landing commit: files, and windows of topics."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, or_, select

from timestore_assets.catalog.portable import chunked
from timestore_assets.catalog.tables import audit, files, source_partitions, sources, topics

LANDED = ("landed", "replayed")
"""Actions of commits that bring rows."""


@dataclass(kw_only=True)
class LandedPlaces:
    """Places that can be read again, and how much came from where there is none."""

    files: dict[str, str] = field(default_factory=dict)
    """Source by address."""
    ranges: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    """Of each commit the first offset and the one behind the last, by source partition."""
    of_ranges: Counter[int] = field(default_factory=Counter)
    """What was counted of them."""
    others: int = 0
    """What was counted of requests and replays: no source has it any more."""

    def add(self, details: Mapping[str, Any], counted: int) -> None:
        """Take up what the audit says of a commit. `counted`: whatever is counted of it."""
        if details.get("file"):
            self.files[details["file"]] = details["source"]
        elif details["spans"]:
            for partition, start, end in details["spans"]:
                self.ranges.setdefault(partition, []).append((start, end))
            self.of_ranges[details["spans"][0][0]] += counted
        else:
            self.others += counted

    def keep_what_stands(self, connection: Connection, dataset_id: int) -> None:
        """Leave out files that others have replaced since, and count what came by requests."""
        standing: set[str] = set()
        for addresses in chunked(self.files):
            here = files.c.dataset_id == dataset_id, files.c.address.in_(addresses), files.c.newest, files.c.state != "replaced"
            standing.update(connection.execute(select(files.c.address).where(*here)).scalars())
        self.files = {address: source for address, source in self.files.items() if address in standing}
        p = source_partitions.c
        of_topics: set[int] = set()
        for ids in chunked(self.ranges):
            of_topics.update(connection.execute(select(p.id).where(p.id.in_(ids), p.topic_row_id.is_not(None))).scalars())
        # positions of a service's session are no offsets that anybody could read again
        self.others += sum(count for partition, count in self.of_ranges.items() if partition not in of_topics)
        self.ranges = {partition: _joined(ranges) for partition, ranges in self.ranges.items() if partition in of_topics}

    def windows(self, connection: Connection) -> list[dict[str, Any]]:
        """The ranges by the names of their topics, see `Backfill.ranges`."""
        p = source_partitions.c
        of_topic = topics.c.id == p.topic_row_id
        named = select(topics.c.topic, p.number, sources.c.address).join_from(source_partitions, topics, of_topic)
        named = named.join(sources, sources.c.id == p.source_id)
        found = []
        for partition, bounds in sorted(self.ranges.items()):
            row = connection.execute(named.where(p.id == partition)).one()
            place = {"source": row.address, "topic": row.topic, "partition": row.number}
            found += [{**place, "from": start, "to": end} for start, end in bounds]
        return found


def landed_into(connection: Connection, dataset_id: int, keys: Collection[str]) -> LandedPlaces:
    """Where the rows of these partitions came from, as far as the audit goes back."""
    a, found = audit.c, LandedPlaces()
    told = select(a.details).where(a.dataset_id == dataset_id, a.action.in_(LANDED))
    named = or_(*(a.details.contains(json.dumps(key), autoescape=True) for key in keys))
    for text in connection.execute(told.where(named).order_by(a.id)).scalars():
        details = json.loads(text)
        if not set(keys).isdisjoint(details["partitions"]):
            found.add(details, int(details["counters"]["landed"]))
    found.keep_what_stands(connection, dataset_id)
    return found


def _joined(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ranges that follow each other as one."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return joined
