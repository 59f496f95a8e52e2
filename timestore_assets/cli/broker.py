"""`broker`: an embedded Kafka-protocol broker in the foreground, for people without one."""

from __future__ import annotations

import json as jsonlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from timestore_assets.cli.open_warehouse import timestore

if TYPE_CHECKING:
    from timestore_assets.sources.kafka.embedded import EmbeddedBroker

HELP = """Run a small Kafka-protocol broker here until Ctrl-C, for trying things out.

Commands with the same TIMESTORE_HOME find it by themselves; any other client takes the address that is printed. It keeps about
the newest 5 MB of each topic partition, makes topics of 4 partitions on first use, and forgets everything when it ends."""
AsJson = Annotated[bool, typer.Option("--json", help="Print one line of JSON when it is ready.")]


def add_to(app: typer.Typer) -> None:
    app.command("broker", help=HELP)(broker)


def broker(json: AsJson = False) -> None:
    from timestore_assets.settings import Settings
    from timestore_assets.sources.kafka.embedded import EmbeddedBroker, publish

    home = Settings.load().home_folder
    with _until_stopped() as stopped, EmbeddedBroker() as embedded, publish(home, embedded):
        sys.stdout.write(_as_json(embedded) if json else _for_people(embedded))
        sys.stdout.flush()
        # with a time limit, because a wait without one can't be interrupted everywhere
        while not stopped.wait(1.0):
            pass


def _as_json(embedded: EmbeddedBroker) -> str:
    told = {"bootstrap_servers": embedded.bootstrap_servers, "cluster_id": embedded.cluster_id, "pid": os.getpid()}
    return jsonlib.dumps(told) + "\n"


def _for_people(embedded: EmbeddedBroker) -> str:
    servers = embedded.bootstrap_servers
    return (
        f"Kafka broker on {servers}, until Ctrl-C; it keeps about 5 MB of a topic partition, and nothing when it ends.\n"
        f"Commands with this TIMESTORE_HOME find it, as {timestore('replay')}; elsewhere:"
        f" export TIMESTORE_KAFKA_BOOTSTRAP_SERVERS={servers}\n"
    )


@contextmanager
def _until_stopped() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set: for this command they are the usual end, not a failure."""
    stopped = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopped.set()

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield stopped
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
