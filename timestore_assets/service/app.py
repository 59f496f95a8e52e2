"""The ASGI application: its routes, the one form of its errors, and what runs as long as it does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache, partial
from threading import Lock
from typing import TYPE_CHECKING

from fastapi import APIRouter, FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.routing import BaseRoute

from timestore_assets import __version__
from timestore_assets.service import ingest_route, openapi, operations_routes, page, problems
from timestore_assets.service.admin import admin_routes as admin
from timestore_assets.service.admin import archive_route, migration_routes, schema_restore_route
from timestore_assets.service.error_redaction import ErrorRedaction
from timestore_assets.service.observing.middleware import Observed
from timestore_assets.service.query import (
    backfill_routes,
    dataset_alerts_route,
    late_route,
    schema_events_route,
    schema_route,
    session_route,
    status_routes,
)
from timestore_assets.service.query import query_route as query
from timestore_assets.service.service_log import Log
from timestore_assets.service.sql import saved_query_routes
from timestore_assets.service.sql import sql_route as sql
from timestore_assets.service.state import Service

if TYPE_CHECKING:
    from timestore_assets.service.admin.uploads import Proposer
    from timestore_assets.service.flight.flight_server import FlightServer
    from timestore_assets.warehouse import Warehouse

ROUTERS = (
    ingest_route.router,
    query.router,
    sql.router,
    saved_query_routes.router,
    status_routes.router,
    schema_route.router,
    migration_routes.router,
    schema_restore_route.router,
    archive_route.router,
    late_route.router,
    schema_events_route.router,
    dataset_alerts_route.router,
    backfill_routes.router,
    backfill_routes.deciding,
    session_route.router,
    admin.router,
    operations_routes.router,
    openapi.router,
    page.router,
)


def create_app(
    warehouse: Warehouse, log: Log | None = None, *, proposer: Proposer | None = None, flight: str | None = None
) -> FastAPI:
    """The application over an open warehouse, which stays the caller's to close.

    Args:
        log: where requests and failures are written down; nowhere by default.
        proposer: what looks at files that are uploaded; without one such requests are refused.
        flight: `HOST:PORT` on which Arrow Flight SQL is taken as long as the application runs; nowhere by default.

    Raises:
        InputError: that is no address. ModuleNotFoundError: what it takes is not installed.
    """
    service = Service.open(warehouse, log or Log.none())
    door = _flight_door(service, flight)

    # the usual pages of FastAPI load their scripts from another host
    app = FastAPI(
        title=openapi.TITLE,
        version=__version__,
        lifespan=lambda _app: _running(service, door),
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # a redirect would go to whatever host the request named
    )
    app.state.service, app.state.flight, app.state.proposer = service, door, proposer
    refused = partial(problems.refusal, log=service.log, redaction=ErrorRedaction.of(warehouse))
    problems.add_to(app, refused)
    # what FastAPI derives from a route when it is asked for first takes most of the time of a short life, and is the same for all
    app.router.routes.extend(_routes())
    app.openapi = _description_of(app)  # type: ignore[method-assign] # FastAPI's way to have one's own
    app.add_middleware(ingest_route.DirectIngest, service=service, refused=refused)
    app.add_middleware(partial(Observed, metrics=service.metrics, log=service.log))
    return app


@cache
def _routes() -> list[BaseRoute]:
    """All routes, which the applications of a process share."""
    router = APIRouter()
    for one in ROUTERS:
        router.include_router(one)
    return router.routes


@asynccontextmanager
async def _running(service: Service, door: FlightServer | None) -> AsyncIterator[None]:
    """While entered the service and its other door take requests."""
    service.start()
    try:
        if door is not None:
            await door.start()
        yield
    finally:
        # before the landers, so that what it has taken in is landed
        if door is not None:
            await door.stop()
        await run_in_threadpool(service.close)


def _description_of(app: FastAPI) -> Callable[[], dict[str, object]]:
    """Gives the OpenAPI description, which is made when it is asked for first."""
    described: dict[str, object] = {}
    describing = Lock()

    def describe() -> dict[str, object]:
        # FastAPI derives it from what all threads share: two at once fail with a KeyError
        with describing:
            if not described:
                described.update(openapi.describe(app))
        return described

    return describe


def _flight_door(service: Service, address: str | None) -> FlightServer | None:
    if address is None:
        return None
    # gRPC takes long to load, and most services are without this door
    from timestore_assets.service.flight.flight_server import FlightServer

    return FlightServer(service, address)
