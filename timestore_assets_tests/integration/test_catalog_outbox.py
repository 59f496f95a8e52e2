"""Events: coalesced while nobody holds them, claimed by one relay, gone once delivered."""

from __future__ import annotations

from datetime import timedelta

from timestore_assets.catalog.records import Counters
from timestore_assets.catalog.sql import SqlCatalog
from timestore_assets_tests.catalog_ground import HOUR, Ground

EXPIRED = timedelta(seconds=-1)


def test_landings_of_a_source_coalesce_until_claimed(ground: Ground) -> None:
    for address in ("a", "b"):
        file = ground.observe(address, address)
        ground.land_file(file, ground.segment(0 if address == "a" else 3))
    (event,) = ground.catalog.claim_events(holder="r", limit=10, ttl=HOUR)
    assert (event.dataset, event.kind) == ("weather", "files_landed")
    assert Counters(**event.payload["counters"]) == Counters(read=20, landed=20)
    assert event.payload["partitions"] == ["2013-01-01", "2013-01-04"]
    assert (event.payload["files"], event.payload["batches"], event.payload["manifest_version"]) == (2, 2, 2)
    assert event.payload["addresses"] == ["a", "b"]
    ground.land("c")
    (next_event,) = ground.catalog.claim_events(holder="r", limit=10, ttl=HOUR)
    assert next_event.payload["batches"] == 1


def test_an_event_is_claimed_once_until_the_claim_expires(ground: Ground) -> None:
    ground.land()
    assert len(ground.catalog.claim_events(holder="first", limit=10, ttl=EXPIRED)) == 1
    assert len(ground.catalog.claim_events(holder="second", limit=10, ttl=HOUR)) == 1
    assert ground.catalog.claim_events(holder="third", limit=10, ttl=HOUR) == []


def test_delivered_events_are_gone(ground: Ground) -> None:
    ground.land()
    events = ground.catalog.claim_events(holder="r", limit=10, ttl=EXPIRED)
    ground.catalog.delivered(event.id for event in events)
    assert ground.catalog.claim_events(holder="r", limit=10, ttl=HOUR) == []
    ground.catalog.delivered([])


def test_events_come_in_order_and_in_portions(ground: Ground) -> None:
    for number in range(5):
        file = ground.observe(str(number), str(number))
        ground.catalog.settle_file(file.id, "quarantined", reason=str(number))
    first = ground.catalog.claim_events(holder="r", limit=2, ttl=HOUR)
    second = ground.catalog.claim_events(holder="r", limit=9, ttl=HOUR)
    assert [event.payload["reason"] for event in [*first, *second]] == list("01234")
    assert len(first) == 2


def test_two_relays_never_get_the_same(catalog_url: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as pool:
        main = SqlCatalog.open(catalog_url)
        ground = Ground.of(main)
        for number in range(40):
            ground.catalog.settle_file(ground.observe(str(number), str(number)).id, "quarantined")
        relays = [SqlCatalog.open(catalog_url) for _ in range(4)]

        def drain(relay: SqlCatalog) -> list[int]:
            got: list[int] = []
            while events := relay.claim_events(holder=str(id(relay)), limit=3, ttl=HOUR):
                got += [event.id for event in events]
            return got

        taken = [event for got in pool.map(drain, relays) for event in got]
        # a relay that found the others' rows locked may have stopped early; what is left is still there
        taken += [event.id for event in main.claim_events(holder="last", limit=99, ttl=HOUR)]
        for catalog in (main, *relays):
            catalog.close()
    assert len(taken) == len(set(taken)) == 40
