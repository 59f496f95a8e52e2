"""`GET /session`: who asks and what that opens, for the page and for people who wonder what a token is worth."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter
from pydantic import Field

from timestore_assets import __version__
from timestore_assets.service.json_bodies import Wire
from timestore_assets.service.problems import responses
from timestore_assets.service.state import UsesCaller, UsesService

router = APIRouter(tags=["datasets"])


class SessionAnswer(Wire):
    """The caller as the service knows it."""

    caller: str = Field(description="As the audit log shows it; `local` while no tokens are needed.", examples=["token:ann"])
    is_admin: bool = Field(description="Whether it may use what stands below `/admin`.")
    may_save_queries: bool = Field(description="Whether it may save and remove saved queries.")
    version: str = Field(description="Of the service.", examples=[__version__])
    dagster_url: str | None = Field(description="Where the Dagster UI is; null when the settings don't say.", examples=[None])
    home: str | None = Field(
        description="The folder that watched prefixes are in; for administrators, else null.", examples=[None]
    )


@router.get(
    "/session",
    summary="Who you are here",
    responses=responses(HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.SERVICE_UNAVAILABLE),
)
def session(caller: UsesCaller, service: UsesService) -> SessionAnswer:
    """The name and rights that the credentials of this very request give."""
    settings = service.warehouse.settings
    return SessionAnswer(
        caller=caller.name,
        is_admin=caller.is_admin,
        may_save_queries=caller.is_admin or caller.known.write in caller.scopes,
        version=__version__,
        dagster_url=settings.dagster_url,
        home=str(settings.home_folder) if caller.is_admin else None,
    )
