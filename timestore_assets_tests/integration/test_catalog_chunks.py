"""Parts of a large file in the catalog: cut once, landed one by one, the file with the last of them."""

from __future__ import annotations

import pytest

from timestore_assets.catalog.records import Counters, FileChunk, FileRecord, SourcePartition, Span
from timestore_assets.model.errors import ConflictError
from timestore_assets.model.position import START, Position
from timestore_assets_tests.catalog_ground import Ground

ENDS = [Position(offset=10, line=1), Position(offset=30, line=3), Position(offset=35, line=4)]


def cut(ground: Ground, file: FileRecord) -> list[FileChunk]:
    return ground.catalog.chunks.cut(file.id, ENDS)


def land_part(ground: Ground, file: FileRecord, chunk: FileChunk) -> None:
    """Land a part whole, in one batch."""
    partition = SourcePartition(id=chunk.source_partition_id, source_id=file.source_id, name="", position=chunk.position)
    whole = Span(source_partition_id=partition.id, start=chunk.position, end=chunk.end)
    batch = ground.batch(partition, ground.segment(), spans=(whole,), file_id=file.id, file_state="landed")
    ground.catalog.commit_landing(batch)


def state(ground: Ground) -> FileRecord:
    found = ground.catalog.file_at(ground.source.id, "a.csv")
    assert found is not None
    return found


def test_a_file_is_cut_once(ground: Ground) -> None:
    file = ground.observe("a.csv", "1")
    assert file.source_partition_id is not None
    assert ground.catalog.chunks.of(file.source_partition_id) == []
    chunks = cut(ground, file)
    assert [(one.number, one.start, one.end, one.position, one.done) for one in chunks] == [
        (0, START, ENDS[0], START, False),
        (1, ENDS[0], ENDS[1], ENDS[0], False),
        (2, ENDS[1], ENDS[2], ENDS[1], False),
    ]
    assert chunks[0].source_partition_id == file.source_partition_id
    assert ground.catalog.chunks.cut(file.id, ENDS[:1]) == chunks
    assert [ground.catalog.chunks.of(one.source_partition_id) for one in chunks] == [chunks] * 3


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_the_file_lands_with_its_last_part(ground: Ground, order: tuple[int, ...]) -> None:
    file = ground.observe("a.csv", "1")
    chunks = cut(ground, file)
    states = []
    for number in order:
        land_part(ground, file, chunks[number])
        states.append(state(ground).state)
    assert states == ["landing", "landing", "landed"]
    assert state(ground).counters == ground.counters()
    assert state(ground).counters.read > 0
    assert all(one.done for one in ground.catalog.chunks.of(chunks[1].source_partition_id))


def test_other_parts_leave_a_file_in_quarantine(ground: Ground) -> None:
    file = ground.observe("a.csv", "1")
    chunks = cut(ground, file)
    ground.catalog.settle_file(file.id, "quarantined", reason="damaged")
    land_part(ground, file, chunks[0])
    land_part(ground, file, chunks[1])
    assert (state(ground).state, state(ground).reason) == ("quarantined", "damaged")
    land_part(ground, file, chunks[2])
    assert (state(ground).state, state(ground).reason) == ("landed", "")


def test_a_content_that_replaces_takes_all_parts_out(ground: Ground) -> None:
    file = ground.observe("a.csv", "1")
    chunks = cut(ground, file)
    land_part(ground, file, chunks[1])
    newer = ground.observe("a.csv", "2", replace=True)
    assert newer.replaces == tuple(sorted(one.source_partition_id for one in chunks))
    ground.land_file(newer)
    assert ground.catalog.retracted(ground.id) == {one.source_partition_id for one in chunks}
    assert state(ground).counters != Counters()
    with pytest.raises(ConflictError):
        land_part(ground, file, chunks[2])


def test_what_was_replaced_is_not_cut_any_more(ground: Ground) -> None:
    file = ground.observe("a.csv", "1")
    ground.land_file(file, last=False)
    ground.land_file(ground.observe("a.csv", "2", replace=True))
    with pytest.raises(ConflictError, match="other content"):
        cut(ground, file)
