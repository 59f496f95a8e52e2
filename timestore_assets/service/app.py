"""The ASGI application: its routes, the one form of its errors, and what runs as long as it does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from timestore_assets import __version__
from timestore_assets.service import page, problems
from timestore_assets.service.admin import routes as admin
from timestore_assets.service.ingest import route as ingest
from timestore_assets.service.observing import health, metrics_route
from timestore_assets.service.observing.discretion import Discretion
from timestore_assets.service.observing.logs import Log
from timestore_assets.service.observing.middleware import Observed
from timestore_assets.service.openapi import description
from timestore_assets.service.openapi import page as openapi_page
from timestore_assets.service.query import overview
from timestore_assets.service.query import route as query
from timestore_assets.service.sql import route as sql
from timestore_assets.service.sql import saved_queries
from timestore_assets.service.state import Service

if TYPE_CHECKING:
    from timestore_assets.warehouse import Warehouse

ROUTERS = (
    ingest.router,
    query.router,
    sql.router,
    saved_queries.router,
    overview.router,
    admin.router,
    health.router,
    metrics_route.router,
    openapi_page.router,
    page.router,
)


def create_app(warehouse: Warehouse, log: Log | None = None) -> FastAPI:
    """The application over an open warehouse, which stays the caller's to close.

    Args:
        log: where requests and failures are written down; nowhere by default.
    """
    service = Service.open(warehouse, log or Log.none())

    @asynccontextmanager
    async def running(_app: FastAPI) -> AsyncIterator[None]:
        service.start()
        try:
            yield
        finally:
            await run_in_threadpool(service.close)

    # the usual pages of FastAPI load their scripts from another host
    app = FastAPI(title=description.TITLE, version=__version__, lifespan=running, openapi_url=None, docs_url=None, redoc_url=None)
    app.state.service = service
    problems.add_to(app, log=service.log, discretion=Discretion.of(warehouse))
    for router in ROUTERS:
        app.include_router(router)
    described: dict[str, object] = {}

    def describe() -> dict[str, object]:
        if not described:
            described.update(description.describe(app))
        return described

    app.openapi = describe  # type: ignore[method-assign] # FastAPI's way to have one's own
    app.add_middleware(partial(Observed, metrics=service.metrics, log=service.log))
    return app
