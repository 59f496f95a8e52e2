"""I1, I2: under `order: strict` the same records are refused however they are split, and wherever landing dies or conflicts.

`TIMESTORE_ORDER_EXAMPLES` says how many histories are tried of each kind (4 by default).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from timestore_assets.catalog.commit_values import LandingCommit
from timestore_assets.landing.files.context import BulkLimits
from timestore_assets.model.dataset import FlushPolicy
from timestore_assets.storage.object_store import Upload
from timestore_assets_tests.support.kafka_brokers import EmbeddedKafka, produce
from timestore_assets_tests.support.landing_warehouse import LandingWarehouse, columns
from timestore_assets_tests.support.order_model import IN_ORDER, Reading, found, judged
from timestore_assets_tests.support.topic_warehouse import TopicWarehouse, new_topic, topic_warehouse, wait_until

pytestmark = pytest.mark.slow
EXAMPLES = int(os.environ.get("TIMESTORE_ORDER_EXAMPLES", "4"))
TTL = timedelta(milliseconds=150)
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]


class DiedError(BaseException):
    """What happens to a process that is killed: nothing of it goes on, and no handler of errors is for it."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One session, of batches of so many rows: at the `fatal`th call of `where` something happens, 0 being never.

    It dies there, or at `conflict` another process has just declared one more column.
    """

    rows: int
    where: str
    fatal: int


@st.composite
def readings(draw: st.DrawFn, *, sources: int, most: int) -> list[Reading]:
    """Times that go on and fall back, some records that are refused for other reasons, and columns that nobody declared."""
    return [
        Reading(
            number=number,
            station=draw(st.sampled_from(["a", "b", "é"])),
            hour=number + draw(st.sampled_from([0, 0, 0, 1, -1, -3, -20, 9])) + 20,
            source=draw(st.integers(0, sources - 1)),
            is_bad=draw(st.integers(0, 7)) == 0,
            note=draw(st.sampled_from([None] * 6 + [1, 1.5, "x"])),
        )
        for number in range(draw(st.integers(1, most)))
    ]


histories = st.lists(
    st.builds(
        Step,
        rows=st.integers(1, 12),
        where=st.sampled_from(["promote", "before", "after", "conflict"]),
        fatal=st.integers(0, 4),
    ),
    min_size=1,
    max_size=4,
)


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedKafka]:
    with EmbeddedKafka() as started:
        yield started


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=SLOW)
@given(made=readings(sources=4, most=60), steps=histories)
def test_any_split_of_a_topic_refuses_the_same(broker: EmbeddedKafka, made: list[Reading], steps: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        warehouse = topic_warehouse(Path(folder), broker, new_topic(broker), dataset=IN_ORDER)
        warehouse.ttl = TTL
        for number, step in enumerate(steps):
            some = made[number * len(made) // len(steps) : (number + 1) * len(made) // len(steps)]
            if some:
                placed = [(one.source, None, one.value, None, None) for one in some]
                produce(broker.bootstrap, warehouse.topics[0], placed)
            warehouse.options["flush"] = FlushPolicy(rows=step.rows, age=timedelta(milliseconds=10))
            run(warehouse, step, warehouse.stream)
        finish(warehouse)
        assert found(warehouse) == judged(made)
        warehouse.catalog.close()


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=SLOW)
@given(made=readings(sources=1, most=60), steps=histories, wide=st.booleans(), is_replaced=st.booleans())
def test_any_split_of_a_file_refuses_the_same(made: list[Reading], steps: list[Step], wide: bool, is_replaced: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        warehouse = LandingWarehouse.at(Path(folder), IN_ORDER, ttl=TTL)
        warehouse.source = replace(warehouse.source, on_change="replace")
        if is_replaced:
            # what is newer than all that comes, in rows that leave
            warehouse.land_one("a.jsonl", [Reading(number=-1, station=one, hour=900).record for one in ("a", "b", "é")])
        path = warehouse.drop("a.jsonl", [one.record for one in made])
        for step in steps:
            how = {} if wide else {"chunk_rows": step.rows}
            warehouse.bulk = BulkLimits(batch_rows=step.rows, commit_bytes=1_000) if wide else None
            run(warehouse, step, lambda how=how: warehouse.land(path, **how))  # type: ignore[misc] # bound now
        wait_until(lambda: warehouse.land(path).files[0].state in ("landed", "duplicate"), "the rest is landed", 60)
        wanted = judged(made)
        assert sorted(row[0] for row in warehouse.rows("n")) == wanted.landed
        if not is_replaced:
            assert found(warehouse) == wanted
        assert sorted(one.code for one in warehouse.letters()) == sorted(
            ["out_of_order"] * len(wanted.out_of_order) + ["failed_check"] * len(wanted.bad)
        )
        warehouse.catalog.close()


def run(warehouse: LandingWarehouse, step: Step, work: Callable[[], object]) -> None:
    """One session, to which happens what the step says, without ending itself if it dies."""
    commit, promote, end = warehouse.catalog.commits.land, warehouse.store.promote, warehouse.catalog.sessions.end
    calls = {"promote": 0, "before": 0, "after": 0, "conflict": 0}

    def is_reached(place: str) -> bool:
        calls[place] += 1
        return place == step.where and calls[place] == step.fatal

    def die_at(place: str) -> None:
        if is_reached(place):
            warehouse.catalog.sessions.end = lambda _: None  # type: ignore[assignment, method-assign] # who died ends nothing
            raise DiedError

    def promoted(uploads: Sequence[Upload]) -> list[str]:
        digests = promote(uploads)
        die_at("promote")
        return digests

    def committed(batch: LandingCommit) -> int:
        if is_reached("conflict"):
            declare_one_more_column(warehouse)
        die_at("before")
        version = commit(batch)
        die_at("after")
        return version

    warehouse.catalog.commits.land = committed  # type: ignore[assignment, method-assign] # something may happen to it
    warehouse.store.promote = promoted  # type: ignore[method-assign] # likewise
    try:
        work()
    except DiedError:
        pass
    finally:
        warehouse.catalog.commits.land = commit  # type: ignore[method-assign] # put back
        warehouse.store.promote = promote  # type: ignore[method-assign] # put back
        warehouse.catalog.sessions.end = end  # type: ignore[method-assign] # put back


def declare_one_more_column(warehouse: LandingWarehouse) -> None:
    """As another process with a newer file would."""
    known = warehouse.record.schema
    name = f"later{sum(one.startswith('later') for one in known.names)}"
    earlier = [one for one in known if one.name.startswith("later")]
    more = warehouse.dataset.schema.with_columns(*earlier, *columns(**{name: "string?"}))
    warehouse.catalog.datasets.register(replace(warehouse.dataset, schema=more), actor="another")


def finish(warehouse: TopicWarehouse) -> None:
    """Land what is left, once no dead session holds a topic partition any more."""

    def is_done() -> bool:
        left = warehouse.kafka_topics().look(warehouse.places_of_topics()).lag
        return warehouse.stream().ending == "caught_up" and not left

    wait_until(is_done, "the rest is landed", 60)
