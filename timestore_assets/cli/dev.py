"""`dev`: the Dagster UI and daemon and the HTTP service in the foreground, until Ctrl-C."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from timestore_assets.cli.daemon import Child, dagster_command, prepare_home, project_folder, refuse_busy_port, running
from timestore_assets.cli.output import stderr
from timestore_assets.model.errors import UnavailableError

if TYPE_CHECKING:
    from timestore_assets.settings import Settings

Port = Annotated[int, typer.Option("--port", min=1, max=65535, help="Port of the UI.")]
HttpPort = Annotated[int, typer.Option("--http-port", min=1, max=65535, help="Port of the HTTP service.")]
Host = Annotated[str, typer.Option("--host", help="Address the UI listens on; only this machine by default.")]
HTTP_HOST = "127.0.0.1"


def add_to(app: typer.Typer) -> None:
    app.command("dev", help="Run the Dagster UI, sensors and daemon, and the HTTP service, here until Ctrl-C.")(dev)


def dev(port: Port = 3000, http_port: HttpPort = 4100, host: Host = "127.0.0.1") -> None:
    from timestore_assets.settings import Settings

    settings, project = Settings.load(), project_folder()
    refuse_busy_port(port, host=host)
    refuse_busy_port(http_port, host=HTTP_HOST, option="--http-port")
    environment = prepare_home(settings, project)
    # `dagster dev` starts webserver and daemon over one code server; two of their own would load everything twice
    command = dagster_command("dagster", "dev", "-w", str(project / "workspace.yaml"), "-h", host, "-p", str(port))
    dagster = Child("dagster dev", command, environment=environment, folder=project)
    service = _service(settings, environment, project, http_port)
    children = [*_broker(settings, environment, project), service, dagster]
    stderr().print(f"Dagster UI on http://{host}:{port} in some seconds; Ctrl-C stops it.")
    stderr().print(f"HTTP service on http://{HTTP_HOST}:{http_port}, with a page to look at the data; its log: {service.log}")
    stderr().print(f"Data and watched prefixes: {settings.home_folder}", soft_wrap=True)
    with running(*children):
        while not (dagster.wait(1.0) or service.exit_code is not None):
            pass
        ended = dagster if dagster.exit_code is not None else service
        code = ended.exit_code
    raise UnavailableError(f"{ended.name} ended by itself with code {code}; {_reason(ended)}")


def _service(settings: Settings, environment: Mapping[str, str], project: Path, port: int) -> Child:
    command = [_script(), "serve", "--host", HTTP_HOST, "--port", str(port)]
    log = settings.dagster_home / "service.log"
    return Child("timestore serve", command, environment=environment, folder=project, log=log)


def _broker(settings: Settings, environment: Mapping[str, str], project: Path) -> list[Child]:
    """An embedded broker, where neither a cluster nor another such broker is there."""
    from timestore_assets.sources.kafka.embedded import published_servers

    if settings.kafka_bootstrap_servers is not None or published_servers(settings.home_folder) is not None:
        return []
    stderr().print("An embedded Kafka broker runs along; `timestore replay` feeds it flights.")
    log = settings.dagster_home / "broker.log"
    return [Child("timestore broker", [_script(), "broker"], environment=environment, folder=project, log=log)]


def _script() -> str:
    return str(Path(sys.executable).parent / "timestore")


def _reason(ended: Child) -> str:
    if ended.log is None:
        return "the reason is in its last lines above"
    return f"its log says: {ended.log_tail(1) or 'nothing'}"
