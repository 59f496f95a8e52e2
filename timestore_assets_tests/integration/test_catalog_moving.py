"""Where objects are, in the catalog: counted, switched one and all or not at all, and never remembered wrongly."""

from __future__ import annotations

from datetime import timedelta

import pytest

from timestore_assets.catalog.stored_objects import StoredFile, TargetContents
from timestore_assets.model.errors import ConflictError
from timestore_assets.model.segment import ObjectName
from timestore_assets_tests.support.catalog_dataset import HOUR, CatalogDataset

PAST = timedelta(seconds=-1)


def switch(
    catalog_dataset: CatalogDataset, files: list[StoredFile], target: str = "archive", *, announced: bool = True
) -> list[StoredFile]:
    session = catalog_dataset.catalog.sessions.begin(catalog_dataset.id, "move", holder="test", ttl=HOUR)
    copies = {file: f"{file.name}.{session}" for file in files}
    if announced:
        catalog_dataset.catalog.sessions.announce(session, list(copies.values()), storage=target)
    try:
        return catalog_dataset.catalog.moving.switch(session, copies, dataset_id=catalog_dataset.id, target=target, actor="test")
    finally:
        catalog_dataset.catalog.sessions.end(session)


def test_segments_and_dead_letters_are_counted_by_target(catalog_dataset: CatalogDataset) -> None:
    catalog_dataset.land("a", catalog_dataset.segment(0, 10), catalog_dataset.segment(1, 20))
    assert catalog_dataset.catalog.moving.held(catalog_dataset.id) == {"default": TargetContents(objects=2, bytes=3000)}
    files = catalog_dataset.catalog.moving.elsewhere(catalog_dataset.id, "archive", limit=1)
    assert switch(catalog_dataset, files) == files
    assert catalog_dataset.catalog.moving.held(catalog_dataset.id) == {
        "archive": TargetContents(objects=1, bytes=1000),
        "default": TargetContents(objects=1, bytes=2000),
    }


def test_readers_see_the_new_place_at_once_whatever_they_remember(catalog_dataset: CatalogDataset) -> None:
    catalog_dataset.land("a", catalog_dataset.segment(0), catalog_dataset.segment(1))
    version = catalog_dataset.catalog.manifest.version(catalog_dataset.id)
    for with_stats in (True, False):
        assert {one.storage for one in catalog_dataset.catalog.manifest.segments(catalog_dataset.id, with_stats=with_stats)} == {
            "default"
        }
    switch(catalog_dataset, catalog_dataset.catalog.moving.elsewhere(catalog_dataset.id, "archive", limit=1))
    for with_stats in (True, False):
        found = catalog_dataset.catalog.manifest.segments(catalog_dataset.id, version=version, with_stats=with_stats)
        assert [one.storage for one in found] == ["archive", "default"]
    switch(catalog_dataset, catalog_dataset.catalog.moving.elsewhere(catalog_dataset.id, "default", limit=1), "default")
    assert {one.storage for one in catalog_dataset.catalog.manifest.segments(catalog_dataset.id)} == {"default"}
    assert catalog_dataset.catalog.manifest.version(catalog_dataset.id) == version


def test_old_objects_are_known_until_their_time_is_over(catalog_dataset: CatalogDataset) -> None:
    catalog_dataset.land("a", catalog_dataset.segment(0))
    catalog_dataset.catalog.sessions.end(catalog_dataset.session)
    [file] = catalog_dataset.catalog.moving.elsewhere(catalog_dataset.id, "archive", limit=10)
    switch(catalog_dataset, [file])
    assert catalog_dataset.catalog.objects.known("default") == {file.name}
    assert catalog_dataset.catalog.objects.collect_intents(older_than=HOUR) == []
    assert catalog_dataset.catalog.objects.collect_intents(older_than=PAST) == [ObjectName("default", file.name)]
    assert catalog_dataset.catalog.objects.known("default") == set()
    [moved] = catalog_dataset.live()
    assert catalog_dataset.catalog.objects.known("archive") == {moved.name}


def test_what_was_not_announced_is_not_switched(catalog_dataset: CatalogDataset) -> None:
    catalog_dataset.land("a", catalog_dataset.segment(0))
    files = catalog_dataset.catalog.moving.elsewhere(catalog_dataset.id, "archive", limit=10)
    with pytest.raises(ConflictError, match="nothing was committed"):
        switch(catalog_dataset, files, announced=False)
    assert catalog_dataset.catalog.moving.held(catalog_dataset.id).keys() == {"default"}
