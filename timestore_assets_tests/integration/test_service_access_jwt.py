"""JSON Web Tokens: which are believed, which are not, and how the issuer's keys are kept."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization

from timestore_assets.model.errors import UnavailableError
from timestore_assets.service.access.web_tokens import FRESH_SECONDS, KEPT_SECONDS, PAUSE_SECONDS, RETRY_SECONDS, WebKeys
from timestore_assets_tests.support.service_callers import (
    ADMINISTRATION,
    Door,
    Issuer,
    bearer,
    door,
    ec_key,
    issuer,
    public,
    rsa_key,
    signed,
)

ISSUER, AUDIENCE = "https://issuer.example", "timestore"
NAMED: dict[str, Any] = {"iss": ISSUER, "aud": AUDIENCE}


@pytest.fixture
def keys() -> Iterator[Issuer]:
    with issuer(public(rsa_key(), "one"), public(ec_key(), "curve")) as state:
        yield state


@pytest.fixture
def gate(tmp_path: Path, keys: Issuer) -> Iterator[Door]:
    with door(tmp_path / "home", jwks_url=keys.url, jwt_issuer=ISSUER, jwt_audience=AUDIENCE) as opened:
        yield opened


def soon(**how: float) -> datetime:
    return datetime.now(UTC) + timedelta(**how)


@pytest.mark.parametrize("algorithm", ["RS256", "RS384", "RS512", "PS256"])
def test_a_token_of_the_issuer_is_believed(gate: Door, algorithm: str) -> None:
    assert gate.get(headers=bearer(signed(rsa_key(), algorithm=algorithm, **NAMED))).status_code == 200


def test_so_is_one_signed_on_a_curve(gate: Door) -> None:
    assert gate.get(headers=bearer(signed(ec_key(), "curve", algorithm="ES256", **NAMED))).status_code == 200


def test_a_jwks_closes_the_service(gate: Door) -> None:
    assert gate.get().status_code == 401


@pytest.mark.parametrize(
    "claims",
    [
        {"scope": "a:b timestore:admin"},
        {"scope": None, "scp": ["timestore:admin"]},
        {"scope": None, "scp": "x timestore:admin"},
        {"scope": None, "scopes": ["x", "timestore:admin"]},
        {"scope": "x", "scp": ["timestore:admin"]},
    ],
)
def test_scopes_come_from_any_of_the_usual_claims(gate: Door, claims: dict[str, Any]) -> None:
    assert gate.get(ADMINISTRATION, bearer(signed(rsa_key(), **NAMED, **claims))).status_code == 200


def test_the_audit_log_names_the_subject(gate: Door) -> None:
    token = bearer(signed(rsa_key(), **NAMED, scope="timestore:admin", sub="ada@example.com"))
    json_body = {"Content-Type": "application/json", **token}
    done = gate.send("PUT", f"{ADMINISTRATION}/weather/retention", json_body, content=b'{"maxAge": null}')
    assert done.status_code == 200
    assert gate.warehouse.catalog.audit.newest(limit=1)[0]["actor"] == "jwt:ada@example.com"


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": soon(seconds=-60)},
        {"exp": None},
        {"exp": "soon"},
        {"nbf": soon(hours=9)},
        {"aud": "somebody else"},
        {"aud": None},
        {"iss": "https://other.example"},
        {"iss": None},
        {"sub": None},
        {"sub": 7},
        {"sub": ""},
        {"sub": "a\nb"},
        {"scope": 7},
        {"scp": [1]},
        {"scopes": {"timestore:admin": True}},
    ],
)
def test_claims_that_do_not_hold(gate: Door, claims: dict[str, Any]) -> None:
    secret = jwt_of({**NAMED, **claims})
    answer = gate.get(headers=bearer(secret))
    assert answer.status_code == 401
    assert answer.text == gate.get(headers=bearer("tst_unknown")).text, "an answer tells what was wrong"


def jwt_of(claims: dict[str, Any]) -> str:
    """Signed rightly, whatever the claims are; PyJWT's own encoder refuses some of them."""
    basic: dict[str, Any] = {"sub": "ada", "scope": "timestore:read", "exp": soon(hours=1)}
    chosen = {name: value for name, value in (basic | claims).items() if value is not None}
    plain = {name: int(value.timestamp()) if isinstance(value, datetime) else value for name, value in chosen.items()}
    return jwt.PyJWS().encode(json.dumps(plain).encode(), rsa_key(), algorithm="RS256", headers={"kid": "one", "typ": "JWT"})


