"""`timestore tokens`: the secret is shown once, alone on stdout, and kept nowhere."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from timestore_assets.service.access.api_tokens import digest_of
from timestore_assets.settings import Settings
from timestore_assets.warehouse import Warehouse
from timestore_assets_tests.support.command_line import CommandLine


@pytest.fixture
def shell(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path)


def test_the_secret_can_be_piped(shell: CommandLine) -> None:
    made = shell.run("tokens", "create", "ada", "--scope", "timestore:read", "--scope", "timestore:write")
    assert made.code == 0
    secret = made.out.strip()
    assert made.out == f"{secret}\n" and secret.startswith("tst_") and len(secret) == 47
    assert "ada" in made.err and secret not in made.err
    with Warehouse.open(Settings(home=shell.home)) as warehouse:
        token = warehouse.catalog.tokens.find(digest_of(secret))
        assert token is not None and (token.name, token.scopes) == ("ada", ("timestore:read", "timestore:write"))
        assert token.expires_at is None and token.created_by.startswith("cli")
        assert secret.encode() not in (shell.home / "catalog.sqlite").read_bytes()


def test_the_same_as_json(shell: CommandLine) -> None:
    made = shell.inside("tokens", "create", "ada", "--scope", "x", "--scope", "x", "--expires", "90d", "--json").json
    assert made["token"].startswith("tst_")
    assert (made["name"], made["scopes"], made["state"]) == ("ada", ["x"], "valid")
    left = datetime.fromisoformat(made["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=89) < left <= timedelta(days=90)


def test_secrets_differ(shell: CommandLine) -> None:
    secrets = {shell.inside("tokens", "create", f"t{number}", "--scope", "x").out for number in range(3)}
    assert len(secrets) == 3


def test_a_scope_that_opens_nothing_is_noted(shell: CommandLine) -> None:
    made = shell.inside("tokens", "create", "ada", "--scope", "timestore:read", "--scope", "wether:read")
    assert made.code == 0 and "no dataset is declared with the scope wether:read" in made.err
    assert "scope timestore:read" not in made.err


def test_list_and_revoke(shell: CommandLine) -> None:
    assert "no token was made yet" in shell.inside("tokens", "list").out
    secrets = [shell.inside("tokens", "create", name, "--scope", "x").out.strip() for name in ("b", "a")]
    revoked = shell.inside("tokens", "revoke", "b")
    assert (revoked.code, revoked.out) == (0, "token b is revoked\n")
    listed = shell.inside("tokens", "list")
    assert "revoked" in listed.out and not any(secret in listed.out for secret in secrets)
    found = shell.inside("tokens", "list", "--json").json
    assert [(one["name"], one["state"]) for one in found] == [("a", "valid"), ("b", "revoked")]
    again = shell.inside("tokens", "revoke", "b", "--json").json
    assert again["revoked_at"] == found[1]["revoked_at"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["create", "a b", "--scope", "x"], "is no name for a token"),
        (["create", "ada"], "Missing option '--scope'"),
        (["create", "ada", "--scope", "a b"], "is no scope"),
        (["create", "ada", "--scope", "a,b"], "is no scope"),
        (["create", "ada", "--scope", ""], "is no scope"),
        (["create", "ada", "--scope", "x", "--expires", "soon"], "is not a duration"),
        (["create", "ada", "--scope", "x", "--expires", "0d"], "--expires"),
        (["create", "ada", "--scope", "x", "--expires", "999999999y"], "longer than a thousand years"),
        (["revoke", "nobody"], "there is no token named 'nobody'"),
    ],
)
def test_wrong_input_is_one_line(shell: CommandLine, arguments: list[str], message: str) -> None:
    done = shell.inside("tokens", *arguments)
    assert (done.code, done.out) == (2, "")
    assert message in done.err and done.err.count("\n") == 1


def test_a_name_is_used_once(shell: CommandLine) -> None:
    shell.inside("tokens", "create", "ada", "--scope", "x")
    shell.inside("tokens", "revoke", "ada")
    again = shell.inside("tokens", "create", "ada", "--scope", "x")
    assert (again.code, again.out) == (2, "") and "choose another name" in again.err
