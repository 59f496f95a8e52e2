"""API tokens: digests of secrets, what they may do, until when."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select

from timestore_assets.catalog import audit
from timestore_assets.catalog.database import Database
from timestore_assets.catalog.instants import from_micros, optional_micros, optional_time
from timestore_assets.catalog.portable import insert_ignore
from timestore_assets.catalog.service_records import Token
from timestore_assets.catalog.tables import tokens
from timestore_assets.model.errors import InputError

c = tokens.c


class Tokens:
    """Each method is one short transaction. `digest` is the SHA-256 of a secret, in hex."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, *, name: str, digest: str, scopes: Sequence[str], expires_at: datetime | None, actor: str) -> Token:
        """Keep a new token; audited.

        Raises:
            InputError: there is, or was, a token of that name.
        """

        def work(connection: Connection) -> Token:
            now = self._database.now(connection)
            row = {
                "name": name,
                "digest": digest,
                "scopes": json.dumps(list(scopes)),
                "created_by": actor,
                "created_at": now,
                "expires_at": optional_micros(expires_at),
            }
            if not insert_ignore(connection, tokens, row):
                raise InputError(f"there is a token named {name!r} already; choose another name")
            details = {"token": name, "scopes": list(scopes)}
            audit.record(connection, None, actor=actor, action="token_created", details=details, now=now)
            return _record(connection.execute(select(tokens).where(c.name == name)).one())

        return self._database.write(work)

    def find(self, digest: str) -> Token | None:
        """The token of that digest, whether it still holds or not."""

        def read(connection: Connection) -> Token | None:
            row = connection.execute(select(tokens).where(c.digest == digest)).one_or_none()
            return None if row is None else _record(row)

        return self._database.read(read)

    def exist(self) -> bool:
        """Whether there ever was one, revoked and expired ones included."""
        return self._database.read(lambda connection: connection.execute(select(c.id).limit(1)).first() is not None)

    def listed(self) -> list[Token]:
        """All that ever were, by name."""
        return self._database.read(
            lambda connection: [_record(row) for row in connection.execute(select(tokens).order_by(c.name))]
        )

    def revoke(self, name: str, *, actor: str) -> Token:
        """End a token now; revoking it again changes nothing. Audited.

        Raises:
            InputError: there is no token of that name.
        """

        def work(connection: Connection) -> Token:
            now = self._database.now(connection)
            living = tokens.update().where(c.name == name, c.revoked_at.is_(None)).values(revoked_at=now)
            if connection.execute(living).rowcount:
                audit.record(connection, None, actor=actor, action="token_revoked", details={"token": name}, now=now)
            row = connection.execute(select(tokens).where(c.name == name)).one_or_none()
            if row is None:
                raise InputError(f"there is no token named {name!r}; `timestore tokens list` shows them")
            return _record(row)

        return self._database.write(work)


def _record(row: Row[Any]) -> Token:
    return Token(
        id=row.id,
        name=row.name,
        scopes=tuple(json.loads(row.scopes)),
        created_by=row.created_by,
        created_at=from_micros(row.created_at),
        expires_at=optional_time(row.expires_at),
        revoked_at=optional_time(row.revoked_at),
    )
