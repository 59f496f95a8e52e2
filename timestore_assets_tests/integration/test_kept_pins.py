"""SQL reads the newest version by a pin that is kept for the next statement: what is read stays, and what nobody reads goes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from timestore_assets.catalog import kept_pins
from timestore_assets.catalog.kept_pins import KeptPins
from timestore_assets.catalog.snapshot_pin import PIN_TTL
from timestore_assets.querying.answer import Answer
from timestore_assets.querying.sql.sandbox import run_sql
from timestore_assets.upkeep.collect import collect
from timestore_assets_tests.support.query_warehouse import QueryWarehouse, query_warehouse_in, row


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[QueryWarehouse]:
    """Two deltas of a day, which a build replaces."""
    made = query_warehouse_in(tmp_path)
    made.land([row("a", minute, n=1) for minute in range(500)])
    made.land([row("b", minute, n=1) for minute in range(500)])
    yield made
    made.close()


def asked(warehouse: QueryWarehouse, text: str = "SELECT * FROM meter") -> Answer:
    return run_sql(warehouse.querier, text, {"meter": (warehouse.dataset, warehouse.record)})


def pins(warehouse: QueryWarehouse) -> list[int]:
    """Versions that are pinned."""
    with closing(sqlite3.connect(warehouse.folder / "catalog.sqlite")) as con:
        return [version for (version,) in con.execute("SELECT version FROM leases WHERE resource LIKE 'query:%' ORDER BY 1")]


def gc(warehouse: QueryWarehouse) -> set[str]:
    """What a collection leaves behind, with nothing kept for its age."""
    collect(warehouse.catalog, warehouse.storage, intent_grace=timedelta(0), keep_versions=timedelta(0))
    return {found.name for found in warehouse.store.list(warehouse.dataset.name)}


def live(warehouse: QueryWarehouse) -> set[str]:
    return {segment.name for segment in warehouse.catalog.manifest.segments(warehouse.record.id)}


def test_statements_share_a_pin_which_a_newer_version_replaces(warehouse: QueryWarehouse) -> None:
    asked(warehouse).table()
    asked(warehouse).table()
    before = pins(warehouse)
    assert before == [warehouse.record.manifest_version]
    warehouse.land([row("c", 0)])
    assert asked(warehouse).table().num_rows == 1001, "a newer version is seen at once"
    assert pins(warehouse) == [warehouse.record.manifest_version] != before


def test_what_is_read_is_not_collected_though_others_read_a_newer_version(warehouse: QueryWarehouse) -> None:
    """I3: the deltas of an answer that is open stay, however many versions came since; then they go."""
    with asked(warehouse) as answer:
        first = pins(warehouse)
        warehouse.build(1)
        assert asked(warehouse, "SELECT count(*) AS n FROM meter").table().to_pylist() == [{"n": 1000}]
        assert pins(warehouse) == [*first, warehouse.record.manifest_version]
        assert gc(warehouse) > live(warehouse)
        assert answer.table().num_rows == 1000
    assert pins(warehouse) == [warehouse.record.manifest_version]
    assert gc(warehouse) == live(warehouse)


def test_two_readers_of_a_version_keep_it_until_both_have_gone(warehouse: QueryWarehouse) -> None:
    """I3."""
    one, two = asked(warehouse), asked(warehouse)
    warehouse.build(1)
    asked(warehouse).table()
    one.close()
    one.close()
    assert gc(warehouse) > live(warehouse)
    assert two.table().num_rows == 1000
    assert gc(warehouse) == live(warehouse)


def test_a_version_that_nobody_reads_is_let_go_on_demand_and_at_the_end(warehouse: QueryWarehouse) -> None:
    asked(warehouse).table()
    warehouse.querier.let_go()
    assert pins(warehouse) == []
    asked(warehouse).table()
    open_one = asked(warehouse)
    warehouse.querier.close()
    assert len(pins(warehouse)) == 1, "it is still being read"
    assert open_one.table().num_rows == 1000
    assert pins(warehouse) == []


class Time:
    """Seconds that pass when a test says so."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_pin_is_renewed_while_it_is_read_and_given_back_when_nobody_has_used_it_for_a_while(
    warehouse: QueryWarehouse,
) -> None:
    """I3: the catalog's row is there for as long as there is a reader."""
    time = Time()
    pin = kept_pins.KeptPin(warehouse.catalog, warehouse.record.id, version=None, holder="test", clock=time)
    assert pin.enter() and pin.due_in == kept_pins.IDLE_SECONDS
    time.now += 10 * kept_pins.IDLE_SECONDS
    assert pin.renew() and pin.is_held, "it is being read"
    pin.leave()
    time.now += kept_pins.IDLE_SECONDS / 2
    assert pin.renew() and len(pins(warehouse)) == 1
    time.now += kept_pins.IDLE_SECONDS
    assert not pin.renew() and pin.is_released
    assert pins(warehouse) == [] and not pin.enter()


def test_a_reader_that_was_forgotten_does_not_hold_a_version_for_ever(warehouse: QueryWarehouse) -> None:
    time = Time()
    pin = kept_pins.KeptPin(warehouse.catalog, warehouse.record.id, version=None, holder="test", clock=time)
    assert pin.enter()
    for _ in range(5):
        time.now += PIN_TTL.total_seconds() / 4
        pin.renew()
    assert pin.is_released and pins(warehouse) == []


def test_a_pin_that_was_lost_is_not_used_again(warehouse: QueryWarehouse) -> None:
    """I3: as after a machine has slept; the next reader has a pin of its own."""
    kept = KeptPins(warehouse.catalog, holder="test")
    kept.take(warehouse.record.id).release()
    (pin,) = kept._kept.values()
    with closing(sqlite3.connect(warehouse.folder / "catalog.sqlite")) as con, con:
        con.execute("DELETE FROM leases WHERE resource LIKE 'query:%'")
    pin._used = pin._clock()
    assert not pin.renew() and not pin.enter()
    held = kept.take(warehouse.record.id)
    assert pins(warehouse) == [held.version]
    held.release()
    kept.close()
    assert pins(warehouse) == []


def test_what_was_erased_is_not_read_by_a_pin_of_before(warehouse: QueryWarehouse) -> None:
    asked(warehouse).table()
    with closing(sqlite3.connect(warehouse.folder / "catalog.sqlite")) as con, con:
        con.execute("UPDATE datasets SET floor_version = manifest_version + 1")
    assert warehouse.catalog.versions.newest(warehouse.record.id) is None


def test_a_reader_that_goes_on_keeps_its_pin_for_longer_than_one_that_was_forgotten(warehouse: QueryWarehouse) -> None:
    """I3: an answer of `ask` may be read for hours, as long as it is read."""
    time = Time()
    pin = kept_pins.KeptPin(warehouse.catalog, warehouse.record.id, version=None, holder="test", clock=time)
    assert pin.enter()
    for _ in range(8):
        time.now += PIN_TTL.total_seconds() / 4
        pin.renew_if_due()
    assert pin.is_held and len(pins(warehouse)) == 1
    pin.retire()
    pin.leave()
    assert pins(warehouse) == []
