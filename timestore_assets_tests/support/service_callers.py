"""Callers of the service from any address, with credentials of every kind, and an issuer of JSON Web Tokens on loopback."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from timestore_assets.model.dataset import Dataset
from timestore_assets.service.access.api_tokens import digest_of, new_secret
from timestore_assets.service.app import create_app
from timestore_assets.warehouse import Warehouse
from timestore_assets_tests.support.http_service import open_warehouse

READING = "/datasets/weather/status"
ADMINISTRATION = "/admin/datasets"


@dataclass(frozen=True, kw_only=True)
class Door:
    """The application without a socket, so that a request can come from any address. `warehouse`: what it stands on."""

    app: Any
    warehouse: Warehouse
    runner: asyncio.Runner

    def get(self, path: str = READING, headers: Any = None, *, peer: str = "127.0.0.1") -> httpx.Response:
        return self.send("GET", path, headers, peer=peer)

    def send(
        self, method: str, path: str, headers: Any = None, *, peer: str = "127.0.0.1", content: bytes | None = None
    ) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app, client=(peer, 50_000))
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:4100") as client:
                return await client.request(method, path, headers=headers, content=content)

        return self.runner.run(ask())

    def token(self, name: str, *scopes: str, expires: timedelta | None = None) -> str:
        """A new token's secret."""
        secret = new_secret()
        until = None if expires is None else datetime.now(UTC) + expires
        self.warehouse.catalog.tokens.add(name=name, digest=digest_of(secret), scopes=scopes, expires_at=until, actor="test")
        return secret


class NoSockets:
    """In place of the users who hold connections, where there are none: `test_service_access_here` has real ones."""

    async def are_own(self, _scope: Any) -> bool:
        return True


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


@contextmanager
def door(home: Path, datasets: Mapping[str, Dataset] | None = None, **settings: Any) -> Iterator[Door]:
    with open_warehouse(home, datasets, **settings) as warehouse, asyncio.Runner() as runner:
        app = create_app(warehouse)
        app.state.service.access.peers = NoSockets()
        yield Door(app=app, warehouse=warehouse, runner=runner)


@cache
def rsa_key(number: int = 0) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@cache
def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def public(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, kid: str | None, **more: Any) -> dict[str, Any]:
    """The key's public half as a JWK."""
    algorithm = RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else ECAlgorithm
    found: dict[str, Any] = algorithm.to_jwk(key.public_key(), as_dict=True)  # type: ignore[call-overload] # the key is of the algorithm's kind
    found.pop("key_ops", None)
    return {**found, **({} if kid is None else {"kid": kid}), **more}


def signed(key: Any, kid: str | None = "one", *, algorithm: str = "RS256", **claims: Any) -> str:
    """A token for `ada` that may read and holds for an hour, unless the claims say something else; None removes one."""
    basic: dict[str, Any] = {"sub": "ada", "scope": "timestore:read", "exp": datetime.now(UTC) + timedelta(hours=1)}
    chosen = {name: value for name, value in (basic | claims).items() if value is not None}
    return jwt.encode(chosen, key, algorithm=algorithm, headers=None if kid is None else {"kid": kid})


@dataclass
class Issuer:
    """`keys`: what its JWKS holds. `status`: what it answers with. `asked`: how often it was."""

    url: str = ""
    keys: Sequence[Mapping[str, Any]] = ()
    status: int = 200
    asked: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


@contextmanager
def issuer(*keys: Mapping[str, Any]) -> Iterator[Issuer]:
    """A JWKS address."""
    state = Issuer(keys=keys)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with state.lock:
                state.asked += 1
            body = json.dumps({"keys": state.keys}).encode()
            self.send_response(state.status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: a test's output is its own."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        state.url = f"http://127.0.0.1:{server.server_address[1]}/jwks"
        try:
            yield state
        finally:
            server.shutdown()
            thread.join(timeout=10)
