"""The listening process: its socket, its start, and an end in which nothing that was taken in is lost."""

from __future__ import annotations

import errno
import gc
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING, cast

import uvicorn

from timestore_assets.model.errors import InputError, RefusedError
from timestore_assets.service.front.connections import ConnectionLimits, Keeper
from timestore_assets.service.front.http_protocol import BoundedProtocol

if TYPE_CHECKING:
    import asyncio

    from fastapi import FastAPI

    from timestore_assets.catalog.tokens import Tokens
    from timestore_assets.settings import Settings

GRACE_SECONDS = 6
"""How long requests that are under way may go on after SIGTERM; landing what waits comes on top."""
BACKLOG = 2048


@dataclass(frozen=True, kw_only=True, slots=True)
class Listener:
    """A bound socket."""

    socket: socket.socket
    host: str
    """As it was asked for."""

    @property
    def url(self) -> str:
        """Where a program on this machine reaches it."""
        port = self.socket.getsockname()[1]
        name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host)  # noqa: S104 - told apart, not bound
        return f"http://{name or (f'[{self.host}]' if ':' in self.host else self.host)}:{port}"


def listen(host: str, port: int, *, options: tuple[str, str] = ("--host", "--port")) -> Listener:
    """Bind an address; `port` 0 takes a free one. `options`: that choose host and port, for errors.

    Raises:
        InputError: the port is busy or not ours to use, or there is no such address here.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except socket.gaierror:
        raise InputError(f"{host!r} is no address of this machine; 127.0.0.1 always is") from None
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        # uvicorn listens only after its start; until then another process could still take the port
        bound.listen(BACKLOG)
    except OSError as error:
        bound.close()
        raise InputError(_explained(error, host, port, options)) from None
    return Listener(socket=bound, host=host)


def _explained(error: OSError, host: str, port: int, options: tuple[str, str]) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is busy; stop what listens there or choose another with {options[1]}"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"port {port} needs rights that you don't have; choose one above 1023 with {options[1]}"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is no address of this machine; choose another with {options[0]}"
    return f"{host}:{port} can't be listened on: {error.strerror}"


def tells_callers_apart(settings: Settings, tokens: Tokens) -> bool:
    """Whether requests need credentials."""
    return bool(settings.jwks_url or settings.trusted_proxies or tokens.listed())


def refuse_strangers(settings: Settings, host: str, *, closed: bool) -> None:
    """RefusedError when others than this machine could reach the service and nothing would tell them apart."""
    if closed or _is_loopback(host):
        return
    raise RefusedError(
        f"{host} can be reached from other machines, and nothing says who may do what: make a token first"
        f" (timestore tokens create NAME --scope {settings.admin_scope}), or set TIMESTORE_JWKS_URL or TIMESTORE_TRUSTED_PROXIES"
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def configured(app: FastAPI, bounds: ConnectionLimits) -> uvicorn.Config:
    """How the application is served, within these bounds."""
    return uvicorn.Config(
        app,
        http=cast("type[asyncio.Protocol]", partial(BoundedProtocol, keeper=Keeper(bounds))),
        timeout_keep_alive=bounds.idle_seconds,
        loop="auto",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,  # `middleware` writes a line for each request
        proxy_headers=False,  # who calls is decided by `access`, from the real peer
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        backlog=BACKLOG,
    )


def run(app: FastAPI, listener: Listener, bounds: ConnectionLimits, ready: Callable[[], None]) -> bool:
    """Serve until Ctrl-C or SIGTERM, then finish what is under way; whether it ever started.

    Args:
        ready: called once requests are taken.
    """
    server = _Server(configured(app, bounds), ready)
    try:
        server.run(sockets=[listener.socket])
    except SystemExit:  # how uvicorn says that the application did not start
        return False
    finally:
        listener.socket.close()
    return server.started


def _keep_from_collector() -> None:
    """What is there now lives as long as the service, so the collector, for which all wait, need not go over it again.

    Under a thousand requests a second that was half of the longest waits.
    """
    gc.collect()
    gc.freeze()


class _Server(uvicorn.Server):
    """`uvicorn.Server` that tells when it is ready, and for which a signal is the usual end, not a failure."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if threading.current_thread() is threading.main_thread():  # else the process is somebody else's
            _keep_from_collector()
        self._ready()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
