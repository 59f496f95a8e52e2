"""Events: coalesced while nobody holds them, claimed by one relay, gone once delivered."""

from __future__ import annotations

from datetime import timedelta

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.model.counters import Counters
from timestore_assets_tests.support.catalog_dataset import HOUR, CatalogDataset

EXPIRED = timedelta(seconds=-1)


def test_landings_of_a_source_coalesce_until_claimed(catalog_dataset: CatalogDataset) -> None:
    for address in ("a", "b"):
        file = catalog_dataset.observe(address, address)
        catalog_dataset.land_file(file, catalog_dataset.segment(0 if address == "a" else 3))
    (event,) = catalog_dataset.catalog.outbox.claim(holder="r", limit=10, ttl=HOUR)
    assert (event.dataset, event.kind) == ("weather", "files_landed")
    assert Counters(**event.payload["counters"]) == Counters(read=20, landed=20)
    assert event.payload["partitions"] == ["2013-01-01", "2013-01-04"]
    assert (event.payload["files"], event.payload["batches"], event.payload["manifest_version"]) == (2, 2, 2)
    assert event.payload["addresses"] == ["a", "b"]
    catalog_dataset.land("c")
    (next_event,) = catalog_dataset.catalog.outbox.claim(holder="r", limit=10, ttl=HOUR)
    assert next_event.payload["batches"] == 1


def test_an_event_is_claimed_once_until_the_claim_expires(catalog_dataset: CatalogDataset) -> None:
    catalog_dataset.land()
    assert len(catalog_dataset.catalog.outbox.claim(holder="first", limit=10, ttl=EXPIRED)) == 1
    assert len(catalog_dataset.catalog.outbox.claim(holder="second", limit=10, ttl=HOUR)) == 1
    assert catalog_dataset.catalog.outbox.claim(holder="third", limit=10, ttl=HOUR) == []


def test_delivered_events_are_gone(catalog_dataset: CatalogDataset) -> None:
    catalog_dataset.land()
    events = catalog_dataset.catalog.outbox.claim(holder="r", limit=10, ttl=EXPIRED)
    catalog_dataset.catalog.outbox.delivered(event.id for event in events)
    assert catalog_dataset.catalog.outbox.claim(holder="r", limit=10, ttl=HOUR) == []
    catalog_dataset.catalog.outbox.delivered([])


def test_events_come_in_order_and_in_portions(catalog_dataset: CatalogDataset) -> None:
    for number in range(5):
        file = catalog_dataset.observe(str(number), str(number))
        catalog_dataset.catalog.files.settle(file.id, "quarantined", reason=str(number))
    first = catalog_dataset.catalog.outbox.claim(holder="r", limit=2, ttl=HOUR)
    second = catalog_dataset.catalog.outbox.claim(holder="r", limit=9, ttl=HOUR)
    assert [event.payload["reason"] for event in [*first, *second]] == list("01234")
    assert len(first) == 2


def test_two_relays_never_get_the_same(catalog_url: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as pool:
        main = Catalog.open(catalog_url)
        catalog_dataset = CatalogDataset.of(main)
        for number in range(40):
            catalog_dataset.catalog.files.settle(catalog_dataset.observe(str(number), str(number)).id, "quarantined")
        relays = [Catalog.open(catalog_url) for _ in range(4)]

        def drain(relay: Catalog) -> list[int]:
            got: list[int] = []
            while events := relay.outbox.claim(holder=str(id(relay)), limit=3, ttl=HOUR):
                got += [event.id for event in events]
            return got

        taken = [event for got in pool.map(drain, relays) for event in got]
        # a relay that found the others' rows locked may have stopped early; what is left is still there
        taken += [event.id for event in main.outbox.claim(holder="last", limit=99, ttl=HOUR)]
        for catalog in (main, *relays):
            catalog.close()
    assert len(taken) == len(set(taken)) == 40
