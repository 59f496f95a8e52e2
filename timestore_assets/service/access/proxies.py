"""Callers that a trusted proxy names in `x-iam-user` and `x-iam-scopes`."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.datastructures import Headers

from timestore_assets.model.errors import InputError

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
