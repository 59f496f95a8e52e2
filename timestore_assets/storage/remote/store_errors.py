"""What object stores answer, as errors of this project: one sentence that names the place and what to do, and no secret.

The answers themselves are never passed on: S3 puts the access key's id into them, and a signed URL may stand in any.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from timestore_assets.model.errors import (
    ConflictError,
    CredentialsError,
    MissingObjectError,
    StorageFullError,
    TimestoreError,
    UnavailableError,
    UnreachableError,
)

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>([A-Za-z0-9.]{1,60})</Code>")
# where a machine's role or identity would come from
_NO_CREDENTIALS = re.compile(
    r"token request|computeMetadata|//169\.254\.|/identity/oauth2|latest/api/token|credential.?provider", re.IGNORECASE
)

_TIMED_OUT = re.compile(r"timed out|Timeout")
_BROKEN_OFF = re.compile(r"HTTP error|error sending request|error decoding response body")

_FULL = {"InsufficientStorage", "XMinioStorageFull", "ServiceQuotaExceeded", "AccountQuotaExceeded", "QuotaExceeded"}
_EXPIRED = {"ExpiredToken", "TokenRefreshRequired", "RequestExpired"}
_NO_BUCKET = {"NoSuchBucket", "ContainerNotFound", "ContainerBeingDeleted"}
_ELSEWHERE = {"PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
_BUSY = {"SlowDown", "TooManyRequests", "ServerBusy", "Throttling", "ThrottlingException", "RequestLimitExceeded"}
_REFUSED = {
    *("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"),
    *("AuthenticationFailed", "InvalidToken", "XAdminUserNotFound"),
}

_SLOW_DOWN = (429, 503)
_NOT_ALLOWED = (401, 403)
_NOT_FOUND = 404
_NO_ROOM = 507
_SERVER = 500


@contextmanager
def translated(place: str, *, name: str = "") -> Iterator[None]:
    """Raise errors of this project in place of obstore's.

    `place`: what is being reached, as it reads in a sentence, such as `s3://bucket/prefix`. `name`: the object at stake.

    Raises:
        MissingObjectError: there is no such object. ConflictError: there is one already.
        StorageFullError: no room, or a quota is used up. CredentialsError: they are refused.
        UnreachableError: no answer, or half of one. UnavailableError: anything else.
    """
    from obstore.exceptions import AlreadyExistsError, BaseError

    # `from None`: the cause holds the store's raw answer, and must not reach a log by way of a traceback
    try:
        yield
    except AlreadyExistsError:
        raise ConflictError(f"object {name} exists already in {place}; objects are never overwritten") from None
    except FileNotFoundError as error:
        raise _missing(place, name, str(error)) from None
    except BaseError as error:
        raise _meaning(place, str(error)) from None


def _missing(place: str, name: str, text: str) -> TimestoreError:
    code = _code(text)
    if not name or code in _NO_BUCKET or _credentials(code, 0, text):
        return _meaning(place, text)
    return MissingObjectError(f"object {name} is missing from {place}; run `timestore verify` to see what else is")


def _meaning(place: str, text: str) -> TimestoreError:
    code, status = _code(text), _status(text)
    if status == _NO_ROOM or code in _FULL:
        return StorageFullError(f"no room left in {place}, or its quota is used up; free some or raise it, and run it again")
    if problem := _credentials(code, status, text):
        return CredentialsError(f"{place} {problem}")
    if code in _NO_BUCKET or status == _NOT_FOUND:
        return no_bucket(place)
    if not status and _TIMED_OUT.search(text):
        problem = "did not answer in time; try again later, or raise TIMESTORE_STORAGE_TIMEOUT_SECONDS"
        return UnreachableError(f"{place} {problem}")
    if not status and _BROKEN_OFF.search(text):
        problem = "can't be reached, or broke off the connection; check the endpoint and the network, and run it again"
        return UnreachableError(f"{place} {problem}")
    return UnavailableError(f"{place} {_answer(code, status, text)}")


def no_bucket(place: str) -> UnavailableError:
    """What it means that a place answers as if it weren't there."""
    return UnavailableError(f"{place} can't be used: there is no such bucket or container; make it, or mend its name")


def _credentials(code: str, status: int, text: str) -> str:
    if _NO_CREDENTIALS.search(text):
        return "can't be used without credentials; set them in the environment, a profile or a role of this machine"
    if code in _EXPIRED:
        return "refused the credentials because they have expired; renew them and run it again"
    if code == "RequestTimeTooSkewed":
        return "refused the request because this machine's clock is off; set it and run it again"
    if status in _NOT_ALLOWED or code in _REFUSED:
        why = f" ({code})" if code else ""
        return f"refused the credentials{why}; check them and what they may do there: read, write, list and delete"
    return ""


def _answer(code: str, status: int, text: str) -> str:
    if code in _ELSEWHERE or "redirect" in text:
        return "is in another region; set the region of this storage target to the bucket's"
    if status in _SLOW_DOWN or code in _BUSY:
        return f"asks for fewer requests ({code or status}); run it again later, or lower TIMESTORE_STORAGE_CONCURRENCY"
    if status >= _SERVER:
        return f"failed by itself ({status}{' ' + code if code else ''}) and again when it was asked again; try later"
    if status:
        return f"refused the request ({status}{' ' + code if code else ''}); check the endpoint and the bucket"
    return "can't be used; check the settings of this storage target"


def _code(text: str) -> str:
    found = _CODE.search(text)
    return found[1] if found else ""


def _status(text: str) -> int:
    found = _STATUS.search(text)
    return int(found[1]) if found else 0
