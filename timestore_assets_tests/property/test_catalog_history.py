"""Random landings, builds, retractions, collections, trimmings beside a model in plain Python: every version stays as it was."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.records import Lease
from timestore_assets.model.counters import Counters
from timestore_assets.model.errors import ConflictError, RefusedError
from timestore_assets_tests.support.catalog_dataset import HOUR, CatalogDataset, day
from timestore_assets_tests.support.catalogs import sqlite_url
from timestore_assets_tests.support.examples import examples

DAYS = st.integers(0, 2)
NAMES = st.sampled_from("abc")


class History(RuleBasedStateMachine):
    """The model: names of live segments by version, and the rows and states they imply."""

    template: Path

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="timestore-history-"))
        self.catalog = Catalog.open(sqlite_url(Path(shutil.copy(self.template, self.folder / "catalog.sqlite"))))
        self.ground = CatalogDataset.of(self.catalog)
        self.versions: list[dict[str, int]] = [{}]
        self.hidden: list[frozenset[int]] = [frozenset()]
        self.held: list[tuple[int, Lease]] = []
        self.waiting: dict[str, dict[str, int]] = {}
        self.retracted: set[str] = set()
        self.counters = Counters()
        self.oldest = 0

    def teardown(self) -> None:
        self.catalog.close()
        shutil.rmtree(self.folder)

    def publish(self, live: dict[str, int]) -> None:
        self.versions.append(live)
        self.hidden.append(self.catalog.manifest.retracted(self.ground.id, version=len(self.versions) - 1))

    @rule()
    @precondition(lambda self: len(self.held) < 3)
    def hold_the_newest(self) -> None:
        self.held.append(self.catalog.versions.pin(self.ground.id, version=None, holder="test", ttl=HOUR))

    @rule(data=st.data())
    @precondition(lambda self: 0 < len(self.held) < 3)
    def hold_what_another_holds(self, data: st.DataObject) -> None:
        version, _ = data.draw(st.sampled_from(self.held))
        self.held.append(self.catalog.versions.pin(self.ground.id, version=version, holder="another", ttl=HOUR))

    @rule(data=st.data())
    @precondition(lambda self: self.held)
    def let_go(self, data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(self.held) - 1))
        self.catalog.leases.release(self.held.pop(at)[1])

    @rule()
    def trim(self) -> None:
        self.catalog.trimming.retractions()

    @rule(name=NAMES, number=DAYS, rows=st.integers(1, 9), dead=st.integers(0, 3), publish=st.booleans())
    def land(self, name: str, number: int, rows: int, dead: int, publish: bool) -> None:
        partition = self.ground.source_partition(name)
        segment = self.ground.segment(number, rows, source_ids=(partition.id,))
        if name in self.retracted:
            with contextlib.suppress(ConflictError):
                self.ground.land(name, segment, rows=rows + dead)
                raise AssertionError("landed in a retracted source partition")
            return
        self.ground.land(name, segment, rows=rows + dead, publish=publish)
        self.counters += Counters(read=rows + dead, landed=rows, dead_letters=dead)
        if publish:
            self.publish(self.versions[-1] | self.waiting.pop(name, {}) | {segment.name: rows})
        else:
            self.waiting.setdefault(name, {})[segment.name] = rows

    @rule(number=DAYS, part=st.integers(1, 4), seal=st.booleans())
    def build(self, number: int, part: int, seal: bool) -> None:
        there = self.catalog.manifest.segments(self.ground.id, partition=day(number))
        live = there[:part]
        if not live:
            return
        # what seals a partition merges all that is sealed in it
        seal = seal and all(segment.kind == "delta" for segment in there[part:])
        rows = sum(segment.rows for segment in live)
        sources = tuple({source for segment in live for source in segment.source_ids})
        merged = self.ground.sealed(number, rows, source_ids=sources)
        self.ground.build(number, live, merged, seal=seal)
        gone = {segment.name for segment in live}
        kept = {name: count for name, count in self.versions[-1].items() if name not in gone}
        self.publish(kept | {merged.name: rows})

    @rule(number=DAYS)
    def build_what_is_gone(self, number: int) -> None:
        live = self.catalog.manifest.segments(
            self.ground.id, version=max(self.oldest, len(self.versions) - 2), partition=day(number)
        )
        gone = [segment for segment in live if segment.name not in self.versions[-1]]
        if gone:
            with contextlib.suppress(ConflictError):
                self.ground.build(number, gone, self.ground.sealed(number, sum(segment.rows for segment in gone)))
                raise AssertionError("replaced what was gone")

    @rule(old=NAMES, number=DAYS)
    @precondition(lambda self: len(self.retracted) < 2)
    def replace(self, old: str, number: int) -> None:
        new = f"replacement of {old}"
        if old in self.retracted or new in self.retracted:
            return
        segment = self.ground.segment(number, 5)
        self.ground.land(new, segment, retract=(self.ground.source_partition(old).id,))
        self.counters += Counters(read=5, landed=5)
        self.retracted.add(old)
        self.waiting.pop(old, None)
        self.publish(self.versions[-1] | {segment.name: 5})

    @rule()
    def collect(self) -> None:
        self.catalog.sessions.end(self.ground.session)
        before = self.catalog.objects.known()
        pinned, lease = self.catalog.versions.pin(self.ground.id, version=None, holder="test", ttl=HOUR)
        gone = {one.name for one in self.catalog.objects.collect_segments(superseded_before=datetime.now(UTC) + HOUR)}
        assert gone <= before - self.catalog.objects.known()
        assert not gone & set(self.versions[-1])
        self.catalog.leases.release(lease)
        if any(gone & set(live) for live in self.versions):
            self.oldest = pinned
        self.ground.session = self.catalog.sessions.begin(self.ground.id, "landing", holder="test", ttl=HOUR)

    @invariant()
    def every_version_is_as_it_was(self) -> None:
        assert self.catalog.manifest.version(self.ground.id) == len(self.versions) - 1
        must = {version for version, _ in self.held} | set(range(self.oldest, len(self.versions)))
        for version in range(len(self.versions)):
            try:
                _, lease = self.catalog.versions.pin(self.ground.id, version=version, holder="test", ttl=HOUR)
            except RefusedError:
                assert version not in must
                continue
            self.catalog.leases.release(lease)
            assert {segment.name: segment.rows for segment in self.ground.live(version)} == self.versions[version]
            assert self.catalog.manifest.retracted(self.ground.id, version=version) == self.hidden[version]

    @invariant()
    def accounts_balance(self) -> None:
        counters = self.ground.counters()
        assert counters == self.counters and counters.balanced
        partitions = self.catalog.partitions.of(self.ground.id)
        assert sum(one.rows for one in partitions) == sum(self.versions[-1].values())
        assert all(one.deltas == 0 and not one.retracted for one in partitions if one.state == "sealed")


def test_history(sqlite_template: Path) -> None:
    class OnTemplate(History):
        template = sqlite_template

    run_state_machine_as_test(
        OnTemplate,
        settings=settings(
            max_examples=examples(8),
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
