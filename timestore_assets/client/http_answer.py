"""An answer that comes over HTTP: Arrow batches that are read from the connection, or JSON where there is no pyarrow."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from timestore_assets.client.client_errors import UnavailableError
from timestore_assets.client.json_answer import JSON, JsonAnswer
from timestore_assets.client.request_bodies import ARROW

if TYPE_CHECKING:
    import httpx
    import pyarrow as pa

PREFIX = "X-Timestore-"
READ_BYTES = 1 << 20


def readable() -> str:
    """The media type of the answers that this process can read best."""
    try:
        import pyarrow as pa  # noqa: F401 - whether it is there
    except ModuleNotFoundError:
        return JSON
    return ARROW


class HttpAnswer:
    """See `result.AnswerSource`. `reading`: turns what goes wrong on the way into errors of ours."""

    def __init__(self, response: httpx.Response, reading: Callable[[], AbstractContextManager[None]], *, media_type: str) -> None:
        """`media_type`: what was asked for; see `readable`."""
        self._response, self._reading = response, reading
        self._json: JsonAnswer | None = None
        if media_type == JSON:
            with self._whole("JSON document"):
                self._json = JsonAnswer.of(response.read())
            return
        import pyarrow as pa

        with self._whole():
            body = io.BytesIO(response.content) if response.is_closed else io.BufferedReader(_Received(response), READ_BYTES)
            self._stream = pa.ipc.open_stream(body)

    @property
    def rows(self) -> list[dict[str, Any]] | None:
        return None if self._json is None else self._json.rows

    @property
    def schema(self) -> pa.Schema:
        return self._stream.schema

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Raises UnavailableError when the answer breaks off."""
        while (batch := self._next()) is not None:
            yield batch

    def fact(self, name: str) -> Any:
        """What the answer says under `manifestVersion`, in JSON or as the header `X-Timestore-Manifest-Version`."""
        if self._json is not None:
            return self._json.facts.get(name)
        dashed = "".join(f"-{char}" if char.isupper() else char for char in name)
        text = self._response.headers.get(PREFIX + dashed)
        if not text:
            return None
        return text if name == "nextCursor" else json.loads(text)

    def close(self) -> None:
        if not self._response.is_closed:
            self._response.close()

    def _next(self) -> pa.RecordBatch | None:
        with self._whole():
            try:
                return self._stream.read_next_batch()
            except StopIteration:
                return None

    @contextmanager
    def _whole(self, kind: str = "Arrow stream") -> Iterator[None]:
        """While a part is read: an answer that turns out to be none, or not whole, is closed and said to be so."""
        try:
            with self._reading():
                yield
        except (ValueError, OSError):  # what is wrong with Arrow is a ValueError too
            self.close()
            raise UnavailableError(f"the answer is no whole {kind}; ask again, and see that the service is there") from None
        except BaseException:
            self.close()
            raise


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
