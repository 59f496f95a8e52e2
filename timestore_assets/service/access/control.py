"""Who asks: an API token, a JSON Web Token, a trusted proxy's word, or somebody of this machine while nothing is set up."""

from __future__ import annotations

from fastapi import Request

from timestore_assets.catalog.tokens import Tokens
from timestore_assets.service.access import proxies
from timestore_assets.service.access.api_tokens import PREFIX, ApiTokens
from timestore_assets.service.access.caller import Caller, Scopes
from timestore_assets.service.access.local_callers import Peers, SocketOwners, refuse_other_sites
from timestore_assets.service.access.proxies import refuse_forwarded
from timestore_assets.service.access.web_tokens import WebKeys, WebTokens
from timestore_assets.service.problems import ForbiddenError, UnauthorizedError
from timestore_assets.settings import Settings

_LONGEST_CREDENTIALS = 16_384
_LONGEST_NAME = 200


class AccessControl:
    """Closed once a token was made, or a JWKS address or trusted proxies are set: then nobody is let in without credentials.

    An `Authorization` header decides alone. A bad one is not rescued by a proxy's headers or by coming from this machine.
    `peers`: who holds the other ends of connections.
    """

    def __init__(self, settings: Settings, tokens: Tokens) -> None:
        self.peers: Peers = SocketOwners()
        self.scopes = Scopes(read=settings.require_scope, write=settings.require_write_scope, admin=settings.admin_scope)
        self._tokens = ApiTokens(tokens)
        self._trusted = proxies.networks(settings.trusted_proxies)
        self._web_tokens = _web_tokens(settings)

    async def closed(self) -> bool:
        """Whether a caller has to show credentials."""
        return bool(self._trusted) or self._web_tokens is not None or await self._tokens.exist()

    async def identify(self, request: Request) -> Caller:
        """The caller of a request.

        Raises:
            UnauthorizedError: no credentials, or bad ones; it doesn't say what was wrong with them.
            ForbiddenError: there are no tokens yet, and the request is not from this machine and user, was passed on by a proxy,
                or is from a page of another site.
            UnavailableError: the catalog, or the keys that a JSON Web Token is checked with, can't be reached.
        """
        given = request.headers.getlist("authorization")
        if given:
            return await self._by_authorization(given)
        peer = proxies.peer_address(request.client.host if request.client else None)
        if proxies.is_among(peer, self._trusted) and (caller := self._by_proxy(request)) is not None:
            return caller
        if await self.closed():
            raise UnauthorizedError("this needs credentials; send the header Authorization: Bearer, followed by a token")
        if peer is None or not peer.is_loopback:
            raise ForbiddenError(
                "there are no tokens yet, so only this machine is answered; `timestore tokens create` makes the first"
            )
        await self._refuse_others_here(request)
        return self._caller("local", frozenset({self.scopes.admin}))

    async def _refuse_others_here(self, request: Request) -> None:
        """ForbiddenError for what comes from this machine, but not from the user whom the service belongs to."""
        refuse_forwarded(request.scope, request.headers)
        refuse_other_sites(request.headers)
        if not await self.peers.are_own(request.scope):
            raise ForbiddenError(
                "there are no tokens yet, so only the user who runs this service is answered; that user makes the first with "
                "`timestore tokens create`"
            )

    async def _by_authorization(self, given: list[str]) -> Caller:
        scheme, _, credentials = given[0].partition(" ")
        credentials = credentials.strip()
        if len(given) > 1 or scheme.casefold() != "bearer" or not 0 < len(credentials) <= _LONGEST_CREDENTIALS:
            raise _refused()
        if credentials.startswith(PREFIX):
            token = await self._tokens.valid(credentials)
            if token is not None:
                return self._caller(f"token:{token.name}", frozenset(token.scopes))
        elif self._web_tokens is not None:
            found = await self._web_tokens.valid(credentials)
            if found is not None and _is_name(found[0]):
                return self._caller(f"jwt:{found[0]}", found[1])
        raise _refused()

    def _by_proxy(self, request: Request) -> Caller | None:
        try:
            named = proxies.named_by(request.headers)
        except ValueError:
            raise _refused() from None
        if named is None:
            return None
        if not _is_name(named[0]):
            raise _refused()
        return self._caller(f"proxy:{named[0]}", named[1])

    def _caller(self, name: str, scopes: frozenset[str]) -> Caller:
        return Caller(name=name, scopes=scopes, known=self.scopes)


def _web_tokens(settings: Settings) -> WebTokens | None:
    if settings.jwks_url is None:
        return None
    return WebTokens(WebKeys(settings.jwks_url), issuer=settings.jwt_issuer, audience=settings.jwt_audience)


def _is_name(name: str) -> bool:
    """Whether a name can stand in the audit log as it is."""
    return 0 < len(name) <= _LONGEST_NAME and name.isprintable()


def _refused() -> UnauthorizedError:
    return UnauthorizedError("these credentials are not valid here; send the header Authorization: Bearer, followed by a token")
