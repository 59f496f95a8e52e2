"""Partitions that share a file answer and become what those with files of their own do, whatever happens to them (I3, I4, I5)."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from timestore_assets.model.dataset import Dedupe, FileSource
from timestore_assets.model.errors import RefusedError
from timestore_assets.model.question import Question
from timestore_assets.model.row_selector import FileRows
from timestore_assets.model.window import Window
from timestore_assets.warehouse import Warehouse
from timestore_assets_tests.support.examples import examples
from timestore_assets_tests.support.http_service import open_warehouse
from timestore_assets_tests.support.landing_warehouse import START, columns, dataset
from timestore_assets_tests.support.migrations import GOVERNANCE, add, manifest, rename
from timestore_assets_tests.support.shared_deltas import sharing

NAME = "shared"
HOURS = 9
DECLARED = dataset(
    *columns(rev="int64"),
    name=NAME,
    window=Window.HOUR,
    sources=(FileSource(prefix="inbox", on_change="replace"),),
    dedupe=Dedupe(keys=("ts", "station"), by="rev"),
)
RECORDS = st.lists(
    st.tuples(st.integers(0, HOURS * 4 - 1), st.sampled_from("ab"), st.integers(0, 99), st.none() | st.integers(-9, 9)),
    min_size=1,
    max_size=30,
)
SOME_HOURS = st.sets(st.integers(0, HOURS - 1), min_size=1)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("land"), st.integers(0, 2), RECORDS),
        st.tuples(st.just("retract"), st.integers(0, 2)),
        st.tuples(st.just("undo")),
        st.tuples(st.just("build"), SOME_HOURS, st.booleans()),
        st.tuples(st.just("migrate"), st.booleans()),
        st.tuples(st.just("roll back"), st.integers(0, 9), st.booleans()),
        st.tuples(st.just("expire"), st.integers(0, HOURS - 1)),
        st.tuples(st.just("erase"), st.integers(-9, 9)),
        st.tuples(st.just("collect")),
    ),
    min_size=2,
    max_size=9,
)

ANSWERS = ("rows", "range", "sql")
"""What the same rows answer, whatever was written anew."""


@dataclass
class Ground:
    """A warehouse, and what was done to it."""

    warehouse: Warehouse
    is_shared: bool
    steps: int = 0

    def do(self, kind: str, *asked: Any) -> str:
        """Carry out a step; says why it was refused, or ""."""
        self.steps += 1
        step: Callable[..., object] = getattr(self, "do_" + kind.replace(" ", "_"))
        try:
            with sharing(self.is_shared):
                step(*asked)
        except RefusedError as error:
            return str(error)
        return ""

    def do_land(self, file: int, records: Sequence[tuple[int, str, int, int | None]]) -> None:
        path = self.warehouse.settings.home / "inbox" / f"{file}.jsonl"
        path.parent.mkdir(exist_ok=True)
        schema = self.warehouse.resolve(NAME)[1].schema
        temp = next(column.name for column in schema if column.id == 3)
        lines = []
        for quarter, station, rev, value in records:
            time = (START + timedelta(minutes=15 * quarter)).isoformat()
            # so that no two rows are equal in all that decides
            lines.append(json.dumps({"ts": time, "station": station, "rev": rev + 100 * self.steps, temp: value}) + "\n")
        path.write_text("".join(lines))
        (report,) = self.warehouse.land(NAME, [path]).files
        assert report.state in ("landed", "duplicate"), report

    def do_retract(self, file: int) -> None:
        path = self.warehouse.settings.home / "inbox" / f"{file}.jsonl"
        if path.exists():
            self.warehouse.retract(NAME, FileRows(address=path.name))

    def do_undo(self) -> None:
        if made := self.warehouse.retractions(NAME):
            self.warehouse.undo_retraction(NAME, made[-1].id)

    def do_build(self, hours: set[int], close: bool) -> None:
        list(self.warehouse.build(NAME, [self.hour(one) for one in sorted(hours)], close=close))

    def do_migrate(self, is_rename: bool) -> None:
        schema = self.warehouse.resolve(NAME)[1].schema
        temp = next(column.name for column in schema if column.id == 3)
        made = f"n{self.steps}"
        operation = rename(temp, made) if is_rename else add(made, "int64", default=7, nullable=True)
        asked = manifest(NAME, operation, governance={**GOVERNANCE, "ticketId": f"T-{self.steps}"})
        self.warehouse.migrate(asked, actor="test")

    def do_roll_back(self, back: int, with_landings: bool) -> None:
        newest = self.warehouse.resolve(NAME)[1].manifest_version
        self.warehouse.rollback(NAME, max(0, newest - back), with_landings=with_landings, may_null=True)

    def do_expire(self, hour: int) -> None:
        record = self.warehouse.resolve(NAME)[1]
        self.warehouse.catalog.expiry.expire(record.id, self.hour(hour), reason="test", actor="test")

    def do_erase(self, value: int) -> None:
        schema = self.warehouse.resolve(NAME)[1].schema
        temp = next(column.name for column in schema if column.id == 3)
        self.warehouse.erase(NAME, f'"{temp}" = {value}', execute=True)

    def do_collect(self) -> None:
        self.warehouse.collect()

    def rows_of(self, version: int) -> list[str] | None:
        """Those that a version shows; None when it can't be read any more."""
        try:
            with self.warehouse.ask(Question(dataset=NAME, as_of=version)) as answer:
                return sorted(map(repr, answer.table().to_pylist()))
        except RefusedError:
            return None

    def hour(self, number: int) -> Any:
        return Window.HOUR.partition(START + timedelta(hours=number))

    def seen(self) -> dict[str, Any]:
        """All that can be asked of its newest version, but for names and sizes of files."""
        _, record = self.warehouse.resolve(NAME)
        found: dict[str, Any] = {"version": record.manifest_version, "rows": self.rows_of(record.manifest_version)}
        ranged = Question(dataset=NAME, start=START + timedelta(minutes=50), end=START + timedelta(hours=4, minutes=20))
        with self.warehouse.ask(ranged) as answer:
            found["range"] = sorted(map(repr, answer.table().to_pylist()))
        with self.warehouse.sql(f'SELECT ts, count(*) AS n FROM "{NAME}" GROUP BY ts ORDER BY ts') as answer:
            found["sql"] = answer.table().to_pylist()
        live = self.warehouse.catalog.manifest.segments(record.id)
        # ids of segments rise with time in both, names do not
        found["segments"] = sorted((one.partition_start, one.kind, one.level, one.rows, one.source_ids) for one in live)
        states = self.warehouse.catalog.partitions.of(record.id)
        own: dict[str, Any] = {"bytes": 0, "unbuilt_bytes": 0, "oldest_delta_at": None, "newest_at": None}
        found["partitions"] = [replace(one, **own) for one in states]
        return found


