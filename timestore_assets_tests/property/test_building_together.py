"""Partitions that are built together become what they become one by one: rows, catalog, audit and events (I5)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from timestore_assets.building.builder import Builder, BuildReport
from timestore_assets.model.dataset import Dataset, Dedupe
from timestore_assets.model.schema import Column, Schema
from timestore_assets.model.types import parse_type
from timestore_assets.model.window import Window
from timestore_assets_tests.support.building_warehouse import DAY, BuildingWarehouse, Row, building_warehouse_in
from timestore_assets_tests.support.examples import examples

NUMBERS = count(1)
TYPES = {
    "ts": "timestamp",
    "device": "string",
    "rev": "int64",
    "value": "double",
    "ratio": "float",
    "on": "bool",
    "level": "int32",
    "day of": "date",
    "price": "decimal(9, 2)",
    "raw": "binary",
    "tags": "list<string>",
}
COLUMNS = tuple(
    Column(name=name, type=parse_type(text), nullable=name not in ("ts", "device", "rev"), allow_nan=True)
    for name, text in TYPES.items()
)
PLAIN = Dataset(name="plain", schema=Schema(columns=COLUMNS), time="ts", start=DAY, window=Window.HOUR)
DEDUPES = (
    None,
    Dedupe(keys=("device", "ts"), keep="last", by="rev"),
    Dedupe(keys=("device", "ts"), keep="first", by="rev"),
    Dedupe(keys=("device", "ts"), keep="last", by=None),
)
ROWS = st.lists(
    st.tuples(
        st.builds(lambda minutes: DAY.replace(tzinfo=None) + timedelta(minutes=minutes), st.integers(0, 6).map(lambda n: n * 53)),
        st.sampled_from(["a", "b", "ü'\"b", "long " * 20]),
        st.integers(1, 2),
        st.sampled_from([None, 0.0, -0.0, 1.5, float("nan"), float("inf"), -1e300]),
        st.sampled_from([None, 0.25, float("nan")]),
        st.sampled_from([None, True, False]),
        st.sampled_from([None, -(2**31), 7]),
        st.sampled_from([None, date(1969, 12, 31), date(2024, 2, 29)]),
        st.sampled_from([None, Decimal("-1.50"), Decimal("1234567.89")]),
        st.sampled_from([None, b"", b"\xff\x00"]),
        st.sampled_from([None, [], ["x", "y"]]),
    ),
    min_size=1,
    max_size=12,
)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The same ground twice: built one by one, and together."""

    one: tuple[BuildingWarehouse, Builder]
    many: tuple[BuildingWarehouse, Builder]

    def each(self, dataset: Dataset) -> list[tuple[BuildingWarehouse, Builder]]:
        return [(replace(ground, dataset=dataset), builder) for ground, builder in (self.one, self.many)]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    grounds = [building_warehouse_in(tmp_path_factory.mktemp(name), PLAIN) for name in ("one", "many")]
    with grounds[0].builder() as one, grounds[1].builder() as many:
        yield Pair(one=(grounds[0], one), many=(grounds[1], many))
    for ground in grounds:
        ground.catalog.close()


@settings(max_examples=examples(12), deadline=None)
@given(
    landings=st.lists(ROWS, min_size=1, max_size=3),
    built=st.lists(st.sampled_from([None, True, False]), min_size=3, max_size=3),
    dedupe=st.sampled_from(DEDUPES),
    close=st.booleans(),
    report=st.booleans(),
)
def test_partitions_built_together_become_what_they_become_one_by_one(
    pair: Pair, landings: list[list[Row]], built: list[bool | None], dedupe: Dedupe | None, close: bool, report: bool
) -> None:
    dataset = replace(PLAIN, name=f"plain_{next(NUMBERS)}", dedupe=dedupe)
    partitions = [Window.HOUR.partition(DAY + timedelta(hours=n)) for n in range(7)]
    for ground, builder in pair.each(dataset):
        for rows, first in zip(landings, built, strict=False):
            ground.land(rows)
            if first is not None:
                builder.build(dataset, partitions[0], close=first, actor="test")
    (one, by_one), (many, by_many) = pair.each(dataset)
    reports = [by_one.build(dataset, each, close=close, report=report, actor="test") for each in partitions]
    together = list(by_many.build_each(dataset, partitions, close=close, report=report, actor="test"))
    assert list(map(_reported, together)) == list(map(_reported, reports))
    assert _told(many, partitions) == _told(one, partitions)


def _reported(report: BuildReport) -> dict[str, Any]:
    # of a partition that never held rows it is the dataset's version when it was looked at
    version = None if report.outcome == "empty" else report.manifest_version
    return _plain(asdict(report)) | {"manifest_version": version}


def _told(ground: BuildingWarehouse, partitions: Sequence[Any]) -> dict[str, Any]:
    """All that can be asked of what was built, but for names, sizes and times of day."""
    catalog, dataset_id = ground.catalog, ground.dataset_id
    events = catalog.outbox.claim(holder="test", limit=1000, ttl=timedelta(minutes=1))
    catalog.outbox.delivered([event.id for event in events])
    segments = [
        _plain(asdict(replace(one, stats={}))) | {"stats": {name: _bounds(stats) for name, stats in one.stats.items()}}
        for one in catalog.manifest.segments(dataset_id)
    ]
    return {
        "segments": segments,
        "partitions": [_plain(asdict(one)) for one in catalog.partitions.of(dataset_id)],
        "audit": [
            (row["action"], row["actor"], row["manifest_version"], _plain(row["details"]))
            for row in catalog.audit.newest(dataset_ids=[dataset_id], limit=1000)
            if row["action"] == "built"
        ],
        "events": [(event.kind, _plain(event.payload)) for event in events if event.kind == "partition_built"],
        "rows": [_rows_of(ground, partition) for partition in partitions],
        "version": catalog.manifest.version(dataset_id),
    }


def _rows_of(ground: BuildingWarehouse, partition: Any) -> list[str]:
    return sorted(map(repr, ground.rows_of(partition)))


_OWN = ("name", "bytes", "unbuilt_bytes", "seconds", "session", "id", "dataset_id", "sha256", "oldest_delta_at", "newest_at")


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    found = {key: value for key, value in values.items() if key not in _OWN}
    if isinstance(found.get("segments"), list):  # their names
        found["segments"] = len(found["segments"])
    return found


def _bounds(stats: Any) -> tuple[Any, Any, Any]:
    return stats.min, stats.max, stats.nulls
