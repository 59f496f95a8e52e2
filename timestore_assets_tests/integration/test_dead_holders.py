"""What a process held that was killed is free at once on its machine, and elsewhere when its time is over."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.holders import shown, this_process
from timestore_assets.catalog.records import Lease
from timestore_assets.model.errors import ConflictError, StorageFullError
from timestore_assets_tests.support.building_warehouse import READINGS, building_warehouse_in, reading
from timestore_assets_tests.support.catalog_dataset import HOUR, CatalogDataset
from timestore_assets_tests.support.kafka_brokers import EmbeddedKafka
from timestore_assets_tests.support.topic_warehouse import TopicWarehouse, topic_warehouse, value

HOLDING = """
import sys
from datetime import timedelta
from timestore_assets.catalog.holders import this_process
from timestore_assets.catalog.catalog import Catalog
url, dataset, parts = sys.argv[1], int(sys.argv[2]), [int(one) for one in sys.argv[3:]]
catalog, hour = Catalog.open(url), timedelta(hours=1)
session = catalog.sessions.begin(dataset, "landing", holder=this_process(), ttl=hour)
assert catalog.topics.assign(session, parts) == set(parts)
assert catalog.leases.acquire("build:1:x", holder=f"{this_process()}:1a2b3c4d", ttl=hour)
print("holding", flush=True)
sys.stdin.read()
"""
PLAIN = replace(READINGS, dedupe=None)


@contextmanager
def holding(url: str, dataset_id: int, *parts: int) -> Iterator[subprocess.Popen[str]]:
    """A process that has a session and a lease on `build:1:x`, and reads these source partitions, until it is killed."""
    command = [sys.executable, "-c", HOLDING, url, *map(str, (dataset_id, *parts))]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "holding\n"
        yield child
    finally:
        child.kill()
        child.communicate(timeout=60)


def test_leases_and_sessions_of_a_killed_process_are_taken_over_at_once(catalog: Catalog, catalog_url: str) -> None:
    warehouse = CatalogDataset.of(catalog)
    url = catalog.database.engine.url.render_as_string(hide_password=False).replace("+psycopg", "")
    part = warehouse.source_partition("topic")

    def take() -> tuple[Lease | None, set[int]]:
        session = catalog.sessions.begin(warehouse.id, "landing", holder=this_process(), ttl=HOUR)
        return catalog.leases.acquire("build:1:x", holder=this_process(), ttl=HOUR), catalog.topics.assign(session, [part.id])

    with holding(url, warehouse.id, part.id) as child:
        assert take() == (None, set())
        child.kill()
        child.wait(60)
        lease, parts = take()
        assert lease is not None and parts == {part.id}
        [told] = [row for row in catalog.audit.newest() if row["action"] == "landing_failed"]
        assert told["details"]["reason"] == f"its process {shown(this_process()).partition(':')[0]}:{child.pid} is gone"
        assert catalog.leases.acquire("build:1:x", holder="another", ttl=HOUR) is None
    assert catalog.leases.renew(lease, ttl=HOUR) is not None


def test_a_session_of_a_killed_process_no_longer_reads_the_topics(tmp_path: Path) -> None:
    with EmbeddedKafka() as cluster:
        warehouse = topic_warehouse(tmp_path, cluster)
        warehouse.produce([value(0)])
        assert warehouse.stream().counters.landed == 1
        parts = [one.id for one in warehouse.places_of_topics()]
        warehouse.produce([value(1)])
        with holding(f"sqlite:///{warehouse.root / 'catalog.db'}", warehouse.known.dataset_id, *parts) as child:
            assert warehouse.stream().ending == "held_elsewhere"
            child.kill()
            child.wait(60)
            assert warehouse.stream().counters.landed == 1


def test_a_session_elsewhere_is_waited_for_until_it_has_died_or_was_seen_to_live(tmp_path: Path) -> None:
    with EmbeddedKafka() as cluster:
        warehouse = topic_warehouse(tmp_path, cluster)
        warehouse.produce([value(0)])
        warehouse.stream()
        warehouse.produce([value(1)])
        said: list[str] = []
        hold(warehouse, ttl=timedelta(seconds=2))
        report = warehouse.stream(patience=timedelta(seconds=60), waiting=said.append)
        assert (report.counters.landed, report.ending) == (1, "caught_up")
        assert said == ["another session reads these topics; waiting up to 60 s to see whether it has died"]
        with replace(warehouse, ttl=timedelta(seconds=2)).running() as living:
            living.wait_until(lambda: all(one.session_id for one in warehouse.places_of_topics()), "it reads them")
            assert warehouse.stream(patience=timedelta(hours=1), waiting=said.append).ending == "held_elsewhere"
        hold(warehouse, ttl=HOUR)
        assert warehouse.stream(patience=timedelta(seconds=1), waiting=said.append).ending == "held_elsewhere"


def hold(warehouse: TopicWarehouse, *, ttl: timedelta) -> None:
    session = warehouse.catalog.sessions.begin(warehouse.known.dataset_id, "landing", holder="elsewhere:7", ttl=ttl)
    parts = {one.id for one in warehouse.places_of_topics()}
    assert warehouse.catalog.topics.assign(session, sorted(parts)) == parts


def test_a_build_that_could_not_give_its_claim_back_does_so_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse = building_warehouse_in(tmp_path, PLAIN)
    warehouse.land([reading("a", 0)])
    full = StorageFullError("no room left")

    def refuse(*_: Any, **__: Any) -> None:
        raise full

    with monkeypatch.context() as faults:
        catalog = warehouse.catalog
        for concern, method in ((catalog.leases, "release"), (catalog.sessions, "end"), (catalog.commits, "build")):
            faults.setattr(concern, method, refuse)
        with pytest.raises(StorageFullError) as caught, warehouse.builder() as builder:
            builder.build(PLAIN, warehouse.partition(), close=True, actor="test")
        assert caught.value is full
    other = Catalog.open(f"sqlite:///{warehouse.catalog.database.engine.url.database}")
    assert (
        other.leases.acquire(f"build:{warehouse.dataset_id}:{warehouse.partition().key}", holder="elsewhere:7", ttl=HOUR) is None
    )
    other.close()
    with warehouse.builder() as builder:
        assert builder.build(PLAIN, warehouse.partition(), close=True, actor="test").outcome == "built"
    warehouse.catalog.close()


def test_a_build_that_is_under_way_still_keeps_others_out(tmp_path: Path) -> None:
    warehouse = building_warehouse_in(tmp_path, PLAIN)
    warehouse.land([reading("a", 0)])
    resource = f"build:{warehouse.dataset_id}:{warehouse.partition().key}"
    assert warehouse.catalog.leases.acquire(resource, holder=f"{this_process()}:1a2b3c4d", ttl=HOUR)
    with warehouse.builder() as builder, pytest.raises(ConflictError, match="being built by somebody else"):
        builder.build(PLAIN, warehouse.partition(), close=True, actor="test")
    warehouse.catalog.close()
