"""Callers of this machine, before there is any token: who runs the service may do everything, web pages of others nothing.

Which user holds the other end of a loopback connection is asked of Linux by netlink (`sock_diag(7)`), which costs the same
however many connections there are.
"""

from __future__ import annotations

import os
import socket
import struct
from collections import OrderedDict
from collections.abc import Iterator
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any, Protocol

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers

from timestore_assets.service.problems import ForbiddenError

_OWN = ("same-origin", "none")


def refuse_other_sites(headers: Headers) -> None:
    """Refuse what a browser on this machine sends for a page of somebody else.

    The name in `Host` must be this machine's (a foreign name that resolves to loopback is DNS rebinding), and a page that
    asks must have come from this service.

    Raises:
        ForbiddenError: in words that say what to do.
    """
    hosts, origins, sites = headers.getlist("host"), headers.getlist("origin"), headers.getlist("sec-fetch-site")
    if len(hosts) != 1 or not _is_loopback_name(_name_of(hosts[0])):
        raise ForbiddenError("as long as there are no tokens this service answers to localhost, 127.0.0.1 and [::1] only")
    foreign = any(origin.casefold() != f"http://{hosts[0]}".casefold() for origin in origins)
    if foreign or any(site not in _OWN for site in sites):
        raise ForbiddenError("a page of another site asked; as long as there are no tokens only this service's own pages may")


def _name_of(host: str) -> str:
    """The host without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


@lru_cache(maxsize=512)
def _is_loopback_name(name: str) -> bool:
    if name.casefold().rstrip(".") == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


_SOCK_DIAG, _INET_DIAG, _REQUEST = 4, 20, 1
_ALL_STATES, _NO_COOKIE = 0xFFFFFFFF, 0xFFFFFFFF
_SECONDS = 1.0
_HEAD, _ASKED, _PLACES, _TOLD = "=IHHII", "=BBBBI", "!HH16s16s", "=IIIII"
Place = tuple[IPv4Address | IPv6Address, int]


def owner_and_inode(client: Place, server: Place) -> tuple[int, int] | None:
    """User id and inode of the socket from `client` to `server`, the inode 0 when no process holds it; None: there is none.

    Raises:
        OSError: this system can't be asked so.
    """
    family = socket.AF_INET if client[0].version == 4 else socket.AF_INET6
    places = struct.pack(_PLACES, client[1], server[1], client[0].packed, server[0].packed)
    body = (
        struct.pack(_ASKED, family, socket.IPPROTO_TCP, 0, 0, _ALL_STATES) + places + struct.pack("=III", 0, *(_NO_COOKIE,) * 2)
    )
    head = struct.pack(_HEAD, struct.calcsize(_HEAD) + len(body), _INET_DIAG, _REQUEST, 1, 0)
    with socket.socket(getattr(socket, "AF_NETLINK", -1), socket.SOCK_RAW | socket.SOCK_CLOEXEC, _SOCK_DIAG) as kernel:
        kernel.settimeout(_SECONDS)
        kernel.send(head + body)
        answer = kernel.recv(4096)
    start = struct.calcsize(_HEAD)
    if struct.unpack_from(_HEAD, answer)[1] != _INET_DIAG:
        code = -struct.unpack_from("=i", answer, start)[0]
        if code == 2:  # ENOENT
            return None
        raise OSError(code, "the kernel does not tell about sockets")
    at = start + 4
    if answer[at : at + len(places)] not in (places, _mapped(client, server)):
        return None  # one that listens at the client's port
    *_, owner, inode = struct.unpack_from(_TOLD, answer, at + len(places) + 12)
    return owner, inode


def _mapped(client: Place, server: Place) -> bytes:
    """The places as the kernel tells them of a socket for IPv6 that speaks IPv4, as Java opens them."""
    hosts = (IPv6Address(f"::ffff:{host}") if host.version == 4 else host for host in (client[0], server[0]))
    return struct.pack(_PLACES, client[1], server[1], *(host.packed for host in hosts))


_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_MOST_KNOWN = 4096
_LOOKS = 3
_ROOT = 0


class Peers(Protocol):
    """Tells whether the process at the other end of a request's connection belongs to the user whom the service belongs to."""

    async def are_own(self, scope: Any) -> bool: ...


class SocketOwners:
    """Looks once a connection. Root counts as everybody, since it reads every file anyhow.

    A connection that is not in the table any more was closed by a sender who wants no answer: nobody knows whose it was, so it
    is not taken for our own. Where there is no such table (outside Linux) every process of this machine is.
    """

    def __init__(self) -> None:
        # by the identity of the server's tuple for a connection, which it keeps for all requests of it: an address alone may
        # be another user's a moment later
        self._known: OrderedDict[int, tuple[Any, bool]] = OrderedDict()

    async def are_own(self, scope: Any) -> bool:
        client = scope.get("client")
        known = self._known.get(id(client))
        if known is not None and known[0] is client:
            return known[1]
        found = await run_in_threadpool(_is_own, client, scope.get("server"))
        self._known[id(client)] = client, found
        while len(self._known) > _MOST_KNOWN:
            self._known.popitem(last=False)
        return found


def _is_own(client: Any, server: Any) -> bool:
    if not _TABLES[0].exists():
        return True
    if not client or not server or not server[1]:
        return False
    # a table that changes while it is read may leave a line out
    looks = (owner_of(_place(client), _place(server)) for _ in range(_LOOKS))
    return next((owner for owner in looks if owner is not None), None) in (os.geteuid(), _ROOT)


def owner_of(client: Place, server: Place) -> int | None:
    """The user id of the socket that is bound to `client` and connected to `server`; None when no process holds such a one."""
    try:
        found = owner_and_inode(client, server)
    except OSError:
        return owner_in_tables(client, server)
    # a socket that its process has closed has no inode, and may show root as its owner
    return found[0] if found is not None and found[1] else None


def owner_in_tables(client: Place, server: Place) -> int | None:
    """The same from the tables of all connections, for systems that can't be asked about one."""
    for table in _TABLES:
        try:
            lines = table.read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        wanted = f":{client[1]:04X}", f":{server[1]:04X}"
        for line in lines:
            fields = line.split()
            if not (fields[1].endswith(wanted[0]) and fields[2].endswith(wanted[1])):
                continue
            if (_read(fields[1]), _read(fields[2])) == (client, server) and fields[9] != "0":
                return int(fields[7])
    return None


def _place(address: Any) -> Place:
    return _plain(ip_address(str(address[0]).partition("%")[0])), int(address[1])


def _read(text: str) -> Place:
    """`0100007F:1A2B`: words of 32 bits in the machine's order."""
    host, _, port = text.partition(":")
    raw = b"".join(_words(host))
    family = socket.AF_INET if len(raw) == 4 else socket.AF_INET6
    return _plain(ip_address(socket.inet_ntop(family, raw))), int(port, 16)


def _words(host: str) -> Iterator[bytes]:
    for start in range(0, len(host), 8):
        yield struct.pack("=I", int(host[start : start + 8], 16))


def _plain(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """IPv4 within IPv6 as IPv4."""
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
