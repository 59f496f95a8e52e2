"""`stream`: a landing session on a dataset's topics, the same that the sensor starts."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from timestore_assets.cli.error_reports import REFUSED
from timestore_assets.cli.interrupts import asking_to_stop
from timestore_assets.cli.open_warehouse import actor, open_warehouse, timestore
from timestore_assets.cli.options import AsJson, DatasetName
from timestore_assets.cli.output import (
    count,
    counter_rows,
    duration,
    print_json,
    print_reasons,
    print_schema_changes,
    print_table,
    rate,
    stderr,
)
from timestore_assets.model.errors import InputError
from timestore_assets.model.window import format_time, parse_duration

if TYPE_CHECKING:
    from timestore_assets.landing.topics.session_options import StreamReport
    from timestore_assets.model.counters import Counters
    from timestore_assets.model.dataset import Dataset, KafkaSource

HELP = """Land topics: read from the stored offsets on, validate, publish; rows and offsets are committed together.

Without an option it ends once it is caught up with what was there when it began. Ctrl-C ends it after the batch under way.

A session that has died is waited for, half a minute at most.

Exit code 0: done. 3: another session reads the topics, or offsets were lost and the dataset says `on_lost_offsets: stop`."""

_MORE = timedelta(seconds=2)
For = Annotated[str | None, typer.Option("--for", metavar="TIME", help="Read on for so long, for instance 10m.")]
CaughtUp = Annotated[bool, typer.Option("--until-caught-up", help="End once all that is there now is landed; the default.")]
ShardOption = Annotated[
    str | None, typer.Option("--shard", metavar="INDEX/OF", help="Only this part of the topic partitions, for instance 0/2.")
]
TopicOption = Annotated[str | None, typer.Option("--topic", help="Only the source with this topic.")]
AcceptLost = Annotated[
    bool, typer.Option("--accept-lost-offsets", help="Take note of offsets that the brokers deleted, and go on behind them.")
]


def add_to(app: typer.Typer) -> None:
    app.command("stream", help=HELP)(stream)


def stream(
    dataset: DatasetName,
    until_caught_up: CaughtUp = False,
    for_: For = None,
    shard: ShardOption = None,
    topic: TopicOption = None,
    accept_lost_offsets: AcceptLost = False,
    json: AsJson = False,
) -> None:
    from timestore_assets.catalog.lease_keeper import TTL
    from timestore_assets.landing.topics.session_options import SessionLimits
    from timestore_assets.sources.kafka.sharding import WHOLE, parse_shard

    longest = None if for_ is None else parse_duration(for_)
    limits = SessionLimits(until_caught_up=until_caught_up or longest is None, longest=longest)
    part = WHOLE if shard is None else parse_shard(shard)
    with open_warehouse() as warehouse, asking_to_stop() as stop, _progress(shown=sys.stderr.isatty()) as progress:
        declared, record = warehouse.resolve(dataset)
        if accept_lost_offsets:
            warehouse.catalog.topics.accept_lost(record.id, actor=actor())
        reports = []
        for source in _sources(declared, topic):
            one = warehouse.stream(
                dataset,
                source,
                shard=part,
                limits=limits,
                progress=progress,
                stop=stop,
                patience=TTL + _MORE,
                waiting=_say,
                actor=actor(),
            )
            reports.append(one)
            if stop.is_set():
                break
    if json:
        print_json(_as_json(reports))
    else:
        for one in reports:
            _print_report(one)
    if _explain_refusals(reports):
        raise typer.Exit(REFUSED)


def _say(text: str) -> None:
    stderr().print(text, markup=False, soft_wrap=True)


def _sources(dataset: Dataset, topic: str | None) -> Sequence[KafkaSource]:
    sources = [source for source in dataset.kafka_sources if topic is None or topic in source.topics]
    if not dataset.kafka_sources:
        raise InputError(f"dataset {dataset.name!r} has no topics; declare a source `- kafka: {{topic: …}}`")
    if not sources:
        known = ", ".join(name for source in dataset.kafka_sources for name in source.topics)
        raise InputError(f"dataset {dataset.name!r} reads no topic {topic!r}; its topics are: {known}")
    return sources


def _as_json(reports: Sequence[StreamReport]) -> dict[str, Any]:
    """The counters of the call, and each session with its own."""
    from timestore_assets.model.counters import NO_COUNTS
    from timestore_assets.model.schema import to_plain

    total = sum((report.counters for report in reports), NO_COUNTS)
    plain = [{**(shown := to_plain(one)), **shown.pop("counters")} for one in reports]
    return {"dataset": reports[0].dataset, **dict(total.items()), "sessions": plain}


def _print_report(report: StreamReport) -> None:
    counters = report.counters
    per_second = counters.read / report.seconds if report.seconds else None
    rows = [
        *counter_rows(counters, seldom=("duplicates", "late_dropped", "held")),
        ["partitions", count(len(report.partitions))],
        ["commits", count(report.commits)],
        ["lag left", count(report.lag or 0)],
        *([["watermark", format_time(report.watermark)]] if report.watermark else []),
        ["time", duration(report.seconds) + (f", {rate(per_second)}" if per_second else "")],
        *([["of it paused", duration(report.paused_seconds)]] if report.paused_seconds else []),
        ["ended", report.reason],
    ]
    print_table([f"{report.dataset} from {report.source}", "~"], rows)
    print_schema_changes(report.schema_changes)
    if counters.dead_letters:
        most_first = sorted(report.dead_letter_reasons.items(), key=lambda item: -item[1])
        print_reasons("dead letters", most_first, look=timestore("deadletters", "show", report.dataset))


def _explain_refusals(reports: Sequence[StreamReport]) -> bool:
    """Say on stderr what keeps topics from being landed; whether there is anything."""
    console, refused = stderr(), False
    for report in reports:
        for lost in report.lost:
            refused = True
            accept = timestore("stream", report.dataset, "--accept-lost-offsets")
            text = f"{lost.reason} ({lost.start:,} up to {lost.end:,}); nothing more of it is landed until `{accept}`"
            console.print(text, markup=False, soft_wrap=True)
        for topic in report.missing_topics:
            console.print(f"topic {topic} does not exist on this cluster", markup=False, soft_wrap=True)
        if report.ending in ("held_elsewhere", "overtaken", "paused", "frozen"):
            refused = True
            console.print(f"{report.source}: {report.reason}", markup=False, soft_wrap=True)
    return refused


@contextmanager
def _progress(*, shown: bool) -> Iterator[_Line | None]:
    """A line that says how far the session is; None when nobody looks."""
    if not shown:
        yield None
        return
    with stderr().status("connecting to the brokers") as status:
        yield _Line(status.update)


class _Line:
    """Implements `landing.topics.session_options.StreamProgress`."""

    def __init__(self, show: Any) -> None:
        self._show = show

    def committed(self, counters: Counters, lag: int | None, paused: str) -> None:
        text = f"landed {counters.landed:,}, dead letters {counters.dead_letters:,}, lag {lag or 0:,}"
        self._show(f"paused: {paused} ({text})" if paused else text)
