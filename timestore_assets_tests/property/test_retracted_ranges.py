"""I1, I5: rows with retracted ranges beside a plain model, whatever is landed, built, retracted and taken back in between.

Landing again at the same place stands for a checkpoint that was set back: its rows have a later session, and are shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from timestore_assets.building.builder import Builder
from timestore_assets.catalog.retractions import NewRetraction, RetractionRecord
from timestore_assets.catalog.tables import source_partitions
from timestore_assets.model.errors import RefusedError
from timestore_assets.model.retraction import Retraction
from timestore_assets.upkeep.retraction_plan import Retractor, missing
from timestore_assets_tests.support.building_warehouse import READINGS, BuildingWarehouse, Row, building_warehouse_in, reading
from timestore_assets_tests.support.examples import examples

pytestmark = pytest.mark.slow

NUMBERS = count(1)
SOURCES = ("a", "b")
PLAIN = replace(READINGS, dedupe=None)


@dataclass
class Landed:
    """A row, where it came from, and what hides it."""

    source: str
    position: int
    row: Row
    hidden_by: set[int] = field(default_factory=set)
    dropped: bool = False


@dataclass
class Model:
    """`rows`: all that ever landed. `made`: retractions by number, with those of the model's rows they hid."""

    ground: BuildingWarehouse
    builder: Builder
    rows: list[Landed] = field(default_factory=list)
    made: dict[int, tuple[RetractionRecord, list[Landed]]] = field(default_factory=dict)
    ids: dict[str, int] = field(default_factory=dict)

    # --- what happens

    def land(self, source: str, number: int, day: int) -> None:
        at = self.position(source)
        rows = [reading(source, at + n, float(next(NUMBERS)), day=day) for n in range(number)]
        self.ids[source] = self.land_at(source, rows, at)
        self.rows += [Landed(source=source, position=at + n, row=row) for n, row in enumerate(rows)]

    def land_at(self, source: str, rows: list[Row], at: int) -> int:
        return self.ground.land(rows, source=source, first=at)

    def set_back(self, source: str, to: int) -> None:
        if source in self.ids and to < self.position(source):
            own = source_partitions.update().where(source_partitions.c.id == self.ids[source])
            self.ground.catalog.database.write(lambda c: c.execute(own.values(position_offset=to)))

    def position(self, source: str) -> int:
        if source not in self.ids:
            return 0
        at = select(source_partitions.c.position_offset).where(source_partitions.c.id == self.ids[source])
        found: int = self.ground.catalog.database.read(lambda c: c.execute(at).scalar_one())
        return found

    def retract(self, source: str, first: int, end: int) -> None:
        mine = [one for one in self.shown() if one.source == source and first <= one.position < end]
        if source not in self.ids or not mine:
            return
        retractor = self.retractor()
        wanted = frozenset({Retraction(source=self.ids[source], first=first, end=end)})
        with retractor._rows() as rows:
            found = rows.counted(wanted)
        assert sum(found.rows.values()) == len(mine)
        ranges = frozenset(replace(one, last_session=found.last_sessions[one.source]) for one in wanted)
        made = self.ground.catalog.retractions.add(
            self.ground.dataset_id, NewRetraction(selector={"first": first}, ranges=ranges, rows=found.rows), actor="test"
        )
        assert made.state == "hidden"
        for one in mine:
            one.hidden_by.add(made.id)
        self.made[made.id] = (made, mine)

    def undo(self, which: int) -> None:
        if not self.made:
            return
        made, mine = self.made[sorted(self.made)[which % len(self.made)]]
        catalog, dataset_id = self.ground.catalog, self.ground.dataset_id
        still = self.retractor().hidden(catalog.retractions.ranges(dataset_id, made.id))
        gone = missing(made.partitions, still.wanted.rows)
        assert gone == sum(one.dropped for one in mine)
        if gone or catalog.retractions.find(dataset_id, made.id).state != "hidden":
            with pytest.raises(RefusedError):
                catalog.retractions.undo(dataset_id, made.id, proof=still.proof, actor="test") if not gone else _refuse()
            return
        catalog.retractions.undo(dataset_id, made.id, proof=still.proof, actor="test")
        for one in mine:
            one.hidden_by.discard(made.id)

    def build(self, day: int, close: bool) -> None:
        known = self.ground.catalog.partitions.find(self.ground.dataset_id, self.ground.partition(day))
        self.builder.build(self.ground.dataset, self.ground.partition(day), close=close, actor="test")
        if known is not None and known.retracted:
            for one in self.rows:
                one.dropped |= bool(one.hidden_by) and one.row[1].day == day
            assert not self.ground.known(day).retracted

    def retractor(self) -> Retractor:
        ground = self.ground
        return Retractor(
            catalog=ground.catalog,
            storage=ground.storage,
            limits=ground.limits,
            dataset=ground.dataset,
            record=ground.catalog.datasets.register(ground.dataset, actor="test"),
            holder="test",
            offsets_at=lambda *_: {},
            address_of=lambda given: [given],
        )

    # --- what must be so

    def shown(self) -> list[Landed]:
        return [one for one in self.rows if not one.hidden_by and not one.dropped]

    def check(self) -> None:
        for day in (1, 2):
            wanted = Counter(one.row for one in self.shown() if one.row[1].day == day)
            assert Counter(self.ground.rows(day)) == wanted


def _refuse() -> None:
    raise RefusedError("rows are gone")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[BuildingWarehouse, Builder]]:
    ground = building_warehouse_in(Path(tmp_path_factory.mktemp("ground")))
    with ground.builder() as builder:
        yield ground, builder
    ground.catalog.close()


STEPS = st.one_of(
    st.tuples(st.just("land"), st.sampled_from(SOURCES), st.integers(1, 5), st.integers(1, 2)),
    st.tuples(st.just("set_back"), st.sampled_from(SOURCES), st.integers(0, 8)),
    st.tuples(st.just("retract"), st.sampled_from(SOURCES), st.integers(0, 8), st.integers(1, 12)),
    st.tuples(st.just("build"), st.integers(1, 2), st.booleans()),
    st.tuples(st.just("undo"), st.integers(0, 3)),
)


@settings(max_examples=examples(6), deadline=None)
@given(steps=st.lists(STEPS, min_size=3, max_size=14))
def test_rows_are_those_of_a_plain_model(shared: tuple[BuildingWarehouse, Builder], steps: list[tuple[object, ...]]) -> None:
    ground = replace(shared[0], dataset=replace(PLAIN, name=f"readings_{next(NUMBERS)}"))
    model = Model(ground=ground, builder=shared[1])
    for name, *arguments in [("land", "a", 4, 1), *steps]:
        getattr(model, str(name))(*arguments)
        model.check()
    for day in (1, 2):
        if ground.catalog.partitions.find(ground.dataset_id, ground.partition(day)) is not None:
            model.build(day, True)
            assert ground.known(day).state == "sealed"
            assert ground.known(day).content_hash == ground.content_hash(day)
    model.check()
    assert ground.catalog.manifest.retracted(ground.dataset_id) == frozenset(), "all of them are finished"
