"""Callers that show a JSON Web Token, signed with a key of the issuer's JWKS."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jwt

from timestore_assets.service.access.web_keys import ALGORITHMS, WebKeys

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
            if algorithm not in ALGORITHMS or not isinstance(kid, str | None):
                return None
            key = await self._keys.find(kid, algorithm)
            return None if key is None else self._checked(token, key, algorithm)
        except (jwt.PyJWTError, ValueError, RecursionError):  # a header nested too deeply for the JSON parser
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
        subject: str = claims["sub"]
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
