"""While processes of before columns had ids are at work, no columns are changed and no ranges are retracted."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from timestore_assets.catalog.older_processes import marked
from timestore_assets.catalog.tables import datasets, sessions
from timestore_assets.model.errors import RefusedError
from timestore_assets.model.row_selector import FileRows, SessionRows
from timestore_assets.warehouse import Warehouse
from timestore_assets_tests.support.http_service import open_warehouse
from timestore_assets_tests.support.migrations import manifest, rename

OLD = "far-away:17@4711.0123456789ab"
"""How a process of revision 0009 names itself in its sessions."""


@pytest.fixture
def warehouse(tmp_path: Path, catalog_url: str) -> Iterator[Warehouse]:
    """Two rows in one file."""
    with open_warehouse(tmp_path, catalog_url=catalog_url) as opened:
        path = tmp_path / "a.csv"
        path.write_text("ts,station,temp\n2013-01-01T00:00:00Z,x,1\n2013-01-01T01:00:00Z,x,2\n")
        assert opened.land("weather", [path]).counters.landed == 2
        yield opened


def begin_as_of_before(warehouse: Warehouse, holder: str = OLD, *, ttl: timedelta = timedelta(hours=1)) -> int:
    """A session as revision 0009 writes it: without the revision of its process."""
    begun = warehouse.catalog.sessions.begin(warehouse.resolve("weather")[1].id, "landing", holder="x", ttl=ttl)
    own = sessions.update().where(sessions.c.id == begun).values(holder=holder)
    warehouse.catalog.database.write(lambda c: c.execute(own))
    return begun


def test_a_migration_waits_for_the_sessions_of_older_processes(warehouse: Warehouse) -> None:
    asked = manifest("weather", rename("temp", "celsius"))
    old = begin_as_of_before(warehouse)
    (refusal,) = warehouse.try_migration(asked).refusals
    assert f"far-away:17 (landing of weather, session {old})" in refusal
    with pytest.raises(RefusedError, match="processes of an older version are at work"):
        warehouse.migrate(asked, actor="ann")
    assert warehouse.resolve("weather")[1].schema.find("temp") is not None
    warehouse.catalog.sessions.end(old)
    begin_as_of_before(warehouse, ttl=timedelta(seconds=-1))
    begin_as_of_before(warehouse, marked(OLD))
    assert warehouse.try_migration(asked).refusals == ()
    assert warehouse.migrate(asked, actor="ann").done.is_new


def test_taking_one_back_waits_for_them_too(warehouse: Warehouse) -> None:
    warehouse.migrate(manifest("weather", rename("temp", "celsius")), actor="ann")
    old = begin_as_of_before(warehouse)
    assert "far-away:17" in warehouse.try_restore("weather", 1).refusals[0]
    with pytest.raises(RefusedError, match="far-away:17"):
        warehouse.restore_schema("weather", 1, actor="ann")
    warehouse.catalog.sessions.end(old)
    assert warehouse.restore_schema("weather", 1, actor="ann").schema_version == 3


def test_the_older_ones_that_are_known_to_have_died_are_no_reason_to_wait(warehouse: Warehouse) -> None:
    gone = warehouse.holder.replace("@", "@9", 1)  # of this machine, and started at another time
    begin_as_of_before(warehouse, gone)
    assert warehouse.migrate(manifest("weather", rename("temp", "celsius")), actor="ann").done.is_new


def test_a_retraction_of_a_range_waits_for_them_and_one_of_a_whole_file_does_not(warehouse: Warehouse, tmp_path: Path) -> None:
    began = begin_as_of_before(warehouse)
    landed = select(sessions.c.id).join(datasets).where(sessions.c.id < began).order_by(sessions.c.id).limit(1)
    session = int(warehouse.catalog.database.read(lambda c: c.execute(landed).scalar_one()))
    with pytest.raises(RefusedError, match="are not retracted: processes of an older version are at work"):
        warehouse.retract("weather", SessionRows(session=session), actor="ann")
    _, done = warehouse.retract("weather", FileRows(address=str(tmp_path / "a.csv")), actor="ann")
    assert done.rows == 2
