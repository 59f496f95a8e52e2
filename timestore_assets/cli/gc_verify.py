"""`gc` and `verify`: what keeps the files and the catalog in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from timestore_assets.cli.error_reports import UNEXPECTED
from timestore_assets.cli.open_warehouse import actor, open_warehouse, timestore
from timestore_assets.cli.options import AsJson
from timestore_assets.cli.output import count, print_json, print_table, size, stderr, stdout
from timestore_assets.model.errors import InputError, RefusedError

if TYPE_CHECKING:
    from timestore_assets.upkeep.collect import Withheld
    from timestore_assets.upkeep.repair import RepairReport
    from timestore_assets.upkeep.verify import VerifyReport

VERIFY_HELP = """Prove the catalog against the files.

Every live segment and every file of dead letters exists and has the very bytes that were committed; segments have the rows
they should, and sealed partitions the content they had. Archives of dropped columns and what tags keep are proved too. Exit code
1 when anything is wrong. Files that no catalog row knows are listed; `timestore gc` removes them after a while.

`--repair` says what of it is safe to put right, and with `--yes` does it: statistics are written anew from files that are as
they were committed, unknown files go, and Dagster is told of built partitions that it lacks."""

GC_HELP = """Remove files that no version, query or running session needs any more.

Files that the catalog does not know are leftovers of what was killed, and go too. They stay when there are more of them than of
known ones (exit code 3), or when a younger catalog may name them: then only `--delete-orphans` removes them."""

SHOWN_ORPHANS = 20

Orphans = Annotated[
    list[str] | None,
    typer.Option(
        "--delete-orphans",
        metavar="TARGET",
        help="Remove the unknown files of this storage target even if another catalog may need them; repeat for more.",
        show_default=False,
    ),
]
WithRepair = Annotated[bool, typer.Option("--repair", help="Say what of it is safe to put right.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Put it right.")]
Hashes = Annotated[
    bool,
    typer.Option("--content-hashes", help="Compute of each sealed partition the content hash that does not depend on DuckDB."),
]
Names = Annotated[list[str] | None, typer.Argument(metavar="[DATASET]...", help="Datasets; all by default.", show_default=False)]


def add_to(app: typer.Typer) -> None:
    app.command("gc", help=GC_HELP)(gc)
    app.command("verify", help=VERIFY_HELP)(verify)


def gc(delete_orphans: Orphans = None, json: AsJson = False) -> None:
    with open_warehouse() as warehouse:
        report = warehouse.collect(all_orphans_of=delete_orphans or ())
    from timestore_assets.model.schema import to_plain

    plain: dict[str, Any] = to_plain(report)
    plain |= plain.pop("trimmed")
    if json:
        print_json(plain)
    else:
        del plain["withheld"]
        print_table(["collected", ""], ([key.replace("_", " "), _cell(key, value)] for key, value in plain.items()))
    for one in report.withheld:
        _say_withheld(one)


def _say_withheld(one: Withheld) -> None:
    """Say which unknown files stay; an error when the catalog may be the wrong one."""
    what = (
        f"{one.files:,} unknown {'file' if one.files == 1 else 'files'} ({size(one.bytes)}) in storage target {one.target} stay"
    )
    how = f"`{timestore('gc', '--delete-orphans', one.target)}` removes them all the same"
    if one.reason == "more_than_known":
        known = f"they are more than the {one.known_files:,} ({size(one.known_bytes)}) that the catalog knows there"
        raise RefusedError(f"{what}: {known}, so it may be the wrong or an old one; {how}")
    stderr().print(f"{what}: a younger catalog than this one may name them; {how}", markup=False, soft_wrap=True)


def _cell(key: str, value: Any) -> str:
    if isinstance(value, list):
        return count(len(value))
    return size(value) if key.endswith("bytes") else count(value) if isinstance(value, int) else str(value)


def verify(
    datasets: Names = None, repair: WithRepair = False, yes: Yes = False, content_hashes: Hashes = False, json: AsJson = False
) -> None:
    if yes and not repair:
        raise InputError("--yes goes with --repair")
    with open_warehouse() as warehouse:
        for name in datasets or ():
            warehouse.declared(name)
        reports = [warehouse.verify(name, portable=content_hashes) for name in datasets or sorted(warehouse.datasets)]
        repairs = [warehouse.repair(report, execute=yes, actor=actor()) for report in reports] if repair else []
        if yes:
            reports = [warehouse.verify(report.dataset, portable=content_hashes) for report in reports]
    if json:
        from timestore_assets.model.schema import to_plain

        plain = [{**to_plain(report), "ok": report.ok} for report in reports]
        print_json(
            [{**one, **_plain_repairs(repaired)} for one, repaired in zip(plain, repairs, strict=True)] if repair else plain
        )
    else:
        _print_reports(reports)
        _print_repairs(repairs, done=yes)
        _print_hashes(reports)
    if not all(report.ok for report in reports):
        raise typer.Exit(UNEXPECTED)


def _print_hashes(reports: Sequence[VerifyReport]) -> None:
    rows = [(report.dataset, key, text) for report in reports for key, text in report.portable_hashes.items()]
    if rows:
        print_table(["dataset", "partition", "content hash"], rows)


def _plain_repairs(report: RepairReport) -> dict[str, Any]:
    from timestore_assets.model.schema import to_plain

    plain = to_plain(report)
    return {"repairs": plain["repairs"], "left": plain["left"]}


def _print_repairs(reports: Sequence[RepairReport], *, done: bool) -> None:
    found = [one for report in reports for one in report.repairs]
    if found:
        rows = ([one.dataset, "done" if one.done else "safe to do", count(one.number), one.detail] for one in found)
        print_table(["dataset", "repair", ">", "~"], rows)
    for report in reports:
        for left in report.left:
            stdout().print(f"{report.dataset}: {left}", markup=False, soft_wrap=True)
    if found and not done:
        stdout().print(f"nothing was changed; `{timestore('verify', '--repair', '--yes')}` does it", markup=False, soft_wrap=True)


def _print_reports(reports: Sequence[VerifyReport]) -> None:
    print_table(
        ["dataset", ">version", ">segments", ">rows", ">bytes", ">partitions\nhashed", ">orphans", ""],
        (
            [
                report.dataset,
                str(report.manifest_version),
                count(report.segments),
                count(report.rows),
                size(report.bytes),
                count(report.hashed_partitions),
                count(len(report.orphans)),
                "as catalogued" if report.ok else f"{len(report.findings)} PROBLEMS",
            ]
            for report in reports
        ),
    )
    findings = [(report.dataset, finding) for report in reports for finding in report.findings]
    if findings:
        print_table(
            ["dataset", "problem", "~object", "~"], ([name, one.problem, one.object, one.detail] for name, one in findings)
        )
    console = stdout()
    for report in (report for report in reports if report.foreign_hashes):
        said = f"{report.dataset}: {count(report.foreign_hashes)} partitions have content hashes of another DuckDB"
        console.print(f"{said}, so only their files were proved; builds make new ones", markup=False, soft_wrap=True)
    for report in (report for report in reports if report.undigested):
        said = f"{report.dataset}: {count(report.undigested)} objects are of before there were digests, which builds make"
        console.print(said, markup=False, soft_wrap=True)
    for name in (name for report in reports for name in report.orphans[:SHOWN_ORPHANS]):
        console.print(f"unknown to the catalog: {name}", markup=False, soft_wrap=True)
