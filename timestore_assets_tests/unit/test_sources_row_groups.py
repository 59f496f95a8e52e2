"""What a row group becomes once it is decoded is known before it is read: by its values, its dictionaries and its pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from timestore_assets.model.errors import BadFileError
from timestore_assets.sources.files.input_file import LocalFile
from timestore_assets.sources.files.parquet.parquet_reader import ParquetReader
from timestore_assets.sources.files.parquet.parquet_types import resolved
from timestore_assets.sources.files.parquet.row_groups import decoded_bytes, large_chunks, largest_page

texts = st.lists(st.none() | st.sampled_from(["", "a", "b" * 300, "long" * 2000]), min_size=1, max_size=60)


def bound(path: Path) -> int:
    file = pq.ParquetFile(path)

    def opened(names: list[str]) -> pq.ParquetFile:
        return pq.ParquetFile(path, read_dictionary=names)

    return sum(decoded_bytes(file.metadata, i, limit=0, with_dictionaries=opened) for i in range(file.metadata.num_row_groups))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(values=texts, store=st.booleans(), dictionary=st.booleans(), dotted=st.booleans(), rows=st.integers(1, 60))
def test_no_row_group_takes_more_than_its_bound(
    tmp_path: Path, values: list[Any], store: bool, dictionary: bool, dotted: bool, rows: int
) -> None:
    flat = pa.array(values, pa.string())
    columns = {
        "c.d" if dotted else "c": flat.dictionary_encode() if store else flat,
        "l": pa.array([[value, value] for value in values], pa.list_(pa.string())),
        "s": pa.StructArray.from_arrays([flat, pa.array(range(len(values)))], ["x.y", "n"]),
        "m": pa.array([[("k", value)] for value in values], pa.map_(pa.string(), pa.string())),
        "n": pa.array([[1] * (len(value or "") % 50) for value in values]),
    }
    path = tmp_path / "f.parquet"
    pq.write_table(pa.table(columns), path, row_group_size=rows, use_dictionary=dictionary, store_schema=store)
    # validity bits and the offsets of nested values are no values
    assert resolved(pq.read_table(path)).nbytes <= bound(path) + 64 * (len(values) + 8)


@pytest.mark.parametrize("compression", ["none", "zstd"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_the_largest_page_is_found_in_the_headers(tmp_path: Path, compression: str, version: str) -> None:
    path, long = tmp_path / "f.parquet", 3_000_000
    table = pa.table({"c": ["short", "x" * long, "short"], "n": [1, 2, 3]})
    pq.write_table(table, path, use_dictionary=False, compression=compression, data_page_version=version, write_batch_size=1)
    metadata = pq.ParquetFile(path).metadata
    [chunk] = large_chunks(metadata, 0, limit=1_000_000)
    with path.open("rb") as file:
        assert (chunk.column, largest_page(file, chunk.start, chunk.end) // 1000) == ("c", long // 1000)


def test_headers_that_are_none_are_malformed(tmp_path: Path) -> None:
    path = tmp_path / "noise"
    path.write_bytes(np.random.default_rng(7).bytes(5000))
    with path.open("rb") as file, pytest.raises(ValueError, match="page"):
        largest_page(file, 0, 5000)


def test_what_can_only_be_read_whole_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "f.parquet"
    pq.write_table(pa.table({"numbers": [[0.0] * 100_000]}), path)
    reader = ParquetReader(file=LocalFile(path), memory_bytes=50_000, whole_bytes=200_000)
    with pytest.raises(BadFileError, match=r"f\.parquet has rows of up to 800,0\d\d bytes.*raise TIMESTORE_MEMORY"):
        list(reader.batches())
    assert sum(batch.records.num_rows for batch in ParquetReader(file=LocalFile(path), memory_bytes=50_000).batches()) == 1
