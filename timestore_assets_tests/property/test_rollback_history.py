"""Landings, builds, retractions, tags, collections, rollbacks and going forward again at random, beside a model in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from sqlalchemy import Connection

from timestore_assets.catalog import datasets, manifest, partitions
from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.instants import to_micros
from timestore_assets.model.as_of import TagName
from timestore_assets.model.errors import RefusedError
from timestore_assets.model.question import Question
from timestore_assets.model.retraction import Retraction
from timestore_assets.model.segment import Segment
from timestore_assets.querying.reading.querier import Querier
from timestore_assets.segments.engine import EngineLimits
from timestore_assets.storage.local import LocalStore
from timestore_assets_tests.support.building_warehouse import READINGS, BuildingWarehouse, Row, reading
from timestore_assets_tests.support.examples import examples

pytestmark = pytest.mark.slow

NUMBERS = count(1)
DAYS = st.integers(1, 2)
READING = st.tuples(st.sampled_from("ab"), st.integers(0, 2), st.integers(1, 9))
Held = frozenset[tuple[int, Row]]
"""Rows with the source partition that they came from."""


@dataclass(frozen=True)
class Version:
    """What a version holds and hides, by the model."""

    held: Held = frozenset()
    retracted: frozenset[int] = frozenset()
    closed: frozenset[int] = frozenset()

    def visible(self) -> list[Row]:
        return sorted(row for _, row in _best(self.shown))

    @property
    def shown(self) -> Held:
        hidden = self.retracted | self.closed
        return frozenset(one for one in self.held if one[0] not in hidden)


@dataclass(frozen=True)
class Landing:
    """A delta as it landed."""

    version: int
    name: str
    day: int
    rows: Held


@dataclass
class Ground:
    """What all examples share; each has a dataset of its own."""

    catalog: Catalog
    folder: Path

    def warehouse(self) -> BuildingWarehouse:
        (self.folder / "tmp").mkdir(exist_ok=True)
        return BuildingWarehouse(
            catalog=self.catalog,
            store=LocalStore(self.folder / "data", staging_root=self.folder / "data" / ".staging"),
            limits=EngineLimits(memory_bytes=300_000_000, threads=1, temp_dir=self.folder / "tmp"),
            dataset=replace(READINGS, name=f"readings_{next(NUMBERS)}"),
        )


class RollbackHistory(RuleBasedStateMachine):
    ground: Ground

    def __init__(self) -> None:
        super().__init__()
        self.w = self.ground.warehouse()
        self.querier = Querier(self.w.catalog, self.w.storage, self.w.limits, holder="test")
        self.id = self.w.dataset_id
        self.versions = [Version()]
        self.landings: list[Landing] = []
        self.lost: list[Landing] = []
        self.tags: dict[str, int] = {}
        self.revision = count(1)

    def teardown(self) -> None:
        for version in range(len(self.versions)):
            self.see(version)
        self.querier.close()

    @property
    def now(self) -> Version:
        return self.versions[-1]

    # --- what happens

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        """Something to go back to and forward from."""
        self.land(1, [("a", 0, 1), ("b", 1, 2)], replaced=False, data=data)
        self.land(2, [("a", 0, 3)], replaced=False, data=data)
        self.land_and_seal(1, [("a", 0, 4)], replaced=False, data=data)

    @rule(day=DAYS, rows=st.lists(READING, min_size=1, max_size=3), replaced=st.booleans(), data=st.data())
    def land_and_seal(self, day: int, rows: list[tuple[str, int, int]], replaced: bool, data: st.DataObject) -> None:
        self.land(day, rows, replaced=replaced, data=data)
        self.build(day, close=True)

    @rule(day=DAYS, rows=st.lists(READING, min_size=1, max_size=4), replaced=st.booleans(), data=st.data())
    def land(self, day: int, rows: list[tuple[str, int, int]], replaced: bool, data: st.DataObject) -> None:
        unique = {(device, minute): value for device, minute, value in rows}
        made = [reading(device, minute, float(value), next(self.revision), day=day) for (device, minute), value in unique.items()]
        before = {segment.name for segment in self.live()}
        open_ones = sorted({source for source, _ in self.now.shown})
        gone = [data.draw(st.sampled_from(open_ones))] if replaced and open_ones else []
        source = self.w.land(made, retract=gone)
        (name,) = {segment.name for segment in self.live()} - before
        landed = frozenset((source, row) for row in made)
        after = replace(self.now, held=self.now.held | landed, closed=self.now.closed | set(gone))
        self.versions.append(after)
        self.landings.append(Landing(version=len(self.versions) - 1, name=name, day=day, rows=landed))

    @rule(day=DAYS, close=st.booleans())
    def build(self, day: int, close: bool) -> None:
        before = self.version()
        with self.w.builder() as builder:
            builder.build(self.w.dataset, self.w.partition(day), close=close, actor="test")
        if self.version() == before:
            return
        here = frozenset(one for one in self.now.held if _day(one[1]) == day)
        shown = self.now.shown & here
        # an open partition keeps what another row supersedes, and a merge may leave some deltas for later
        kept = _best(shown) if close else here
        held = (self.now.held - here) | kept
        self.versions.append(replace(self.now, held=held))

    @rule(data=st.data())
    @precondition(lambda self: self.now.shown)
    def retract(self, data: st.DataObject) -> None:
        """As a person takes rows back: the source goes on."""
        source = data.draw(st.sampled_from(sorted({source for source, _ in self.now.shown})))

        def work(connection: Connection) -> None:
            dataset = datasets.lock(connection, self.id)
            version = dataset.manifest_version + 1
            manifest.retract(connection, self.id, [Retraction(source=source)], version=version)
            held = manifest.holding(connection, self.id, [source])
            partitions.lost_rows(connection, self.id, held.keys(), version=version)
            manifest.set_version(connection, self.id, version, now=dataset.updated_at)

        self.w.catalog.database.write(work)
        self.versions.append(replace(self.now, retracted=self.now.retracted | {source}))

    @rule(data=st.data(), name=st.sampled_from(["a", "b"]))
    def tag(self, data: st.DataObject, name: str) -> None:
        if name in self.tags:
            self.w.catalog.tags.remove(self.id, name, actor="test")
            del self.tags[name]
            return
        version = data.draw(st.integers(0, len(self.versions) - 1))
        with suppress(RefusedError):
            self.w.catalog.tags.put(self.id, name, version=version, note="", is_legal_hold=False, actor="test")
            self.tags[name] = version

    @rule()
    def collect_and_trim(self) -> None:
        known = self.w.catalog.objects.known()
        while gone := self.w.catalog.objects.collect_segments(superseded_before=datetime.now(UTC) + timedelta(hours=1)):
            assert not {one.name for one in gone} & {segment.name for segment in self.live()}
            self.w.storage.delete(gone)
            self.w.catalog.objects.deleted(gone)
        self.w.catalog.trimming.retractions()
        left = self.w.catalog.objects.known()
        for landing in self.landings:
            if landing.name in known - left and not {source for source, _ in landing.rows} <= self.now.closed:
                self.lost.append(landing)
        for version in self.tags.values():
            self.see(version, must=True)

    @rule(data=st.data(), forward=st.sampled_from([True, True, False]))
    def roll_back(self, data: st.DataObject, forward: bool) -> None:
        tagged = sorted(self.tags.values())
        to = data.draw(st.sampled_from(tagged) if tagged and data.draw(st.booleans()) else st.integers(0, len(self.versions) - 1))
        expected = self.rolled_back(to)
        before = self.standings()
        newest = self.version()
        try:
            planned = self.w.catalog.rollbacks.plan(self.id, to)
            done = self.w.catalog.rollbacks.roll_back(self.id, to, actor="test")
        except RefusedError:
            assert expected is None or to not in tagged
            return
        assert expected is not None and planned == done
        if done.version == newest:
            assert expected.visible() == self.now.visible()
            return
        self.versions.append(expected)
        self.see(done.version, must=True)
        self.hashes_are_true()
        if forward:
            self.go_forward(newest, before)

    def go_forward(self, to: int, standings: Mapping[int, tuple[str, str | None]]) -> None:
        """To the version before the rollback: it is whole, for nothing was collected meanwhile."""
        self.w.catalog.rollbacks.roll_back(self.id, to, actor="test")
        if self.version() == len(self.versions):
            self.versions.append(replace(self.versions[to], closed=self.now.closed))
        self.see(self.version(), must=True)
        assert {day: one for day, one in self.standings().items() if one[0] == "sealed"} == {
            day: one for day, one in standings.items() if one[0] == "sealed"
        }

    # --- what is to be seen

    def rolled_back(self, to: int) -> Version | None:
        """What going back gives; None where it has to be refused."""
        then, held = self.versions[to], set[tuple[int, Row]]()
        for day in (1, 2):
            at_target = {one for one in then.held if _day(one[1]) == day}
            since = [landing for landing in self.landings if landing.day == day and landing.version > to]
            if any(landing.version > to for landing in self.lost if landing.day == day):
                if self.had_segments(day, to):
                    return None
                held |= {one for one in self.now.held if _day(one[1]) == day}
                continue
            held |= at_target.union(*(landing.rows for landing in since))
        return Version(held=frozenset(held), retracted=then.retracted, closed=self.now.closed)

    def had_segments(self, day: int, version: int) -> bool:
        found = self.w.catalog.manifest.segments(self.id, version=version, partition=self.w.partition(day))
        return bool(found)

    def see(self, version: int, *, must: bool = False) -> None:
        """A version shows what the model says, or can't be read any more."""
        record = self.w.catalog.datasets.find(self.w.dataset.name)
        assert record is not None
        question = Question(dataset=self.w.dataset.name, as_of=version)
        try:
            with self.querier.ask(self.w.dataset, record, question) as answer:
                found = answer.table().select(["device", "ts", "value", "rev"]).to_pylist()
        except RefusedError:
            assert not must and version not in self.tags.values()
            return
        rows = sorted((one["device"], one["ts"].replace(tzinfo=None), one["value"], one["rev"]) for one in found)
        assert rows == self.versions[version].visible(), f"version {version} of {len(self.versions) - 1}"

    def hashes_are_true(self) -> None:
        for known in self.w.catalog.partitions.of(self.id):
            day = known.partition.start.day
            if known.state == "sealed":
                assert known.content_hash == self.w.content_hash(day)
                assert known.deltas == 0 and not known.retracted

    def standings(self) -> dict[int, tuple[str, str | None]]:
        found = self.w.catalog.partitions.of(self.id)
        return {to_micros(known.partition.start): (known.state, known.content_hash) for known in found}

    def live(self) -> list[Segment]:
        return self.w.catalog.manifest.segments(self.id)

    def version(self) -> int:
        return self.w.catalog.manifest.version(self.id)


