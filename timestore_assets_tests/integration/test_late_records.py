"""The ledger of late data: what came after its partition was closed, how late, and what became of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from timestore_assets.building.builder import Builder
from timestore_assets.catalog.commit_values import LandingCommit, ReplaySettlement
from timestore_assets.catalog.instants import to_micros
from timestore_assets.catalog.tables import sources
from timestore_assets.landing.dead_letters.replay import Replayer, Selection
from timestore_assets.model.counters import Counters
from timestore_assets.model.dataset import FileSource, Late
from timestore_assets.model.errors import ConflictError, InputError
from timestore_assets.model.late_words import at_least_seconds
from timestore_assets_tests.support.dead_letter_replays import FILES, STRICT, TOPIC, land_topic, mended, offsets
from timestore_assets_tests.support.landing_warehouse import LandingWarehouse

DAY = 86_400
BORDER = datetime(2013, 3, 1, tzinfo=UTC)
LATE = [
    b'{"ts": "2013-02-03", "station": "a"}',
    b'{"ts": "2013-02-03T10:00", "station": "b"}',
    b'{"ts": "2013-02-27", "station": "c"}',
]


@pytest.fixture
def warehouse(catalog_url: str, tmp_path: Path) -> Iterator[LandingWarehouse]:
    warehouse = LandingWarehouse.at(tmp_path, STRICT, url=catalog_url, source=FILES)
    yield warehouse
    warehouse.catalog.close()


def days(*numbers: int) -> list[dict[str, Any]]:
    return [{"ts": f"2013-03-{number:02}", "station": f"s{at}"} for at, number in enumerate(numbers)]


def seal(warehouse: LandingWarehouse) -> None:
    with Builder(warehouse.context) as builder:
        for one in warehouse.catalog.partitions.of(warehouse.record.id):
            builder.build(warehouse.dataset, one.partition, close=True, actor="test")


def ledger(warehouse: LandingWarehouse) -> list[tuple[str, str, int, int]]:
    """Partition, disposition, seconds that the lateness reaches, rows."""
    found = warehouse.catalog.late.of(warehouse.record.id, window=warehouse.dataset.window)
    return [(one.partition.key, one.disposition, at_least_seconds(one.lateness), one.rows) for one in found]


def states(warehouse: LandingWarehouse) -> dict[str, str]:
    return {one.partition.key: one.state for one in warehouse.catalog.partitions.of(warehouse.record.id)}


def holding(warehouse: LandingWarehouse, policy: Any = "hold") -> LandingWarehouse:
    """Three records of two days were held."""
    held = warehouse.with_dataset(replace(warehouse.dataset, late=Late(policy=policy)))
    land_topic(held, offsets([*LATE, b'{"ts": "2013-03-02", "station": "on time"}']), late_before=BORDER)
    return held


def held_batches(warehouse: LandingWarehouse) -> list[int]:
    return [file.id for _, file, _ in warehouse.catalog.dead_letters.of(warehouse.record.id) if file.kind == "held"]


def test_what_lands_in_a_sealed_partition_was_late_by_what_has_been_sealed_since(warehouse: LandingWarehouse) -> None:
    warehouse.land_one("first.jsonl", days(1, 2, 3, 9))
    assert ledger(warehouse) == [], "nothing was sealed yet"
    seal(warehouse)
    warehouse.land_one("late.jsonl", days(1, 1, 8, 9, 10))
    assert ledger(warehouse) == [("2013-03-01", "corrected", 2**19, 2), ("2013-03-09", "corrected", 0, 1)]
    assert 2**19 <= 8 * DAY < 2**20
    assert states(warehouse) | {"2013-03-02": "sealed"} == {
        "2013-03-01": "stale", "2013-03-02": "sealed", "2013-03-03": "sealed", "2013-03-08": "open", "2013-03-09": "stale",
        "2013-03-10": "open",
    }  # fmt: skip
    warehouse.land_one("later.jsonl", [*days(1), {"ts": "2013-03-01T08:00", "station": "more"}])
    assert ledger(warehouse)[0] == ("2013-03-01", "corrected", 2**19, 4), "stale is sealed, too, until it is built"


def test_a_replacement_counts_when_it_appears_and_once(warehouse: LandingWarehouse) -> None:
    replacing = replace(warehouse, source=FileSource(prefix="inbox", on_change="replace"))
    replacing.land_one("a.jsonl", days(1, 2))
    seal(replacing)
    replacing.land_one("a.jsonl", days(1, 1, 1, 2), chunk_rows=1)
    assert ledger(replacing) == [("2013-03-01", "corrected", 2**16, 3), ("2013-03-02", "corrected", 0, 1)]


def test_the_watermark_says_how_late_a_record_of_a_topic_was(warehouse: LandingWarehouse) -> None:
    source = warehouse.catalog.sources.ensure(
        warehouse.catalog.datasets.register(warehouse.dataset, actor="test").id, TOPIC.kind, TOPIC.address
    )
    late = warehouse.with_dataset(replace(warehouse.dataset, late=Late(policy="drop", allowed=timedelta(hours=2))))
    warehouse.catalog.datasets.register(late.dataset, actor="test")
    with_watermark(late, source.id, BORDER + timedelta(hours=3))
    land_topic(late, offsets(LATE), late_before=BORDER)
    assert 2**21 <= 25 * DAY + 3600 < 2**22
    assert 2**16 <= DAY + 3600 < 2**17
    assert ledger(late) == [("2013-02-03", "dropped", 2**21, 2), ("2013-02-27", "dropped", 2**16, 1)]
    assert late.counters().late_dropped == 3


def with_watermark(warehouse: LandingWarehouse, source_id: int, at: datetime) -> None:
    """As if so much had been read of its topics."""
    moved = sources.update().where(sources.c.id == source_id).values(watermark=to_micros(at))
    warehouse.catalog.database.write(lambda connection: connection.execute(moved))


@pytest.mark.parametrize(("policy", "disposition"), [("hold", "held"), ("drop", "dropped")])
def test_what_is_kept_back_and_replayed_is_corrected_in_the_ledger_too(
    warehouse: LandingWarehouse, policy: str, disposition: str
) -> None:
    held = holding(warehouse, policy)
    assert sum(rows for *_, rows in ledger(held)) == 3
    assert {one[:2] for one in ledger(held)} == {("2013-02-03", disposition), ("2013-02-27", disposition)}
    before = [(key, seconds, rows) for key, _, seconds, rows in ledger(held)]
    came = [(one.first_at, one.last_at) for one in held.catalog.late.of(held.record.id, window=held.dataset.window)]
    Replayer(held.context).replay(held.dataset, Selection(kind="held" if policy == "hold" else "late_dropped"), actor="test")
    assert ledger(held) == [(key, "corrected", seconds, rows) for key, seconds, rows in before]
    assert [(one.first_at, one.last_at) for one in held.catalog.late.of(held.record.id, window=held.dataset.window)] == came
    assert held.counters().landed == 4


def test_held_records_that_are_refused_count_as_dropped_and_keep_their_bytes(warehouse: LandingWarehouse) -> None:
    held = holding(warehouse)
    assert held.catalog.dead_letters.refuse_held(held.record.id, held_batches(held), actor="alice") == 3
    counters = held.counters()
    assert (counters.held, counters.late_dropped, counters.balanced) == (0, 3, True)
    assert {one[1] for one in ledger(held)} == {"dropped"}
    assert [letter.kind for letter in held.letters()] == ["late_dropped"] * 3
    assert Replayer(held.context).replay(held.dataset, Selection(kind="held"), actor="test").files == 0
    assert held.catalog.dead_letters.refuse_held(held.record.id, None, actor="alice") == 0
    (told,) = [one for one in held.catalog.audit.newest(limit=100) if one["action"] == "late_refused"]
    assert (told["actor"], told["details"]["late_dropped"]) == ("alice", 3)


def test_a_batch_that_is_not_held_is_named(warehouse: LandingWarehouse) -> None:
    held = holding(warehouse)
    with pytest.raises(InputError, match="holds no batch 4711, or not any more"):
        held.catalog.dead_letters.refuse_held(held.record.id, [*held_batches(held), 4711], actor="test")
    assert held.counters().held == 3, "all or nothing"


def test_a_replay_that_a_refusal_has_overtaken_settles_nothing(warehouse: LandingWarehouse) -> None:
    held = holding(warehouse)
    ids = tuple(held_batches(held))
    held.catalog.dead_letters.refuse_held(held.record.id, None, actor="test")
    session = held.catalog.sessions.begin(held.record.id, "replay", holder="test", ttl=timedelta(minutes=1))
    (source,) = [one for one in held.catalog.sources.of(held.record.id) if one.kind == "kafka"]
    late = LandingCommit(
        dataset_id=held.record.id,
        session_id=session,
        source_id=source.id,
        progress=ReplaySettlement(dead_letter_ids=ids, kind="held"),
        counters=Counters(landed=3, held=-3),
    )
    with pytest.raises(ConflictError, match="replayed or refused by somebody else"):
        held.catalog.commits.land(late)
    assert (held.counters().held, held.counters().late_dropped) == (0, 3)


@pytest.mark.parametrize("chunk", [2, 100])
def test_the_counters_of_a_file_follow_a_replay(warehouse: LandingWarehouse, chunk: int) -> None:
    hot = [{"ts": "2013-03-01", "station": f"s{at}", "temp": 300 if at % 2 else 20} for at in range(6)]
    warehouse.land_one("a.jsonl", hot, chunk_rows=chunk)
    warehouse.land_one("copy.jsonl", hot)
    source = next(one for one in warehouse.catalog.sources.of(warehouse.record.id) if one.counters.read)
    before = {file.address: file.counters for file in warehouse.catalog.files.of(source.id)}
    assert (before["a.jsonl"].landed, before["a.jsonl"].dead_letters) == (3, 3)
    fixed = warehouse.with_dataset(mended(warehouse.dataset))
    assert Replayer(fixed.context).replay(fixed.dataset, actor="test").landed == 3
    after = {file.address: file.counters for file in warehouse.catalog.files.of(source.id)}
    assert (after["a.jsonl"].landed, after["a.jsonl"].dead_letters, after["a.jsonl"].balanced) == (6, 0, True)
    assert after["copy.jsonl"] == before["copy.jsonl"]


def test_what_is_not_late_is_not_in_the_ledger(warehouse: LandingWarehouse) -> None:
    keys: Sequence[int] = (1, 2, 3)
    warehouse.land_one("a.jsonl", days(*keys))
    warehouse.land_one("b.jsonl", days(*keys, 4))
    assert ledger(warehouse) == []
