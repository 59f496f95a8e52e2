"""Where the catalog's database is and how to log in there, by settings or by an entry of AWS Secrets Manager."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from timestore_assets.model.errors import InputError

if TYPE_CHECKING:
    from timestore_assets.settings import Settings

_WANTED = 'a database URL, or JSON like {"host": …, "port": …, "username": …, "password": …, "dbname": …}'
_PARTS = {"username": "username", "password": "password", "host": "host", "port": "port", "database": "dbname"}


def database_url(settings: Settings) -> str:
    """The URL of the catalog's database, with its password; not for any message.

    Raises:
        InputError: the secret is none, or holds no address. UnavailableError: it can't be had now, or not by us.
    """
    secret = settings.database_url_secret
    if secret is None:
        return settings.catalog_url
    from timestore_assets.storage.remote.credentials import secret_text

    base = settings.database_url.get_secret_value() if settings.database_url else None
    # boto3 alone of all AWS clients doesn't look at AWS_REGION
    return url_of_secret(secret_text(secret, region=os.environ.get("AWS_REGION")), name=secret, base=base)


def url_of_secret(text: str, *, name: str, base: str | None) -> str:
    """The URL in a secret's text, which is one or the JSON that RDS keeps.

    `name`: of the entry, for errors. `base`: a URL that says what the JSON leaves out: entries that RDS rotates by itself hold
    nothing but user and password.

    Raises:
        InputError: it is neither, or host or user are missing.
    """
    if not text.lstrip().startswith("{"):
        return text.strip()
    refused = InputError(f"secret {name} of AWS Secrets Manager holds no database address; write {_WANTED}")
    try:
        held = json.loads(text)
        url = make_url(base) if base else URL.create("postgresql")
        said: dict[str, Any] = {part: held[key] for part, key in _PARTS.items() if held.get(key)}
        if "port" in said:
            said["port"] = int(said["port"])
    except (ValueError, TypeError, AttributeError, ArgumentError):
        raise refused from None
    url = url.set(**said)
    if not url.username or not (url.host or url.query.get("host")):
        raise refused
    return url.render_as_string(hide_password=False)


def with_login_of(url: str, other: str) -> str:
    """The other URL, with the user and password of the first where it names no user: a replica has those of its primary."""
    try:
        first, second = make_url(url), make_url(other)
    except (ValueError, ArgumentError):
        return other  # whoever opens it says what is wrong
    if second.username:
        return other
    return second.set(username=first.username, password=first.password).render_as_string(hide_password=False)
