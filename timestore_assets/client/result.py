"""An answer to a question: Arrow batches that are read as they are asked for, or rows where no pyarrow is."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from timestore_assets.client.result_display import Head, as_html, as_text
from timestore_assets.model.errors import InputError, TimestoreError
from timestore_assets.model.window import parse_time

if TYPE_CHECKING:
    from datetime import datetime

    import duckdb
    import pandas as pd
    import polars as pl
    import pyarrow as pa

SHOWN_ROWS, DRAWN_ROWS = 10, 500
"""Rows of a table that is shown, and of one whose lines are drawn beside it."""
_NO_ARROW = "pyarrow is not installed; pip install pyarrow, or use rows()"


class AnswerSource(Protocol):
    """Where an answer comes from."""

    @property
    def rows(self) -> list[dict[str, Any]] | None:
        """All of it where it was read as JSON; then there is no schema and there are no batches."""

    @property
    def schema(self) -> pa.Schema: ...

    def batches(self) -> Iterator[pa.RecordBatch]: ...

    def fact(self, name: str) -> Any:
        """What the answer says of itself, by its name in JSON; None when it does not."""

    def close(self) -> None:
        """Closing twice is fine."""


class Result:
    """The rows of an answer, and what it says about them. Read it in whole (`arrow`, `polars`, …), batch by batch (iterate) or
    as dicts (`rows`); whatever takes Arrow's C stream takes it as it is: `polars.DataFrame(result)`, `pyarrow.table(result)`.

    Reading in batches holds one of them in memory, however long the answer is, and once read they are gone; in whole it is kept.
    Leave none half read: use it as a context manager or close it. Times are `timestamp[us, tz=UTC]`; a field's metadata has
    `unit` and `description` where declared. Without pyarrow there is only `rows`, and the answer is in memory as a whole;
    `TimestoreClient.pages` gives parts of it. Shown in a terminal or a notebook it is a small table of its first rows.
    """

    def __init__(self, source: AnswerSource) -> None:
        self._source = source
        self._table: pa.Table | None = None
        self._ahead: deque[pa.RecordBatch] = deque()
        self._batches: Iterator[pa.RecordBatch] | None = None
        self._is_read = False

    @property
    def schema(self) -> pa.Schema:
        if self._source.rows is not None:
            raise InputError(_NO_ARROW)
        return self._source.schema

    @property
    def manifest_version(self) -> int | None:
        """The version of the dataset that was asked; None for SQL, which says `manifest_versions`."""
        found = self._source.fact("manifestVersion")
        return found if isinstance(found, int) else None

    @property
    def manifest_versions(self) -> dict[str, int]:
        """Of SQL: the version of each dataset that was read."""
        found = self._source.fact("manifestVersions")
        return found if isinstance(found, dict) else {}

    @property
    def complete_through(self) -> datetime | None:
        """Time before which nothing more is expected; None when nobody can say."""
        found = self._source.fact("completeness")
        text = found.get("completeThrough") if isinstance(found, dict) else None
        return parse_time(text) if text else None

    @property
    def streaming(self) -> dict[str, Any] | None:
        """What the answer says of rows that were merged in before they landed; None when that does not concern it."""
        found = self._source.fact("streaming")
        return found if isinstance(found, dict) else None

    @property
    def warnings(self) -> list[str]:
        """Sentences on what the answer lacks."""
        found = self._source.fact("warnings")
        return found if isinstance(found, list) else []

    @property
    def next_cursor(self) -> str | None:
        """Where the next page begins; None on the last one and without paging."""
        found: str | None = self._source.fact("nextCursor")
        return found or None

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """The batches that were not read yet.

        Raises:
            UnavailableError: the answer broke off.
        """
        if self._table is not None:
            yield from self._table.to_batches()
            return
        if self._source.rows is not None:
            raise InputError(_NO_ARROW)
        while self._ahead or self._fetch():
            yield self._ahead.popleft()

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows that were not read yet, as dicts of Python's values; times are aware and in UTC.

        Read as JSON, where no pyarrow is, NaN and infinities are None, and values inside lists and structs as JSON has them.
        """
        if self._source.rows is not None:
            yield from self._source.rows
        else:
            for batch in self:
                yield from batch.to_pylist()

    def arrow(self) -> pa.Table:
        """All rows in memory; those that were iterated over before are gone."""
        if self._table is None:
            schema = self.schema
            import pyarrow as pa

            self._table = pa.Table.from_batches(list(self), schema=schema)
        return self._table

    def polars(self) -> pl.DataFrame:
        """All rows as a Polars frame."""
        try:
            import polars as pl
        except ImportError:
            raise InputError("Polars is not installed; pip install polars, or use arrow()") from None
        frame = pl.from_arrow(self.arrow())
        return frame if isinstance(frame, pl.DataFrame) else frame.to_frame()

    def pandas(self) -> pd.DataFrame:
        """All rows as a pandas frame; whole numbers with nulls are floats, as in pandas, or `Int64` if that would round them."""
        try:
            return _exact_frame(self.arrow())
        except ImportError:
            raise InputError("pandas is not installed; pip install pandas, or use arrow()") from None

    def duckdb(self, connection: duckdb.DuckDBPyConnection | None = None) -> duckdb.DuckDBPyRelation:
        """All rows as a relation, of this connection or of DuckDB's own."""
        try:
            import duckdb
        except ImportError:
            raise InputError("DuckDB is not installed; pip install duckdb, or use arrow()") from None
        return duckdb.from_arrow(self.arrow(), connection=connection or duckdb.default_connection())

    to_arrow, to_polars, to_pandas = arrow, polars, pandas

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """All rows, for whoever takes Arrow's C stream."""
        return self.arrow().__arrow_c_stream__(requested_schema)

    def __repr__(self) -> str:
        head = self._head(SHOWN_ROWS)
        return object.__repr__(self) if head is None else as_text(head)

    def _repr_html_(self) -> str | None:
        head = self._head(DRAWN_ROWS)
        return None if head is None else as_html(head, rows=SHOWN_ROWS)

    def close(self) -> None:
        """Let go of the connection; what was not read is not computed any more. Closing twice is fine."""
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _fetch(self) -> bool:
        """Read a batch ahead; whether there was one."""
        if self._batches is None:
            self._batches = self._source.batches()
        batch = next(self._batches, None)
        if batch is None:
            self._is_read = True
            self.close()
            return False
        self._ahead.append(batch)
        return True

    @property
    def _rows_ahead(self) -> int:
        return sum(batch.num_rows for batch in self._ahead)

    def _head(self, count: int) -> Head | None:
        """The first of the rows that were not read yet, which stay to be read; None when they can't be had any more."""
        if self._source.rows is not None:
            found = self._source.rows
            return Head.of(list(found[0]) if found else [], found[:count], total=len(found))
        if self._table is not None:
            batches, total = self._table.slice(0, count).to_batches(), self._table.num_rows
        else:
            try:
                # one batch further than is shown, so that a short answer is known to be whole
                while not self._is_read and (len(self._ahead) < 2 or self._rows_ahead < count):
                    self._fetch()
            except TimestoreError:
                return None
            batches, total = list(self._ahead), self._rows_ahead if self._is_read else None
        return Head.of(self.schema.names, _rows(batches, count), total=total)


def _rows(batches: Sequence[pa.RecordBatch], count: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for batch in batches:
        found += batch.slice(0, count - len(found)).to_pylist()
    return found


def _exact_frame(table: pa.Table) -> pd.DataFrame:
    import pyarrow as pa
    import pyarrow.compute as pc

    frame = table.to_pandas()
    for place, column in enumerate(table.columns):
        if pa.types.is_int64(column.type) and column.null_count and _rounded(pc.min_max(column)):
            import pandas as pd

            name = table.column_names[place]
            frame[name] = pd.array(column.to_pylist(), dtype=pd.Int64Dtype())
    return frame


def _rounded(ends: pa.StructScalar) -> bool:
    """Whether whole numbers between these lie beyond those that a double tells apart."""
    least, most = ends["min"].as_py(), ends["max"].as_py()
    return least is not None and max(-least, most) > 1 << 53
