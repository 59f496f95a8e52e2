"""Rolling back in the catalog: segments begin another life, retractions are as they were, and nothing that landed is lost."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import Connection

from timestore_assets.catalog import manifest, partitions
from timestore_assets.catalog.commit_values import LandingCommit, Span, TopicProgress, WatermarkRule
from timestore_assets.catalog.instants import to_micros
from timestore_assets.catalog.rollbacks import Rollback
from timestore_assets.catalog.tables import audit
from timestore_assets.model.counters import Counters
from timestore_assets.model.errors import ConflictError, RefusedError
from timestore_assets.model.hash_sums import EMPTY, combined
from timestore_assets.model.position import Position
from timestore_assets.model.retraction import Retraction, whole
from timestore_assets.model.segment import NewSegment, ObjectName
from timestore_assets.model.source_kinds import SourceKind
from timestore_assets_tests.support.catalog_dataset import HOUR, START, CatalogDataset, day

pytestmark = pytest.mark.slow

HASHES = [f"{number:032x}" for number in (5, 7, 11)]


def roll_back(ground: CatalogDataset, to: int, **options: bool) -> Rollback:
    return ground.catalog.rollbacks.roll_back(ground.id, to, actor="ann", **options)


def land(ground: CatalogDataset, name: str, number: int = 0, rows: int = 10) -> NewSegment:
    segment = ground.segment(number, rows, source_ids=(ground.source_partition(name).id,))
    ground.land(name, segment)
    return segment


def seal(ground: CatalogDataset, number: int = 0, content_hash: str = HASHES[0], rows: int | None = None) -> NewSegment:
    """Build a day into one sealed segment, of fewer rows when some are superseded."""
    live = [segment for segment in ground.live() if segment.partition_start == day(number).start]
    sources = tuple(sorted({source for segment in live for source in segment.source_ids}))
    count = sum(segment.rows for segment in live) if rows is None else rows
    made = ground.sealed(number, count, source_ids=sources, content_hash=content_hash)
    ground.build(number, live, made, content_hash=content_hash)
    return made


def collect_all(ground: CatalogDataset) -> list[ObjectName]:
    ground.catalog.sessions.end(ground.session)
    gone = ground.catalog.objects.collect_segments(superseded_before=datetime.now(UTC) + HOUR)
    ground.session = ground.catalog.sessions.begin(ground.id, "landing", holder="test", ttl=HOUR)
    return gone


def test_builds_fall_away_and_landings_stay(catalog_dataset: CatalogDataset) -> None:
    first = land(catalog_dataset, "a")
    seal(catalog_dataset, rows=9)
    second = land(catalog_dataset, "b")
    seal(catalog_dataset, content_hash=HASHES[1], rows=15)
    assert catalog_dataset.catalog.partitions.find(catalog_dataset.id, day(0)).superseded_rows == 5
    planned = catalog_dataset.catalog.rollbacks.plan(catalog_dataset.id, 1)
    done = roll_back(catalog_dataset, 1)
    assert done == planned and done.version == 5 and done.start_version == 4
    (one,) = done.partitions
    assert (one.rows_out, one.rows_in, one.landed_rows, one.state) == (15, 20, 10, "open")
    assert set(catalog_dataset.names()) == {first.name, second.name}
    known = catalog_dataset.catalog.partitions.find(catalog_dataset.id, day(0))
    assert known is not None and (known.state, known.content_hash, known.superseded_rows) == ("open", None, 0)
    assert [catalog_dataset.rows(version) for version in range(6)] == [0, 10, 9, 19, 15, 20]
    assert catalog_dataset.live()[0].stats["temp"].max == 30.25


def test_forward_again_is_a_rollback_with_the_same_hashes(catalog_dataset: CatalogDataset) -> None:
    land(catalog_dataset, "a")
    land(catalog_dataset, "b", 1)
    seal(catalog_dataset)
    sealed = seal(catalog_dataset, 1, HASHES[1])
    roll_back(catalog_dataset, 2)
    assert catalog_dataset.state(0) == catalog_dataset.state(1) == "open"
    forward = roll_back(catalog_dataset, 4)
    assert forward.version == 6 and catalog_dataset.state(0) == "sealed"
    assert sealed.name in catalog_dataset.names()
    found = {one.partition.key: one.content_hash for one in catalog_dataset.catalog.partitions.of(catalog_dataset.id)}
    assert list(found.values()) == [combined([HASHES[0]]), combined([HASHES[1]])]
    assert roll_back(catalog_dataset, 4).version == 6, "all is as it was"
    # the deltas of the first life came back by the first rollback: no landing of after version 4
    assert catalog_dataset.rows() == 20


def test_a_partition_is_sealed_only_if_all_that_is_live_is(catalog_dataset: CatalogDataset) -> None:
    land(catalog_dataset, "a")
    sealed = seal(catalog_dataset)
    late = land(catalog_dataset, "b")
    seal(catalog_dataset, content_hash=HASHES[1])
    roll_back(catalog_dataset, 2)
    assert set(catalog_dataset.names()) == {sealed.name, late.name}
    known = catalog_dataset.catalog.partitions.find(catalog_dataset.id, day(0))
    assert known is not None and (known.state, known.content_hash) == ("stale", None)


@pytest.mark.parametrize(("seal", "standing"), [(True, ("sealed", EMPTY)), (False, ("open", None))])
def test_a_partition_without_rows_is_sealed_again_if_it_was(
    catalog_dataset: CatalogDataset, seal: bool, standing: tuple[str, str | None]
) -> None:
    def found() -> tuple[str, str | None]:
        known = catalog_dataset.catalog.partitions.find(catalog_dataset.id, day(0))
        assert known is not None
        return known.state, known.content_hash

    land(catalog_dataset, "a")
    catalog_dataset.build(0, catalog_dataset.live(), seal=seal, content_hash=EMPTY if seal else None)  # none of its rows stays
    assert (catalog_dataset.rows(), found()) == (0, standing)
    for whole_again, empty_again in ((1, 2), (3, 4)):
        roll_back(catalog_dataset, whole_again)
        assert (catalog_dataset.rows(), found()) == (10, ("open", None))
        planned = catalog_dataset.catalog.rollbacks.plan(catalog_dataset.id, empty_again)
        assert roll_back(catalog_dataset, empty_again) == planned
        assert planned.partitions[0].state == standing[0]
        assert (catalog_dataset.rows(), found()) == (0, standing)
    roll_back(catalog_dataset, 1)
    long_ago = audit.update().values(at=to_micros(START - HOUR))
    catalog_dataset.catalog.database.write(lambda connection: connection.execute(long_ago))
    assert catalog_dataset.catalog.trimming.audit(older_than=HOUR) > 0
    roll_back(catalog_dataset, 2)
    assert found() == ("open", None), "nobody knows any more"


def test_a_build_that_read_before_conflicts(catalog_dataset: CatalogDataset) -> None:
    land(catalog_dataset, "a")
    seal(catalog_dataset)
    read = catalog_dataset.live()
    roll_back(catalog_dataset, 1)
    roll_back(catalog_dataset, 2)
    assert [segment.name for segment in read] == catalog_dataset.names(), "the same object, in another life"
    with pytest.raises(ConflictError):
        catalog_dataset.build(0, read, catalog_dataset.sealed(rows=10))


def test_a_seal_that_has_not_seen_what_came_back_conflicts(catalog_dataset: CatalogDataset) -> None:
    land(catalog_dataset, "a")
    sealed = seal(catalog_dataset)
    catalog_dataset.build(0, catalog_dataset.live(), seal=False)  # all rows superseded: nothing is live
    fresh = land(catalog_dataset, "b")
    read = catalog_dataset.live()
    roll_back(catalog_dataset, 2)
    assert set(catalog_dataset.names()) == {sealed.name, fresh.name}
    with pytest.raises(ConflictError, match="plan this build again"):
        catalog_dataset.build(0, read, catalog_dataset.sealed(rows=10))


def test_an_object_goes_with_its_last_life(catalog_dataset: CatalogDataset) -> None:
    delta = land(catalog_dataset, "a")
    sealed = seal(catalog_dataset)
    roll_back(catalog_dataset, 1)
    assert [one.name for one in collect_all(catalog_dataset)] == [sealed.name], "the delta is live again"
    assert delta.name in catalog_dataset.catalog.objects.known()
    held = catalog_dataset.catalog.moving.held(catalog_dataset.id)
    assert held["default"].objects == 1
    catalog_dataset.catalog.life.drop(catalog_dataset.id, actor="ann")
    assert [one.name for one in catalog_dataset.catalog.dropped.collect_objects()] == [delta.name]


def test_all_lives_of_an_object_move_together(catalog_dataset: CatalogDataset) -> None:
    land(catalog_dataset, "a")
    seal(catalog_dataset)
    roll_back(catalog_dataset, 1)
    moving = catalog_dataset.catalog.moving
    files = moving.elsewhere(catalog_dataset.id, "far", limit=10)
    assert len(files) == 2, "an object is copied once"
    names = {file: f"{file.name}.moved" for file in files}
    catalog_dataset.catalog.sessions.announce(catalog_dataset.session, list(names.values()), storage="far")
    switched = moving.switch(catalog_dataset.session, names, dataset_id=catalog_dataset.id, target="far", actor="ann")
    assert len(switched) == 2
    assert {segment.storage for version in (1, 2, 3) for segment in catalog_dataset.live(version)} == {"far"}
    assert moving.elsewhere(catalog_dataset.id, "far", limit=10) == []


def test_what_replaced_a_content_stays_and_hides_it(catalog_dataset: CatalogDataset) -> None:
    catalog = catalog_dataset.catalog
    old = catalog_dataset.observe("a", "1")
    assert old.source_partition_id is not None
    catalog_dataset.land_file(old, catalog_dataset.segment(source_ids=(old.source_partition_id,)))
    new = catalog_dataset.observe("a", "2", replace=True)
    catalog_dataset.land_file(new, catalog_dataset.segment(rows=4, source_ids=(new.source_partition_id or 0,)))
    made = catalog_dataset.sealed(rows=4, source_ids=(new.source_partition_id or 0,), content_hash=HASHES[2])
    catalog_dataset.build(0, catalog_dataset.live(), made, retracted_rows=10, superseded_rows=0)
    assert catalog.manifest.retracted(catalog_dataset.id) == frozenset()
    done = roll_back(catalog_dataset, 1)
    assert done.retractions_back == 1, "a build had finished it"
    assert catalog.manifest.retracted(catalog_dataset.id) == whole({old.source_partition_id})
    known = catalog.partitions.find(catalog_dataset.id, day(0))
    assert known is not None and known.retracted and known.rows == 14
    assert catalog.manifest.retracted(catalog_dataset.id, version=1) == frozenset()


def test_a_retraction_made_since_is_taken_back_and_a_build_that_heeded_it_conflicts(catalog_dataset: CatalogDataset) -> None:
    land(catalog_dataset, "a")
    land(catalog_dataset, "b")
    source, read = catalog_dataset.source_partition("a").id, catalog_dataset.live()

    def retract(connection: Connection) -> None:
        manifest.retract(connection, catalog_dataset.id, [Retraction(source=source)], version=3)
        held = manifest.holding(connection, catalog_dataset.id, [source])
        partitions.lost_rows(connection, catalog_dataset.id, held.keys(), version=3)
        manifest.set_version(connection, catalog_dataset.id, 3, now=0)

    catalog_dataset.catalog.database.write(retract)
    assert catalog_dataset.catalog.manifest.retracted(catalog_dataset.id) == whole({source})
    done = roll_back(catalog_dataset, 2)
    assert (done.version, done.retractions_off, done.retractions_back) == (4, 1, 0)
    assert catalog_dataset.catalog.manifest.retracted(catalog_dataset.id) == frozenset()
    assert catalog_dataset.catalog.manifest.retracted(catalog_dataset.id, version=3) == whole({source})
    known = catalog_dataset.catalog.partitions.find(catalog_dataset.id, day(0))
    assert known is not None and not known.retracted and known.rows == 20
    with pytest.raises(ConflictError):  # it has left the rows out that are shown again
        catalog_dataset.build(0, read, catalog_dataset.sealed(rows=10), retracted_rows=10, superseded_rows=0)
    assert roll_back(catalog_dataset, 3).retractions_back == 1
    assert catalog_dataset.catalog.manifest.retracted(catalog_dataset.id) == whole({source})


def test_landings_that_only_builds_hold_are_not_lost(catalog_dataset: CatalogDataset) -> None:
    land(catalog_dataset, "a")
    catalog_dataset.catalog.tags.put(catalog_dataset.id, "t", version=1, note="", is_legal_hold=False, actor="ann")
    land(catalog_dataset, "b")
    late = land(catalog_dataset, "c", 1)
    seal(catalog_dataset)
    apart = seal(catalog_dataset, 1, HASHES[1])
    assert late.name in {one.name for one in collect_all(catalog_dataset)}
    with pytest.raises(RefusedError, match="only left in later builds of 2013-01-01, so rolling dataset 'weather' back"):
        roll_back(catalog_dataset, 1)
    done = roll_back(catalog_dataset, 1, with_landings=True, may_lose=True)
    assert catalog_dataset.rows() == 10 and done.version == 6
    roll_back(catalog_dataset, 5)
    assert apart.name in catalog_dataset.names()


def test_a_partition_that_held_nothing_then_stays_as_it_is(catalog_dataset: CatalogDataset) -> None:
    land(catalog_dataset, "a")
    catalog_dataset.catalog.tags.put(catalog_dataset.id, "t", version=1, note="", is_legal_hold=False, actor="ann")
    land(catalog_dataset, "b", 1)
    apart = seal(catalog_dataset, 1, HASHES[1])
    seal(catalog_dataset)
    collect_all(catalog_dataset)
    roll_back(catalog_dataset, 1)
    assert apart.name in catalog_dataset.names() and catalog_dataset.state(1) == "sealed"
    assert catalog_dataset.state(0) == "open" and catalog_dataset.rows() == 20


def test_what_can_not_be_gone_back_to(catalog_dataset: CatalogDataset) -> None:
    land(catalog_dataset, "a")
    seal(catalog_dataset)
    with pytest.raises(RefusedError, match="no version 9; the newest is 2"):
        roll_back(catalog_dataset, 9)
    collect_all(catalog_dataset)
    with pytest.raises(RefusedError, match="version 1 of dataset 'weather' has been collected"):
        roll_back(catalog_dataset, 1)
    assert catalog_dataset.catalog.manifest.version(catalog_dataset.id) == 2


def test_it_is_audited_and_told(catalog_dataset: CatalogDataset) -> None:
    land(catalog_dataset, "a")
    seal(catalog_dataset)
    roll_back(catalog_dataset, 1)
    newest = catalog_dataset.catalog.audit.newest()[0]
    assert (newest["action"], newest["actor"], newest["manifest_version"]) == ("rolled_back", "ann", 3)
    assert (newest["details"]["from"], newest["details"]["to"]) == (2, 1)
    assert newest["details"]["partitions"] == ["2013-01-01"]
    events = catalog_dataset.catalog.outbox.claim(holder="relay", limit=10, ttl=HOUR)
    told = [event for event in events if event.payload.get("reason") == "rolled back to version 1"]
    assert [event.kind for event in told] == ["rolled_back", "partition_built"]


def test_files_land_again(catalog_dataset: CatalogDataset) -> None:
    catalog = catalog_dataset.catalog
    old = catalog_dataset.observe("a", "1")
    catalog_dataset.land_file(old, catalog_dataset.segment(source_ids=(old.source_partition_id or 0,)))
    new = catalog_dataset.observe("a", "2", replace=True)
    catalog_dataset.land_file(new, catalog_dataset.segment(rows=4, source_ids=(new.source_partition_id or 0,)))
    other = catalog_dataset.observe("b", "3")
    catalog_dataset.land_file(other, catalog_dataset.segment(1, source_ids=(other.source_partition_id or 0,)))
    done = roll_back(catalog_dataset, 1, with_landings=True)
    assert done.files == ("a", "b")
    assert catalog_dataset.rows() == 10 and catalog.manifest.retracted(catalog_dataset.id) == frozenset()
    assert catalog.files.settled_etags(catalog_dataset.source.id, ["a", "b"]) == {}
    again = catalog_dataset.observe("a", "2", replace=True)
    assert (again.state, again.replaces, again.position.offset) == ("pending", (old.source_partition_id,), 0)
    catalog_dataset.land_file(again, catalog_dataset.segment(rows=4, source_ids=(again.source_partition_id or 0,)))
    assert catalog.manifest.retracted(catalog_dataset.id) == whole({old.source_partition_id})
    assert catalog_dataset.observe("b", "3").state == "pending"
    assert catalog_dataset.counters().balanced
    # what went back to its source does not come again beside it
    roll_back(catalog_dataset, 3)
    assert sum(segment.rows for segment in catalog_dataset.live() if segment.partition_start == day(1).start) == 10
    hidden = catalog.manifest.retracted(catalog_dataset.id)
    assert whole(one.source_partition_id or 0 for one in (new, other, old)) <= hidden


def test_a_copy_of_what_went_back_is_new_too(catalog_dataset: CatalogDataset) -> None:
    file = catalog_dataset.observe("a", "1")
    catalog_dataset.land_file(file, catalog_dataset.segment(source_ids=(file.source_partition_id or 0,)))
    assert catalog_dataset.observe("copy", "1").state == "duplicate"
    roll_back(catalog_dataset, 0, with_landings=True)
    copy = catalog_dataset.observe("copy", "1")
    assert copy.state == "pending", "the other address may be empty by now"
    catalog_dataset.land_file(copy, catalog_dataset.segment(source_ids=(copy.source_partition_id or 0,)))
    assert catalog_dataset.observe("a", "1").state == "duplicate" and catalog_dataset.rows() == 10


def test_half_a_file_is_not_given_back(catalog_dataset: CatalogDataset) -> None:
    file = catalog_dataset.observe("half", "1")
    part = file.source_partition_id or 0
    catalog_dataset.land_file(file, catalog_dataset.segment(source_ids=(part,)), last=False)
    rest = catalog_dataset.observe("half", "1")
    catalog_dataset.land_file(rest, catalog_dataset.segment(source_ids=(part,)))
    with pytest.raises(RefusedError, match="half was landing at version 1"):
        roll_back(catalog_dataset, 1, with_landings=True)
    assert roll_back(catalog_dataset, 0, with_landings=True).files == ("half",)
    assert catalog_dataset.rows() == 0


def landed_by(ground: CatalogDataset, kind: SourceKind) -> int:
    source = ground.catalog.sources.ensure(ground.id, kind, kind)
    part = ground.catalog.sources.partition(source.id, f"of {kind}")
    segment = ground.segment(source_ids=(part.id,))
    return ground.catalog.commits.land(ground.batch(part, segment, source_id=source.id))


def test_requests_are_lost_on_purpose_only(catalog_dataset: CatalogDataset) -> None:
    land(catalog_dataset, "a")
    newest = landed_by(catalog_dataset, "http")
    with pytest.raises(RefusedError, match="10 rows that came over HTTP after version 1 would go"):
        roll_back(catalog_dataset, 1, with_landings=True)
    planned = catalog_dataset.catalog.rollbacks.plan(catalog_dataset.id, 1, with_landings=True)
    assert planned.lost_requests == 10
    assert roll_back(catalog_dataset, 1, with_landings=True, may_lose=True) == planned
    assert catalog_dataset.rows() == 10
    roll_back(catalog_dataset, newest)
    assert catalog_dataset.rows() == 20, "forward again they are there"


def test_topics_are_read_again_from_where_they_were(catalog_dataset: CatalogDataset) -> None:
    catalog = catalog_dataset.catalog
    source = catalog.sources.ensure(catalog_dataset.id, "kafka", "t")
    (part,) = catalog.topics.open(source.id, cluster_id="c", topic="t", epoch=1, topic_id=None, starts={0: 5})
    session = catalog.sessions.begin(catalog_dataset.id, "landing", holder="h", ttl=HOUR)
    catalog.topics.assign(session, [part.id])

    def read(at: int, *, newest: datetime | None = None) -> int:
        span = Span(source_partition_id=part.id, start=Position(offset=at), end=Position(offset=at + 10), newest=newest)
        rule = WatermarkRule(over=(part.id,), idle=HOUR, cap=datetime.now(UTC))
        segment = catalog_dataset.unannounced(source_ids=(part.id,))
        catalog.sessions.announce(session, [segment.name])
        commit = LandingCommit(
            dataset_id=catalog_dataset.id,
            session_id=session,
            source_id=source.id,
            progress=TopicProgress(spans=(span,), watermark=rule),
            counters=Counters(read=10, landed=10),
            segments=(segment,),
        )
        return catalog.commits.land(commit)

    first = read(5, newest=START)
    for at in (15, 25):
        read(at, newest=START + HOUR)
    with pytest.raises(RefusedError, match="topic source t is being read; stop its session"):
        roll_back(catalog_dataset, first, with_landings=True)
    catalog.sessions.end(session)
    assert roll_back(catalog_dataset, first, with_landings=True).topics == ("t",)
    assert catalog.sources.checkpoints([part.id]) == {part.id: Position(offset=15)}
    assert catalog.sources.ensure(catalog_dataset.id, "kafka", "t").watermark is None
    assert catalog_dataset.rows() == 10
    session = catalog.sessions.begin(catalog_dataset.id, "landing", holder="h", ttl=HOUR)
    catalog.topics.assign(session, [part.id])
    newest = read(15, newest=START)
    assert catalog_dataset.rows() == 20
    catalog.sessions.end(session)
    with catalog.database.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM audit")
    with pytest.raises(RefusedError, match="no longer has the offsets"):
        roll_back(catalog_dataset, newest - 1, with_landings=True)
