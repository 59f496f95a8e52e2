"""All that can happen to a dataset's rows and columns, in any order, beside a model in memory: each version answers as it did."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from sqlalchemy import select

from timestore_assets.catalog.instants import from_micros
from timestore_assets.catalog.records import DatasetRecord, FileRecord
from timestore_assets.catalog.tables import segments
from timestore_assets.model.dataset import Dataset, Dedupe, FileSource
from timestore_assets.model.errors import RefusedError
from timestore_assets.model.question import Question
from timestore_assets.model.row_selector import FileRows
from timestore_assets.model.schema import Schema
from timestore_assets.model.segment import Segment
from timestore_assets.model.types import quote
from timestore_assets.model.window import Partition
from timestore_assets.warehouse import Warehouse
from timestore_assets_tests.support import catalogs
from timestore_assets_tests.support.http_service import open_warehouse
from timestore_assets_tests.support.landing_warehouse import columns, dataset
from timestore_assets_tests.support.life_model import EXPRESSIONS, INVERSES, Block, Row, Value, best, block, decoded, seen
from timestore_assets_tests.support.migrations import GOVERNANCE, add, drop, manifest, rename, transform
from timestore_assets_tests.support.shared_deltas import sharing

pytestmark = pytest.mark.slow

NAME = "life"
KEYS, BY = (1, 2), 3
"""Ids of the time and the station, and of the revision that decides between rows of one time and station."""
DAYS = st.integers(1, 2)
VALUES = st.none() | st.integers(-9, 9)
Held = dict[tuple[int, int], Block]
"""Blocks by day and source partition."""


def declared() -> Dataset:
    base = dataset(
        *columns(rev="int64", a="int64?", b="int64?"),
        sources=(FileSource(prefix="inbox", on_change="replace"),),
        dedupe=Dedupe(keys=("ts", "station"), by="rev"),
        name=NAME,
    )
    kept = tuple(column for column in base.schema if column.name != "temp")
    return replace(base, schema=replace(base.schema, columns=kept))


@dataclass(frozen=True)
class Version:
    """What a manifest version holds and hides. `schema`: its columns; `visible`: what it answered when it was the newest."""

    schema: Schema
    held: Held = field(default_factory=dict)
    retracted: frozenset[int] = frozenset()
    visible: Counter[Row] = field(default_factory=Counter)


@dataclass
class Landing:
    """A delta as it landed, in one day."""

    version: int
    name: str
    block: Block
    is_lost: bool = False
    """Collected, so that only builds hold its rows."""


class LifeOfData(RuleBasedStateMachine):
    """`url`: of the catalog; None for a SQLite file of each example's own."""

    url: str | None

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp(prefix="timestore-life-"))
        self.open = ExitStack()
        opened = open_warehouse(self.home, {NAME: declared()}, catalog_url=self.url, keep_versions_seconds=0, gc_grace_seconds=0)
        self.w: Warehouse = self.open.enter_context(opened)
        self.id = self.record.id
        first = self.record.schema
        self.schemas: dict[int, Schema] = {first.version: first}
        self.versions: dict[int, Version] = {self.version: Version(schema=first)}
        self.landings: list[Landing] = []
        self.closed: set[int] = set()
        self.hidden_by: dict[int, tuple[int, set[tuple[int, int]]]] = {}
        self.crossed: set[int] = set()
        self.expired: set[int] = set()
        self.tags: dict[str, int] = {}
        self.producers: dict[str, int] = {}
        self.numbers, self.minutes, self.revisions = count(1), count(0), count(1)
        self.times: list[tuple[int, int]] = []

    def teardown(self) -> None:
        try:
            if not self.is_new():  # a step that failed says so itself
                for version in sorted(self.versions):
                    self.see(version)
                report = self.w.verify(NAME)
                assert report.ok, report.findings
        finally:
            self.open.close()
            shutil.rmtree(self.home)
            if self.url is not None:
                catalogs.empty(self.url)

    # --- how it stands

    @property
    def record(self) -> DatasetRecord:
        return self.w.resolve(NAME)[1]

    @property
    def version(self) -> int:
        return self.record.manifest_version

    @property
    def now(self) -> Version:
        return self.versions[max(self.versions)]

    def segments(self) -> list[Segment]:
        return self.w.catalog.manifest.segments(self.id)

    def is_new(self) -> bool:
        return self.version not in self.versions

    def shown(self, held: Held, retracted: frozenset[int]) -> Held:
        return {key: one for key, one in held.items() if one.source not in retracted | self.closed}

    def arrive(self, held: Held, retracted: frozenset[int]) -> None:
        """The newest version is this, by the columns that the catalog has by now."""
        schema = self.record.schema
        self.schemas[schema.version] = schema
        rows = [row for one in best(list(self.shown(held, retracted).values()), KEYS, BY) for row in one.stored]
        visible = Counter(seen(row, schema) for row in rows)
        self.versions[self.version] = Version(schema=schema, held=held, retracted=retracted, visible=visible)
        self.see(self.version, must=True)

    # --- rows come

    @initialize(data=st.data(), shared=st.booleans())
    def begin(self, data: st.DataObject, shared: bool) -> None:
        self.open.enter_context(sharing(shared))
        self.land_new(data, old=False, extra=False)
        self.land_new(data, old=False, extra=False)

    @rule(data=st.data(), old=st.booleans(), extra=st.booleans())
    def land_new(self, data: st.DataObject, old: bool, extra: bool) -> None:
        version = data.draw(st.sampled_from(sorted(self.schemas))) if old else self.record.schema.version
        self.land(data, f"f{next(self.numbers)}.jsonl", version, extra=extra)

    @rule(data=st.data())
    @precondition(lambda self: self.producers)
    def replace_a_file(self, data: st.DataObject) -> None:
        address = data.draw(st.sampled_from(sorted(self.producers)))
        self.land(data, address, self.producers[address], extra=False)

    def land(self, data: st.DataObject, address: str, producer: int, *, extra: bool) -> None:
        """Records as a producer writes them who knows the columns of that schema version."""
        writes = self.schemas[producer]
        made = [self.draw_record(data, writes, extra=extra) for _ in range(data.draw(st.integers(1, 3)))]
        path = self.home / "inbox" / address
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(json.dumps(one) + "\n" for _, one in made))
        before = {segment.name for segment in self.segments()}
        former = self.file(address)
        (report,) = self.w.land(NAME, [path]).files
        assert report.state == "landed", report
        self.producers.setdefault(address, producer)
        file = self.file(address)
        assert file is not None and file.source_partition_id is not None and file.schema_version is not None
        if former is not None and former.source_partition_id is not None:
            self.closed.add(former.source_partition_id)
        schema, then = self.record.schema, self.schemas[file.schema_version]
        rows = [(day, None if day in self.expired else decoded(sent, schema, then)) for day, sent in made]
        refused = sum(row is None for _, row in rows)
        assert (report.counters.landed, report.counters.dead_letters) == (len(rows) - refused, refused), (made, report)
        new = [segment for segment in self.segments() if segment.name not in before]
        held = dict(self.now.held)
        for day in {day for day, row in rows if row is not None}:
            own = [row for at, row in rows if at == day and row is not None]
            landed = block(day, file.source_partition_id, schema, own)
            held[day, landed.source] = landed
            (segment,) = (one for one in new if one.partition_start.day == day)
            assert segment.schema_version == schema.version
            self.landings.append(Landing(version=self.version, name=segment.name, block=landed))
        if self.is_new():
            self.arrive(held, self.now.retracted)

    def draw_record(self, data: st.DataObject, writes: Schema, *, extra: bool) -> tuple[int, dict[str, Value]]:
        """A day and a record of it; some are of a time that there has been, and no two have the same revision."""
        if self.times and data.draw(st.booleans()):
            day, minute = data.draw(st.sampled_from(self.times))
        else:
            day, minute = data.draw(DAYS), next(self.minutes)
            self.times.append((day, minute))
        time, station, by = (self.key(writes, number) for number in (*KEYS, BY))
        sent: dict[str, Value] = {time: f"2013-01-{day:02}T{minute // 60:02}:{minute % 60:02}:00Z", station: "s"}
        sent[by] = next(self.revisions) * data.draw(st.sampled_from([1, 1, -1]))
        names = [column.name for column in writes if column.name not in sent]
        sent |= {name: data.draw(VALUES) for name in names}
        if extra:
            sent[data.draw(st.sampled_from(["x0", "x1"]))] = data.draw(st.integers(-9, 9))
        return day, sent

    def key(self, schema: Schema, number: int) -> str:
        """What the time, the station or the revision is called."""
        return next(column.name for column in schema if column.id == number)

    def file(self, address: str) -> FileRecord | None:
        sources = self.w.catalog.sources.of(self.id)
        return next((found for one in sources if (found := self.w.catalog.files.at(one.id, address)) is not None), None)

    # --- rows are written anew

    @rule(day=DAYS, close=st.booleans())
    def build(self, day: int, close: bool) -> None:
        before = {(one.name, source) for one in self.segments() for source in one.source_ids}
        list(self.w.build(NAME, [self.partition(day)], close=close))
        if not self.is_new():
            return
        after = {(one.partition_start.day, source): one for one in self.segments() for source in one.source_ids}
        hidden = self.now.retracted | self.closed
        schema = self.record.schema
        built = [one for one in self.segments() if one.partition_start.day == day]
        if all(one.kind == "sealed" for one in built):
            shown = [one for key, one in self.shown(self.now.held, self.now.retracted).items() if key[0] == day]
            kept = [self.rewritten(one, schema) for one in best(shown, KEYS, BY)]
            assert sum(one.rows for one in built) == sum(len(one.rows) for one in kept)
            others = {key: one for key, one in self.now.held.items() if key[0] != day}
            self.arrive(others | {(day, one.source): one for one in kept}, self.now.retracted)
            return
        # an open partition keeps what other rows supersede
        held: Held = {}
        for key, one in self.now.held.items():
            segment = after.get(key)
            if segment is None:
                assert key[0] == day and one.source in hidden, "rows were lost"
            elif (segment.name, one.source) in before:
                held[key] = one
            else:
                assert segment.schema_version == schema.version
                held[key] = self.rewritten(one, schema)
        self.arrive(held, self.now.retracted)

    def rewritten(self, one: Block, schema: Schema) -> Block:
        by_name = [dict(seen(row, schema)) for row in one.stored]
        return block(one.day, one.source, schema, [{c.id: row[c.name] for c in schema} for row in by_name])

    def partition(self, day: int) -> Partition:
        return declared().partition(f"2013-01-{day:02}")

    # --- columns change

    @rule(data=st.data())
    def migrate(self, data: st.DataObject) -> None:
        schema, number = self.record.schema, next(self.numbers)
        free = [column for column in schema if column.id not in (*KEYS, BY)]
        kinds = ["rename", "add", "default", *(["rename_with", "transform", "drop"] if len(free) > 1 else [])]
        kind = data.draw(st.sampled_from(kinds))
        fresh = f"n{number}"
        column = schema.column(data.draw(st.sampled_from([one.name for one in (schema if kind == "rename" else free)])))
        name = data.draw(st.sampled_from(sorted(EXPRESSIONS)))
        other = data.draw(st.sampled_from([one.name for one in free if one.name != column.name] or [column.name]))
        expression = EXPRESSIONS[name].format(a=quote(column.name), b=quote(other))
        back = {"inverse": INVERSES[name].format(a=quote(fresh))} if name in INVERSES and data.draw(st.booleans()) else {}
        operation: dict[str, Any] = {
            "rename": lambda: rename(column.name, data.draw(st.sampled_from([fresh, *(one.name for one in column.aliases)]))),
            "rename_with": lambda: rename(column.name, fresh, expression=expression, to_type="int64", nullable=True, **back),
            "transform": lambda: transform(column.name, expression, to_type="int64", nullable=True),
            "add": lambda: add(fresh, "int64", expression=expression, nullable=True),
            "default": lambda: add(fresh, "int64", default=9, nullable=True),
            "drop": lambda: drop(column.name),
        }[kind]()
        asked = manifest(NAME, operation, governance={**GOVERNANCE, "ticketId": f"T-{number}"})
        try:
            self.w.migrate(asked, actor="test")
        except RefusedError as error:
            # all of it has expired and was collected
            assert not self.segments() and "nothing has landed" in str(error), str(error)
            return
        assert self.is_new()
        self.arrive(self.now.held, self.now.retracted)

    # --- rows go

    @rule(data=st.data())
    @precondition(lambda self: self.shown(self.now.held, self.now.retracted))
    def retract(self, data: st.DataObject) -> None:
        shown = self.shown(self.now.held, self.now.retracted)
        source = data.draw(st.sampled_from(sorted({one.source for one in shown.values()})))
        (address,) = (one for one in self.producers if (file := self.file(one)) and file.source_partition_id == source)
        _, made = self.w.retract(NAME, FileRows(address=address))
        assert made.rows == sum(len(one.rows) for one in shown.values() if one.source == source)
        self.hidden_by[made.id] = source, {key for key in shown if key[1] == source}
        self.arrive(self.now.held, self.now.retracted | {source})

    @rule(data=st.data())
    @precondition(lambda self: self.hidden_by)
    def undo(self, data: st.DataObject) -> None:
        retraction = data.draw(st.sampled_from(sorted(self.hidden_by)))
        source, keys = self.hidden_by[retraction]
        can = source in self.now.retracted and source not in self.closed and keys <= self.now.held.keys()
        try:
            self.w.undo_retraction(NAME, retraction)
        except RefusedError:
            assert not can or retraction in self.crossed
            return
        assert can
        del self.hidden_by[retraction]
        self.arrive(self.now.held, self.now.retracted - {source})

    @rule(day=DAYS)
    @precondition(lambda self: self.now.held)
    def expire(self, day: int) -> None:
        done = self.w.catalog.expiry.expire(self.id, self.partition(day), reason="test", actor="test")
        if done is None:
            return
        self.expired.add(day)
        self.arrive({key: one for key, one in self.now.held.items() if key[0] != day}, self.now.retracted)

    @rule(data=st.data())
    @precondition(lambda self: self.expired)
    def reopen(self, data: st.DataObject) -> None:
        day = data.draw(st.sampled_from(sorted(self.expired)))
        assert self.w.catalog.expiry.reopen(self.id, self.partition(day), actor="test")
        self.expired.remove(day)

    # --- versions

    @rule(data=st.data(), name=st.sampled_from(["first", "second"]))
    def tag(self, data: st.DataObject, name: str) -> None:
        if name in self.tags:
            self.w.untag(NAME, name, actor="test")
            del self.tags[name]
            return
        version = data.draw(st.sampled_from(sorted(self.versions)))
        with suppress(RefusedError):
            self.w.tag(NAME, name, version=version, actor="test")
            self.tags[name] = version

    @rule()
    def collect(self) -> None:
        known = self.known()
        self.w.collect()
        left = self.known()
        for one in self.landings:
            if (one.name, one.block.day) in known - left and one.block.source not in self.closed:
                one.is_lost = True
        for version in self.tags.values():
            self.see(version, must=True)

    def known(self) -> set[tuple[str, int]]:
        """Names and days of the segments that the catalog has, of whatever version: days may share an object."""
        s = segments.c
        rows = self.w.catalog.database.read(lambda c: c.execute(select(s.name, s.partition_start)).all())
        return {(row.name, from_micros(row.partition_start).day) for row in rows}

    @rule(data=st.data())
    def roll_back(self, data: st.DataObject) -> None:
        tagged = sorted(self.tags.values())
        some = tagged if tagged and data.draw(st.booleans()) else sorted(self.versions)
        to = data.draw(st.sampled_from(some))
        expected = self.rolled_back(to)
        may_be_lost = expected is None
        try:
            self.w.rollback(NAME, to)
        except RefusedError as error:
            if "--nulls" not in str(error):
                assert may_be_lost or to not in self.tags.values(), str(error)
                return
            self.w.rollback(NAME, to, may_null=True)
        assert expected is not None, "what landed since was lost"
        held, retracted = expected
        if not self.is_new():
            assert self.shown(held, retracted).keys() == self.shown(self.now.held, self.now.retracted).keys()
            return
        self.crossed |= self.hidden_by.keys()
        self.arrive(held, retracted)

    def rolled_back(self, to: int) -> tuple[Held, frozenset[int]] | None:
        """Blocks and what is hidden after going back; None where it has to be refused."""
        then = self.versions[to]
        held: Held = {}
        for day in (1, 2):
            at_target = {key: one for key, one in then.held.items() if key[0] == day}
            since = [one for one in self.landings if one.block.day == day and one.version > to]
            if day in self.expired:
                continue
            if any(one.is_lost for one in since):
                if at_target:
                    return None
                held |= {key: one for key, one in self.now.held.items() if key[0] == day}
                continue
            held |= at_target | {(day, one.block.source): one.block for one in since if one.block.source not in self.closed}
        return held, then.retracted

    # --- what is to be seen

    @rule(data=st.data(), bound=st.integers(-12, 12), less=st.booleans())
    def ask_with_a_filter(self, data: st.DataObject, bound: int, less: bool) -> None:
        version = data.draw(st.sampled_from([max(self.versions), *sorted(self.versions)]))
        then = self.versions[version]
        name = data.draw(st.sampled_from([column.name for column in then.schema if column.id not in (*KEYS, BY)]))
        found = self.asked(version, where=f"{quote(name)} {'<' if less else '>='} {bound}")
        if found is None:
            return
        kept: Counter[Row] = Counter()
        for row, times in then.visible.items():
            value = dict(row)[name]
            if isinstance(value, int) and (value < bound) == less:
                kept[row] = times
        assert found == kept

    def see(self, version: int, *, must: bool = False) -> None:
        found = self.asked(version)
        if found is None:
            assert not must and version not in self.tags.values(), f"version {version} can't be read"
        else:
            assert found == self.versions[version].visible, f"version {version} of {max(self.versions)}"

    def asked(self, version: int, where: str | None = None) -> Counter[Row] | None:
        """What a version answers; None when it can't be read any more."""
        as_of = None if version == max(self.versions) else version
        try:
            with self.w.ask(Question(dataset=NAME, as_of=as_of, where=where)) as answer:
                assert answer.manifest_version == version
                found = answer.table().to_pylist()
        except RefusedError:
            assert as_of is not None
            return None
        return Counter(tuple(sorted((name, _plain(value)) for name, value in row.items())) for row in found)


def _plain(value: Any) -> Value:
    """Times as they were sent."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert value is None or isinstance(value, (int, str))
    return value


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> Iterator[str | None]:
    yield None if request.param == "sqlite" else request.getfixturevalue("postgres_catalog_url")


def test_every_version_answers_as_it_did_whatever_happens(url: str | None) -> None:
    its_url = url

    class OnCatalog(LifeOfData):
        url = its_url

    examples = int(os.environ.get("TIMESTORE_LIFE_EXAMPLES", "8"))
    run_state_machine_as_test(
        OnCatalog,
        settings=settings(
            max_examples=examples if url is None else max(1, examples // 3),
            stateful_step_count=12,
            deadline=None,
            # the steps of the example that failed are printed; to look for fewer takes longer than a test may
            phases=[Phase.explicit, Phase.reuse, Phase.generate],
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
