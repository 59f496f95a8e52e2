"""Rows are taken out, and taken back."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from timestore_assets.model.dataset import STORE_SCHEMES, KafkaSource
from timestore_assets.model.errors import InputError, RefusedError
from timestore_assets.retry import CONFLICT
from timestore_assets.verbs.topic_verbs import TopicVerbs

if TYPE_CHECKING:
    from timestore_assets.catalog.retractions import RetractionRecord
    from timestore_assets.landing.topics.reload import ReloadReport
    from timestore_assets.model.row_selector import RowSelector, TopicRows
    from timestore_assets.upkeep.retraction_plan import RetractionPlan, Retractor


class RetractionVerbs(TopicVerbs):
    """Retractions of rows that have landed, told by where they came from."""

    def plan_retraction(self, name: str, selector: RowSelector) -> RetractionPlan:
        """What `retract` would hide now, which changes nothing.

        Raises:
            InputError: nothing is known of what is named. RefusedError: there are no such rows.
            UnavailableError: a segment or the broker can't be read.
        """
        return self._retractor(name).plan(selector)

    def retract(
        self, name: str, selector: RowSelector, *, actor: str = "command line"
    ) -> tuple[RetractionPlan, RetractionRecord]:
        """Hide rows from the next manifest version on; builds drop them, and until then it can be undone.

        Raises:
            ConflictError: what is named changed again and again. Else as `plan_retraction`.
        """

        def attempt() -> tuple[RetractionPlan, RetractionRecord]:
            retractor = self._retractor(name)
            plan = retractor.plan(selector)
            return plan, self.catalog.retractions.add(retractor.record.id, plan.wanted, actor=actor)

        return CONFLICT.run(attempt)

    def retractions(self, name: str) -> Sequence[RetractionRecord]:
        """Retractions that people made, the newest first."""
        _, record = self.resolve(name)
        return self.catalog.retractions.of(record.id)

    def undo_retraction(self, name: str, retraction_id: int, *, actor: str = "command line") -> RetractionRecord:
        """Show the rows of a retraction again.

        Raises:
            InputError: there is no such retraction. RefusedError: builds have dropped rows of it, or it was undone.
        """
        from timestore_assets.catalog.retractions import not_undoable
        from timestore_assets.upkeep.retraction_plan import missing

        def attempt() -> RetractionRecord:
            retractor = self._retractor(name)
            dataset_id = retractor.record.id
            found = self.catalog.retractions.find(dataset_id, retraction_id)
            if found.state != "hidden":
                raise RefusedError(not_undoable(found))
            still = retractor.hidden(self.catalog.retractions.ranges(dataset_id, retraction_id))
            if dropped := missing(found.partitions, still.wanted.rows):
                raise RefusedError(not_undoable(found, dropped))
            return self.catalog.retractions.undo(dataset_id, retraction_id, proof=still.proof, actor=actor)

        return CONFLICT.run(attempt)

    def reload_topic(
        self, name: str, selector: TopicRows, *, stop: threading.Event | None = None, actor: str = "command line"
    ) -> ReloadReport:
        """Read records of a topic again that have landed, and swap the window in at once; see `landing.topics.reload`.

        Raises:
            InputError: nothing is known of the topic. RefusedError: nothing of it has landed there, or brokers have deleted it.
            ConflictError: another reload is under way. UnavailableError: brokers, catalog or store are away; the same call
                goes on.
        """
        from timestore_assets.landing.topics.reload import TopicReloader

        dataset, _ = self._in_use(name)
        retractor = self._retractor(name)
        source = next((one for one in dataset.kafka_sources if selector.topic in one.topics), None)
        if source is None:
            raise InputError(f"dataset {name!r} declares no source with the topic {selector.topic!r}")
        known = self.catalog.sources.ensure(retractor.record.id, source.kind, source.address)
        windows = [window for window in retractor.windows(selector) if window[0].source_id == known.id]
        if not windows:
            raise RefusedError(f"nothing of {selector.name} has landed there; `timestore stream {name}` lands what is new")
        reloader = TopicReloader(self.writing, losing=retractor.losing)
        topics = self._topics(name, source)
        return reloader.reload(dataset, source, topics, windows, actor=actor, stop=stop or threading.Event())

    def _retractor(self, name: str) -> Retractor:
        from timestore_assets.upkeep.retraction_plan import Retractor

        dataset, record = self.resolve(name)

        def offsets_at(source: KafkaSource, topic: str, numbers: Sequence[int], time: datetime) -> Mapping[int, int]:
            return self._topics(name, source).offsets_at(topic, numbers, time)

        return Retractor(
            catalog=self.catalog,
            storage=self.storage,
            limits=self.limits,
            dataset=dataset,
            record=record,
            holder=self.holder,
            offsets_at=offsets_at,
            address_of=lambda given: self._addresses(name, given),
        )

    def _addresses(self, name: str, given: str) -> Iterable[str]:
        """A file's addresses: as it is given, and what a path that a person names is known as in each folder."""
        yield given
        if urlsplit(given).scheme in STORE_SCHEMES:
            for source in self.declared(name).file_sources:
                root = f"{source.prefix.rstrip('/')}/"
                if given.startswith(root):
                    yield given.removeprefix(root)
            return
        for source in self.declared(name).file_sources:
            if source.scheme is None:
                yield self.source_files(source).known_as(Path(given)).address
        yield str(Path(given).resolve())
