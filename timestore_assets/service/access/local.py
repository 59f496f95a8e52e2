"""Before there is any token: the people of this machine may do everything, web pages of others nothing."""

from __future__ import annotations

from ipaddress import ip_address

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


def _is_loopback_name(name: str) -> bool:
    if name.casefold().rstrip(".") == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