def _best(rows: Held) -> Held:
    """Of rows with the same key the one of the greatest revision."""
    best: dict[tuple[str, datetime], tuple[int, Row]] = {}
    for one in rows:
        key = one[1][:2]
        if key not in best or one[1][3] > best[key][1][3]:
            best[key] = one
    return frozenset(best.values())


def _day(row: Row) -> int:
    day: int = row[1].day
    return day


@pytest.fixture
def ground(catalog: Catalog, tmp_path: Path) -> Iterator[Ground]:
    yield Ground(catalog=catalog, folder=tmp_path)


def test_every_version_shows_its_rows_and_rolling_back_loses_nothing(ground: Ground) -> None:
    shared = ground

    class OnGround(RollbackHistory):
        ground = shared

    run_state_machine_as_test(
        OnGround,
        settings=settings(
            max_examples=examples(4),
            stateful_step_count=16,
            deadline=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )


def test_a_tag_is_a_version_that_can_be_asked_for(catalog: Catalog, ground: Ground) -> None:
    w = ground.warehouse()
    w.land([reading("a", 1)])
    catalog.tags.put(w.dataset_id, "first", version=None, note="", is_legal_hold=False, actor="test")
    w.land([reading("a", 2)])
    assert catalog.in_time.find(w.dataset_id, TagName("first")) == 1
