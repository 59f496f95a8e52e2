"""Arrow IPC files (Feather) and streams, a table for each record batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from timestore_assets.sources.arrow_offsets import check_offsets
from timestore_assets.sources.files.input_file import InputFile

_FILE_MAGIC = b"ARROW1"


@dataclass(kw_only=True)
class ArrowTables:
    """Implements `columnar_reader.Tables`."""

    file: InputFile
    kind: str = field(init=False, default="an Arrow IPC file")
    share_read: float = field(init=False, default=0.0)

    @property
    def schema(self) -> pa.Schema:
        with self._opened() as (reader, _):
            return reader.schema

    def __call__(self) -> Iterator[pa.Table]:
        with self._opened() as (reader, stored):
            if isinstance(reader, pa.RecordBatchFileReader):
                for number in range(reader.num_record_batches):
                    yield _checked(reader.get_batch(number))
                    self.share_read = (number + 1) / reader.num_record_batches
                return
            size = max(self.file.expected_bytes, 1)
            for batch in reader:
                yield _checked(batch)
                self.share_read = min(1.0, stored.tell() / size)

    @contextmanager
    def _opened(self) -> Iterator[tuple[pa.RecordBatchFileReader | pa.RecordBatchStreamReader, pa.NativeFile]]:
        given = self.file.for_arrow()
        with pa.OSFile(str(given)) if isinstance(given, Path) else given as stored:
            is_file = stored.read(len(_FILE_MAGIC)) == _FILE_MAGIC
            stored.seek(0)
            yield (pa.ipc.open_file(stored) if is_file else pa.ipc.open_stream(stored)), stored


def _checked(batch: pa.RecordBatch) -> pa.Table:
    for column in batch.columns:
        check_offsets(column)
    return pa.Table.from_batches([batch])
