"""Single rows of a Parquet file: as JSON text for dead letters, and which ones hold text that isn't UTF-8."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from timestore_assets.model.position import Position
from timestore_assets.sources.arrow_json import json_rows
from timestore_assets.sources.batches import BadRecord, FileBatch
from timestore_assets.sources.files.text_records import MAX_RAW_BYTES


@dataclass(frozen=True, kw_only=True, slots=True)
class TypedRows:
    """A typed batch's rows as JSON text (see `batches.RawRows`)."""

    table: pa.Table

    def __call__(self, index: int) -> bytes:
        return row_json(self.table, index)

    def many(self, indices: Sequence[int]) -> list[bytes]:
        """See `batches.ManyRawRows.many`."""
        try:
            rows = self.table.take(pa.array(indices, pa.int64()))
        except (pa.ArrowException, UnicodeDecodeError):  # a type that can't be taken of, or too much text for one array
            return [self(index) for index in indices]
        return [row.encode() for row in json_rows(rows)]


def row_json(table: pa.Table, index: int) -> bytes:
    """A row as a JSON object, see `sources.arrow_json`."""
    return json_rows(table.slice(index, 1))[0].encode()


def without_invalid_text(table: pa.Table, start: int) -> tuple[pa.Table, list[int], list[BadRecord]]:
    """A table without the rows that hold invalid UTF-8, which pyarrow's Parquet reader lets through.

    Args:
        table: as read.
        start: row index of its first row in the file.

    Returns:
        The table, the indices of the rows left out, and these as refused records.
    """
    wrong = _invalid_rows(table)
    if not wrong:
        return table, [], []
    left_out = set(wrong)
    kept = table.take(pa.array([i for i in range(table.num_rows) if i not in left_out], pa.int64()))
    bad = [
        BadRecord(code=code, reason=reason, raw=row_json(table, i)[:MAX_RAW_BYTES], position=start + i, line=0)
        for i, (code, reason) in wrong.items()
    ]
    return kept, list(wrong), bad


def _invalid_rows(table: pa.Table) -> dict[int, tuple[str, str]]:
    """The rows, rising, with code and reason."""
    suspects = [name for name in table.column_names if _problem(table.select([name]))]
    if not suspects:
        return {}
    found: dict[int, tuple[str, str]] = {}
    spans = [(0, table.num_rows)]
    while spans:
        start, end = spans.pop()
        # taken, not sliced: validation looks at all that a slice's nested children hold
        problem = _problem(table.select(suspects).take(pa.array(range(start, end), pa.int64())))
        if not problem:
            continue
        middle = (start + end) // 2
        if end - start == 1:
            found[start] = _refusal(problem)
        else:
            spans += [(middle, end), (start, middle)]
    return found


def _refusal(problem: str) -> tuple[str, str]:
    if "UTF8" in problem:
        return "invalid_utf8", "a text in the row is not valid UTF-8"
    return "bad_value", f"a value in the row is not valid: {problem.splitlines()[0][:200]}"


def _problem(table: pa.Table) -> str:
    """What is wrong with a table of columns, empty when nothing is."""
    kinds = table.schema.types
    if all(pa.types.is_primitive(kind) or pa.types.is_decimal(kind) for kind in kinds):
        return ""
    try:
        table.validate(full=True)
    except pa.ArrowInvalid as error:
        return str(error) or "it is damaged"
    return ""


def typed_batch(table: pa.Table, at: int, *, last: bool) -> FileBatch:
    """Rows of a file from row `at` on as a batch; those that hold invalid text are refused."""
    positions = np.arange(at, at + table.num_rows, dtype=np.int64)
    good, left_out, bad = without_invalid_text(table, at)
    return FileBatch(
        start=Position(offset=at),
        end=Position(offset=at + table.num_rows),
        last=last,
        encoding="typed",
        records=good,
        positions=pa.array(np.delete(positions, left_out) if left_out else positions),
        lines=None,
        bad=tuple(bad),
        raw=TypedRows(table=good),
    )
