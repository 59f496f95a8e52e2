"""Questions over many segments: what is read of the catalog is what they need, and the answer is that of a whole plan."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from timestore_assets.catalog.key_ranges import KeyRange
from timestore_assets.catalog.manifest import Wanted
from timestore_assets.model.segment import ColumnStats
from timestore_assets.querying.planning import gradual_plan
from timestore_assets_tests.support.catalog_dataset import CatalogDataset, day
from timestore_assets_tests.support.query_warehouse import DAY, QueryWarehouse, query_warehouse_in, row

DAYS, DEVICES = 12, ("a", "b", "c")


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[QueryWarehouse]:
    """Three deltas in each of twelve days, half of which are built."""
    made = query_warehouse_in(tmp_path)
    for device in DEVICES:
        for number in range(1, DAYS + 1):
            made.land([row(device, minute, day=number, n=number) for minute in range(20)])
    for number in range(1, DAYS + 1, 2):
        made.build(number)
    yield made
    made.close()


QUESTIONS = (
    {"limit": 1},
    {"limit": 25},
    {"limit": 100, "descending": True},
    {"limit": 7, "where": "device = 'b'"},
    {"limit": 50, "where": "device >= 'c'", "descending": True},
    {"limit": 30, "where": "n > 5"},
    {"limit": 5, "where": "n > 50"},
    {"limit": 10_000},
)


@pytest.mark.parametrize("question", QUESTIONS, ids=str)
def test_a_plan_made_step_by_step_gives_the_same_rows(
    warehouse: QueryWarehouse, question: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = warehouse.rows(**question)
    monkeypatch.setattr("timestore_assets.querying.reading.planner.WORTH_IT", 0)
    monkeypatch.setattr(gradual_plan, "_FIRST", 4)
    with warehouse.ask(**question) as answer:
        assert answer.table().to_pylist() == expected
        assert answer.segments_read <= answer.scanned


def test_the_first_rows_of_many_segments_need_few_of_them(warehouse: QueryWarehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("timestore_assets.querying.reading.planner.WORTH_IT", 0)
    monkeypatch.setattr(gradual_plan, "_FIRST", 2)
    with warehouse.ask(limit=1) as answer:
        assert answer.table().num_rows == 1
        known = warehouse.catalog.manifest._known._known.values()
        assert sum(len(one.segments) for one in known) < answer.scanned


def test_groups_are_whole_partitions_and_all_of_them() -> None:
    listed = [(number, None, number // 3) for number in range(3_000)]
    for descending in (False, True):
        groups = list(gradual_plan._groups(listed, descending=descending))
        assert sorted(one for group in groups for one in group) == listed
        starts = [{start for _, _, start in group} for group in groups]
        assert sum(map(len, starts)) == 1_000, "no partition is in two groups"
        assert len(groups[0]) < 300


HOSTS = ("a", "b", 'quo"te', "ü", "\U0001f600", None, "nul\0")


@pytest.fixture
def hosts(catalog_dataset: CatalogDataset) -> CatalogDataset:
    """A segment for each host, and one without statistics."""
    made = [catalog_dataset.segment(0, stats={"host": ColumnStats(min=host, max=host)}) for host in HOSTS]
    catalog_dataset.land("a", *made, catalog_dataset.segment(0, stats={}))
    return catalog_dataset


def test_the_catalog_leaves_out_only_what_statistics_disprove(hosts: CatalogDataset) -> None:
    """Texts order by their code points in both databases, as they do in Python; the unknown stays."""
    catalog = hosts.catalog.manifest
    version = hosts.catalog.manifest.version(hosts.id)
    every = catalog.wanted(hosts.id, Wanted(), version=version, with_stats=True)
    assert len(every) == len(HOSTS) + 1

    def seen(low: str | None, high: str | None, schema_version: int = 1) -> list[str | None]:
        ranges = (KeyRange(column="host", schema_version=schema_version, low=low, high=high),)
        found = catalog.wanted(hosts.id, Wanted(ranges=ranges), version=version, with_stats=True)
        return [one.stats["host"].max if one.stats else "?" for one in found]

    texts = [host for host in HOSTS if host is not None and "\0" not in host]
    for low, high in (("a", "a"), ("b", None), (None, "b"), ("c", "z"), ("ü", "ü"), ("z", "\U0001f600")):
        expected = {one for one in texts if (low is None or one >= low) and (high is None or one <= high)}
        found = seen(low, high)
        assert expected <= set(found)
        assert {None, "?"} <= set(found), "what is not known may hold it"
        assert set(found) - expected <= {None, "?", "nul\0"}
    assert len(seen("x", "x", schema_version=2)) == len(every), "nothing is said of other schema versions"
    assert len(seen('x"', 'x"')) == len(every), "a text that can't be asked for leaves nothing out"


def test_rows_of_a_range_are_found_in_partitions_that_begin_before_it(warehouse: QueryWarehouse) -> None:
    start = DAY + timedelta(days=2, minutes=15)
    found = warehouse.rows(start=start, end=start + timedelta(days=1))
    assert len(found) == len(DEVICES) * (5 + 15)


def test_the_extent_of_a_range_is_that_of_its_segments(catalog_dataset: CatalogDataset) -> None:
    """At each version, also where segments have gone since."""
    catalog_dataset.land("a", *(catalog_dataset.segment(number, rows=10 + number) for number in range(4)))
    manifest = catalog_dataset.catalog.manifest
    replaced = manifest.segments(catalog_dataset.id, partition=day(1))
    catalog_dataset.build(1, replaced, catalog_dataset.sealed(1, rows=3))
    newest = manifest.version(catalog_dataset.id)
    every = manifest.segments(catalog_dataset.id)
    bounds = (None, every[1].min_time, every[1].max_time, every[2].max_time)
    for version in (None, newest - 1, newest):
        for start in bounds:
            for end in bounds:
                found = manifest.segments(catalog_dataset.id, version=version, start=start, end=end)
                expected = (
                    sum(one.rows for one in found),
                    min((one.min_time for one in found), default=None),
                    max((one.max_time for one in found), default=None),
                )
                assert manifest.extent(catalog_dataset.id, version=version, start=start, end=end) == expected
