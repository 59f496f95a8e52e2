"""A warehouse with datasets and the HTTP service over it, really listening on a loopback port in a thread of the test."""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.model.dataset import Dataset, HttpSource
from timestore_assets.service.app import create_app
from timestore_assets.service.front.connections import ConnectionLimits
from timestore_assets.service.server import configured
from timestore_assets.service.service_log import Log
from timestore_assets.service.state import Service
from timestore_assets.settings import Settings
from timestore_assets.storage.targets import open_storage
from timestore_assets.warehouse import Warehouse
from timestore_assets_tests.support.landing_warehouse import dataset, empty_catalog

START_SECONDS = 60.0
WEATHER = dataset(sources=(HttpSource(),))
"""`weather`: `ts`, `station`, a nullable `temp` between -60 and 140; takes records over HTTP."""


@dataclass
class HttpService:
    """`url`: where the service listens. `client`: speaks to it without credentials."""

    url: str
    warehouse: Warehouse
    service: Service
    client: httpx.Client
    flight: str = ""
    """Where it takes Flight, as drivers want it."""


@contextmanager
def open_warehouse(
    home: Path, datasets: Mapping[str, Dataset] | None = None, *, catalog_url: str | None = None, **settings: Any
) -> Iterator[Warehouse]:
    """A warehouse in a folder, over these datasets (`weather` by default)."""
    chosen = Settings(home=home, **settings)
    home.mkdir(parents=True, exist_ok=True)
    if catalog_url is None and not (home / "catalog.sqlite").exists():
        shutil.copy(empty_catalog(), home / "catalog.sqlite")
    catalog = Catalog.open(catalog_url or chosen.catalog_url)
    with Warehouse(
        chosen, catalog=catalog, storage=open_storage(chosen), datasets=datasets or {WEATHER.name: WEATHER}
    ) as warehouse:
        for name in warehouse.datasets:
            warehouse.resolve(name)
        yield warehouse


@contextmanager
def serving(
    warehouse: Warehouse, *, log: Log | None = None, more: Callable[[FastAPI], None] | None = None
) -> Iterator[HttpService]:
    """The service over a warehouse until the block ends. `more`: adds to the application before it starts."""
    app = create_app(warehouse, log, flight=warehouse.settings.flight_address)
    if more is not None:
        more(app)
    config = configured(app, ConnectionLimits.of(warehouse.settings))
    config.host, config.port = "127.0.0.1", 0
    server = _Server(config)
    thread = threading.Thread(target=server.run, name="service", daemon=True)
    thread.start()
    try:
        url = f"http://127.0.0.1:{_port(server, thread)}"
        # nothing is encrypted here, so no authorities have to be loaded
        with httpx.Client(base_url=url, timeout=30, trust_env=False, verify=False) as client:
            flight = f"grpc://{app.state.flight.address}" if app.state.flight else ""
            yield HttpService(url=url, warehouse=warehouse, service=app.state.service, client=client, flight=flight)
    finally:
        server.should_exit = True
        thread.join(timeout=START_SECONDS)
        assert not thread.is_alive(), "the service did not stop"


@contextmanager
def service(home: Path, datasets: Mapping[str, Dataset] | None = None, **settings: Any) -> Iterator[HttpService]:
    """A warehouse and the service over it."""
    with open_warehouse(home, datasets, **settings) as warehouse, serving(warehouse) as ground:
        yield ground


class _Server(uvicorn.Server):
    """Looks ten times as often whether it is to stop: hundreds of tests wait for that."""

    async def main_loop(self) -> None:
        ticks = 0
        while not await self.on_tick(ticks):
            await asyncio.sleep(0.01)
            ticks = (ticks + 1) % 864_000


def _port(server: uvicorn.Server, thread: threading.Thread) -> int:
    deadline = time.monotonic() + START_SECONDS
    while not server.started:
        assert thread.is_alive() and time.monotonic() < deadline, "the service did not start"
        time.sleep(0.01)
    return int(server.servers[0].sockets[0].getsockname()[1])
