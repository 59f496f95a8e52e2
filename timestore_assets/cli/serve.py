"""`serve`: the HTTP service in the foreground, until Ctrl-C or SIGTERM."""

from __future__ import annotations

import json as jsonlib
import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from timestore_assets.cli.open_warehouse import open_warehouse, timestore
from timestore_assets.cli.upload_proposals import proposer_for
from timestore_assets.extras import extra
from timestore_assets.file_access import is_wider
from timestore_assets.model.errors import UnavailableError
from timestore_assets.tracing import tracing

if TYPE_CHECKING:
    from timestore_assets.settings import Settings

HELP = """Run the HTTP service here until Ctrl-C: ingest, query, SQL, admin, metrics, and a page to look at the data.

It takes requests from this machine only until there is a token (see `timestore tokens`). When it is stopped, what it has
taken in is landed first."""
Host = Annotated[str | None, typer.Option("--host", help="Address to listen on.", show_default="TIMESTORE_SERVE_HOST")]
Port = Annotated[
    int | None,
    typer.Option("--port", min=0, max=65535, help="Port to listen on; 0: a free one.", show_default="TIMESTORE_SERVE_PORT"),
]
Flight = Annotated[
    str | None,
    typer.Option(
        "--flight",
        metavar="HOST:PORT",
        help="Take Arrow Flight SQL there too, for ADBC and JDBC; port 0: a free one.",
        show_default="TIMESTORE_FLIGHT_ADDRESS",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one line of JSON when it is ready.")]


def add_to(app: typer.Typer) -> None:
    app.command("serve", help=HELP)(serve)


def serve(host: Host = None, port: Port = None, flight: Flight = None, json: AsJson = False) -> None:
    with open_warehouse() as warehouse:
        with extra("serve"):
            from timestore_assets.service.app import create_app
            from timestore_assets.service.front.connections import ConnectionLimits, raise_descriptors
            from timestore_assets.service.server import listen, refuse_strangers, run, tells_callers_apart
            from timestore_assets.service.service_log import Log

        settings = warehouse.settings
        address = settings.serve_host if host is None else host
        closed = tells_callers_apart(settings, warehouse.catalog.tokens)
        refuse_strangers(settings, address, closed=closed)
        door = settings.flight_address if flight is None else flight
        if door is not None:
            with extra("serve"):
                from timestore_assets.service.flight.flight_server import split_address
            place = split_address(door)
            refuse_strangers(settings, place[0], closed=closed)
            # gRPC binds it once the service runs, and says less of what is wrong
            listen(*place, options=("--flight", "--flight")).socket.close()
        listener = listen(address, settings.serve_port if port is None else port)
        log = Log.to(sys.stderr, level=settings.log_level)

        app = create_app(warehouse, log=log, proposer=proposer_for(warehouse), flight=door)

        def ready() -> None:
            place = f"grpc://{app.state.flight.address}" if app.state.flight else None
            url = listener.url
            sys.stdout.write(_as_json(url, place) if json else _for_people(url, settings, place, closed=closed))
            sys.stdout.flush()

        if is_wider(settings.home_folder):
            log.warn("home_is_open", reason=f"other users may look into {settings.home_folder}; chmod 700 closes it")

        with log.hearing_others(), tracing(settings.otlp_endpoint):
            raise_descriptors(settings.http_connections)
            if not run(app, listener, ConnectionLimits.of(settings), ready):
                raise UnavailableError("the service could not start; the reason is in its last line above")


def _as_json(url: str, flight: str | None) -> str:
    said = {"url": url, "docs": f"{url}/docs", "pid": os.getpid()}
    return jsonlib.dumps(said | ({"flight": flight} if flight else {})) + "\n"


def _for_people(url: str, settings: Settings, flight: str | None, *, closed: bool) -> str:
    token = timestore("tokens", "create", "NAME", "--scope", settings.admin_scope)
    return (
        f"timestore serves {settings.home_folder} on {url}, until Ctrl-C.\n"
        f"  {url}/      a page to look at the data\n"
        f"  {url}/docs  every request it takes, with examples\n"
        + (f"  {flight}  Arrow Flight SQL, for ADBC and JDBC\n" if flight else "")
        + (
            f"Requests need a token; {timestore('tokens', 'create', '--help')} says how to make one.\n"
            if closed
            else f"It takes requests from this machine only until there is a token: {token}\n"
        )
    )
