"""`gc` and `verify`: what keeps the files and the catalog in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from timestore_assets.cli.failures import UNEXPECTED
from timestore_assets.cli.numbers import count, size
from timestore_assets.cli.options import AsJson
from timestore_assets.cli.output import print_json, print_table, stdout
from timestore_assets.cli.session import open_warehouse

if TYPE_CHECKING:
    from timestore_assets.upkeep.verify import VerifyReport

VERIFY_HELP = """Prove the catalog against the files.

Every live segment exists, has the rows and bytes it should, and sealed partitions have the content they had. Exit code 1
when anything is wrong. Files that no catalog row knows are listed too; `timestore gc` removes them after a while."""

SHOWN_ORPHANS = 20

Names = Annotated[list[str] | None, typer.Argument(metavar="[DATASET]...", help="Datasets; all by default.", show_default=False)]


def add_to(app: typer.Typer) -> None:
    app.command("gc", help="Remove files that no version, query or running session needs any more.")(gc)
    app.command("verify", help=VERIFY_HELP)(verify)


def gc(json: AsJson = False) -> None:
    with open_warehouse() as warehouse:
        report = warehouse.collect()
    from timestore_assets.model.definition import to_plain

    plain: dict[str, Any] = to_plain(report)
    plain |= plain.pop("trimmed")
    if json:
        print_json(plain)
        return
    print_table(["collected", ""], ([key.replace("_", " "), _cell(key, value)] for key, value in plain.items()))


def _cell(key: str, value: Any) -> str:
    if isinstance(value, list):
        return count(len(value))
    return size(value) if key.endswith("bytes") else count(value) if isinstance(value, int) else str(value)


def verify(datasets: Names = None, json: AsJson = False) -> None:
    with open_warehouse() as warehouse:
        for name in datasets or ():
            warehouse.declared(name)
        reports = [warehouse.verify(name) for name in datasets or sorted(warehouse.datasets)]
    if json:
        from timestore_assets.model.definition import to_plain

        print_json([{**to_plain(report), "ok": report.ok} for report in reports])
    else:
        _print_reports(reports)
    if not all(report.ok for report in reports):
        raise typer.Exit(UNEXPECTED)


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
    for name in (name for report in reports for name in report.orphans[:SHOWN_ORPHANS]):
        console.print(f"unknown to the catalog: {name}", markup=False, soft_wrap=True)
