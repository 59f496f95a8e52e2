"""Parts of a large file in the catalog: cut once, landed one by one, the file with the last of them."""

from __future__ import annotations

import pytest

from timestore_assets.catalog.records import FileChunk, FileRecord, SourcePartition
from timestore_assets.model.counters import Counters
from timestore_assets.model.errors import ConflictError
from timestore_assets.model.position import START, Position
from timestore_assets.model.retraction import whole
from timestore_assets_tests.support.catalog_dataset import CatalogDataset

ENDS = [Position(offset=10, line=1), Position(offset=30, line=3), Position(offset=35, line=4)]


def cut(catalog_dataset: CatalogDataset, file: FileRecord) -> list[FileChunk]:
    return catalog_dataset.catalog.chunks.cut(file.id, ENDS)


def land_part(catalog_dataset: CatalogDataset, file: FileRecord, chunk: FileChunk) -> None:
    """Land a part whole, in one batch."""
    partition = SourcePartition(id=chunk.source_partition_id, source_id=file.source_id, name="", position=chunk.position)
    catalog_dataset.catalog.commits.land(catalog_dataset.file_batch(file, partition, catalog_dataset.segment(), end=chunk.end))


def state(catalog_dataset: CatalogDataset) -> FileRecord:
    found = catalog_dataset.catalog.files.at(catalog_dataset.source.id, "a.csv")
    assert found is not None
    return found


def test_a_file_is_cut_once(catalog_dataset: CatalogDataset) -> None:
    file = catalog_dataset.observe("a.csv", "1")
    assert file.source_partition_id is not None
    assert catalog_dataset.catalog.chunks.of(file.source_partition_id) == []
    chunks = cut(catalog_dataset, file)
    assert [(one.number, one.start, one.end, one.position, one.done) for one in chunks] == [
        (0, START, ENDS[0], START, False),
        (1, ENDS[0], ENDS[1], ENDS[0], False),
        (2, ENDS[1], ENDS[2], ENDS[1], False),
    ]
    assert chunks[0].source_partition_id == file.source_partition_id
    assert catalog_dataset.catalog.chunks.cut(file.id, ENDS[:1]) == chunks
    assert [catalog_dataset.catalog.chunks.of(one.source_partition_id) for one in chunks] == [chunks] * 3


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_the_file_lands_with_its_last_part(catalog_dataset: CatalogDataset, order: tuple[int, ...]) -> None:
    file = catalog_dataset.observe("a.csv", "1")
    chunks = cut(catalog_dataset, file)
    states = []
    for number in order:
        land_part(catalog_dataset, file, chunks[number])
        states.append(state(catalog_dataset).state)
    assert states == ["landing", "landing", "landed"]
    assert state(catalog_dataset).counters == catalog_dataset.counters()
    assert state(catalog_dataset).counters.read > 0
    assert all(one.done for one in catalog_dataset.catalog.chunks.of(chunks[1].source_partition_id))


def test_other_parts_leave_a_file_in_quarantine(catalog_dataset: CatalogDataset) -> None:
    file = catalog_dataset.observe("a.csv", "1")
    chunks = cut(catalog_dataset, file)
    catalog_dataset.catalog.files.settle(file.id, "quarantined", reason="damaged")
    land_part(catalog_dataset, file, chunks[0])
    land_part(catalog_dataset, file, chunks[1])
    assert (state(catalog_dataset).state, state(catalog_dataset).reason) == ("quarantined", "damaged")
    land_part(catalog_dataset, file, chunks[2])
    assert (state(catalog_dataset).state, state(catalog_dataset).reason) == ("landed", "")


def test_a_content_that_replaces_takes_all_parts_out(catalog_dataset: CatalogDataset) -> None:
    file = catalog_dataset.observe("a.csv", "1")
    chunks = cut(catalog_dataset, file)
    land_part(catalog_dataset, file, chunks[1])
    newer = catalog_dataset.observe("a.csv", "2", replace=True)
    assert newer.replaces == tuple(sorted(one.source_partition_id for one in chunks))
    catalog_dataset.land_file(newer)
    assert catalog_dataset.catalog.manifest.retracted(catalog_dataset.id) == whole({one.source_partition_id for one in chunks})
    assert state(catalog_dataset).counters != Counters()
    with pytest.raises(ConflictError):
        land_part(catalog_dataset, file, chunks[2])


def test_what_was_replaced_is_not_cut_any_more(catalog_dataset: CatalogDataset) -> None:
    file = catalog_dataset.observe("a.csv", "1")
    catalog_dataset.land_file(file, last=False)
    catalog_dataset.land_file(catalog_dataset.observe("a.csv", "2", replace=True))
    with pytest.raises(ConflictError, match="other content"):
        cut(catalog_dataset, file)
