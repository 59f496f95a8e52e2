"""What a content at an address is (SEMANTICS §7): the table of decisions, and what follows from landing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from timestore_assets.catalog.records import Counters
from timestore_assets.model.errors import ConflictError
from timestore_assets.model.position import START, Position
from timestore_assets_tests.catalog_ground import HOUR, Ground


def test_a_new_content_is_pending(ground: Ground) -> None:
    file = ground.observe("a.csv", "1")
    assert (file.state, file.position, file.counters, file.replaces) == ("pending", START, Counters(), ())
    assert file.source_partition_id == ground.source_partition("1").id
    assert ground.catalog.pending_files(ground.id) == 1
    assert ground.catalog.files(ground.source.id) == [file]


def test_seeing_it_again_changes_only_the_etag(ground: Ground) -> None:
    file = ground.observe("a.csv", "1")
    again = ground.catalog.observe_file(ground.source.id, address="a.csv", sha256="1", etag="touched", size=100, replace=False)
    assert again == replace(file, etag="touched")


def test_settled_etags_are_those_of_the_files_asked_for_whose_fate_is_decided(ground: Ground) -> None:
    ground.land_file(ground.observe("A.csv", "1"))
    ground.observe("a.csv", "2")
    ground.catalog.settle_file(ground.observe("b.csv", "3").id, "quarantined", reason="bad")
    ground.observe("c.csv", "1")
    other = ground.catalog.source(ground.id, "files", "elsewhere/**")
    names = ["A.csv", "a.csv", "b.csv", "c.csv", "nothing.csv", *(f"{n}.csv" for n in range(1000))]
    found = ground.catalog.settled_etags(ground.source.id, names)
    etags = {file.address: file.etag for file in ground.catalog.files(ground.source.id)}
    assert found == {name: etags[name] for name in ("A.csv", "b.csv", "c.csv")}
    assert ground.catalog.settled_etags(ground.source.id, ["b.csv"]) == {"b.csv": etags["b.csv"]}
    assert ground.catalog.settled_etags(other.id, names) == {}


def test_a_landed_file_counts_for_itself_and_its_source(ground: Ground) -> None:
    file = ground.observe("a.csv", "1")
    ground.land_file(file, ground.segment(rows=6), rows=7, last=False)
    half = ground.observe("a.csv", "1")
    assert (half.state, half.position) == ("landing", Position(offset=7, line=7))
    ground.land_file(half, ground.segment(rows=3))
    landed = ground.observe("a.csv", "1")
    assert (landed.state, landed.counters) == ("landed", Counters(read=10, landed=9, dead_letters=1))
    assert ground.counters() == landed.counters
    assert ground.catalog.pending_files(ground.id) == 0
    assert ground.catalog.files(ground.source.id, states=["pending", "landing"]) == []


def test_the_same_content_elsewhere_is_a_duplicate_and_counted(ground: Ground) -> None:
    ground.land_file(ground.observe("a.csv", "1"))
    copy = ground.observe("b.csv", "1")
    assert (copy.state, copy.counters) == ("duplicate", Counters(read=10, duplicates=10))
    assert "a.csv" in copy.reason
    assert ground.counters() == Counters(read=20, landed=10, duplicates=10)
    assert ground.observe("b.csv", "1") == copy
    assert ground.counters().read == 20


def test_a_copy_in_another_source_is_a_duplicate_too(ground: Ground) -> None:
    ground.land_file(ground.observe("a.csv", "1"))
    other = ground.catalog.source(ground.id, "files", "elsewhere/**")
    assert ground.observe("a.csv", "1", source=other).state == "duplicate"


def test_a_copy_of_what_a_live_session_is_landing_is_a_duplicate(ground: Ground) -> None:
    ground.land_file(ground.observe("a.csv", "1"), last=False)
    assert ground.observe("b.csv", "1").state == "duplicate"


def test_what_a_dead_session_left_resumes_from_another_address(ground: Ground) -> None:
    ground.land_file(ground.observe("a.csv", "1"), last=False)
    ground.catalog.end_session(ground.session)
    ground.session = ground.catalog.begin_session(ground.id, "landing", holder="next", ttl=HOUR)
    moved = ground.observe("b.csv", "1")
    assert (moved.state, moved.position.offset) == ("pending", 10)
    ground.land_file(moved)
    assert ground.observe("b.csv", "1").state == "landed"
    assert ground.observe("a.csv", "1").state == "duplicate"
    assert ground.counters() == Counters(read=20, landed=20)


def test_two_waiting_copies_land_once(ground: Ground) -> None:
    first, second = ground.observe("a.csv", "1"), ground.observe("b.csv", "1")
    assert first.source_partition_id == second.source_partition_id
    ground.land_file(first)
    with pytest.raises(ConflictError):
        ground.land_file(second)
    again = ground.observe("b.csv", "1")
    assert (again.state, again.counters) == ("duplicate", Counters(read=10, duplicates=10))
    assert ground.rows() == 10


def test_changed_content_is_rejected_by_default(ground: Ground) -> None:
    ground.land_file(ground.observe("a.csv", "1"))
    changed = ground.observe("a.csv", "2")
    assert changed.state == "rejected"
    assert "on_change" in changed.reason
    assert ground.catalog.files(ground.source.id) == [changed]
    assert [event.kind for event in ground.catalog.claim_events(holder="r", limit=9, ttl=HOUR)] == [
        "files_landed",
        "file_rejected",
    ]
    assert ground.catalog.audit(limit=1)[0]["action"] == "file_rejected"


def test_the_old_content_back_is_the_landed_file_again(ground: Ground) -> None:
    landed = ground.observe("a.csv", "1")
    ground.land_file(landed)
    ground.observe("a.csv", "2")
    back = ground.observe("a.csv", "1")
    assert (back.id, back.state) == (landed.id, "landed")
    assert ground.catalog.files(ground.source.id) == [back]


def test_a_rejected_content_is_taken_once_the_policy_allows(ground: Ground) -> None:
    landed = ground.observe("a.csv", "1")
    ground.land_file(landed)
    rejected = ground.observe("a.csv", "2")
    allowed = ground.observe("a.csv", "2", replace=True)
    assert (allowed.id, allowed.state, allowed.replaces) == (rejected.id, "pending", (landed.source_partition_id,))


def test_a_replacement_takes_the_old_rows_with_it(ground: Ground) -> None:
    old = ground.observe("a.csv", "1")
    ground.land_file(old, ground.segment(0, source_ids=(old.source_partition_id or 0,)))
    new = ground.observe("a.csv", "2", replace=True)
    assert (new.state, new.replaces) == ("pending", (old.source_partition_id,))
    assert ground.land_file(new, ground.segment(0, rows=4), last=False) == 1
    half = ground.observe("a.csv", "2", replace=True)
    assert ground.land_file(half, ground.segment(1, rows=4)) == 2
    assert ground.catalog.retracted(ground.id) == {old.source_partition_id}
    assert [segment.added_version for segment in ground.live()] == [1, 2, 2]
    assert ground.observe("a.csv", "2", replace=True).state == "landed"


def test_a_content_may_come_back_after_it_was_replaced(ground: Ground) -> None:
    partitions = set()
    for content in ("1", "2", "1", "2"):
        file = ground.observe("a.csv", content, replace=True)
        assert file.state == "pending"
        partitions.add(file.source_partition_id)
        ground.land_file(file)
    assert len(partitions) == 4
    assert len(ground.catalog.retracted(ground.id)) == 3


def test_a_second_change_before_the_first_has_landed(ground: Ground) -> None:
    old = ground.observe("a.csv", "1")
    ground.land_file(old)
    ground.observe("a.csv", "2", replace=True)
    third = ground.observe("a.csv", "3", replace=True)
    assert third.replaces == (old.source_partition_id,)
    assert ground.catalog.pending_files(ground.id) == 1
    ground.land_file(third)
    again = ground.observe("a.csv", "2", replace=True)
    assert again.replaces == (third.source_partition_id,)


def test_a_replacement_that_is_replaced_half_way_never_shows(ground: Ground) -> None:
    old = ground.observe("a.csv", "1")
    ground.land_file(old)
    second = ground.observe("a.csv", "2", replace=True)
    hidden = ground.segment()
    ground.land_file(second, hidden, last=False)
    third = ground.observe("a.csv", "3", replace=True)
    assert set(third.replaces) == {old.source_partition_id, second.source_partition_id}
    ground.land_file(third)
    assert hidden.name not in ground.names()
    with pytest.raises(ConflictError):
        ground.land_file(
            ground.catalog.files(ground.source.id)[0].__class__(**{**_fields(second), "position": Position(offset=10, line=10)})
        )


def _fields(record: object) -> dict[str, object]:
    return {name: getattr(record, name) for name in record.__slots__}  # type: ignore[attr-defined]


def test_a_quarantined_file_is_looked_at_again_when_it_changes(ground: Ground) -> None:
    bad = ground.observe("a.csv", "1")
    ground.catalog.settle_file(bad.id, "quarantined", reason="not a CSV file")
    seen = ground.observe("a.csv", "1")
    assert (seen.state, seen.reason) == ("quarantined", "not a CSV file")
    assert ground.observe("a.csv", "2").state == "pending"


def test_what_landed_before_a_quarantine_is_replaced_by_the_repaired_file(ground: Ground) -> None:
    bad = ground.observe("a.csv.gz", "1")
    ground.land_file(bad, last=False)
    ground.catalog.settle_file(bad.id, "quarantined", reason="the gzip stream ends early")
    broken = ground.observe("a.csv.gz", "1")
    assert (broken.state, broken.counters) == ("quarantined", Counters(read=10, landed=10))
    repaired = ground.observe("a.csv.gz", "2")
    assert repaired.replaces == (bad.source_partition_id,)
    ground.land_file(repaired)
    assert ground.catalog.retracted(ground.id) == {bad.source_partition_id}


def test_rows_of_a_replacement_that_fails_are_held(ground: Ground) -> None:
    ground.land_file(ground.observe("a.csv", "1"))
    new = ground.observe("a.csv", "2", replace=True)
    ground.land_file(new, ground.segment(rows=4), last=False)
    ground.catalog.settle_file(new.id, "quarantined", reason="cut off")
    assert ground.observe("a.csv", "2", replace=True).counters == Counters(read=4, held=4)
    assert ground.counters() == Counters(read=14, landed=10, held=4)
    assert ground.rows() == 10


def test_held_rows_land_when_the_replacement_goes_on_after_all(ground: Ground) -> None:
    ground.land_file(ground.observe("a.csv", "1"))
    new = ground.observe("a.csv", "2", replace=True)
    ground.land_file(new, ground.segment(rows=4), last=False)
    for _ in range(2):
        ground.catalog.settle_file(new.id, "quarantined", reason="the disk could not be read")
    half = ground.observe("a.csv", "2", replace=True)
    assert (half.state, half.counters) == ("quarantined", Counters(read=4, held=4))
    ground.land_file(half, ground.segment(rows=3))
    assert ground.observe("a.csv", "2", replace=True).counters == Counters(read=7, landed=7)
    assert ground.counters() == Counters(read=17, landed=17)


def test_a_file_without_records_can_still_be_filled(ground: Ground) -> None:
    empty = ground.observe("a.csv", "0")
    assert ground.catalog.commit_landing(ground.batch(ground.source_partition("0"), file_id=empty.id, file_state="landed")) == 0
    filled = ground.observe("a.csv", "1")
    assert (filled.state, filled.replaces) == ("pending", ())


def test_settling_is_audited_counted_and_told(ground: Ground) -> None:
    file = ground.observe("a.csv", "1")
    counters = Counters(read=3, duplicates=3)
    ground.catalog.settle_file(file.id, "duplicate", reason="same rows", counters=counters)
    assert ground.counters() == counters
    assert ground.catalog.files(ground.source.id)[0].counters == counters
    (event,) = ground.catalog.claim_events(holder="r", limit=9, ttl=HOUR)
    assert (event.kind, event.payload["address"], event.payload["reason"]) == ("file_duplicate", "a.csv", "same rows")
    assert ground.catalog.audit(limit=1)[0]["details"]["reason"] == "same rows"
    with pytest.raises(ValueError, match="add up"):
        ground.catalog.settle_file(file.id, "duplicate", counters=Counters(read=1))


def test_a_batch_of_another_file_is_a_bug(ground: Ground) -> None:
    file = ground.observe("a.csv", "1")
    with pytest.raises(ValueError, match="not read as"):
        ground.land("elsewhere", file_id=file.id)
    assert ground.live() == []


def test_files_are_listed_by_address(ground: Ground) -> None:
    for address in ("b", "c", "a"):
        ground.observe(address, address)
    assert [file.address for file in ground.catalog.files(ground.source.id)] == ["a", "b", "c"]
