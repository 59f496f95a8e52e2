"""What a content at an address is (docs/semantics.md, Files): the table of decisions, and what follows from landing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from timestore_assets.model.counters import Counters
from timestore_assets.model.errors import ConflictError
from timestore_assets.model.position import START, Position
from timestore_assets.model.retraction import whole
from timestore_assets_tests.support.catalog_dataset import HOUR, CatalogDataset


def test_a_new_content_is_pending(catalog_dataset: CatalogDataset) -> None:
    file = catalog_dataset.observe("a.csv", "1")
    assert (file.state, file.position, file.counters, file.replaces) == ("pending", START, Counters(), ())
    assert file.source_partition_id == catalog_dataset.source_partition("1").id
    assert catalog_dataset.catalog.files.pending(catalog_dataset.id) == 1
    assert catalog_dataset.catalog.files.of(catalog_dataset.source.id) == [file]


def test_seeing_it_again_changes_only_the_etag(catalog_dataset: CatalogDataset) -> None:
    file = catalog_dataset.observe("a.csv", "1")
    again = catalog_dataset.catalog.files.observe(
        catalog_dataset.source.id, address="a.csv", sha256="1", etag="touched", size=100, replace=False
    )
    assert again == replace(file, etag="touched")


def test_settled_etags_are_those_of_the_files_asked_for_whose_fate_is_decided(catalog_dataset: CatalogDataset) -> None:
    catalog_dataset.land_file(catalog_dataset.observe("A.csv", "1"))
    catalog_dataset.observe("a.csv", "2")
    catalog_dataset.catalog.files.settle(catalog_dataset.observe("b.csv", "3").id, "quarantined", reason="bad")
    catalog_dataset.observe("c.csv", "1")
    other = catalog_dataset.catalog.sources.ensure(catalog_dataset.id, "files", "elsewhere/**")
    names = ["A.csv", "a.csv", "b.csv", "c.csv", "nothing.csv", *(f"{n}.csv" for n in range(1000))]
    found = catalog_dataset.catalog.files.settled_etags(catalog_dataset.source.id, names)
    etags = {file.address: file.etag for file in catalog_dataset.catalog.files.of(catalog_dataset.source.id)}
    assert found == {name: etags[name] for name in ("A.csv", "b.csv", "c.csv")}
    assert catalog_dataset.catalog.files.settled_etags(catalog_dataset.source.id, ["b.csv"]) == {"b.csv": etags["b.csv"]}
    assert catalog_dataset.catalog.files.settled_etags(other.id, names) == {}


def test_a_landed_file_counts_for_itself_and_its_source(catalog_dataset: CatalogDataset) -> None:
    file = catalog_dataset.observe("a.csv", "1")
    catalog_dataset.land_file(file, catalog_dataset.segment(rows=6), rows=7, last=False)
    half = catalog_dataset.observe("a.csv", "1")
    assert (half.state, half.position) == ("landing", Position(offset=7, line=7))
    catalog_dataset.land_file(half, catalog_dataset.segment(rows=3))
    landed = catalog_dataset.observe("a.csv", "1")
    assert (landed.state, landed.counters) == ("landed", Counters(read=10, landed=9, dead_letters=1))
    assert catalog_dataset.counters() == landed.counters
    assert catalog_dataset.catalog.files.pending(catalog_dataset.id) == 0
    assert catalog_dataset.catalog.files.of(catalog_dataset.source.id, states=["pending", "landing"]) == []


def test_the_same_content_elsewhere_is_a_duplicate_and_counted(catalog_dataset: CatalogDataset) -> None:
    catalog_dataset.land_file(catalog_dataset.observe("a.csv", "1"))
    copy = catalog_dataset.observe("b.csv", "1")
    assert (copy.state, copy.counters) == ("duplicate", Counters(read=10, duplicates=10))
    assert "a.csv" in copy.reason
    assert catalog_dataset.counters() == Counters(read=20, landed=10, duplicates=10)
    assert catalog_dataset.observe("b.csv", "1") == copy
    assert catalog_dataset.counters().read == 20


def test_a_copy_in_another_source_is_a_duplicate_too(catalog_dataset: CatalogDataset) -> None:
    catalog_dataset.land_file(catalog_dataset.observe("a.csv", "1"))
    other = catalog_dataset.catalog.sources.ensure(catalog_dataset.id, "files", "elsewhere/**")
    assert catalog_dataset.observe("a.csv", "1", source=other).state == "duplicate"


def test_a_copy_of_what_a_live_session_is_landing_is_a_duplicate(catalog_dataset: CatalogDataset) -> None:
    catalog_dataset.land_file(catalog_dataset.observe("a.csv", "1"), last=False)
    assert catalog_dataset.observe("b.csv", "1").state == "duplicate"


def test_what_a_dead_session_left_resumes_from_another_address(catalog_dataset: CatalogDataset) -> None:
    catalog_dataset.land_file(catalog_dataset.observe("a.csv", "1"), last=False)
    catalog_dataset.catalog.sessions.end(catalog_dataset.session)
    catalog_dataset.session = catalog_dataset.catalog.sessions.begin(catalog_dataset.id, "landing", holder="next", ttl=HOUR)
    moved = catalog_dataset.observe("b.csv", "1")
    assert (moved.state, moved.position.offset) == ("pending", 10)
    catalog_dataset.land_file(moved)
    assert catalog_dataset.observe("b.csv", "1").state == "landed"
    assert catalog_dataset.observe("a.csv", "1").state == "duplicate"
    assert catalog_dataset.counters() == Counters(read=20, landed=20)


def test_two_waiting_copies_land_once(catalog_dataset: CatalogDataset) -> None:
    first, second = catalog_dataset.observe("a.csv", "1"), catalog_dataset.observe("b.csv", "1")
    assert first.source_partition_id == second.source_partition_id
    catalog_dataset.land_file(first)
    with pytest.raises(ConflictError):
        catalog_dataset.land_file(second)
    again = catalog_dataset.observe("b.csv", "1")
    assert (again.state, again.counters) == ("duplicate", Counters(read=10, duplicates=10))
    assert catalog_dataset.rows() == 10


def test_changed_content_is_rejected_by_default(catalog_dataset: CatalogDataset) -> None:
    catalog_dataset.land_file(catalog_dataset.observe("a.csv", "1"))
    changed = catalog_dataset.observe("a.csv", "2")
    assert changed.state == "rejected"
    assert "on_change" in changed.reason
    assert catalog_dataset.catalog.files.of(catalog_dataset.source.id) == [changed]
    assert [event.kind for event in catalog_dataset.catalog.outbox.claim(holder="r", limit=9, ttl=HOUR)] == [
        "files_landed",
        "file_rejected",
    ]
    assert catalog_dataset.catalog.audit.newest(limit=1)[0]["action"] == "file_rejected"


def test_the_old_content_back_is_the_landed_file_again(catalog_dataset: CatalogDataset) -> None:
    landed = catalog_dataset.observe("a.csv", "1")
    catalog_dataset.land_file(landed)
    catalog_dataset.observe("a.csv", "2")
    back = catalog_dataset.observe("a.csv", "1")
    assert (back.id, back.state) == (landed.id, "landed")
    assert catalog_dataset.catalog.files.of(catalog_dataset.source.id) == [back]


def test_a_rejected_content_is_taken_once_the_policy_allows(catalog_dataset: CatalogDataset) -> None:
    landed = catalog_dataset.observe("a.csv", "1")
    catalog_dataset.land_file(landed)
    rejected = catalog_dataset.observe("a.csv", "2")
    allowed = catalog_dataset.observe("a.csv", "2", replace=True)
    assert (allowed.id, allowed.state, allowed.replaces) == (rejected.id, "pending", (landed.source_partition_id,))


def test_a_replacement_takes_the_old_rows_with_it(catalog_dataset: CatalogDataset) -> None:
    old = catalog_dataset.observe("a.csv", "1")
    catalog_dataset.land_file(old, catalog_dataset.segment(0, source_ids=(old.source_partition_id or 0,)))
    new = catalog_dataset.observe("a.csv", "2", replace=True)
    assert (new.state, new.replaces) == ("pending", (old.source_partition_id,))
    assert catalog_dataset.land_file(new, catalog_dataset.segment(0, rows=4), last=False) == 1
    half = catalog_dataset.observe("a.csv", "2", replace=True)
    assert catalog_dataset.land_file(half, catalog_dataset.segment(1, rows=4)) == 2
    assert catalog_dataset.catalog.manifest.retracted(catalog_dataset.id) == whole({old.source_partition_id})
    assert [segment.added_version for segment in catalog_dataset.live()] == [1, 2, 2]
    assert catalog_dataset.observe("a.csv", "2", replace=True).state == "landed"


def test_a_content_may_come_back_after_it_was_replaced(catalog_dataset: CatalogDataset) -> None:
    partitions = set()
    for content in ("1", "2", "1", "2"):
        file = catalog_dataset.observe("a.csv", content, replace=True)
        assert file.state == "pending"
        partitions.add(file.source_partition_id)
        catalog_dataset.land_file(file)
    assert len(partitions) == 4
    assert len(catalog_dataset.catalog.manifest.retracted(catalog_dataset.id)) == 3


def test_a_second_change_before_the_first_has_landed(catalog_dataset: CatalogDataset) -> None:
    old = catalog_dataset.observe("a.csv", "1")
    catalog_dataset.land_file(old)
    catalog_dataset.observe("a.csv", "2", replace=True)
    third = catalog_dataset.observe("a.csv", "3", replace=True)
    assert third.replaces == (old.source_partition_id,)
    assert catalog_dataset.catalog.files.pending(catalog_dataset.id) == 1
    catalog_dataset.land_file(third)
    again = catalog_dataset.observe("a.csv", "2", replace=True)
    assert again.replaces == (third.source_partition_id,)


def test_a_replacement_that_is_replaced_half_way_never_shows(catalog_dataset: CatalogDataset) -> None:
    old = catalog_dataset.observe("a.csv", "1")
    catalog_dataset.land_file(old)
    second = catalog_dataset.observe("a.csv", "2", replace=True)
    hidden = catalog_dataset.segment()
    catalog_dataset.land_file(second, hidden, last=False)
    third = catalog_dataset.observe("a.csv", "3", replace=True)
    assert set(third.replaces) == {old.source_partition_id, second.source_partition_id}
    catalog_dataset.land_file(third)
    assert hidden.name not in catalog_dataset.names()
    with pytest.raises(ConflictError):
        catalog_dataset.land_file(
            catalog_dataset.catalog.files.of(catalog_dataset.source.id)[0].__class__(
                **{**_fields(second), "position": Position(offset=10, line=10)}
            )
        )


def _fields(record: Any) -> dict[str, object]:
    return {name: getattr(record, name) for name in record.__slots__}


def test_a_quarantined_file_is_looked_at_again_when_it_changes(catalog_dataset: CatalogDataset) -> None:
    bad = catalog_dataset.observe("a.csv", "1")
    catalog_dataset.catalog.files.settle(bad.id, "quarantined", reason="not a CSV file")
    seen = catalog_dataset.observe("a.csv", "1")
    assert (seen.state, seen.reason) == ("quarantined", "not a CSV file")
    assert catalog_dataset.observe("a.csv", "2").state == "pending"


def test_what_landed_before_a_quarantine_is_replaced_by_the_repaired_file(catalog_dataset: CatalogDataset) -> None:
    bad = catalog_dataset.observe("a.csv.gz", "1")
    catalog_dataset.land_file(bad, last=False)
    catalog_dataset.catalog.files.settle(bad.id, "quarantined", reason="the gzip stream ends early")
    broken = catalog_dataset.observe("a.csv.gz", "1")
    assert (broken.state, broken.counters) == ("quarantined", Counters(read=10, landed=10))
    repaired = catalog_dataset.observe("a.csv.gz", "2")
    assert repaired.replaces == (bad.source_partition_id,)
    catalog_dataset.land_file(repaired)
    assert catalog_dataset.catalog.manifest.retracted(catalog_dataset.id) == whole({bad.source_partition_id})


def test_rows_of_a_replacement_that_fails_are_held(catalog_dataset: CatalogDataset) -> None:
    catalog_dataset.land_file(catalog_dataset.observe("a.csv", "1"))
    new = catalog_dataset.observe("a.csv", "2", replace=True)
    catalog_dataset.land_file(new, catalog_dataset.segment(rows=4), last=False)
    catalog_dataset.catalog.files.settle(new.id, "quarantined", reason="cut off")
    assert catalog_dataset.observe("a.csv", "2", replace=True).counters == Counters(read=4, held=4)
    assert catalog_dataset.counters() == Counters(read=14, landed=10, held=4)
    assert catalog_dataset.rows() == 10


def test_held_rows_land_when_the_replacement_goes_on_after_all(catalog_dataset: CatalogDataset) -> None:
    catalog_dataset.land_file(catalog_dataset.observe("a.csv", "1"))
    new = catalog_dataset.observe("a.csv", "2", replace=True)
    catalog_dataset.land_file(new, catalog_dataset.segment(rows=4), last=False)
    for _ in range(2):
        catalog_dataset.catalog.files.settle(new.id, "quarantined", reason="the disk could not be read")
    half = catalog_dataset.observe("a.csv", "2", replace=True)
    assert (half.state, half.counters) == ("quarantined", Counters(read=4, held=4))
    catalog_dataset.land_file(half, catalog_dataset.segment(rows=3))
    assert catalog_dataset.observe("a.csv", "2", replace=True).counters == Counters(read=7, landed=7)
    assert catalog_dataset.counters() == Counters(read=17, landed=17)


def test_a_file_without_records_can_still_be_filled(catalog_dataset: CatalogDataset) -> None:
    empty = catalog_dataset.observe("a.csv", "0")
    assert catalog_dataset.catalog.commits.land(catalog_dataset.file_batch(empty, catalog_dataset.source_partition("0"))) == 0
    filled = catalog_dataset.observe("a.csv", "1")
    assert (filled.state, filled.replaces) == ("pending", ())


def test_settling_is_audited_counted_and_told(catalog_dataset: CatalogDataset) -> None:
    file = catalog_dataset.observe("a.csv", "1")
    counters = Counters(read=3, duplicates=3)
    catalog_dataset.catalog.files.settle(file.id, "duplicate", reason="same rows", counters=counters)
    assert catalog_dataset.counters() == counters
    assert catalog_dataset.catalog.files.of(catalog_dataset.source.id)[0].counters == counters
    (event,) = catalog_dataset.catalog.outbox.claim(holder="r", limit=9, ttl=HOUR)
    assert (event.kind, event.payload["address"], event.payload["reason"]) == ("file_duplicate", "a.csv", "same rows")
    assert catalog_dataset.catalog.audit.newest(limit=1)[0]["details"]["reason"] == "same rows"
    with pytest.raises(ValueError, match="add up"):
        catalog_dataset.catalog.files.settle(file.id, "duplicate", counters=Counters(read=1))


def test_a_batch_of_another_file_is_a_bug(catalog_dataset: CatalogDataset) -> None:
    file = catalog_dataset.observe("a.csv", "1")
    with pytest.raises(ValueError, match="not read as"):
        catalog_dataset.catalog.commits.land(
            catalog_dataset.file_batch(file, catalog_dataset.source_partition("elsewhere"), catalog_dataset.segment())
        )
    assert catalog_dataset.live() == []


def test_files_are_listed_by_address(catalog_dataset: CatalogDataset) -> None:
    for address in ("b", "c", "a"):
        catalog_dataset.observe(address, address)
    assert [file.address for file in catalog_dataset.catalog.files.of(catalog_dataset.source.id)] == ["a", "b", "c"]
