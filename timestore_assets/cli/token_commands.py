"""`tokens create`, `list` and `revoke`: who may use the HTTP service. A secret is shown once and kept nowhere."""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from timestore_assets.cli.open_warehouse import actor, open_warehouse
from timestore_assets.cli.options import AsJson
from timestore_assets.cli.output import print_json, print_table, stderr, stdout
from timestore_assets.model.errors import InputError

if TYPE_CHECKING:
    from timestore_assets.catalog.service_records import Token
    from timestore_assets.warehouse import Warehouse

CREATE_HELP = """Make a token and print its secret, once: nobody can show it again.

The secret alone goes to stdout, so that it can be piped. The first token closes the HTTP service: from then on every caller
needs one."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SCOPE = re.compile(r"[!-+\--~]{1,200}")
"""Visible ASCII without commas, which separate scopes in headers."""

Name = Annotated[str, typer.Argument(metavar="NAME", help="What the audit log calls its holder.", show_default=False)]
ScopeOptions = Annotated[
    list[str], typer.Option("--scope", help="What it may do, as datasets declare it; repeat it for several.", show_default=False)
]
Expires = Annotated[
    str | None, typer.Option(metavar="DURATION", help="How long it holds, for instance 90d; for ever by default.")
]


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(help="Make, list and revoke the API tokens of the HTTP service.")
    group.command("create", help=CREATE_HELP)(create)
    group.command("list", help="Show every token that was made, without secrets.")(list_tokens)
    group.command("revoke", help="End a token. A running service notices within two seconds.")(revoke)
    app.add_typer(group, name="tokens")


def create(name: Name, scope: ScopeOptions, expires: Expires = None, json: AsJson = False) -> None:
    from timestore_assets.service.access.api_tokens import digest_of, new_secret

    _check(name, scope)
    expires_at = _expiry(expires)
    secret = new_secret()
    with open_warehouse() as warehouse:
        scopes = tuple(dict.fromkeys(scope))
        unused = [one for one in scopes if one not in _known_scopes(warehouse)]
        token = warehouse.catalog.tokens.add(
            name=name, digest=digest_of(secret), scopes=scopes, expires_at=expires_at, actor=actor()
        )
    for one in unused:
        _note(f"note: no dataset is declared with the scope {one}")
    if json:
        print_json({**_plain(token), "token": secret})
        return
    _note(f"token {name}{_until(token)}; keep it now, it is not shown again:")
    sys.stdout.write(secret + "\n")


def list_tokens(json: AsJson = False) -> None:
    with open_warehouse() as warehouse:
        tokens = warehouse.catalog.tokens.listed()
    if json:
        print_json([_plain(token) for token in tokens])
    elif tokens:
        heads = ["name", "~scopes", "state", "made", "by", "expires"]
        print_table(heads, (_row(token) for token in tokens))
    else:
        stdout().print("no token was made yet; until then the HTTP service answers this machine only, without one", markup=False)


def revoke(name: Name, json: AsJson = False) -> None:
    with open_warehouse() as warehouse:
        token = warehouse.catalog.tokens.revoke(name, actor=actor())
    if json:
        print_json(_plain(token))
    else:
        stdout().print(f"token {name} is revoked", markup=False)


def _check(name: str, scopes: list[str]) -> None:
    if not _NAME.fullmatch(name):
        raise InputError(f"{name[:100]!r} is no name for a token; write letters, digits, '.', '_' and '-', at most 100")
    for scope in scopes:
        if not _SCOPE.fullmatch(scope):
            raise InputError(f"{scope[:200]!r} is no scope; write visible characters without blanks and commas, at most 200")


def _expiry(text: str | None) -> datetime | None:
    from timestore_assets.model.window import parse_duration

    if text is None:
        return None
    duration = parse_duration(text)
    if not duration:
        raise InputError("--expires is no time at all; write for instance 90d")
    return datetime.now(UTC) + duration


def _known_scopes(warehouse: Warehouse) -> set[str]:
    """Scopes that open something."""
    settings = warehouse.settings
    general = {settings.require_scope, settings.require_write_scope, settings.admin_scope}
    return general.union(*((*one.access.read, *one.access.write) for one in warehouse.datasets.values()))


def _note(text: str) -> None:
    stderr().print(text, markup=False, soft_wrap=True)


def _until(token: Token) -> str:
    return f" holds until {_moment(token.expires_at)}" if token.expires_at else " never expires"


def _plain(token: Token) -> dict[str, Any]:
    return {
        "name": token.name,
        "scopes": list(token.scopes),
        "state": _state(token),
        "created_at": token.created_at,
        "created_by": token.created_by,
        "expires_at": token.expires_at,
        "revoked_at": token.revoked_at,
    }


def _row(token: Token) -> list[str]:
    expires = _moment(token.expires_at) if token.expires_at else "never"
    return [token.name, " ".join(token.scopes), _state(token), _moment(token.created_at), token.created_by, expires]


def _state(token: Token) -> str:
    if token.revoked_at is not None:
        return "revoked"
    return "expired" if token.expires_at is not None and token.expires_at <= datetime.now(UTC) else "valid"


def _moment(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S}"
