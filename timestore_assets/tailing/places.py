"""Where tailing begins: at the committed checkpoints of the topic partitions that the brokers have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from timestore_assets.catalog.port import Catalog
from timestore_assets.landing.stream_places import open_topics
from timestore_assets.sources.kafka.lag import Key, SourceLag
from timestore_assets.tailing.held_rows import Run


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A topic partition. `id`: of its source partition. `checkpoint`: where landing goes on. `begin`: where reading begins,
    which is later only when the brokers have deleted what lies between. `high`: its end as it was seen.
    """

    id: int
    checkpoint: int
    begin: int
    high: int

    @property
    def run(self) -> Run:
        """What is held of it before anything was read: what the brokers have deleted is no longer missing."""
        return Run(start=self.checkpoint, end=self.begin)


def find_places(catalog: Catalog, source_id: int, lag: SourceLag) -> Mapping[Key, Place]:
    """The topic partitions that were seen; those that were never read are opened in the catalog as a session would."""
    seen = {one.key: one for one in lag.partitions}
    found = {}
    for one in open_topics(catalog, source_id, lag):
        key = (one.topic, one.number)
        if key in seen:
            begin = max(one.position, seen[key].low)
            found[key] = Place(id=one.id, checkpoint=one.position, begin=begin, high=seen[key].high)
    return found
