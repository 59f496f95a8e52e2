"""What a request takes, step by step and without any input or output: retries, their pauses, and answers that are errors.

The steps of an operation are a generator that yields what is to be done and is sent what came of it. `Transport` does it with
threads, `AsyncTransport` with an event loop; so the protocol is written once.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar

from timestore_assets.client.client_errors import ClientError, UnavailableError, error_of

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")
RETRIED = frozenset({429, 502, 503, 504})
"""Statuses that later tries can change."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Retries:
    """How stubborn a client is.

    `attempts`: how often a request is sent at most. `seconds`: after so long it is not sent again. `base`, `most`: seconds that
    the first pause and the longest one last at most; each is drawn between nothing and twice the one before ("full jitter", so
    that clients which failed together don't return together). A `Retry-After` is waited for in full.
    """

    attempts: int = 8
    seconds: float = 120.0
    base: float = 0.2
    most: float = 10.0

    def pause(self, attempt: int, asked: float | None, *, draw: Callable[[], float] = random.random) -> float:
        """Seconds to wait after the `attempt`-th failure (from 1). `asked`: what the service asked for, if it did."""
        jittered = draw() * min(self.most, self.base * 2.0 ** (attempt - 1))
        return jittered if asked is None else asked + draw() * self.base

    def goes_on(self, attempt: int, *, elapsed: float, pause: float) -> bool:
        """Whether to try again after so many failures and seconds, and this pause."""
        return attempt < self.attempts and elapsed + pause <= self.seconds


def retry_after(header: str | None, *, now: datetime | None = None) -> float | None:
    """Seconds that a `Retry-After` header asks for, given in seconds or as a date; None when it says neither."""
    if not header:
        return None
    if header.strip().isdigit():
        return float(header)
    try:
        moment = parsedate_to_datetime(header)
    except ValueError:
        return None
    return max(0.0, (moment.astimezone(UTC) - (now or datetime.now(UTC))).total_seconds())


@dataclass(frozen=True, kw_only=True, slots=True)
class HttpRequest:
    """To be sent once; what is sent back is the answer, its body read unless it is a stream of a good one.

    A failure that another try can change is thrown in as `FailedTryError`.
    """

    method: str
    path: str
    #: Whether the body is still to be read and closed.
    stream: bool = False
    #: As httpx takes them.
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Pause:
    """To be waited for."""

    seconds: float


Steps = Generator[HttpRequest | Pause, Any, T]
"""An operation; its value is what it gives at the end."""


class FailedTryError(Exception):
    """A failed try that is worth another. `asked`: seconds that the service wants us to wait."""

    def __init__(self, error: ClientError, *, asked: float | None = None) -> None:
        self.error, self.asked = error, asked
        super().__init__()


class Exchange:
    """Requests to one service. `url`: without a slash at its end."""

    def __init__(self, url: str, retries: Retries) -> None:
        self.url, self._retries = url.rstrip("/"), retries

    def send(self, method: str, path: str, *, stream: bool = False, **options: Any) -> Steps[httpx.Response]:
        """Send a request that may be sent twice, until it is answered. `stream`: the body is still to be read and closed.

        Raises:
            UnavailableError: no answer, or none but "later", within the retries. ClientError: any other answer above 299.
        """
        began, attempt = time.monotonic(), 0
        request = HttpRequest(method=method, path=path, stream=stream, options=options)
        while True:
            attempt += 1
            try:
                response: httpx.Response = yield request
            except FailedTryError as failed:
                pause = self._retries.pause(attempt, failed.asked)
                if not self._retries.goes_on(attempt, elapsed=time.monotonic() - began, pause=pause):
                    raise failed.error from failed.__cause__
            else:
                return response
            yield Pause(seconds=pause)

    def json(self, method: str, path: str, **options: Any) -> Steps[Any]:
        """The decoded answer to a request that changes nothing; ClientError as `send` and `decoded`."""
        return self.decoded((yield from self.send(method, path, **options)))

    def decoded(self, response: httpx.Response) -> Any:
        """The JSON of an answer; UnavailableError when it has none, and so is not the service's."""
        try:
            return response.json()
        except ValueError:
            raise UnavailableError(f"{self.url} answered something else than JSON; is the service there?") from None

    def judged(self, response: httpx.Response) -> httpx.Response:
        """An answer below 300. Raises for any other one, whose body has been read: FailedTryError, or else ClientError."""
        if response.status_code < 300:
            return response
        error = _error(response)
        if response.status_code in RETRIED:
            raise FailedTryError(error, asked=retry_after(response.headers.get("Retry-After")))
        raise error

    def unreachable(self, error: httpx.HTTPError) -> UnavailableError:
        words = str(error) or type(error).__name__
        return UnavailableError(f"no (whole) answer from {self.url}: {words}; is the service running?")


LONGEST_DETAIL = 1000
"""Characters of an answer that is no problem document that an error shows at most."""


def _error(response: httpx.Response) -> ClientError:
    """The error that an answer describes; a proxy's answer may be no problem document."""
    try:
        problem = response.json()
    except ValueError:
        problem = None
    if isinstance(problem, dict) and isinstance(problem.get("detail"), str):
        return error_of(response.status_code, str(problem.get("code", "")), problem["detail"])
    text = response.text.strip()[:LONGEST_DETAIL]
    detail = f"{response.request.url} answered {response.status_code} {response.reason_phrase}"
    return error_of(response.status_code, "", f"{detail}: {text}" if text else detail)
