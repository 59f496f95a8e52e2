"""ORC files, a table for each stripe."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from timestore_assets.sources.files.input_file import InputFile


@dataclass(kw_only=True)
class OrcTables:
    """Implements `columnar_reader.Tables`."""

    file: InputFile
    kind: str = field(init=False, default="an ORC file")
    share_read: float = field(init=False, default=0.0)

    @property
    def schema(self) -> pa.Schema:
        with self._opened() as orc:
            return orc.schema

    def __call__(self) -> Iterator[pa.Table]:
        with self._opened() as orc:
            for number in range(orc.nstripes):
                yield pa.Table.from_batches([orc.read_stripe(number)])
                self.share_read = (number + 1) / orc.nstripes

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        from pyarrow.orc import ORCFile

        given = self.file.for_arrow()
        with pa.OSFile(str(given)) if isinstance(given, Path) else given as stored:
            yield ORCFile(stored)
