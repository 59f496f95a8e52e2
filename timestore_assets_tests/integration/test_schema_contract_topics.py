"""The schema contract and topics: a frozen one pauses the source where the record is, and a changed declaration lets it go on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from timestore_assets.model.contract import is_frozen
from timestore_assets.model.dataset import Evolution
from timestore_assets.orchestration.landing.topic_sensor import _paused
from timestore_assets_tests.support.kafka_brokers import EmbeddedKafka
from timestore_assets_tests.support.tailing_warehouse import TailingWarehouse, tailing_warehouse
from timestore_assets_tests.support.topic_warehouse import value

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster() -> Iterator[EmbeddedKafka]:
    with EmbeddedKafka() as made:
        yield made


def evolving(warehouse: TailingWarehouse, **policy: Any) -> TailingWarehouse:
    """With another contract, which is declared."""
    changed = replace(warehouse, dataset=replace(warehouse.dataset, evolution=Evolution(**policy)))
    changed.catalog.datasets.register(changed.dataset, actor="ada")
    return changed


@pytest.fixture
def warehouse(cluster: EmbeddedKafka, tmp_path: Path) -> TailingWarehouse:
    return tailing_warehouse(tmp_path, cluster)


def test_the_record_is_named_by_topic_partition_and_offset(warehouse: TailingWarehouse) -> None:
    warehouse.produce([value(0), value(1), value(2, gust=5)], partition=0)
    warehouse.stream()
    cause = warehouse.catalog.datasets.schema_events(warehouse.record.id, limit=1)[0]["cause"]
    assert (cause["kind"], cause["source_kind"]) == ("data", "kafka")
    place = {"topic": warehouse.topics[0], "partition": 0, "offset": 2, "sample": "5"}
    assert cause["columns"] == {"gust": place}


def test_a_frozen_contract_pauses_the_source_until_the_declaration_changes(warehouse: TailingWarehouse) -> None:
    frozen = evolving(warehouse, columns="freeze")
    frozen.produce([value(0), value(1)], partition=0)
    assert frozen.stream().ending == "caught_up"
    frozen.produce([value(2, gust=5), value(3)], partition=0)
    report = frozen.stream()
    assert (report.ending, report.counters.read) == ("frozen", 0)
    assert "column 'gust' is not declared" in report.reason
    assert frozen.stations() == ["S0", "S1"]
    assert frozen.positions()[0] == 2
    assert is_frozen(frozen.known.paused)
    assert len(frozen.audited("landing_paused")) == 1
    # the sensor looks at nothing else, however little waits behind landing
    nobody: Any = SimpleNamespace(partitions=())
    assert _paused(nobody, frozen.dataset, frozen.known, nobody, []) == frozen.known.paused
    lifted = evolving(frozen)
    assert lifted.known.paused == ""
    assert lifted.stream().counters.landed == 2
    assert lifted.stations() == ["S0", "S1", "S2", "S3"]
    assert lifted.counters().balanced


def test_a_query_over_a_stream_that_is_frozen_shows_what_is_beside_the_record(warehouse: TailingWarehouse) -> None:
    frozen = evolving(warehouse, columns="freeze", types="freeze")
    frozen.produce([value(0), value(1, gust=5), value(2)], partition=0)
    with frozen.hot() as hot:
        assert sorted(hot.wait_for(2).values) == ["S0", "S2"]


def test_a_column_that_was_left_out_asks_for_the_offsets_that_had_it(warehouse: TailingWarehouse) -> None:
    strict = evolving(warehouse, columns="discard_value")
    for batch in ([value(0)], [value(1, gust=1)], [value(2, gust=2)], [value(3)], [value(4, gust=4)]):
        strict.produce(batch, partition=0)
        strict.stream()
    evolving(strict)
    (wanted,) = strict.catalog.datasets.wanted_reloads(strict.record.id)
    assert wanted["values"] == {"gust": 3}
    assert [(one["topic"], one["partition"], one["from"], one["to"]) for one in wanted["ranges"]] == [
        (strict.topics[0], 0, 1, 3),
        (strict.topics[0], 0, 4, 5),
    ]
    assert wanted["commands"][0] == f"timestore reload weather --source {strict.topics[0]}/0 --from 1 --to 3"
    assert json.dumps(wanted).count("S1") == 0
