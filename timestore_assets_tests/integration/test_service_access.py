"""Who is let in: before there are tokens, with API tokens, with identity headers; and what a refusal doesn't tell."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.model.errors import InputError, UnavailableError
from timestore_assets.service.access.api_tokens import ApiTokens, digest_of, new_secret
from timestore_assets_tests.support.http_service import service
from timestore_assets_tests.support.service_callers import ADMINISTRATION, READING, Door, bearer, door

WAIT_SECONDS = 60.0
PROXY = "10.1.2.3"
NAMED = {"x-iam-user": "ada", "x-iam-scopes": "timestore:read"}


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Door]:
    """Nothing is set up yet."""
    with door(tmp_path / "home") as opened:
        yield opened


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[Door]:
    """A token was made, and a proxy is trusted."""
    with door(tmp_path / "home", trusted_proxies="10.1.0.0/16, ::1") as opened:
        opened.token("first", "timestore:admin")
        yield opened


def actor_of_newest(door: Door, headers: dict[str, str], *, peer: str = "127.0.0.1") -> str:
    """The name that a change by this caller has in the audit log."""
    body = b'{"maxAge": "5y"}'
    json = {"Content-Type": "application/json", **headers}
    done = door.send("PUT", f"{ADMINISTRATION}/weather/retention", json, peer=peer, content=body)
    assert done.status_code == 200, done.text
    newest: str = door.warehouse.catalog.audit.newest(limit=1)[0]["actor"]
    return newest


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.3.2.1", "::1", "::ffff:127.0.0.1"])
def test_before_there_are_tokens_this_machine_may_do_everything(local: Door, peer: str) -> None:
    assert local.get(peer=peer).status_code == local.get(ADMINISTRATION, peer=peer).status_code == 200
    assert actor_of_newest(local, {}, peer=peer) == "local"


@pytest.mark.parametrize("peer", ["10.0.0.1", "192.168.1.7", "fe80::1%eth0", "::ffff:10.0.0.1", "2001:db8::1", "testclient"])
def test_before_there_are_tokens_nobody_else_is_answered(local: Door, peer: str) -> None:
    refused = local.get(peer=peer)
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert "timestore tokens create" in refused.json()["detail"]


@pytest.mark.parametrize("host", ["localhost", "localhost:4100", "LOCALHOST", "127.0.0.1", "127.0.0.1:9", "[::1]", "[::1]:4100"])
def test_this_machine_goes_by_these_names(local: Door, host: str) -> None:
    assert local.get(headers={"Host": host}).status_code == 200
    assert local.get(headers={"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "10.0.0.1", "", "[::2]", "["])
def test_a_foreign_name_for_this_machine_is_refused(local: Door, host: str) -> None:
    refused = local.get(headers={"Host": host})
    assert refused.status_code == 403, "a page could rebind its own name to loopback and read everything"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:3000"},
        {"Origin": "https://127.0.0.1:4100"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://127.0.0.1:4100", "Sec-Fetch-Site": "cross-site"},
    ],
)
def test_a_page_of_another_site_is_refused(local: Door, headers: dict[str, str]) -> None:
    for method in ("GET", "PUT"):
        assert local.send(method, f"{ADMINISTRATION}/weather/retention", headers, content=b"{}").status_code == 403


@pytest.mark.parametrize("headers", [NAMED, {**NAMED, "x-iam-scopes": "timestore:admin"}, {"x-forwarded-for": "127.0.0.1"}])
def test_no_header_lets_anybody_in_from_elsewhere(local: Door, headers: dict[str, str]) -> None:
    assert local.get(headers=headers, peer="10.0.0.1").status_code == 403


def test_the_first_token_closes_the_service_even_when_it_is_revoked(tmp_path: Path) -> None:
    with service(tmp_path / "home") as ground:
        assert ground.client.get(READING).status_code == 200
        tokens = ground.warehouse.catalog.tokens
        tokens.add(name="first", digest=digest_of(new_secret()), scopes=["x"], expires_at=None, actor="test")
        tokens.revoke("first", actor="test")
        refused = once_refused(ground.client, {})
        assert refused.headers["WWW-Authenticate"].startswith("Bearer")
        assert refused.json()["code"] == "unauthorized"


def test_a_revoked_token_ends_within_seconds(tmp_path: Path) -> None:
    with service(tmp_path / "home") as ground:
        secret = new_secret()
        tokens = ground.warehouse.catalog.tokens
        tokens.add(name="a", digest=digest_of(secret), scopes=["timestore:read"], expires_at=None, actor="test")
        assert ground.client.get(READING, headers=bearer(secret)).status_code == 200
        tokens.revoke("a", actor="test")
        once_refused(ground.client, bearer(secret))


def once_refused(client: httpx.Client, headers: dict[str, str]) -> httpx.Response:
    """The first answer that is 401."""
    deadline = time.monotonic() + WAIT_SECONDS
    while (answer := client.get(READING, headers=headers)).status_code != 401:
        assert answer.status_code == 200 and time.monotonic() < deadline, "still let in"
        time.sleep(0.05)
    return answer


def test_scopes_open_what_they_should(closed: Door) -> None:
    reader, writer = closed.token("r", "timestore:read"), closed.token("w", "timestore:write")
    admin, other = closed.token("adm", "timestore:admin"), closed.token("o", "something:else", "timestore:readx")
    found = {
        secret: (closed.get(headers=bearer(secret)).status_code, closed.get(ADMINISTRATION, bearer(secret)).status_code)
        for secret in (reader, writer, admin, other)
    }
    assert found == {reader: (200, 403), writer: (403, 403), admin: (200, 200), other: (404, 403)}


def test_the_audit_log_names_the_token(closed: Door) -> None:
    assert actor_of_newest(closed, bearer(closed.token("operations", "timestore:admin"))) == "token:operations"


@pytest.mark.parametrize("peer", ["127.0.0.1", PROXY])
def test_every_bad_credential_gets_the_same_answer(closed: Door, peer: str) -> None:
    good, expired = closed.token("good", "timestore:read"), closed.token("old", "timestore:read", expires=timedelta(seconds=-1))
    revoked = closed.token("gone", "timestore:read")
    closed.warehouse.catalog.tokens.revoke("gone", actor="test")
    bad = [
        f"Bearer {new_secret()}", f"Bearer {expired}", f"Bearer {revoked}", f"Bearer {good}x", f"Bearer {good[:-1]}",
        f"Bearer {good.upper()}", f"Basic {good}", f"Token {good}", good, "Bearer", "Bearer ", "Bearer tst_", "", "Bearer \xff",
        "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.", f"Bearer {'x' * 20_000}", f"Bearer {good}, Bearer {good}",
    ]  # fmt: skip
    answers = [closed.get(headers={"Authorization": one.encode("latin-1"), **NAMED}, peer=peer) for one in bad]
    assert {answer.status_code for answer in answers} == {401}, [answer.status_code for answer in answers]
    assert len({answer.text for answer in answers}) == 1, "an answer tells what was wrong"
    assert good not in answers[0].text
    assert closed.get(headers=bearer(good), peer=peer).status_code == 200


def test_two_authorization_headers_are_refused(closed: Door) -> None:
    good = closed.token("good", "timestore:read")
    twice = [("Authorization", f"Bearer {good}"), ("Authorization", f"Bearer {good}")]
    assert closed.get(headers=twice).status_code == 401


def test_the_scheme_may_be_written_in_any_case(closed: Door) -> None:
    good = closed.token("good", "timestore:read")
    assert closed.get(headers={"authorization": f"bEARER {good}"}).status_code == 200


@pytest.mark.parametrize("peer", [PROXY, "::1", "::ffff:10.1.255.255"])
def test_a_trusted_proxy_is_believed(closed: Door, peer: str) -> None:
    assert closed.get(headers=NAMED, peer=peer).status_code == 200
    assert closed.get(ADMINISTRATION, NAMED, peer=peer).status_code == 403
    admin = {"x-iam-user": "ada", "x-iam-scopes": "a:b, timestore:admin"}
    assert actor_of_newest(closed, admin, peer=peer) == "proxy:ada"
    assert closed.get(headers={**NAMED, "x-iam-scopes": "a timestore:read"}, peer=peer).status_code == 200


@pytest.mark.parametrize("peer", ["127.0.0.1", "10.2.0.1", "::2", "testclient"])
def test_nobody_else_is_believed(closed: Door, peer: str) -> None:
    spoofed = {**NAMED, "X-Forwarded-For": PROXY, "Forwarded": f"for={PROXY}", "X-Real-IP": PROXY}
    assert closed.get(headers=spoofed, peer=peer).status_code == 401


def test_a_peer_that_is_no_proxy_gains_nothing_beside_its_token(closed: Door) -> None:
    reader = bearer(closed.token("reader", "timestore:read"))
    assert closed.get(ADMINISTRATION, {**reader, "x-iam-user": "x", "x-iam-scopes": "timestore:admin"}).status_code == 403


def test_a_token_decides_alone_even_behind_a_proxy(closed: Door) -> None:
    admin_by_proxy = {"x-iam-user": "x", "x-iam-scopes": "timestore:admin"}
    reader = bearer(closed.token("reader", "timestore:read"))
    assert closed.get(ADMINISTRATION, {**reader, **admin_by_proxy}, peer=PROXY).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("x-iam-scopes", "timestore:admin")],
        [("x-iam-user", ""), ("x-iam-scopes", "timestore:admin")],
        [("x-iam-user", "a\tb"), ("x-iam-scopes", "timestore:admin")],
        [("x-iam-user", "a" * 201), ("x-iam-scopes", "timestore:admin")],
        [("x-iam-user", "ada"), ("x-iam-user", "eve"), ("x-iam-scopes", "timestore:admin")],
        [("x-iam-user", "ada"), ("x-iam-scopes", "timestore:admin"), ("x-iam-scopes", "timestore:read")],
    ],
)
def test_a_proxy_has_to_name_one_user(closed: Door, headers: list[tuple[str, str]]) -> None:
    assert closed.get(headers=headers, peer=PROXY).status_code == 401


def test_a_user_without_scopes_may_do_nothing(closed: Door) -> None:
    assert closed.get(headers={"x-iam-user": "ada"}, peer=PROXY).status_code == 404


def test_trusted_proxies_have_to_be_addresses(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="TIMESTORE_TRUSTED_PROXIES"), door(tmp_path / "home", trusted_proxies="proxy.local"):
        pass


def test_tokens_are_looked_up_seldom_and_forgotten_soon(catalog: Catalog) -> None:
    import asyncio

    now = [100.0]
    looked_up: list[str] = []

    class Counted:
        """The catalog's tokens, with a note of what was asked."""

        def find(self, digest: str) -> object:
            looked_up.append(digest)
            return catalog.tokens.find(digest)

        def exist(self) -> bool:
            looked_up.append("exist")
            return catalog.tokens.exist()

    tokens = ApiTokens(Counted(), clock=lambda: now[0])
    secret = new_secret()

    async def story() -> None:
        assert not await tokens.exist() and not await tokens.exist()
        catalog.tokens.add(name="a", digest=digest_of(secret), scopes=["s"], expires_at=None, actor="test")
        assert await tokens.valid(secret) and await tokens.valid(secret)
        catalog.tokens.revoke("a", actor="test")
        now[0] += 1
        assert await tokens.valid(secret) is None
        assert await tokens.exist() and await tokens.exist()

    asyncio.run(story())
    assert looked_up == ["exist", digest_of(secret), digest_of(secret), "exist"]


