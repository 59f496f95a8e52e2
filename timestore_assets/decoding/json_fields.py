"""Columns whose values are inside JSON documents: members of objects, elements of arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from timestore_assets.decoding.coerce_columns import RAW, ColumnCoercion, coerce, quoted
from timestore_assets.decoding.coercion import json_pointer, value_of_json
from timestore_assets.decoding.rejections import RowMask, Rows
from timestore_assets.model.field_path import FieldPath, Step, path_text
from timestore_assets.model.record_form import RecordForm
from timestore_assets.model.schema import Column
from timestore_assets.model.types import literal

Steps = tuple[Step, ...]


def read_fields(
    con: duckdb.DuckDBPyConnection,
    values: pa.ChunkedArray,
    paths: Sequence[FieldPath],
    columns: Mapping[str, Column],
    row_mask: RowMask,
    *,
    zone: str | None,
    form: RecordForm,
) -> pa.Table:
    """The typed columns at these paths, a row for each document; bad rows are refused in the mask.

    A path that ends before its last step leads to no value. A document that was flattened has one key of the whole name.

    Codes: `bad_value`, also for what has no such members; `duplicate_keys`, `ambiguous_column`, `non_finite`.
    """
    raws = _Inside.of(con, values, paths).judged(row_mask)
    cells = []
    for path, raw in zip(paths, raws, strict=True):
        column, spelling = columns[path.column], form.spelling(path.column, zone=zone)
        value = value_of_json(RAW, column.type, spelling=spelling)
        cells.append(ColumnCoercion(column=column, raw=raw, value=value, spelling=spelling))
    return coerce(con, cells, row_mask)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Inside:
    """What was found of some paths in documents.

    `values`: raw text of each path's value. `flat`: of the key of its whole name. `kinds`: of each way there, its JSON type.
    `doubled`: of each name on a way, whether the object has it more than once.
    """

    con: duckdb.DuckDBPyConnection
    documents: pa.ChunkedArray
    paths: Sequence[FieldPath]
    values: list[pa.ChunkedArray]
    flat: dict[int, pa.ChunkedArray]
    kinds: dict[Steps, pa.ChunkedArray]
    doubled: dict[Steps, pa.ChunkedArray]

    @classmethod
    def of(cls, con: duckdb.DuckDBPyConnection, documents: pa.ChunkedArray, paths: Sequence[FieldPath]) -> _Inside:
        ways = list(dict.fromkeys(path.steps[:end] for path in paths for end in range(1, len(path.steps))))
        names = [
            steps
            for steps in dict.fromkeys(path.steps[:end] for path in paths for end in range(2, len(path.steps) + 1))
            if isinstance(steps[-1], str)
        ]
        flat = [number for number, path in enumerate(paths) if len(path.steps) > 1]
        wanted = [*(_pointer(path.steps) for path in paths), *(json_pointer(paths[number].flat) for number in flat)]
        picked = [f"nullif(v[{index + 1}]::VARCHAR, 'null') AS v{index}" for index in range(len(wanted))]
        picked += [f"t[{index + 1}] AS t{index}" for index in range(len(ways))]
        picked += [
            f"len(list_filter(k[{ways.index(steps[:-1]) + 1}], lambda n: n = {literal(str(steps[-1]))})) > 1 AS d{index}"
            for index, steps in enumerate(names)
        ]
        con.register("landing_documents", pa.table({"value": documents}))
        try:
            found = con.sql(_sql(wanted, ways, picked)).to_arrow_table()
        finally:
            con.unregister("landing_documents")
        return cls(
            con=con,
            documents=documents,
            paths=paths,
            values=[found.column(f"v{index}") for index in range(len(paths))],
            flat={number: found.column(f"v{len(paths) + index}") for index, number in enumerate(flat)},
            kinds={steps: found.column(f"t{index}") for index, steps in enumerate(ways)},
            doubled={steps: found.column(f"d{index}") for index, steps in enumerate(names)},
        )

    def judged(self, row_mask: RowMask) -> list[pa.ChunkedArray]:
        """The raw values; rows where a way can't be gone are refused."""
        found = []
        for number, (path, value) in enumerate(zip(self.paths, self.values, strict=True)):
            for end in range(1, len(path.steps)):
                self._refuse_dead_end(path, end, row_mask)
                self._refuse_doubled(path, end + 1, row_mask)
            if number in self.flat and self.flat[number].null_count < len(value):
                flat = self.flat[number]
                both = _true(pc.and_(pc.is_valid(value), pc.is_valid(flat)))
                reason = f"column {path.column!r} is at {path.text}, and the record has a key {path.flat!r} as well"
                row_mask.refuse(both, code="ambiguous_column", column=path.column, reason=reason)
                value = pc.coalesce(value, flat)
            found.append(value)
        return found

    def _refuse_dead_end(self, path: FieldPath, end: int, row_mask: RowMask) -> None:
        steps, kinds = path.steps[:end], self.kinds[path.steps[:end]]
        kind, what = ("ARRAY", "an array") if isinstance(path.steps[end], int) else ("OBJECT", "an object")
        rows = _true(pc.invert(pc.is_in(kinds, pa.array([kind, "NULL", None], pa.string()))))
        if len(rows):
            ending = f" is not {what}, as {path.text} of column {path.column} needs"
            row_mask.refuse(rows, code="bad_value", column=path.column, reason=quoted(self.con, self._texts(steps, rows), ending))

    def _refuse_doubled(self, path: FieldPath, end: int, row_mask: RowMask) -> None:
        steps = path.steps[:end]
        if steps in self.doubled:
            reason = f"key {str(steps[-1])[:60]!r} of {path_text(steps[:-1])} occurs more than once"
            row_mask.refuse(_true(self.doubled[steps]), code="duplicate_keys", column=path.column, reason=reason)

    def _texts(self, steps: Steps, rows: Rows) -> pa.ChunkedArray:
        self.con.register("landing_documents", pa.table({"value": self.documents.take(pa.array(rows))}))
        try:
            text = f"json_extract(decode(value), {literal(_pointer(steps))})::VARCHAR"
            return self.con.sql(f"SELECT {text} AS t FROM landing_documents").to_arrow_table().column(0)
        finally:
            self.con.unregister("landing_documents")


def _sql(wanted: Sequence[str], ways: Sequence[Steps], picked: Sequence[str]) -> str:
    lists = [f"try(json_extract(d, [{', '.join(map(literal, wanted))}])) AS v"]
    if ways:
        pointers = ", ".join(literal(_pointer(steps)) for steps in ways)
        lists += [f"try(json_type(d, [{pointers}])) AS t", f"try(json_keys(d, [{pointers}])) AS k"]
    decoded = "SELECT try(decode(value)) AS d FROM landing_documents"
    return f"SELECT {', '.join(picked)} FROM (SELECT {', '.join(lists)} FROM ({decoded}))"


def _pointer(steps: Steps) -> str:
    return "".join(json_pointer(str(step)) for step in steps)


def _true(mask: pa.ChunkedArray) -> Rows:
    return np.flatnonzero(pc.fill_null(mask, False).to_numpy())
