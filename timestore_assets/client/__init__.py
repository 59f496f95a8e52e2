"""A client for the HTTP service. Nothing of the warehouse itself is imported; `httpx` and `pyarrow` are when they are used."""

from timestore_assets.client.client import TimestoreClient
from timestore_assets.client.errors import (
    ClientError,
    ConflictError,
    InterruptedIngestError,
    NotFoundError,
    RefusedError,
    RejectedError,
    UnavailableError,
)
from timestore_assets.client.report import IngestReport, RefusedRow
from timestore_assets.client.result import Result
from timestore_assets.client.retrying import Retries

__all__ = [
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
