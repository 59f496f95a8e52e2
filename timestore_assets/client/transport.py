"""Requests to the service: credentials, retries, and answers that are errors raised as such."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from timestore_assets.client.errors import ClientError, UnavailableError, error_of
from timestore_assets.client.retrying import RETRIED, Retries, retry_after

if TYPE_CHECKING:
    import httpx

LONGEST_DETAIL = 1000
"""Characters of an answer that is no problem document that an error shows at most."""


class Transport:
    """One connection pool to one service; threads may share it."""

    def __init__(self, url: str, token: str | None, *, timeout: float, retries: Retries) -> None:
        import httpx

        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.url, self._retries = url.rstrip("/"), retries
        self._http = httpx.Client(base_url=self.url, headers=headers, timeout=timeout)

    def close(self) -> None:
        self._http.close()

    def json(self, method: str, path: str, *, params: Mapping[str, Any] | None = None, json: Any = None) -> Any:
        """The decoded answer to a request that changes nothing.

        Raises:
            ClientError: as `send` and `decoded`.
        """
        return self.decoded(self.send(method, path, params=params, json=json))

    def decoded(self, response: httpx.Response) -> Any:
        """The JSON of an answer; UnavailableError when it has none, and so is not the service's."""
        try:
            return response.json()
        except ValueError:
            raise UnavailableError(f"{self.url} answered something else than JSON; is the service there?") from None

    def send(self, method: str, path: str, *, stream: bool = False, **request: Any) -> httpx.Response:
        """Send a request that may be sent twice, until it is answered. `stream`: the body is still to be read and closed.

        Raises:
            UnavailableError: no answer, or none but "later", within the retries. ClientError: any other answer above 299.
        """
        began, attempt = time.monotonic(), 0
        while True:
            attempt += 1
            try:
                return self._once(method, path, stream=stream, **request)
            except _AgainError as again:
                pause = self._retries.pause(attempt, again.asked)
                if not self._retries.goes_on(attempt, elapsed=time.monotonic() - began, pause=pause):
                    raise again.error from again.__cause__
            time.sleep(pause)

    def _once(self, method: str, path: str, *, stream: bool, **request: Any) -> httpx.Response:
        with self.reading():
            try:
                response = self._http.send(self._http.build_request(method, path, **request), stream=stream)
                if response.status_code >= 300:
                    response.read()
            except self._broken() as broken:
                raise _AgainError(self._unreachable(broken)) from broken
        if response.status_code < 300:
            return response
        error = _error(response)
        if response.status_code in RETRIED:
            raise _AgainError(error, asked=retry_after(response.headers.get("Retry-After")))
        raise error

    @contextmanager
    def reading(self) -> Iterator[None]:
        """While a body is read: what goes wrong on the way becomes an error of ours."""
        import httpx

        try:
            yield
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        except httpx.InvalidURL as error:
            raise ClientError(f"{self.url!r} is not an address of a service: {error}") from None

    def _unreachable(self, error: httpx.HTTPError) -> UnavailableError:
        words = str(error) or type(error).__name__
        return UnavailableError(f"no (whole) answer from {self.url}: {words}; is the service running?")

    @staticmethod
    def _broken() -> tuple[type[httpx.HTTPError], ...]:
        """Failures of the way there and back, which another try can change."""
        import httpx

        return (httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError, httpx.ProxyError)


class _AgainError(Exception):
    """A failed try that is worth another. `asked`: seconds that the service wants us to wait."""

    def __init__(self, error: ClientError, *, asked: float | None = None) -> None:
        self.error, self.asked = error, asked
        super().__init__()


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
