"""Bodies of requests that bring records: read, decompressed and cut within bounds, whatever the client claims about them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from anyio import CapacityLimiter, to_thread
from fastapi import Request
from starlette.requests import ClientDisconnect

from timestore_assets.model.dataset import Dataset, HttpSource
from timestore_assets.model.errors import InputError
from timestore_assets.service.problems import TooLargeError, TooManyRequestsError, UnsupportedMediaError
from timestore_assets.settings import Settings
from timestore_assets.sources.http.body_formats import MEDIA_TYPES, BodyContext, MediaType, read_body
from timestore_assets.sources.http.request_body import (
    COMPRESSIONS,
    BodyLimits,
    Compression,
    RequestBody,
    TooManyBytesError,
    TooManyRowsError,
    decompressed,
)

_PARSERS = 4
"""Bodies that are taken apart at a time: each needs several times its own memory for a moment."""
_SMALL_BYTES = 32_000
"""A body of up to so many bytes is taken apart sooner (some 0.5 ms) than another thread would begin with it."""


class Intake:
    """Bodies on their way in, which wait in no queue yet: bounded in bytes over all requests."""

    def __init__(self, settings: Settings) -> None:
        # what no queue could ever hold is refused for good, not for now
        self.body_bytes = min(settings.ingest_body_bytes, settings.ingest_buffer_bytes, settings.ingest_total_bytes)
        self.rows = min(settings.ingest_buffer_rows, settings.ingest_total_rows)
        self.limiter = CapacityLimiter(_PARSERS)
        self._most, self._held = max(settings.ingest_total_bytes, 2 * self.body_bytes), 0
        self._lock = threading.Lock()

    @contextmanager
    def holding(self) -> Iterator[Callable[[int], None]]:
        """While entered, hold as many bytes as what is given is called with.

        Raises (what is given):
            TooManyRequestsError: all requests together hold too many.
        """
        held = 0

        def more(size: int) -> None:
            nonlocal held
            with self._lock:
                if self._held + size > self._most:
                    raise TooManyRequestsError("too many bodies are being received at the moment; send it again")
                self._held += size
            held += size

        try:
            yield more
        finally:
            with self._lock:
                self._held -= held


async def received(request: Request, dataset: Dataset, source: HttpSource, intake: Intake) -> RequestBody:
    """The records of a request.

    Raises:
        UnsupportedMediaError: its type or encoding is none that is read.
        TooLargeError: it holds more bytes, or more records, than one request may.
        TooManyRequestsError: other requests take all the memory there is for bodies.
        InputError: it can't be read as what it says it is.
    """
    media_type, compression = _media_type(request), _compression(request)
    limits = BodyLimits(bytes=intake.body_bytes, rows=intake.rows, record_bytes=source.max_record_bytes)
    reading = BodyContext(dataset=dataset, source=source, limits=limits)
    with intake.holding() as more:
        data = await _read(request, limits, more)
        # what it may become once it is decompressed and taken apart is not known before
        more(min(limits.bytes, 8 * len(data)) if compression else len(data))
        work = partial(_take_apart, data, media_type, compression, reading)
        if compression is None and len(data) <= _SMALL_BYTES:
            return work()
        return await to_thread.run_sync(work, limiter=intake.limiter)


async def _read(request: Request, limits: BodyLimits, more: Callable[[int], None]) -> bytes:
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limits.bytes:
        raise _too_large(limits)
    data = bytearray()
    try:
        async for piece in request.stream():
            data += piece
            if len(data) > limits.bytes:
                raise _too_large(limits)
            more(len(piece))
    except ClientDisconnect:
        raise InputError("the connection ended before the body did") from None
    return bytes(data)


def _take_apart(data: bytes, media_type: MediaType, compression: Compression | None, reading: BodyContext) -> RequestBody:
    try:
        if compression is not None and data:
            data = decompressed(data, compression, limit=reading.limits.bytes)
        return read_body(data, media_type, reading)
    except TooManyBytesError:
        raise _too_large(reading.limits) from None
    except TooManyRowsError:
        raise TooLargeError(f"the body holds more than {reading.limits.rows:,} records; send fewer at once") from None


def _media_type(request: Request) -> MediaType:
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().casefold()
    if kind not in MEDIA_TYPES:
        raise UnsupportedMediaError(f"records are taken as {', '.join(MEDIA_TYPES)}")
    return kind


def _compression(request: Request) -> Compression | None:
    encoding = request.headers.get("content-encoding", "identity").strip().casefold()
    if encoding in ("identity", ""):
        return None
    if encoding not in COMPRESSIONS:
        raise UnsupportedMediaError(f"bodies may be compressed with {' or '.join(COMPRESSIONS)}, not otherwise")
    return encoding


def _too_large(limits: BodyLimits) -> TooLargeError:
    return TooLargeError(f"the body is longer than {limits.bytes:,} bytes, decompressed; send fewer records at once")