def test_of_requests_at_once_one_asks_whether_there_are_tokens() -> None:
    import asyncio
    import threading

    asked: list[str] = []
    go_on = threading.Event()

    class Slow:
        """Tokens of a catalog that answers when it is told to, there being none."""

        def __init__(self, *, fails: bool) -> None:
            self.fails = fails

        def exist(self) -> bool:
            asked.append("exist")
            assert go_on.wait(WAIT_SECONDS)
            if self.fails:
                raise UnavailableError("the catalog is away")
            return False

    async def together(tokens: ApiTokens, *, broken_off: bool = False) -> list[object]:
        asked.clear()
        go_on.clear()
        tasks = [asyncio.create_task(tokens.exist()) for _ in range(20)]
        while not asked:
            await asyncio.sleep(0.001)
        if broken_off:
            tasks[0].cancel()
        go_on.set()
        return await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), WAIT_SECONDS)

    async def story() -> None:
        assert await together(ApiTokens(Slow(fails=False))) == [False] * 20
        assert asked == ["exist"]
        # who waited gives up with the one who asked, and the next one asks again
        failing = Slow(fails=True)
        tokens = ApiTokens(failing)
        assert {type(one) for one in await together(tokens)} == {UnavailableError}
        assert asked == ["exist"]
        failing.fails = False
        first, *others = await together(tokens, broken_off=True)
        assert isinstance(first, asyncio.CancelledError) and others == [False] * 19
        assert len(asked) <= 2

    asyncio.run(story())


def test_no_secret_is_kept_or_shown(closed: Door) -> None:
    secret = closed.token("hidden", "timestore:admin")
    shown = closed.get("/admin/audit", bearer(secret)).text + repr(closed.warehouse.catalog.tokens.listed())
    assert secret not in shown and digest_of(secret) not in shown
    stored = (closed.warehouse.settings.home_folder / "catalog.sqlite").read_bytes()
    assert secret.encode() not in stored
