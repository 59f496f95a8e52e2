"""Tags keep versions, name them, and are released with their dataset; times name versions too."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select

from timestore_assets.catalog.tables import datasets, leases, segments
from timestore_assets.model.as_of import TagName
from timestore_assets.model.errors import ConflictError, InputError, RefusedError
from timestore_assets_tests.support.catalog_dataset import HOUR, CatalogDataset, progress


def tag(ground: CatalogDataset, name: str, version: int | None = None, **options: bool) -> int:
    given = {"is_legal_hold": False, "note": "why"} | options
    return ground.catalog.tags.put(ground.id, name, version=version, actor="ann", **given).version


def collect_all(ground: CatalogDataset) -> int:
    ground.catalog.sessions.end(ground.session)
    return len(ground.catalog.objects.collect_segments(superseded_before=datetime.now(UTC) + HOUR))


def pin(ground: CatalogDataset, version: int) -> None:
    ground.catalog.leases.release(ground.catalog.versions.pin(ground.id, version=version, holder="test", ttl=HOUR)[1])


def test_a_tagged_version_is_kept_until_the_tag_goes(catalog_dataset: CatalogDataset) -> None:
    catalog_dataset.land()
    assert tag(catalog_dataset, "first") == 1
    kept = catalog_dataset.names()
    catalog_dataset.build(0, catalog_dataset.live(), catalog_dataset.sealed())
    assert collect_all(catalog_dataset) == 0
    pin(catalog_dataset, 1)
    assert catalog_dataset.names(1) == kept
    assert catalog_dataset.catalog.tags.remove(catalog_dataset.id, "first", actor="ann") is not None
    assert collect_all(catalog_dataset) == 1
    with pytest.raises(RefusedError, match="version 1 of dataset 'weather' has been collected"):
        pin(catalog_dataset, 1)
    with pytest.raises(RefusedError, match="has been collected"):
        tag(catalog_dataset, "again", 1)


def test_a_version_held_below_a_collected_one_can_be_pinned_by_others(catalog_dataset: CatalogDataset) -> None:
    """What is collected around it raises the number below which versions are gone, not what a tag holds."""
    catalog_dataset.land("a")
    tag(catalog_dataset, "one")
    for _ in range(3):
        catalog_dataset.build(0, catalog_dataset.live(), catalog_dataset.sealed())
    assert collect_all(catalog_dataset) == 2
    pin(catalog_dataset, 1)
    tag(catalog_dataset, "two", 1)
    with pytest.raises(RefusedError, match="collected"):
        pin(catalog_dataset, 2)


def test_a_retraction_is_kept_for_a_tagged_version(catalog_dataset: CatalogDataset) -> None:
    catalog_dataset.land_file(catalog_dataset.observe("a", "1"))
    catalog_dataset.land_file(catalog_dataset.observe("a", "2", replace=True))
    hidden = catalog_dataset.catalog.manifest.retracted(catalog_dataset.id, version=2)
    tag(catalog_dataset, "hidden")
    for _ in range(2):
        built = catalog_dataset.sealed(rows=10)
        rows = catalog_dataset.rows() - 10
        catalog_dataset.build(0, catalog_dataset.live(), built, retracted_rows=rows, superseded_rows=0)
    collect_all(catalog_dataset)
    assert catalog_dataset.catalog.trimming.retractions() == 0
    assert len(hidden) == 1
    assert catalog_dataset.catalog.manifest.retracted(catalog_dataset.id, version=2) == hidden
    catalog_dataset.catalog.tags.remove(catalog_dataset.id, "hidden", actor="ann")
    assert catalog_dataset.catalog.trimming.retractions() == 1


def test_a_name_stands_for_one_version(catalog_dataset: CatalogDataset) -> None:
    catalog_dataset.land()
    tag(catalog_dataset, "it")
    catalog_dataset.land()
    assert tag(catalog_dataset, "it") == tag(catalog_dataset, "it", 1) == 1
    with pytest.raises(ConflictError, match="stands for version 1"):
        tag(catalog_dataset, "it", 2)
    with pytest.raises(RefusedError, match="no version 3"):
        tag(catalog_dataset, "new", 3)
    with catalog_dataset.catalog.database.engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(leases)).scalar_one() == 1


def test_a_legal_hold_is_released_on_purpose_only(catalog_dataset: CatalogDataset) -> None:
    tags = catalog_dataset.catalog.tags
    catalog_dataset.land()
    tag(catalog_dataset, "case", is_legal_hold=True)
    with pytest.raises(RefusedError, match="legal hold"):
        tag(catalog_dataset, "case")
    with pytest.raises(RefusedError, match="legal hold"):
        tags.remove(catalog_dataset.id, "case", actor="ann")
    with pytest.raises(RefusedError, match="legal hold by tag case"):
        catalog_dataset.catalog.life.drop(catalog_dataset.id, actor="ann")
    assert tags.remove(catalog_dataset.id, "case", may_release=True, actor="ann") is not None
    tag(catalog_dataset, "other")
    catalog_dataset.catalog.life.drop(catalog_dataset.id, actor="ann")
    with catalog_dataset.catalog.database.engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(leases)).scalar_one() == 0
    actions = [row["action"] for row in catalog_dataset.catalog.audit.newest()]
    assert actions[:4] == ["dataset_dropped", "tagged", "untagged", "tagged"]


def test_nothing_below_the_floor_can_be_read_or_tagged(catalog_dataset: CatalogDataset) -> None:
    catalog_dataset.land()
    tag(catalog_dataset, "old")
    catalog_dataset.land()
    with catalog_dataset.catalog.database.engine.begin() as connection:
        connection.execute(datasets.update().values(floor_version=2))
    for refused in (lambda: pin(catalog_dataset, 1), lambda: tag(catalog_dataset, "older", 1)):
        with pytest.raises(RefusedError, match=r"version 1 of dataset 'weather' was erased; the oldest that can be read is 2"):
            refused()
    pin(catalog_dataset, 2)


def test_a_time_means_the_version_that_was_in_force_then(catalog_dataset: CatalogDataset) -> None:
    catalog, times = catalog_dataset.catalog, [datetime.now(UTC)]
    for name in "abc":
        catalog_dataset.land(name)
        times.append(datetime.now(UTC))
    at = [catalog.in_time.find(catalog_dataset.id, time) for time in times]
    assert at == [0, 1, 2, 3]
    assert catalog.in_time.find(catalog_dataset.id, times[-1] + timedelta(days=400)) == 3
    with pytest.raises(InputError, match="there was no dataset 'weather' at"):
        catalog.in_time.find(catalog_dataset.id, times[0] - timedelta(days=1))
    # without the routine rows of the audit, segments tell
    with catalog.database.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM audit")
    assert [catalog.in_time.find(catalog_dataset.id, time) for time in times] == [0, 1, 2, 3]


def test_a_time_is_right_where_no_segment_changed(catalog_dataset: CatalogDataset) -> None:
    """Content that never had rows is replaced: the version rises, and only the audit tells when."""
    catalog_dataset.land("a")
    gone = catalog_dataset.source_partition("never landed")
    before = datetime.now(UTC)
    commit = catalog_dataset.batch(catalog_dataset.source_partition("b"), rows=1)
    (span,) = commit.spans
    moved = progress(catalog_dataset.catalog, catalog_dataset.source_partition("b"), span, retract=(gone.id,))
    version = catalog_dataset.catalog.commits.land(replace(commit, progress=moved))
    assert version == 2
    with catalog_dataset.catalog.database.engine.connect() as connection:
        assert connection.execute(select(func.max(segments.c.added_version))).scalar_one() == 1
    assert catalog_dataset.catalog.in_time.find(catalog_dataset.id, before) == 1
    assert catalog_dataset.catalog.in_time.find(catalog_dataset.id, datetime.now(UTC)) == 2


def test_an_unknown_tag_is_named_with_those_there_are(catalog_dataset: CatalogDataset) -> None:
    catalog_dataset.land()
    tag(catalog_dataset, "a")
    with pytest.raises(InputError, match="no tag 'b'; its tags: a"):
        catalog_dataset.catalog.in_time.find(catalog_dataset.id, TagName("b"))
