"""Callers that show a JSON Web Token, signed with a key of the issuer's JWKS.

The keys are fetched in a thread, kept a while, and looked for again when a key is new.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import jwt
from starlette.concurrency import run_in_threadpool

from timestore_assets.model.errors import TimestoreError, UnavailableError

FRESH_SECONDS = 300.0
"""Age at which the keys are fetched again, so that one the issuer withdrew ends."""
KEPT_SECONDS = 3600.0
"""How long known keys hold while the issuer can't be reached."""
PAUSE_SECONDS = 30.0
"""Least time between two fetches, whatever keys are asked for."""
RETRY_SECONDS = 5.0
"""The same after a fetch that failed."""

_TIMEOUT_SECONDS = 5.0
_MOST_BYTES = 1_000_000
_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_OF_CURVE = {"P-256": ("ES256",), "P-384": ("ES384",), "P-521": ("ES512",), "Ed25519": ("EdDSA",), "Ed448": ("EdDSA",)}
ALGORITHMS = frozenset((*_RSA, *(name for names in _OF_CURVE.values() for name in names)))
"""Signatures that are taken: asymmetric ones, since a public key must never be usable as a secret."""

Document = Mapping[str, Any]


class WebKeys:
    """Used from one event loop.

    PyJWT's own client would not do: it wants an id in every token, is without keys as soon as the issuer can't be reached, reads
    answers of any length, and fetches for an unknown id while all others wait.
    """

    def __init__(self, url: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._url, self._clock = url, clock
        self._keys: tuple[Document, ...] = ()
        self._prepared: dict[tuple[int, str], jwt.PyJWK] = {}
        self._fetched_at, self._next_fetch_at = float("-inf"), float("-inf")
        self._fetching = asyncio.Lock()

    async def find(self, kid: str | None, algorithm: str) -> jwt.PyJWK | None:
        """The key of that id which may sign so; without an id the only one that may.

        Raises:
            UnavailableError: no keys are known, and they can't be fetched.
        """
        if self._age >= FRESH_SECONDS or self._choose(kid, algorithm) is None:
            await self._fetch_again()
        if self._age >= KEPT_SECONDS:
            raise UnavailableError("the keys that JSON Web Tokens are checked with can't be had now; try again later")
        place = self._choose(kid, algorithm)
        return None if place is None else self._prepare(place, algorithm)

    @property
    def _age(self) -> float:
        return self._clock() - self._fetched_at

    def _choose(self, kid: str | None, algorithm: str) -> int | None:
        fitting = [
            i for i, key in enumerate(self._keys) if algorithm in _algorithms_of(key) and (kid is None or key.get("kid") == kid)
        ]
        return fitting[0] if len(fitting) == 1 else None

    def _prepare(self, place: int, algorithm: str) -> jwt.PyJWK | None:
        if (place, algorithm) not in self._prepared:
            try:
                self._prepared[place, algorithm] = jwt.PyJWK(dict(self._keys[place]), algorithm)
            except jwt.PyJWTError:
                return None
        return self._prepared[place, algorithm]

    async def _fetch_again(self) -> None:
        async with self._fetching:
            if self._clock() < self._next_fetch_at:
                return
            keys = await run_in_threadpool(_fetch, self._url)
            self._next_fetch_at = self._clock() + (RETRY_SECONDS if keys is None else PAUSE_SECONDS)
            if keys is not None:
                self._keys, self._prepared, self._fetched_at = keys, {}, self._clock()


def _algorithms_of(key: Document) -> tuple[str, ...]:
    """The signatures a key may have made: those of its kind, or the one that it names itself."""
    if key.get("use", "sig") != "sig":
        return ()
    kind = key.get("kty")
    possible = _RSA if kind == "RSA" else _OF_CURVE.get(str(key.get("crv")), ()) if kind in ("EC", "OKP") else ()
    return tuple(name for name in possible if key.get("alg") in (None, name))


def _fetch(url: str) -> tuple[Document, ...] | None:
    """The keys behind the address, None when it doesn't answer with a JWKS in time."""
    try:
        with httpx.stream("GET", url, timeout=_TIMEOUT_SECONDS, headers={"Accept": "application/json"}) as answer:
            answer.raise_for_status()
            body = b""
            for piece in answer.iter_bytes():
                body += piece
                if len(body) > _MOST_BYTES:
                    return None
        return _keys_of(json.loads(body))
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        return None


def _keys_of(document: Any) -> tuple[Document, ...] | None:
    keys = document.get("keys") if isinstance(document, dict) else None
    return tuple(key for key in keys if isinstance(key, dict)) if isinstance(keys, list) else None


LOG = logging.getLogger(__name__)

LEEWAY_SECONDS = 30.0
"""How far the issuer's clock may be off."""

_SCOPE_CLAIMS = ("scope", "scp", "scopes")


class WebTokens:
    """`issuer`, `audience`: what a token must name; None leaves that unchecked."""

    def __init__(self, keys: WebKeys, *, issuer: str | None, audience: str | None) -> None:
        self._keys, self._issuer, self._audience = keys, issuer, audience

    async def valid(self, token: str) -> tuple[str, frozenset[str]] | None:
        """Subject and scopes of a token, None for one that doesn't hold.

        Raises:
            UnavailableError: the issuer's keys can't be had now.
        """
        try:
            header = jwt.get_unverified_header(token)
            algorithm, kid = header.get("alg"), header.get("kid")
            if not isinstance(algorithm, str) or algorithm not in ALGORITHMS or not isinstance(kid, str | None):
                return None
            key = await self._keys.find(kid, algorithm)
            return None if key is None else self._checked(token, key, algorithm)
        except (TimestoreError, MemoryError):
            raise
        except Exception as error:  # whatever a forged token makes the parser of JSON or of keys raise, it does not hold
            if not isinstance(error, jwt.PyJWTError | ValueError | TypeError | RecursionError):
                LOG.warning("a token is refused for an error that nothing expects", exc_info=True)
            return None

    def _checked(self, token: str, key: jwt.PyJWK, algorithm: str) -> tuple[str, frozenset[str]]:
        claims = jwt.decode(
            token,
            key=key,
            algorithms=[algorithm],
            issuer=self._issuer,
            audience=self._audience,
            leeway=LEEWAY_SECONDS,
            options={
                "require": ["exp", "sub", *(["iss"] if self._issuer else []), *(["aud"] if self._audience else [])],
                "verify_aud": self._audience is not None,
                "verify_iss": self._issuer is not None,
            },
        )
        subject = claims["sub"]
        if not isinstance(subject, str):
            raise TypeError("the subject is no text")
        return subject, _scopes(claims)


def _scopes(claims: Mapping[str, Any]) -> frozenset[str]:
    """Scopes of the claims that carry them, as a text with blanks or as a list.

    Raises:
        ValueError: a claim is neither.
    """
    found: set[str] = set()
    for name in _SCOPE_CLAIMS:
        value = claims.get(name, "")
        given = value.split() if isinstance(value, str) else value
        if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
            raise ValueError(f"the claim {name!r} is neither a text nor a list of texts")
        found.update(given)
    return frozenset(found)
