"""What a request can fail with, split by what the caller can do; each is also of the project's own kinds of errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from timestore_assets.model import errors

if TYPE_CHECKING:
    from timestore_assets.client.ingest_report import IngestReport


class ClientError(errors.TimestoreError):
    """The service did not do what it was asked; the text is its own sentence.

    Attributes: `status` (the HTTP status; None when there was no answer), `code` (the service's stable name of the problem).
    """

    def __init__(self, detail: str, *, status: int | None = None, code: str = "") -> None:
        self.status, self.code = status, code
        super().__init__(detail)


class RejectedError(ClientError, errors.InputError):
    """The request is wrong as it is: a column that is not there, an unreadable body, too wide a question."""


class NotFoundError(ClientError, errors.InputError):
    """There is no such dataset, ingestion or saved query, or none that the token opens; or a page's version is gone."""


class RefusedError(ClientError, errors.RefusedError):
    """The token is missing, not valid or does not allow it; or nobody may: SQL that writes, a dataset that takes no HTTP."""


class ConflictError(ClientError, errors.ConflictError):
    """The idempotency key was used with other rows, or what was to be changed has changed meanwhile."""


class UnavailableError(ClientError, errors.UnavailableError):
    """The service can't be reached, is overloaded, or broke off; also after all retries."""


class InterruptedIngestError(ClientError, errors.UnknownOutcomeError):
    """An ingest stopped before its end. Where the service went away, its last request may have landed or not.

    Attributes: `key` (ingesting the same rows again with it lands each row once), `report` (the requests that were answered).
    The error that ended it is the cause.
    """

    def __init__(self, cause: ClientError, *, key: str, report: IngestReport) -> None:
        self.key, self.report = key, report
        done = f"after {report.sent:,} rows" if report.sent else "before any row was acknowledged"
        again = f"ingest the same rows again with key={key!r} and each lands once"
        advice = again if isinstance(cause, UnavailableError) else "what was sent before has been taken"
        detail = f"the ingest was interrupted {done}: {cause}; {advice}"
        super().__init__(detail, status=cause.status, code=cause.code)


_KINDS: dict[int, type[ClientError]] = {
    401: RefusedError,
    403: RefusedError,
    404: NotFoundError,
    409: ConflictError,
    410: NotFoundError,
    412: ConflictError,
    429: UnavailableError,
}


def error_of(status: int, code: str, detail: str) -> ClientError:
    """The error for an answer with this status, 300 or above."""
    kind = _KINDS.get(status, UnavailableError if status >= 500 else RejectedError)
    return kind(detail, status=status, code=code)
