"""Callers that a trusted proxy names in `x-iam-user` and `x-iam-scopes`.

What some other proxy passed on is told by its signs, since its connection then says nothing about who asks.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from starlette.datastructures import Headers

from timestore_assets.model.errors import InputError
from timestore_assets.service.problems import ForbiddenError

_NAMES = frozenset({
    "forwarded", "via", "cdn-loop", "client-ip", "true-client-ip", "front-end-https", "max-forwards", "proxy-connection",
    "remote-addr", "remote-user", "remote-groups", "remote-email", "remote-name", "ssl-client-cert", "surrogate-capability",
    "x-client-ip", "x-cluster-client-ip", "x-real-ip", "x-real-port", "x-real-proto", "x-remote-addr", "x-remote-ip",
    "x-remote-user", "x-scheme", "x-ssl", "x-ssl-client-cert", "x-proxyuser-ip", "x-forwarder-for", "x-host", "x-user-ip",
    "x-url-scheme", "x-rewrite-url", "x-webauth-user", "x-goog-authenticated-user-email", "x-ms-client-principal",
})  # fmt: skip
_BEGINNINGS = (
    "x-forwarded", "x-original-", "x-iam-", "x-auth-request-", "x-authentik-", "x-amzn-", "x-amz-cf-", "x-appengine-", "x-arr-",
    "x-azure-", "x-envoy-", "x-nginx-", "x-pomerium-", "x-proxy-", "x-ssl-client-", "x-traefik-", "x-varnish", "x-vercel-",
    "cf-", "fastly-", "fly-", "tailscale-",
)  # fmt: skip


def refuse_forwarded(scope: Any, headers: Headers) -> None:
    """Refuse what a proxy on this machine passes on, as long as nothing but the connection says who asks.

    Its headers give it away; one that sets none (nginx as it comes out of its package) speaks HTTP/1.0, which no client of today
    does.

    Raises:
        ForbiddenError: in words that say what to do.
    """
    if scope.get("http_version") in ("0.9", "1.0") or any(_is_sign(name) for name in headers):
        raise ForbiddenError(
            "a proxy passed this on, so nothing says who asks; make a token (`timestore tokens create`), or set "
            "TIMESTORE_TRUSTED_PROXIES if the proxy names its users"
        )


@lru_cache(maxsize=512)
def _is_sign(name: str) -> bool:
    return name in _NAMES or name.startswith(_BEGINNINGS)


USER_HEADER = "x-iam-user"
SCOPES_HEADER = "x-iam-scopes"

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address


def networks(text: str) -> tuple[Network, ...]:
    """The networks of `TIMESTORE_TRUSTED_PROXIES`; a single address is a network of one.

    Raises:
        InputError: one of them is neither.
    """
    try:
        return tuple(ip_network(part.strip(), strict=False) for part in text.split(",") if part.strip())
    except ValueError:
        raise InputError(
            "TIMESTORE_TRUSTED_PROXIES: write addresses or networks separated by commas, for instance 10.0.0.5,10.1.0.0/16"
        ) from None


@lru_cache(maxsize=512)
def peer_address(host: str | None) -> Address | None:
    """The address of a socket's peer; IPv4 within IPv6 as IPv4. None when it has none (a Unix socket)."""
    try:
        address = ip_address((host or "").partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def is_among(address: Address | None, trusted: tuple[Network, ...]) -> bool:
    return address is not None and any(address in network for network in trusted)


def named_by(headers: Headers) -> tuple[str, frozenset[str]] | None:
    """User and scopes that a proxy's headers give, None when they name nobody.

    Raises:
        ValueError: a header is there twice (one may be the client's own), or there are scopes without a user.
    """
    users, scopes = headers.getlist(USER_HEADER), headers.getlist(SCOPES_HEADER)
    if not users and not scopes:
        return None
    if len(users) != 1 or len(scopes) > 1 or not users[0].strip():
        raise ValueError("identity headers that don't name one user")
    return users[0].strip(), frozenset(re.split(r"[,\s]+", ",".join(scopes))) - {""}
