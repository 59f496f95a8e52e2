"""Consumers of the audit get each row once it is settled, and one of two that tell goes on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from timestore_assets.catalog import audit
from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.event_cursors import SETTLED

LONG_AGO = int((datetime.now(UTC) - SETTLED - timedelta(minutes=1)).timestamp() * 1_000_000)


def note(catalog: Catalog, action: str, *, at: int | None = None) -> None:
    catalog.database.timed(
        lambda c, now: audit.record(c, None, actor="test", action=action, details={}, now=now if at is None else at)
    )


def test_a_cursor_begins_at_the_end_and_goes_on_by_compare_and_set(catalog: Catalog) -> None:
    note(catalog, "before")
    first = catalog.event_cursors.of("one")
    note(catalog, "after")
    assert catalog.event_cursors.of("one") == first
    found = catalog.event_cursors.behind(first.audit_id, limit=10)
    assert [row.action for row in found.rows] == ["after"] and found.are_all
    assert catalog.event_cursors.advance("one", first, audit_id=found.rows[-1].id, state={"runs": {"7": {}}})
    assert not catalog.event_cursors.advance("one", first, audit_id=first.audit_id, state={})
    assert not catalog.event_cursors.postpone("one", first, timedelta(seconds=5))
    now = catalog.event_cursors.of("one")
    assert (now.audit_id, now.state, now.attempts) == (found.rows[-1].id, {"runs": {"7": {}}}, 0)
    assert catalog.event_cursors.postpone("one", now, timedelta(seconds=5))
    later = catalog.event_cursors.of("one")
    assert later.attempts == 1 and later.due_at > found.now and later.audit_id == now.audit_id
    assert catalog.event_cursors.of("two").attempts == 0


def test_rows_come_in_pieces_and_by_time(catalog: Catalog) -> None:
    start = catalog.event_cursors.of("one").audit_id
    for number in range(3):
        note(catalog, f"n{number}", at=LONG_AGO + number * 1_000_000)
    found = catalog.event_cursors.behind(start, limit=2)
    assert [row.action for row in found.rows] == ["n0", "n1"] and not found.are_all
    second = datetime.fromtimestamp(LONG_AGO / 1_000_000 + 0.5, UTC)
    rest = catalog.event_cursors.behind(catalog.event_cursors.before(second), limit=10)
    assert [row.action for row in rest.rows] == ["n1", "n2"] and rest.are_all
    end = catalog.event_cursors.before(datetime.now(UTC) + timedelta(hours=1))
    assert not catalog.event_cursors.behind(end, limit=10).rows


def test_a_row_whose_transaction_is_under_way_keeps_those_behind_it_back(catalog: Catalog) -> None:
    if catalog.database.is_sqlite:
        pytest.skip("one transaction writes at a time there")
    note(catalog, "first")
    start = catalog.event_cursors.of("one").audit_id
    with catalog.database.engine.begin() as connection:
        audit.record(connection, None, actor="test", action="slow", details={}, now=catalog.database.now(connection))
        note(catalog, "quick")
        held = catalog.event_cursors.behind(start, limit=10)
        assert held.rows == [] and not held.are_all
    found = catalog.event_cursors.behind(start, limit=10)
    assert [row.action for row in found.rows] == ["slow", "quick"] and found.are_all


def test_a_gap_that_stays_is_passed_over_once_it_is_old(catalog: Catalog) -> None:
    start = catalog.event_cursors.of("one").audit_id
    with catalog.database.engine.connect() as connection:
        audit.record(connection, None, actor="test", action="never", details={}, now=LONG_AGO)
        connection.rollback()
    note(catalog, "old", at=LONG_AGO)
    assert [row.action for row in catalog.event_cursors.behind(start, limit=10).rows] == ["old"]
