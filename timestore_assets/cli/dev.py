"""`dev`: the Dagster UI and daemon in the foreground, until Ctrl-C."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from timestore_assets.cli.daemon import Child, dagster_command, prepare_home, project_folder, refuse_busy_port, running
from timestore_assets.cli.output import stderr
from timestore_assets.model.errors import UnavailableError

Port = Annotated[int, typer.Option("--port", min=1, max=65535, help="Port of the UI.")]
Host = Annotated[str, typer.Option("--host", help="Address the UI listens on; only this machine by default.")]


def add_to(app: typer.Typer) -> None:
    app.command("dev", help="Run the Dagster UI, sensors and daemon here until Ctrl-C.")(dev)


def dev(port: Port = 3000, host: Host = "127.0.0.1") -> None:
    from timestore_assets.settings import Settings
    from timestore_assets.sources.kafka.embedded import published_servers

    settings, project = Settings.load(), project_folder()
    refuse_busy_port(port, host=host)
    environment = prepare_home(settings, project)
    # `dagster dev` starts webserver and daemon over one code server; two of their own would load everything twice
    command = dagster_command("dagster", "dev", "-w", str(project / "workspace.yaml"), "-h", host, "-p", str(port))
    child = Child("dagster dev", command, environment=environment, folder=project)
    children = [child]
    if settings.kafka_bootstrap_servers is None and published_servers(settings.home_folder) is None:
        log = settings.dagster_home / "broker.log"
        script = Path(sys.executable).parent / "timestore"
        children.insert(0, Child("timestore broker", [str(script), "broker"], environment=environment, folder=project, log=log))
        stderr().print("An embedded Kafka broker runs along; `timestore replay` feeds it flights.")
    stderr().print(f"Dagster UI on http://{host}:{port} in some seconds; Ctrl-C stops it.")
    stderr().print(f"Data and watched prefixes: {settings.home_folder}", soft_wrap=True)
    with running(*children):
        while not child.wait(1.0):
            pass
        code = child.exit_code
    raise UnavailableError(f"{child.name} ended by itself with code {code}; the reason is in its last lines above")
