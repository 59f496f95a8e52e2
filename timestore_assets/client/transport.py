"""Who does the steps of an operation: with httpx, in the thread that asks or in its event loop."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from timestore_assets.client.client_errors import ClientError
from timestore_assets.client.exchange import Exchange, FailedTryError, HttpRequest, Retries, Steps
from timestore_assets.model.errors import InputError

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")
C = TypeVar("C")
"""httpx's client of one way."""


class _Connected(ABC, Generic[C]):
    """What both ways share."""

    def __init__(self, url: str, token: str | None, *, timeout: float, retries: Retries) -> None:
        try:
            import httpx  # noqa: F401 - whether it is there
        except ModuleNotFoundError:
            raise InputError("TimestoreClient needs the package httpx, which is not installed: pip install httpx") from None

        self.exchange = Exchange(url, retries)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = self._opened(base_url=self.exchange.url, headers=headers, timeout=timeout)

    @abstractmethod
    def _opened(self, **options: Any) -> C:
        """A client of httpx with these options, which hold the token."""

    @contextmanager
    def reading(self) -> Iterator[None]:
        """While a body is read: what goes wrong on the way becomes an error of ours."""
        import httpx

        try:
            yield
        except httpx.HTTPError as error:
            raise self.exchange.unreachable(error) from error
        except httpx.InvalidURL as error:
            raise ClientError(f"{self.exchange.url!r} is not an address of a service: {error}") from None

    @contextmanager
    def _trying(self) -> Iterator[None]:
        """While a request is sent: failures of the way there and back are worth another try."""
        import httpx

        with self.reading():
            try:
                yield
            except (httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError, httpx.ProxyError) as broken:
                raise FailedTryError(self.exchange.unreachable(broken)) from broken


class Transport(_Connected["httpx.Client"]):
    """One connection pool to one service; threads may share it."""

    def _opened(self, **options: Any) -> httpx.Client:
        import httpx

        return httpx.Client(**options)

    def run(self, steps: Steps[T]) -> T:
        """Do the steps; errors as the operation's."""
        done: Callable[[], Any] = lambda: next(steps)  # noqa: E731 - what is done next
        while True:
            try:
                step = done()
            except StopIteration as end:
                value: T = end.value
                return value
            try:
                found: Any = None
                if isinstance(step, HttpRequest):
                    found = self._sent(step)
                else:
                    time.sleep(step.seconds)
            except Exception as error:  # the operation decides what it means
                done = _thrower(steps, error)
            else:
                done = _sender(steps, found)

    def _sent(self, request: HttpRequest) -> httpx.Response:
        with self._trying():
            built = self._http.build_request(request.method, request.path, **request.options)
            response = self._http.send(built, stream=request.stream)
            if response.status_code >= 300:
                response.read()
        return self.exchange.judged(response)

    def close(self) -> None:
        self._http.close()


class AsyncTransport(_Connected["httpx.AsyncClient"]):
    """The same for one event loop."""

    def _opened(self, **options: Any) -> httpx.AsyncClient:
        import httpx

        return httpx.AsyncClient(**options)

    async def run(self, steps: Steps[T]) -> T:
        """Do the steps; errors as the operation's."""
        done: Callable[[], Any] = lambda: next(steps)  # noqa: E731 - what is done next
        while True:
            try:
                step = done()
            except StopIteration as end:
                value: T = end.value
                return value
            try:
                found = await (self._sent(step) if isinstance(step, HttpRequest) else asyncio.sleep(step.seconds))
            except Exception as error:  # the operation decides what it means
                done = _thrower(steps, error)
            else:
                done = _sender(steps, found)

    async def _sent(self, request: HttpRequest) -> httpx.Response:
        with self._trying():
            built = self._http.build_request(request.method, request.path, **request.options)
            response = await self._http.send(built, stream=request.stream)
            if response.status_code >= 300:
                await response.aread()
        return self.exchange.judged(response)

    async def close(self) -> None:
        await self._http.aclose()


def _sender(steps: Steps[T], value: Any) -> Callable[[], Any]:
    return lambda: steps.send(value)


def _thrower(steps: Steps[T], error: Exception) -> Callable[[], Any]:
    return lambda: steps.throw(error)
