"""`dev`: the Dagster UI and daemon and the HTTP service in the foreground, until Ctrl-C."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from timestore_assets.cli.dagster_processes import Child, dagster_command, prepare_home, refuse_busy_port, running
from timestore_assets.cli.dagster_workspace import workspace_of
from timestore_assets.cli.dev_news import DevNews
from timestore_assets.cli.output import stderr
from timestore_assets.extras import has, needs_all
from timestore_assets.model.errors import UnavailableError

if TYPE_CHECKING:
    from timestore_assets.settings import Settings

Port = Annotated[int, typer.Option("--port", min=1, max=65535, help="Port of the UI.")]
HttpPort = Annotated[int, typer.Option("--http-port", min=1, max=65535, help="Port of the HTTP service.")]
Host = Annotated[str, typer.Option("--host", help="Address the UI listens on; only this machine by default.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Show everything that Dagster says, not only errors.")]
HTTP_HOST = "127.0.0.1"


def add_to(app: typer.Typer) -> None:
    app.command("dev", help="Run the Dagster UI, sensors and daemon, and the HTTP service, here until Ctrl-C.")(dev)


def dev(port: Port = 3000, http_port: HttpPort = 4100, host: Host = "127.0.0.1", verbose: Verbose = False) -> None:
    from timestore_assets.settings import Settings

    settings, workspace = Settings.load(), workspace_of(Path.cwd())
    needs_all("Dagster's UI and the HTTP service need", {"dagster_webserver": "ui", "fastapi": "serve"})
    refuse_busy_port(port, host=host)
    refuse_busy_port(http_port, host=HTTP_HOST, option="--http-port")
    environment = prepare_home(settings, workspace.settings)
    # `dagster dev` starts webserver and daemon over one code server; two of their own would load everything twice
    command = dagster_command("dagster", "dev", *workspace.arguments, "-h", host, "-p", str(port))
    log = None if verbose else settings.dagster_home / "dagster.log"
    url = f"http://{_reachable(host)}:{port}"
    # of another workspace only the code location itself knows its name in Dagster
    asking = {} if workspace.is_packaged else {"TIMESTORE_DAGSTER_RELOAD_URL": url}
    dagster = Child("dagster dev", command, environment={**environment, **asking}, folder=workspace.folder, log=log)
    linked = {"TIMESTORE_DAGSTER_URL": f"http://{host}:{port}", **environment}
    service = _service(settings, linked, workspace.folder, http_port)
    children = [*_broker(settings, environment, workspace.folder), service, dagster]
    stderr().print(f"Dagster UI on http://{host}:{port} in some seconds; Ctrl-C stops it.")
    stderr().print(f"HTTP service on http://{HTTP_HOST}:{http_port}, with a page to look at the data; its log: {service.log}")
    stderr().print(f"Data and watched prefixes: {settings.home_folder}", soft_wrap=True)
    stderr().print(f"Loaded into Dagster: {workspace.description}", markup=False, soft_wrap=True)
    if log is not None:
        stderr().print(
            f"What Dagster says is in {log}; errors are shown here, --verbose shows all.", markup=False, soft_wrap=True
        )
    news = DevNews(log, settings, reload=partial(_reload, url) if workspace.is_packaged else None)
    with running(*children):
        while not (dagster.wait(1.0) or service.exit_code is not None):
            for line in news.lines():
                stderr().print(line, markup=False, highlight=False, soft_wrap=True)
        ended = dagster if dagster.exit_code is not None else service
        code = ended.exit_code
    raise UnavailableError(f"{ended.name} ended by itself with code {code}; {_reason(ended)}")


def _reload(url: str) -> None:
    from timestore_assets.cli.dagster_workspace import PACKAGED_LOCATION
    from timestore_assets.orchestration.reload_sensor import reload_location

    reload_location(url, PACKAGED_LOCATION)


def _reachable(host: str) -> str:
    """Where a webserver that listens on all addresses is asked."""
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104 - compared, not bound


def _service(settings: Settings, environment: Mapping[str, str], folder: Path, port: int) -> Child:
    command = [_script(), "serve", "--host", HTTP_HOST, "--port", str(port)]
    log = settings.dagster_home / "service.log"
    return Child("timestore serve", command, environment=environment, folder=folder, log=log)


def _broker(settings: Settings, environment: Mapping[str, str], folder: Path) -> list[Child]:
    """An embedded broker, where neither a cluster nor another such broker is there, and one can run."""
    from timestore_assets.sources.kafka.embedded import published_servers

    configured = settings.kafka_bootstrap_servers is not None or published_servers(settings.home_folder) is not None
    if configured or not has("confluent_kafka"):
        return []
    stderr().print("An embedded Kafka broker runs along; `timestore replay` feeds it flights.")
    log = settings.dagster_home / "broker.log"
    return [Child("timestore broker", [_script(), "broker"], environment=environment, folder=folder, log=log)]


def _script() -> str:
    return str(Path(sys.executable).parent / "timestore")


def _reason(ended: Child) -> str:
    if ended.log is None:
        return "the reason is in its last lines above"
    return f"its log says: {ended.log_tail(1) or 'nothing'}"
