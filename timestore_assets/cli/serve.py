"""`serve`: the HTTP service in the foreground, until Ctrl-C or SIGTERM."""

from __future__ import annotations

import json as jsonlib
import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from timestore_assets.cli.invocation import timestore
from timestore_assets.cli.session import open_warehouse
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
AsJson = Annotated[bool, typer.Option("--json", help="Print one line of JSON when it is ready.")]


def add_to(app: typer.Typer) -> None:
    app.command("serve", help=HELP)(serve)


def serve(host: Host = None, port: Port = None, json: AsJson = False) -> None:
    with open_warehouse() as warehouse:
        from timestore_assets.service.app import create_app
        from timestore_assets.service.observing.logs import Log
        from timestore_assets.service.server import listen, refuse_strangers, run, tells_callers_apart

        settings = warehouse.settings
        address = settings.serve_host if host is None else host
        closed = tells_callers_apart(settings, warehouse.catalog.tokens)
        refuse_strangers(settings, address, closed=closed)
        listener = listen(address, settings.serve_port if port is None else port)
        log = Log.to(sys.stderr, level=settings.log_level)

        def ready() -> None:
            sys.stdout.write(_as_json(listener.url) if json else _for_people(listener.url, settings, closed=closed))
            sys.stdout.flush()

        with log.hearing_others(), tracing(settings.otlp_endpoint):
            if not run(create_app(warehouse, log=log), listener, ready):
                raise UnavailableError("the service could not start; the reason is in its last line above")


def _as_json(url: str) -> str:
    return jsonlib.dumps({"url": url, "docs": f"{url}/docs", "pid": os.getpid()}) + "\n"


def _for_people(url: str, settings: Settings, *, closed: bool) -> str:
    token = timestore("tokens", "create", "NAME", "--scope", settings.admin_scope)
    return (
        f"timestore serves {settings.home_folder} on {url}, until Ctrl-C.\n"
        f"  {url}/      a page to look at the data\n"
        f"  {url}/docs  every request it takes, with examples\n"
        + (
            f"Requests need a token; {timestore('tokens', 'create', '--help')} says how to make one.\n"
            if closed
            else f"It takes requests from this machine only until there is a token: {token}\n"
        )
    )
