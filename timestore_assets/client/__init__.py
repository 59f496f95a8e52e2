"""A client for the HTTP service, for which `httpx` alone has to be installed.

Nothing of the warehouse is imported but the values and errors of `model/`; `httpx` is when a client is made, and `pyarrow` when
it has something to read or to send.
"""

from timestore_assets.client.async_timestore_client import AsyncTimestoreClient
from timestore_assets.client.client_errors import (
    ClientError,
    ConflictError,
    InterruptedIngestError,
    NotFoundError,
    RefusedError,
    RejectedError,
    UnavailableError,
)
from timestore_assets.client.exchange import Retries
from timestore_assets.client.ingest_report import IngestReport, RefusedRow
from timestore_assets.client.result import Result
from timestore_assets.client.timestore_client import TimestoreClient

__all__ = [
    "AsyncTimestoreClient",
    "ClientError",
    "ConflictError",
    "IngestReport",
    "InterruptedIngestError",
    "NotFoundError",
    "RefusedError",
    "RefusedRow",
    "RejectedError",
    "Result",
    "Retries",
    "TimestoreClient",
    "UnavailableError",
]
