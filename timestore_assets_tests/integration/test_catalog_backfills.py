"""Requests for backfills in the catalog, on both databases: asked for once, decided by people, done when nothing is left."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection

from timestore_assets.catalog.backfill_records import cause_in_words
from timestore_assets.catalog.backfills import request
from timestore_assets.catalog.rewrites import ASSUMED_BYTES_PER_SECOND
from timestore_assets.model.errors import ConflictError, ForgottenError
from timestore_assets.model.schema import Column, Schema
from timestore_assets.model.types import DOUBLE
from timestore_assets_tests.support.asked_backfills import CAUSE, REWRITE_ALL, ask, computing, new_schema, without
from timestore_assets_tests.support.catalog_dataset import HOUR, CatalogDataset, day


def now_written(ground: CatalogDataset, change: Callable[[Schema], Schema]) -> int:
    return new_schema(ground.catalog, ground.id, change)


def asked(ground: CatalogDataset, version: int, **options: Any) -> int | None:
    return ask(ground.catalog, ground.id, version, **options)


def migrated(ground: CatalogDataset, *, days: int = 3, policy: Any = "ask") -> int:
    """A backfill of a dataset with so many days of before a schema version that computes a column."""
    ground.land("a", *ground.many(range(days)))
    made = asked(ground, now_written(ground, computing("temp_c")), policy=policy)
    assert made is not None
    return made


def rewrite(ground: CatalogDataset, number: int, version: int, **changes: Any) -> None:
    live = [segment for segment in ground.live() if segment.partition_start == day(number).start]
    ground.build(number, live, ground.sealed(number, schema_version=version), **changes)


def told(ground: CatalogDataset) -> list[str]:
    rows = ground.catalog.audit.newest(dataset_ids=[ground.id])
    return [row["action"] for row in reversed(rows) if row["action"].startswith("backfill")]


def progress(ground: CatalogDataset, backfill: int) -> tuple[int, int]:
    found = ground.catalog.backfills.find(backfill)
    assert found is not None
    now = ground.catalog.backfills.progress(found)
    return now.done, now.of


def state(ground: CatalogDataset, backfill: int) -> str:
    found = ground.catalog.backfills.find(backfill)
    assert found is not None
    return found.state


def test_it_is_asked_for_once_with_its_cost(catalog_dataset: CatalogDataset) -> None:
    backfill = migrated(catalog_dataset)
    (found,) = catalog_dataset.catalog.backfills.listed()
    assert (found.id, found.dataset, found.state, found.schema_version) == (backfill, "weather", "asked", 2)
    assert (found.cause, found.partitions, found.actor) == (CAUSE, None, "tester")
    assert {name: found.cost[name] for name in ("partitions", "rows", "bytes")} == {"partitions": 3, "rows": 30, "bytes": 3000}
    assert found.cost["seconds"] == round(3000 / ASSUMED_BYTES_PER_SECOND, 1) and "no build has been timed" in found.cost["basis"]
    assert asked(catalog_dataset, 2) == backfill
    assert told(catalog_dataset) == ["backfill_asked"]
    assert asked(catalog_dataset, 2, cause={**CAUSE, "ticket": "OPS-13"}) != backfill


def test_the_outbox_hears_of_it_in_words(catalog_dataset: CatalogDataset) -> None:
    backfill = migrated(catalog_dataset, policy="auto")
    events = catalog_dataset.catalog.outbox.claim(holder="test", limit=100, ttl=HOUR)
    (first, second) = [event for event in events if event.kind.startswith("backfill")]
    assert (first.kind, second.kind) == ("backfill_asked", "backfill_approved")
    assert first.payload["reason"] == f"backfill {backfill} is asked: a migration computes temp_c for older rows (OPS-12)"
    assert (first.payload["partitions"], first.payload["rows"]) == (3, 30)


def test_by_policy_it_is_approved_at_once_or_never_asked_for(catalog_dataset: CatalogDataset) -> None:
    backfill = migrated(catalog_dataset, policy="auto")
    assert state(catalog_dataset, backfill) == "approved"
    assert told(catalog_dataset) == ["backfill_asked", "backfill_approved"]
    version = now_written(catalog_dataset, computing("temp_k"))
    assert asked(catalog_dataset, version, policy="never") is None
    assert len(catalog_dataset.catalog.backfills.listed()) == 1


def test_nothing_is_asked_for_where_no_row_is_concerned(catalog_dataset: CatalogDataset) -> None:
    assert asked(catalog_dataset, now_written(catalog_dataset, computing("temp_c"))) is None
    catalog_dataset.land("a", catalog_dataset.segment(schema_version=2))
    wind = Column(name="wind", type=DOUBLE, nullable=True)
    assert asked(catalog_dataset, now_written(catalog_dataset, lambda schema: schema.with_columns(wind))) is None


def test_rewrite_all_concerns_what_is_only_older(catalog_dataset: CatalogDataset) -> None:
    catalog_dataset.land("a", *catalog_dataset.many(range(2)))
    version = now_written(catalog_dataset, without("origin"))
    backfill = asked(catalog_dataset, version, cause=REWRITE_ALL)
    assert backfill is not None and progress(catalog_dataset, backfill) == (0, 2)
    rewrite(catalog_dataset, 1, version)
    assert progress(catalog_dataset, backfill) == (1, 2)


def test_its_progress_is_told_from_the_segments(catalog_dataset: CatalogDataset) -> None:
    backfill = migrated(catalog_dataset)
    assert progress(catalog_dataset, backfill) == (0, 3)
    rewrite(catalog_dataset, 1, 2)
    assert progress(catalog_dataset, backfill) == (1, 3)
    rewrite(catalog_dataset, 0, 1)
    assert progress(catalog_dataset, backfill) == (1, 3), "a build that had begun before the version wrote the old one"
    catalog_dataset.land("b", catalog_dataset.segment(2, schema_version=2))
    assert progress(catalog_dataset, backfill) == (1, 3), "new rows don't make the old ones new"
    found = catalog_dataset.catalog.backfills.find(backfill)
    assert found is not None
    assert catalog_dataset.catalog.backfills.progress(found).partitions == (day(0).start, day(2).start)


def test_it_is_done_when_nothing_is_left_whoever_built(catalog_dataset: CatalogDataset) -> None:
    backfill = migrated(catalog_dataset, days=2)
    backfills = catalog_dataset.catalog.backfills
    rewrite(catalog_dataset, 0, 2)
    assert backfills.settle(catalog_dataset.id) == []
    rewrite(catalog_dataset, 1, 2)
    assert backfills.settle(catalog_dataset.id) == [backfill]
    assert (state(catalog_dataset, backfill), backfills.settle(catalog_dataset.id)) == ("done", [])
    assert told(catalog_dataset) == ["backfill_asked", "backfill_done"]


def test_a_version_that_was_undone_leaves_nothing_to_do(catalog_dataset: CatalogDataset) -> None:
    backfill = migrated(catalog_dataset)
    now_written(catalog_dataset, without("temp_c"))
    assert catalog_dataset.catalog.backfills.settle(catalog_dataset.id) == [backfill]


def test_two_versions_share_their_rewrites(catalog_dataset: CatalogDataset) -> None:
    first = migrated(catalog_dataset, days=2)
    catalog_dataset.land("b", catalog_dataset.segment(5, schema_version=2))
    second = asked(catalog_dataset, now_written(catalog_dataset, computing("temp_k")))
    assert second is not None
    assert (progress(catalog_dataset, first), progress(catalog_dataset, second)) == ((0, 2), (0, 3))
    rewrite(catalog_dataset, 0, 3)
    assert (progress(catalog_dataset, first), progress(catalog_dataset, second)) == ((1, 2), (1, 3))


def test_listed_partitions_are_all_that_it_concerns(catalog_dataset: CatalogDataset) -> None:
    catalog_dataset.land("a", *catalog_dataset.many(range(4)))
    version = now_written(catalog_dataset, computing("temp_c"))
    backfill = catalog_dataset.catalog.backfills.request(
        catalog_dataset.id,
        schema_version=version,
        cause=CAUSE,
        partitions=[day(1).start, day(3).start],
        cost={},
        policy="auto",
        actor="tester",
    )
    assert backfill is not None and progress(catalog_dataset, backfill) == (0, 2)
    rewrite(catalog_dataset, 3, version)
    assert progress(catalog_dataset, backfill) == (1, 2)


def test_people_decide_and_change_their_minds(catalog_dataset: CatalogDataset) -> None:
    backfill, backfills = migrated(catalog_dataset, days=1), catalog_dataset.catalog.backfills
    assert backfills.refuse(backfill, actor="ann") and not backfills.refuse(backfill, actor="ann")
    assert backfills.approve(backfill, actor="bob") and not backfills.approve(backfill, actor="bob")
    (found,) = backfills.listed(states=("approved",))
    assert (found.actor, found.state) == ("bob", "approved")
    assert backfills.listed(states=("asked", "refused")) == []
    rewrite(catalog_dataset, 0, 2)
    assert backfills.settle(catalog_dataset.id) == [backfill]
    with pytest.raises(ConflictError, match=f"backfill {backfill} is done, so it can't be refused any more"):
        backfills.refuse(backfill, actor="ann")
    assert told(catalog_dataset) == ["backfill_asked", "backfill_refused", "backfill_approved", "backfill_done"]


def test_one_that_is_refused_is_not_settled(catalog_dataset: CatalogDataset) -> None:
    backfill = migrated(catalog_dataset, days=1)
    catalog_dataset.catalog.backfills.refuse(backfill, actor="ann")
    rewrite(catalog_dataset, 0, 2)
    assert catalog_dataset.catalog.backfills.settle(catalog_dataset.id) == []


def test_an_unknown_one_is_said_to_be(catalog_dataset: CatalogDataset) -> None:
    with pytest.raises(ForgottenError, match="there is no backfill 77"):
        catalog_dataset.catalog.backfills.approve(77, actor="ann")


def test_files_that_have_landed_again_are_done(catalog_dataset: CatalogDataset) -> None:
    old = [catalog_dataset.observe(name, name) for name in ("a.csv", "b.csv")]
    for file in old:
        catalog_dataset.land_file(file)
    source = catalog_dataset.source.address
    files = [{"source": source, "address": "a.csv"}, {"source": source, "address": "b.csv"}]
    cause = {"kind": "ignored_column", "column": "gust", "files": files}

    def work(connection: Connection, now: int) -> int | None:
        return request(connection, catalog_dataset.id, schema_version=1, cause=cause, cost={}, policy="ask", actor="t", now=now)

    backfill = catalog_dataset.catalog.database.timed(work)
    assert backfill is not None and progress(catalog_dataset, backfill) == (0, 2)
    catalog_dataset.land_file(catalog_dataset.observe("b.csv", "b2", replace=True))
    assert progress(catalog_dataset, backfill) == (1, 2)


def test_a_reload_without_files_is_done_when_somebody_says_so(catalog_dataset: CatalogDataset) -> None:
    backfills = catalog_dataset.catalog.backfills
    window = {"source": "kafka:t", "topic": "t", "partition": 0, "from": 0, "to": 9}
    cause = {"kind": "ignored_column", "columns": ["gust"], "ranges": [window], "files": []}
    backfill = backfills.request(catalog_dataset.id, schema_version=1, cause=cause, cost={}, policy="ask", actor="tester")
    assert backfill is not None and backfills.settle(catalog_dataset.id) == []
    assert backfills.done(backfill, actor="ann") and state(catalog_dataset, backfill) == "done"


def test_an_estimate_is_as_fast_as_builds_have_been(catalog_dataset: CatalogDataset) -> None:
    catalog_dataset.land("a", *catalog_dataset.many(range(4)))
    rewrite(catalog_dataset, 0, 1, seconds=2.0)
    rewrite(catalog_dataset, 1, 1, seconds=4.0)
    assert asked(catalog_dataset, now_written(catalog_dataset, computing("temp_c"))) is not None
    (found,) = catalog_dataset.catalog.backfills.listed()
    assert (found.cost["seconds"], found.cost["basis"]) == (12.0, "as fast as the last 2 builds")


def test_those_of_a_dropped_dataset_are_gone(catalog_dataset: CatalogDataset) -> None:
    backfill = migrated(catalog_dataset)
    catalog_dataset.catalog.life.drop(catalog_dataset.id, actor="tester")
    assert catalog_dataset.catalog.backfills.listed() == []
    assert catalog_dataset.catalog.backfills.find(backfill) is None


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        ({"kind": "default", "column": "wind"}, "column wind was given a value for older rows"),
        ({"kind": "ignored_column", "column": "gust"}, "column gust was ignored when older records landed"),
        ({"kind": "ignored_column", "columns": ["a", "b"]}, "columns a, b were ignored when older records landed"),
        ({"kind": "migration", "rewrite": "all"}, "a migration changed older rows"),
        ({"kind": "of_another_kind"}, "of another kind"),
    ],
)
def test_a_cause_reads_as_a_sentence(cause: dict[str, Any], words: str) -> None:
    assert cause_in_words(json.loads(json.dumps(cause))) == words
