"""What a file's batches do to the catalog beside adding rows: its state, and what it replaces."""

from __future__ import annotations

from collections.abc import Mapping

from timestore_assets.catalog.port import Catalog
from timestore_assets.catalog.records import FileRecord, Span
from timestore_assets.landing.batch_landing import Effects, OvertakenError
from timestore_assets.model.position import Position
from timestore_assets.sources.port import FileBatch


def effects_of(file: FileRecord, batch: FileBatch) -> Effects:
    """The effects of landing a batch of a file. A replacement shows all at once, when its last batch is there."""
    if file.source_partition_id is None:
        raise ValueError(f"file {file.id} is {file.state}, so it has nothing to be read as")
    return Effects(
        spans=(Span(source_partition_id=file.source_partition_id, start=batch.start, end=batch.end),),
        publish=batch.last or not file.replaces,
        retract=file.replaces if batch.last else (),
        file_id=file.id,
        file_state="landed" if batch.last else "landing",
    )


def position_of(catalog: Catalog, file: FileRecord) -> Mapping[int, Position]:
    """Where the file stands, by its source partition.

    Raises:
        OvertakenError: another content stands for its address by now.
    """
    found = next((known for known in catalog.files(file.source_id) if known.id == file.id), None)
    if found is None or found.source_partition_id is None:
        raise OvertakenError(f"{file.address}: other content has taken its place")
    return {found.source_partition_id: found.position}