def test_clocks_may_differ_a_little(gate: Door) -> None:
    late, early = signed(rsa_key(), **NAMED, exp=soon(seconds=-2)), signed(rsa_key(), **NAMED, nbf=soon(seconds=20))
    assert gate.get(headers=bearer(late)).status_code == gate.get(headers=bearer(early)).status_code == 200


def forged() -> dict[str, str]:
    """Tokens that say the right things, and are signed by nobody who may."""
    claims = {**NAMED, "sub": "eve", "scope": "timestore:admin", "exp": int(soon(hours=1).timestamp())}
    pem = rsa_key().public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    spki = rsa_key().public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    good = signed(rsa_key(), **NAMED)
    head, body, signature = good.split(".")
    return {
        "none": f"{part({'alg': 'none', 'kid': 'one'})}.{part(claims)}.",
        "None with a signature": f"{part({'alg': 'None', 'kid': 'one'})}.{part(claims)}.{signature}",
        "HS256 with the public key": hmac_signed(claims, pem),
        "HS256 with the public key in DER": hmac_signed(claims, spki),
        "HS256 with nothing": hmac_signed(claims, b""),
        "another key": signed(rsa_key(1), **NAMED),
        "another key under its own name": signed(rsa_key(1), "two", **NAMED),
        "another key in its header": jwt.encode(
            claims, rsa_key(1), algorithm="RS256", headers={"kid": "one", "jwk": public(rsa_key(1), "one")}
        ),
        "the curve's key for RSA": jwt.encode(claims, rsa_key(1), algorithm="RS256", headers={"kid": "curve"}),
        "other claims": f"{head}.{part(claims)}.{signature}",
        "no signature": f"{head}.{body}.",
        "two parts": f"{head}.{body}",
        "a signature of somebody else": f"{head}.{body}.{signed(rsa_key(1), **NAMED).split('.')[2]}",
        "a kid that is no text": f"{part({'alg': 'RS256', 'kid': 7})}.{body}.{signature}",
        "a header that is nested too deeply": f"{encoded(b'[' * 9_000)}.{body}.{signature}",
        "a critical extension": f"{part({'alg': 'RS256', 'kid': 'one', 'crit': ['x'], 'x': 1})}.{body}.{signature}",
        "a list of algorithms": f"{part({'alg': ['RS256'], 'kid': 'one'})}.{body}.{signature}",
        "an algorithm with members": f"{part({'alg': {'name': 'RS256'}, 'kid': 'one'})}.{body}.{signature}",
        "a subject that is no text": signed(rsa_key(), **{**NAMED, "sub": 7}),
        "claims that are a list": f"{head}.{part([1])}.{signature}",
        "no header": "..",
    }


def encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def part(value: Any) -> str:
    return encoded(json.dumps(value).encode())


def hmac_signed(claims: Any, secret: bytes) -> str:
    text = f"{part({'alg': 'HS256', 'kid': 'one'})}.{part(claims)}"
    return f"{text}.{encoded(hmac.new(secret, text.encode(), hashlib.sha256).digest())}"


@pytest.mark.parametrize("kind", sorted(forged()))
def test_a_forged_token_is_refused(gate: Door, kind: str) -> None:
    assert gate.get(headers=bearer(forged()[kind])).status_code == 401


def test_without_a_name_for_the_issuer_and_audience_these_are_not_looked_at(tmp_path: Path, keys: Issuer) -> None:
    with door(tmp_path / "home", jwks_url=keys.url) as gate:
        assert gate.get(headers=bearer(signed(rsa_key(), iss="anybody", aud="anything"))).status_code == 200
        assert gate.get(headers=bearer(signed(rsa_key(1)))).status_code == 401


def test_api_tokens_work_beside(gate: Door) -> None:
    assert gate.get(headers=bearer(gate.token("a", "timestore:read"))).status_code == 200


