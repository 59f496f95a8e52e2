"""Where objects are, in the catalog: counted, switched one and all or not at all, and never remembered wrongly."""

from __future__ import annotations

from datetime import timedelta

import pytest

from timestore_assets.catalog.moving import Held, StoredFile
from timestore_assets.model.errors import ConflictError
from timestore_assets.model.objects import ObjectName
from timestore_assets_tests.catalog_ground import HOUR, Ground

PAST = timedelta(seconds=-1)


def switch(ground: Ground, files: list[StoredFile], target: str = "archive", *, announced: bool = True) -> list[StoredFile]:
    session = ground.catalog.begin_session(ground.id, "move", holder="test", ttl=HOUR)
    copies = {file: f"{file.name}.{session}" for file in files}
    if announced:
        ground.catalog.announce(session, list(copies.values()), storage=target)
    try:
        return ground.catalog.moving.switch(session, copies, dataset_id=ground.id, target=target, actor="test")
    finally:
        ground.catalog.end_session(session)


def test_segments_and_dead_letters_are_counted_by_target(ground: Ground) -> None:
    ground.land("a", ground.segment(0, 10), ground.segment(1, 20))
    assert ground.catalog.moving.held(ground.id) == {"default": Held(objects=2, bytes=3000)}
    files = ground.catalog.moving.elsewhere(ground.id, "archive", limit=1)
    assert switch(ground, files) == files
    assert ground.catalog.moving.held(ground.id) == {
        "archive": Held(objects=1, bytes=1000),
        "default": Held(objects=1, bytes=2000),
    }


def test_readers_see_the_new_place_at_once_whatever_they_remember(ground: Ground) -> None:
    ground.land("a", ground.segment(0), ground.segment(1))
    version = ground.catalog.manifest_version(ground.id)
    for with_stats in (True, False):
        assert {one.storage for one in ground.catalog.segments(ground.id, with_stats=with_stats)} == {"default"}
    switch(ground, ground.catalog.moving.elsewhere(ground.id, "archive", limit=1))
    for with_stats in (True, False):
        found = ground.catalog.segments(ground.id, version=version, with_stats=with_stats)
        assert [one.storage for one in found] == ["archive", "default"]
    switch(ground, ground.catalog.moving.elsewhere(ground.id, "default", limit=1), "default")
    assert {one.storage for one in ground.catalog.segments(ground.id)} == {"default"}
    assert ground.catalog.manifest_version(ground.id) == version


def test_old_objects_are_known_until_their_time_is_over(ground: Ground) -> None:
    ground.land("a", ground.segment(0))
    ground.catalog.end_session(ground.session)
    [file] = ground.catalog.moving.elsewhere(ground.id, "archive", limit=10)
    switch(ground, [file])
    assert ground.catalog.known_objects("default") == {file.name}
    assert ground.catalog.expired_intents(older_than=HOUR) == []
    assert ground.catalog.expired_intents(older_than=PAST) == [ObjectName("default", file.name)]
    assert ground.catalog.known_objects("default") == set()
    [moved] = ground.live()
    assert ground.catalog.known_objects("archive") == {moved.name}


def test_what_was_not_announced_is_not_switched(ground: Ground) -> None:
    ground.land("a", ground.segment(0))
    files = ground.catalog.moving.elsewhere(ground.id, "archive", limit=10)
    with pytest.raises(ConflictError, match="nothing was committed"):
        switch(ground, files, announced=False)
    assert ground.catalog.moving.held(ground.id).keys() == {"default"}
