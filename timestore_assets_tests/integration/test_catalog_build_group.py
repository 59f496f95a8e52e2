"""The transaction of builds in a group, and leases on many resources, on both databases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest

from timestore_assets.catalog.commit_values import BuildCommit, BuildGroupCommit
from timestore_assets.catalog.lease_keeper import HeldLeases, LeaseKeeper
from timestore_assets.model.errors import ConflictError, LeaseLostError
from timestore_assets_tests.support.catalog_dataset import CatalogDataset, day
from timestore_assets_tests.support.watched_catalog import HandClock

MINUTE = timedelta(minutes=1)
MANY = 1_200
"""More than one statement's worth."""


def build_of(ground: CatalogDataset, number: int, *, rows: int = 8) -> BuildCommit:
    """All live segments of a day become one sealed segment of that many rows."""
    held = [one for one in ground.live() if one.partition_start == day(number).start]
    return BuildCommit(
        dataset_id=ground.id,
        session_id=ground.session,
        partition=day(number),
        replaces=tuple(one.id for one in held),
        segments=(ground.sealed(number, rows=rows),),
        seal=True,
        superseded_rows=sum(one.rows for one in held) - rows,
        read_version=ground.catalog.manifest.version(ground.id),
        content_hash=f"c0ffee{number}",
    )


def test_each_build_of_a_group_makes_a_version(catalog_dataset: CatalogDataset) -> None:
    catalog_dataset.land("a", *catalog_dataset.many(range(3)))
    catalog_dataset.land("a", catalog_dataset.segment(1, rows=5))
    builds = tuple(build_of(catalog_dataset, number) for number in range(3))
    assert catalog_dataset.catalog.commits.build_group(BuildGroupCommit(builds=builds)) == 5
    assert [catalog_dataset.rows(version=version) for version in range(2, 6)] == [35, 33, 26, 24]
    known = catalog_dataset.catalog.partitions.of(catalog_dataset.id)
    assert [(one.state, one.rows, one.superseded_rows, one.content_hash, one.manifest_version) for one in known] == [
        ("sealed", 8, 2, "c0ffee0", 3),
        ("sealed", 8, 7, "c0ffee1", 4),
        ("sealed", 8, 2, "c0ffee2", 5),
    ]
    audit = [row for row in catalog_dataset.catalog.audit.newest() if row["action"] == "built"]
    assert [(row["manifest_version"], row["details"]["partition"]) for row in audit] == [
        (5, day(2).key),
        (4, day(1).key),
        (3, day(0).key),
    ]
    assert [catalog_dataset.catalog.commits.committed(build.token) for build in builds] == [3, 4, 5]


def test_many_partitions_are_built_at_once(catalog_dataset: CatalogDataset) -> None:
    catalog_dataset.land("a", *catalog_dataset.many(range(MANY)))
    held = {one.partition_start: one.id for one in catalog_dataset.live()}
    sealed = catalog_dataset.many(range(MANY), kind="sealed")
    first = replace(build_of(catalog_dataset, 0, rows=10), superseded_rows=0)
    builds = [
        replace(first, partition=day(number), replaces=(held[day(number).start],), segments=(sealed[number],))
        for number in range(MANY)
    ]
    assert catalog_dataset.catalog.commits.build_group(BuildGroupCommit(builds=tuple(builds))) == 1 + MANY
    assert {one.state for one in catalog_dataset.catalog.partitions.of(catalog_dataset.id)} == {"sealed"}
    assert len(catalog_dataset.live()) == MANY


@pytest.mark.parametrize(
    "meanwhile",
    [
        lambda ground: ground.build(1, [one for one in ground.live() if one.partition_start == day(1).start], ground.sealed(1)),
        lambda ground: ground.land("b", ground.segment(3), retract=(ground.source_partition("a").id,)),
    ],
    ids=["another build", "a retraction"],
)
def test_a_group_of_which_one_has_changed_is_refused_whole(
    catalog_dataset: CatalogDataset, meanwhile: Callable[[CatalogDataset], object]
) -> None:
    source = catalog_dataset.source_partition("a").id
    catalog_dataset.land("a", *catalog_dataset.many(range(3), source_ids=(source,)))
    builds = tuple(build_of(catalog_dataset, number) for number in range(3))
    meanwhile(catalog_dataset)
    before = catalog_dataset.names()
    with pytest.raises(ConflictError):
        catalog_dataset.catalog.commits.build_group(BuildGroupCommit(builds=builds))
    assert catalog_dataset.names() == before


def test_a_group_that_loses_rows_is_a_fault(catalog_dataset: CatalogDataset) -> None:
    catalog_dataset.land("a", *catalog_dataset.many(range(2)))
    builds = (build_of(catalog_dataset, 0), replace(build_of(catalog_dataset, 1), superseded_rows=1))
    with pytest.raises(ValueError, match="read 10 rows and accounts for 8 kept, 1 superseded"):
        catalog_dataset.catalog.commits.build_group(BuildGroupCommit(builds=builds))
    assert catalog_dataset.rows() == 20


def test_leases_of_many_leave_out_what_others_hold(catalog_dataset: CatalogDataset) -> None:
    leases = catalog_dataset.catalog.leases
    names = [f"r{number:04}" for number in range(MANY)]
    rival = leases.acquire("r0007", holder="rival", ttl=MINUTE)
    assert rival is not None
    leases.acquire("r0008", holder="late", ttl=timedelta(0))
    mine = leases.acquire_each(names, holder="me", ttl=MINUTE)
    assert sorted(one.resource for one in mine) == [name for name in names if name != "r0007"]
    assert leases.acquire_each(names, holder="you", ttl=MINUTE) == []
    assert leases.renew_all(mine, ttl=MINUTE)
    leases.release_all(mine)
    assert len(leases.acquire_each(names, holder="you", ttl=MINUTE)) == MANY - 1
    assert not leases.renew_all(mine, ttl=MINUTE)
    assert leases.renew(rival, ttl=MINUTE) is not None


def test_of_leases_that_are_held_together_one_that_is_lost_ends_all(catalog_dataset: CatalogDataset) -> None:
    catalog, clock = catalog_dataset.catalog, HandClock()
    hold = partial(HeldLeases, catalog, holder="me", ttl=MINUTE, clock=clock)
    held = hold(["a", "b"])
    held.check()
    clock.pass_by(61)
    held.check()
    catalog.leases.release_all(catalog.leases.acquire_each(["a"], holder="me", ttl=MINUTE))
    clock.pass_by(61)
    with pytest.raises(LeaseLostError, match="one of 2 leases expired"):
        held.check()
    held.release()
    assert hold(["b"]).resources == {"b"}


def test_a_keeper_gives_back_what_it_holds_together(catalog_dataset: CatalogDataset) -> None:
    with LeaseKeeper(catalog_dataset.catalog) as keeper:
        held = keeper.hold_each(["a", "b"], holder="me", ttl=MINUTE)
        assert held.resources == {"a", "b"}
        assert keeper.hold_each(["a", "c"], holder="you", ttl=MINUTE).resources == {"c"}
    assert len(catalog_dataset.catalog.leases.acquire_each(["a", "b", "c"], holder="you", ttl=MINUTE)) == 3