# the steps of an example that failed are printed; to look for fewer takes longer than a test may
@settings(max_examples=examples(6), deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(first=RECORDS, steps=STEPS)
def test_partitions_in_one_file_answer_and_become_what_they_do_with_files_of_their_own(
    first: list[tuple[int, str, int, int | None]], steps: list[tuple[Any, ...]]
) -> None:
    home = Path(tempfile.mkdtemp(prefix="timestore-shared-"))
    try:
        with ExitStack() as stack:
            grounds = []
            for is_shared in (False, True):
                opened = open_warehouse(home / str(is_shared), {NAME: DECLARED}, keep_versions_seconds=0, gc_grace_seconds=0)
                grounds.append(Ground(stack.enter_context(opened), is_shared))
            own, shared = grounds
            for step in [("land", 0, first), *steps]:
                assert shared.do(*step) == own.do(*step)
                there, here = shared.seen(), own.seen()
                assert {name: there[name] for name in ANSWERS} == {name: here[name] for name in ANSWERS}, step
                if step[0] == "erase" and there != here:
                    break  # all that share a file with what was erased are written anew, so they have other versions from here on
                assert there == here, step
            else:
                for version in range(own.warehouse.resolve(NAME)[1].manifest_version):
                    assert shared.rows_of(version) == own.rows_of(version)
            for ground in grounds:
                report = ground.warehouse.verify(NAME)
                assert report.ok, report.findings
    finally:
        shutil.rmtree(home)
