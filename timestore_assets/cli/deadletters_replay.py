"""`deadletters replay`: land what can be landed of the dead letters, after the declaration was mended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from timestore_assets.cli.open_warehouse import actor, open_warehouse, timestore
from timestore_assets.cli.options import AsJson, DatasetName
from timestore_assets.cli.output import (
    count,
    duration,
    print_json,
    print_reasons,
    print_schema_changes,
    print_table,
    stderr,
    stdout,
)
from timestore_assets.model.errors import InputError

if TYPE_CHECKING:
    from timestore_assets.catalog.records import DeadLetterKind
    from timestore_assets.landing.dead_letters.replay import ReplayReport

KINDS = ("refused", "late_dropped", "held")
EVERY = "all"
HELP = """Try dead letters again by the declaration as it is now, and land those that fit, each once.

What does not fit stays a dead letter with its original bytes, and why. Late records (`late_dropped`, `held`) are tried only when
`--kind` names them: to replay them is to accept them. Under `order: strict` each is judged at the place that it came at. A replay
may be interrupted and run again at any time.

Exit code 0: done, whether or not something is refused still."""

Reason = Annotated[str | None, typer.Option("--reason", metavar="CODE", help="Only records refused for this reason.")]
Kind = Annotated[str, typer.Option("--kind", metavar="KIND", help=f"{', '.join(KINDS)} or {EVERY}.")]
Files = Annotated[int | None, typer.Option("--limit-files", min=1, help="Most dead-letter files to try, oldest first.")]


def add_to(group: typer.Typer) -> None:
    group.command("replay", help=HELP)(replay)


def known_kind(kind: str | None, *more: str) -> str | None:
    """The kind that an option names, or None without one.

    Raises:
        InputError: there is no such kind.
    """
    if kind is not None and kind not in (*KINDS, *more):
        raise InputError(f"--kind {kind!r} is not known; write one of {', '.join((*KINDS, *more))}")
    return kind


def replay(
    dataset: DatasetName, reason: Reason = None, kind: Kind = "refused", limit_files: Files = None, json: AsJson = False
) -> None:
    from timestore_assets.landing.dead_letters.replay import Selection

    known = known_kind(kind, EVERY)
    only = cast("DeadLetterKind | None", None if known == EVERY else known)
    with open_warehouse() as warehouse:
        report = warehouse.replay(dataset, Selection(code=reason, kind=only, files=limit_files), actor=actor())
    print_replay(report, json=json)


def print_replay(report: ReplayReport, *, json: bool) -> None:
    """What a replay did, and on stderr which files it had to leave."""
    if json:
        print_json(_as_json(report))
    else:
        _print_report(report)
    for problem, files in report.problems.items():
        stderr().print(f"left as they were, {count(files)} dead-letter files: {problem}", markup=False, soft_wrap=True)


def _as_json(report: ReplayReport) -> dict[str, Any]:
    from timestore_assets.model.schema import to_plain

    plain: dict[str, Any] = to_plain(report)
    return plain


def _print_report(report: ReplayReport) -> None:
    if not report.files:
        stdout().print(f"{report.dataset} has no dead letters that a replay could land.")
        return
    rows = [
        ["dead-letter files", f"{count(report.files)}, of which {count(report.settled)} changed"],
        *([["replayed by others", count(report.overtaken)]] if report.overtaken else []),
        ["records tried", count(report.records)],
        ["landed", count(report.landed)],
        ["still refused", count(report.refused)],
        ["partitions", count(len(report.partitions))],
        ["manifest version", count(report.manifest_version)],
        ["time", duration(report.seconds)],
    ]
    print_table([report.dataset, "~"], rows)
    print_schema_changes(report.schema_changes)
    if report.reasons:
        print_reasons("still refused", report.reasons.items(), look=timestore("deadletters", "show", report.dataset))
    if report.landed:
        stdout().print(f"Next: {timestore('build', report.dataset)}", markup=False, soft_wrap=True)
