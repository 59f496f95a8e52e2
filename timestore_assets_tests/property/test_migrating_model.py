"""Any operations in any order: rows of every version read as the newest one are what plain dicts in memory have become."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from timestore_assets.catalog.effective_declaration import definition_of, redeclare
from timestore_assets.catalog.schema_migrations import ColumnState
from timestore_assets.model.arrow_schema import arrow_type
from timestore_assets.model.dataset import Dataset, Dedupe
from timestore_assets.model.schema import Column, Schema, schema_from_plain
from timestore_assets.model.types import INT64, TIMESTAMP, quote
from timestore_assets.segments.projection import projection
from timestore_assets_tests.support.examples import examples
from timestore_assets_tests.support.migrations import add, applied, drop, rename, state_of, transform

pytestmark = pytest.mark.slow

NAMES = ("a", "b", "c", "D", "e f", "#3", "group", 'q"x')
TIME = datetime(2024, 1, 1)
"""As segments hold it."""
Row = dict[str, Any]
# as people write them, and what they mean for a row
EXPRESSIONS: list[tuple[str, Callable[[int | None, int | None], int | None]]] = [
    ("{a} * 2 + 1", lambda a, _: None if a is None else a * 2 + 1),
    ("coalesce({a}, {b}, 7)", lambda a, b: b if a is None and b is not None else 7 if a is None else a),
    ("{a} - {b}", lambda a, b: None if a is None or b is None else a - b),
    ("length('\"#3\"') + {a}", lambda a, _: None if a is None else a + 4),
]


def dataset() -> Dataset:
    columns = (Column(name="ts", type=TIMESTAMP), *(Column(name=name, type=INT64, nullable=True) for name in ("a", "b", "c")))
    keys = Dedupe(keys=("ts",), by=None)
    return Dataset(name="meter", schema=Schema(columns=columns), time="ts", start=datetime(2024, 1, 1, tzinfo=UTC), dedupe=keys)


@dataclass
class World:
    """The columns, and rows by the version that they were written under: as stored, and as a person sees them now."""

    state: ColumnState = field(default_factory=lambda: state_of(dataset()))
    stored: dict[int, list[Row]] = field(default_factory=dict)
    seen: dict[int, list[Row]] = field(default_factory=dict)
    schemas: dict[int, Schema] = field(default_factory=dict)

    @property
    def time(self) -> str:
        return str(self.state.definition["time"])

    @property
    def free(self) -> list[str]:
        """Columns that are no keys."""
        return [name for name in self.state.schema.names if name != self.time]

    def write(self, draw: st.DrawFn) -> None:
        values = st.none() | st.integers(-50, 50)
        rows = [{self.time: TIME, **{name: draw(values) for name in self.free}} for _ in range(draw(st.integers(1, 3)))]
        version = self.state.schema.version
        self.stored[version], self.seen[version] = [dict(row) for row in rows], rows
        self.schemas[version] = self.state.schema

    def change(self, work: Callable[[Row], Row]) -> None:
        self.seen = {version: [work(row) for row in rows] for version, rows in self.seen.items()}

    def migrate(self, *operations: dict[str, Any]) -> None:
        self.state = applied(self.state, *operations).migrated.state


@st.composite
def worlds(draw: st.DrawFn) -> World:
    world = World()
    world.write(draw)
    for _ in range(draw(st.integers(1, 5))):
        operations = [*_renames(draw, world)]
        moved = {one["rename"]["from"]: one["rename"]["to"] for one in operations}
        names = dict.fromkeys(moved.get(name, name) for name in world.state.schema.names)
        time = moved.get(world.time, world.time)
        for _ in range(draw(st.integers(0 if operations else 1, 3))):
            operations += _other(draw, world, names, time)
        if operations:
            world.migrate(*operations)
            world.write(draw)
    return world


def _renames(draw: st.DrawFn, world: World) -> list[dict[str, Any]]:
    """Renames of some columns, among them swaps and chains, in any order."""
    sources = draw(st.lists(st.sampled_from(world.state.schema.names), unique=True, max_size=3))
    kept = {name.lower() for name in world.state.schema.names if name not in sources}
    possible = [name for name in ("ts", *NAMES) if name.lower() not in kept]
    targets = draw(st.permutations(possible))
    moved = {source: target for source, target in zip(sources, targets, strict=False) if source != target}
    unmoved = {source.lower() for source in sources if source not in moved}
    if len(moved) < 1 or unmoved.intersection(target.lower() for target in moved.values()):
        return []
    world.change(lambda row: {moved.get(name, name): value for name, value in row.items()})
    return [rename(source, target, incoming="new") for source, target in moved.items()]


def _other(draw: st.DrawFn, world: World, names: dict[str, None], time: str) -> list[dict[str, Any]]:
    """One other operation over the columns that there are by now; `names` are kept up with it."""
    free = [name for name in names if name != time]
    unused = [name for name in NAMES if name.lower() not in {one.lower() for one in names}]
    kind = draw(st.sampled_from(("transform", "drop", "add", "default")))
    if kind in ("transform", "add") and free:
        first, second = draw(st.sampled_from(free)), draw(st.sampled_from(free))
        text, means = draw(st.sampled_from(EXPRESSIONS))
        expression = text.format(a=quote(first), b=quote(second))
        if kind == "transform":
            world.change(lambda row: {**row, first: means(row[first], row[second])})
            return [transform(first, expression, to_type="int64")]
        if unused:
            name = draw(st.sampled_from(unused))
            names[name] = None
            world.change(lambda row: {**row, name: means(row[first], row[second])})
            return [add(name, "int64", expression=expression, incoming="new")]
    if kind == "default" and unused:
        name = draw(st.sampled_from(unused))
        names[name] = None
        world.change(lambda row: {**row, name: 9})
        return [add(name, "int64", default=9, incoming="new")]
    if kind == "drop" and len(free) > 1:
        gone = draw(st.sampled_from(free))
        del names[gone]
        world.change(lambda row: {name: one for name, one in row.items() if name != gone})
        return [drop(gone)]
    return []


@settings(max_examples=examples(30), deadline=None)
@given(worlds())
def test_rows_of_every_version_are_what_a_person_would_have_made_of_them(world: World) -> None:
    schema = world.state.schema
    con = duckdb.connect()
    for version, rows in world.stored.items():
        written = world.schemas[version]
        kinds = pa.schema([(column.name, arrow_type(column.type, zone=None)) for column in written])
        con.register("stored", pa.Table.from_pylist(rows, kinds))
        found = con.sql(projection(schema.columns, schema=schema, written=written).over("stored")).to_arrow_table()
        assert found.to_pylist() == [{name: row[name] for name in schema.names} for row in world.seen[version]]
    con.close()


@settings(max_examples=examples(20), deadline=None)
@given(worlds())
def test_ids_names_and_the_declaration_stay_in_order(world: World) -> None:
    schema = world.state.schema
    ids = [column.id for column in (*schema, *schema.retired)]
    assert len(set(ids)) == len(ids) and max(ids) <= world.state.last_column_id and min(ids) > 0
    shown = {name.lower() for name in schema.names}
    former = [alias.name for column in schema for alias in column.aliases]
    assert len(shown) == len(schema.names) and len(set(former)) == len(former) and not set(former) & set(schema.names)
    declared = schema_from_plain(world.state.definition["schema"]["columns"], version=1)
    again = redeclare(schema, declared)
    assert (again.changes, again.problems, again.schema.columns) == ((), (), schema.columns)
    assert world.state.definition["dedupe"]["keys"] == [world.time] and world.time in schema.names
    assert definition_of(dataset())["schema"].keys() == world.state.definition["schema"].keys()
