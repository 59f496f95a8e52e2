"""The records of a dead-letter file as tables: its pieces, with new reasons where they still don't land."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from timestore_assets.landing.committing.staged_dead_letters import SCHEMA, by_code
from timestore_assets.landing.dead_letters.replay_batch import Again
from timestore_assets.landing.preparing.prepare import Prepared

_BYTES_A_PIECE = 64_000_000
_ROWS_A_PIECE = 200_000


def pieces(opened: pq.ParquetFile) -> Iterator[pa.Table]:
    """Whole row groups, together at most so many rows and, but for a single one, so large."""
    first, rows, size = 0, 0, 0
    for number in range(opened.num_row_groups):
        group = opened.metadata.row_group(number)
        if number > first and (size + group.total_byte_size > _BYTES_A_PIECE or rows + group.num_rows > _ROWS_A_PIECE):
            yield opened.read_row_groups(list(range(first, number)))
            first, rows, size = number, 0, 0
        rows, size = rows + group.num_rows, size + group.total_byte_size
    if rows:
        yield opened.read_row_groups(list(range(first, opened.num_row_groups)))


def with_reasons(records: pa.Table, again: Again, prepared: Prepared) -> tuple[pa.Table, Counter[str]]:
    """The records with why those that were tried don't land this time, `code` null where they do; and how many by reason."""
    refused = prepared.row_mask.refused()
    uncut = {
        "code": [record.code for record in again.refused],
        "column": [""] * len(again.refused),
        "reason": [record.reason for record in again.refused],
    }
    uncut_rows = np.array([record.record for record in again.refused], np.int64)
    at = np.concatenate([again.rows[refused.column("row").to_numpy()], uncut_rows])
    columns = {}
    for name, texts in uncut.items():
        new = pa.concat_arrays([refused.column(name).combine_chunks(), pa.array(texts, pa.string())])
        # where each record's new text is: untried ones keep theirs, landed ones have none
        which = np.arange(records.num_rows)
        which[again.rows] = -1
        which[at] = records.num_rows + np.arange(len(at))
        both = pa.concat_arrays([records.column(name).combine_chunks(), new])
        columns[name] = both.take(pa.array(which, mask=which < 0))
    for name, values in columns.items():
        records = records.set_column(records.column_names.index(name), SCHEMA.field(name), values)
    codes = columns["code"].take(pa.array(at))
    return records, Counter(by_code(pa.chunked_array([codes])))
