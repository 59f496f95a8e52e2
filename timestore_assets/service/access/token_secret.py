"""The secrets of API tokens: how they look, and the digest that alone is kept of them."""

from __future__ import annotations

import hashlib
import secrets

PREFIX = "tst_"
"""What a secret begins with, so that it is told from a JSON Web Token, and found by scanners where it should not be."""

_RANDOM_BYTES = 32


def new_secret() -> str:
    """A secret of 256 random bits."""
    return PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)


def digest_of(secret: str) -> str:
    """SHA-256 in hex. No salt and no slow hash: nobody guesses 256 random bits, and a request must find its token by it."""
    return hashlib.sha256(secret.encode()).hexdigest()
