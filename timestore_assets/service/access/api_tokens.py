"""Callers that show an API token: how its secret looks, and the digest that alone is kept of it."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime

from starlette.concurrency import run_in_threadpool

from timestore_assets.catalog.service_records import Token
from timestore_assets.catalog.tokens import Tokens

PREFIX = "tst_"
"""What a secret begins with, so that it is told from a JSON Web Token, and found by scanners where it should not be."""

_RANDOM_BYTES = 32


def new_secret() -> str:
    """A secret of 256 random bits."""
    return PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)


def digest_of(secret: str) -> str:
    """SHA-256 in hex. No salt and no slow hash: nobody guesses 256 random bits, and a request must find its token by it."""
    return hashlib.sha256(secret.encode()).hexdigest()


CACHE_SECONDS = 1.0
"""How long a token that was found is believed without asking the catalog: a revocation takes effect this much later."""


class ApiTokens:
    """Looks tokens up by the digest of their secrets.

    The index that finds a digest does not compare in constant time. What its timing could show is a part of a digest, from
    which no secret follows. Only tokens that exist are cached, so wrong secrets can't fill the memory.
    """

    def __init__(self, tokens: Tokens, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._tokens, self._clock = tokens, clock
        self._found: dict[str, tuple[float, Token]] = {}
        self._exist, self._asked_at = False, -CACHE_SECONDS
        self._asking: asyncio.Future[None] | None = None

    async def valid(self, secret: str) -> Token | None:
        """The token of that secret; None when there is none, or it is revoked or expired."""
        digest = digest_of(secret)
        cached = self._found.get(digest)
        if cached is None or self._clock() - cached[0] >= CACHE_SECONDS:
            asked_at = self._clock()
            token = await run_in_threadpool(self._tokens.find, digest)
            if token is None:
                return None
            self._found[digest] = cached = asked_at, token
        return cached[1] if _holds(cached[1]) else None

    async def exist(self) -> bool:
        """Whether a token was ever made; once it was, that stays."""
        came_at = self._clock()
        # however long the catalog takes, an answer that was asked for since is new enough
        while not self._exist and self._asked_at < came_at and self._clock() - self._asked_at >= CACHE_SECONDS:
            await self._ask_once()
        return self._exist

    async def _ask_once(self) -> None:
        """Ask the catalog, or wait for whoever asks it: all requests find the answer old at the same moment."""
        loop = asyncio.get_running_loop()
        if self._asking is not None and self._asking.get_loop() is loop:
            await asyncio.shield(self._asking)
            return
        self._asking = asking = loop.create_future()
        asked_at = self._clock()
        try:
            self._exist = await run_in_threadpool(self._tokens.exist)
            self._asked_at = asked_at
        except Exception as error:
            asking.set_exception(error)
            asking.exception()  # nobody may be waiting for it
            raise
        finally:
            self._asking = None
            # also where this request was broken off: the next one asks
            if not asking.done():
                asking.set_result(None)


def _holds(token: Token) -> bool:
    return token.revoked_at is None and (token.expires_at is None or datetime.now(UTC) < token.expires_at)