def test_without_a_jwks_no_web_token_is_taken(tmp_path: Path) -> None:
    with door(tmp_path / "home") as gate:
        assert gate.get(headers=bearer(signed(rsa_key()))).status_code == 401


def test_while_the_keys_cannot_be_had_the_answer_says_try_again(tmp_path: Path) -> None:
    with issuer() as away, door(tmp_path / "home", jwks_url=away.url) as gate:
        away.status = 500
        answer = gate.get(headers=bearer(signed(rsa_key())))
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert away.url not in answer.text


class Clocked:
    """The keys of an issuer by a clock that the test moves."""

    def __init__(self, state: Issuer) -> None:
        self.now = 1000.0
        self.state = state
        self.keys = WebKeys(state.url, clock=lambda: self.now)

    async def has(self, kid: str | None, algorithm: str = "RS256") -> bool:
        return await self.keys.find(kid, algorithm) is not None


def test_a_new_key_is_fetched_and_unknown_ones_do_not_make_us_ask_all_the_time() -> None:
    async def story(keys: Clocked) -> None:
        assert await keys.has("one")
        assert not any([await keys.has(f"made up {number}") for number in range(50)])
        assert keys.state.asked == 1
        keys.state.keys = [public(rsa_key(), "one"), public(rsa_key(1), "two")]
        keys.now += PAUSE_SECONDS
        assert await keys.has("two") and await keys.has("one")
        assert not await keys.has("three")
        assert keys.state.asked == 2

    with issuer(public(rsa_key(), "one")) as state:
        asyncio.run(story(Clocked(state)))


def test_many_who_come_at_once_make_one_fetch() -> None:
    async def story(keys: Clocked) -> None:
        assert all(await asyncio.gather(*(keys.has("one") for _ in range(30))))
        assert keys.state.asked == 1

    with issuer(public(rsa_key(), "one")) as state:
        asyncio.run(story(Clocked(state)))


def test_a_key_that_the_issuer_withdrew_ends() -> None:
    async def story(keys: Clocked) -> None:
        assert await keys.has("one")
        keys.state.keys = [public(rsa_key(1), "two")]
        assert await keys.has("one")
        keys.now += FRESH_SECONDS
        assert not await keys.has("one")

    with issuer(public(rsa_key(), "one")) as state:
        asyncio.run(story(Clocked(state)))


def test_known_keys_outlast_an_issuer_that_is_away_but_not_for_ever() -> None:
    async def story(keys: Clocked) -> None:
        assert await keys.has("one")
        keys.state.status = 503
        keys.now += FRESH_SECONDS
        assert await keys.has("one")
        keys.now += KEPT_SECONDS
        with pytest.raises(UnavailableError):
            await keys.has("one")
        keys.state.status = 200
        keys.now += RETRY_SECONDS
        assert await keys.has("one")

    with issuer(public(rsa_key(), "one")) as state:
        asyncio.run(story(Clocked(state)))


def test_which_keys_may_sign_what() -> None:
    secret = {"kty": "oct", "kid": "secret", "k": encoded(b"x" * 32)}
    others = [public(rsa_key(), "enc", use="enc"), public(rsa_key(), "only 512", alg="RS512"), public(ec_key(), "curve"), secret]
    broken = {"kty": "RSA", "kid": "broken", "n": "!", "e": "AQAB"}

    async def story(keys: Clocked) -> None:
        assert await keys.has("only 512", "RS512") and not await keys.has("only 512", "RS256")
        assert await keys.has("curve", "ES256") and not await keys.has("curve", "ES384")
        for kid, algorithm in (("enc", "RS256"), ("secret", "HS256"), ("secret", "RS256"), ("broken", "RS256")):
            assert not await keys.has(kid, algorithm)
        assert await keys.has(None, "ES256"), "a token may leave out the id of the only key that fits"

    with issuer(*others, broken) as state:
        asyncio.run(story(Clocked(state)))


@pytest.mark.parametrize("document", [[], {}, {"keys": {}}, "x", None])
def test_what_is_no_jwks_gives_no_keys(document: Any) -> None:
    from timestore_assets.service.access.web_tokens import _keys_of

    assert _keys_of(document) is None
