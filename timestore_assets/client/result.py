"""An answer to a question: Arrow batches that are read from the connection as they are asked for."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from timestore_assets.client.errors import UnavailableError
from timestore_assets.model.errors import InputError
from timestore_assets.model.window import parse_time

if TYPE_CHECKING:
    from datetime import datetime

    import httpx
    import pandas as pd
    import polars as pl
    import pyarrow as pa

PREFIX = "X-Timestore-"
READ_BYTES = 1 << 20


class Result:
    """The rows of an answer, and what it says about them. Read it once, in whole (`to_…`) or batch by batch (iterate).

    Reading in batches holds one of them in memory, however long the answer is. Leave none half read: use it as a context
    manager or close it. Times are `timestamp[us, tz=UTC]`; a field's metadata has `unit` and `description` where declared.
    """

    def __init__(self, response: httpx.Response, reading: Callable[[], AbstractContextManager[None]]) -> None:
        import pyarrow as pa

        self._response, self._reading = response, reading
        self._table: pa.Table | None = None
        with self._whole():
            self._reader = pa.ipc.open_stream(io.BufferedReader(_Received(response), READ_BYTES))

    @property
    def schema(self) -> pa.Schema:
        return self._reader.schema

    @property
    def manifest_version(self) -> int | None:
        """The version of the dataset that was asked; None for SQL, which says `manifest_versions`."""
        found = self._fact("Manifest-Version")
        return found if isinstance(found, int) else None

    @property
    def manifest_versions(self) -> dict[str, int]:
        """Of SQL: the version of each dataset that was read."""
        found = self._fact("Manifest-Versions")
        return found if isinstance(found, dict) else {}

    @property
    def complete_through(self) -> datetime | None:
        """Time before which nothing more is expected; None when nobody can say."""
        found = self._fact("Completeness")
        text = found.get("completeThrough") if isinstance(found, dict) else None
        return parse_time(text) if text else None

    @property
    def streaming(self) -> dict[str, Any] | None:
        """What the answer says of rows that were merged in before they landed; None when that does not concern it."""
        found = self._fact("Streaming")
        return found if isinstance(found, dict) else None

    @property
    def warnings(self) -> list[str]:
        """Sentences on what the answer lacks."""
        found = self._fact("Warnings")
        return found if isinstance(found, list) else []

    @property
    def next_cursor(self) -> str | None:
        """Where the next page begins; None on the last one and without paging."""
        return self._text("Next-Cursor")

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """The batches that were not read yet.

        Raises:
            UnavailableError: the answer broke off.
        """
        if self._table is not None:
            yield from self._table.to_batches()
            return
        while (batch := self._next()) is not None:
            yield batch
        self.close()

    def to_arrow(self) -> pa.Table:
        """All rows in memory; those that were iterated over before are gone."""
        import pyarrow as pa

        if self._table is None:
            self._table = pa.Table.from_batches(list(self), schema=self.schema)
        return self._table

    def to_polars(self) -> pl.DataFrame:
        """All rows as a Polars frame."""
        try:
            import polars as pl
        except ImportError:
            raise InputError("Polars is not installed; pip install polars, or use to_arrow()") from None
        frame = pl.from_arrow(self.to_arrow())
        return frame if isinstance(frame, pl.DataFrame) else frame.to_frame()

    def to_pandas(self) -> pd.DataFrame:
        """All rows as a pandas frame."""
        try:
            return self.to_arrow().to_pandas()
        except ImportError:
            raise InputError("pandas is not installed; pip install pandas, or use to_arrow()") from None

    def close(self) -> None:
        """Let go of the connection; the service stops computing what was not read. Closing twice is fine."""
        self._response.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _next(self) -> pa.RecordBatch | None:
        with self._whole():
            try:
                return self._reader.read_next_batch()
            except StopIteration:
                return None

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """While a part is read: an answer that turns out to be none, or not whole, is closed and said to be so."""
        import pyarrow as pa

        try:
            with self._reading():
                yield
        except (pa.ArrowInvalid, OSError):
            self.close()
            raise UnavailableError("the answer is no whole Arrow stream; ask again, and see that the service is there") from None
        except BaseException:
            self.close()
            raise

    def _text(self, name: str) -> str | None:
        found: str | None = self._response.headers.get(PREFIX + name)
        return found or None

    def _fact(self, name: str) -> Any:
        text = self._text(name)
        return None if text is None else json.loads(text)


class _Received(io.RawIOBase):
    """The body of an answer as a file, of which no more is held than what one read of the connection gave."""

    def __init__(self, response: httpx.Response) -> None:
        self._chunks, self._rest = response.iter_bytes(), memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = memoryview(chunk)
        count = min(len(buffer), len(self._rest))
        buffer[:count], self._rest = self._rest[:count], self._rest[count:]
        return count
