"""`retention`: which partitions expire and move by a dataset's retention, and doing it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from timestore_assets.cli.open_warehouse import actor, open_warehouse, timestore
from timestore_assets.cli.options import AsJson
from timestore_assets.cli.output import count, counted, print_json, print_table, size, stdout
from timestore_assets.model.errors import InputError
from timestore_assets.model.retention import Retention, Tier
from timestore_assets.model.window import parse_duration

if TYPE_CHECKING:
    from timestore_assets.upkeep.expiring import RetentionReport
    from timestore_assets.warehouse import Warehouse

RETENTION_HELP = """Let old partitions expire and move, as `retention:` of a dataset says.

Without `--execute` it only says what would go. An expired partition leaves all answers at once, at a new version; its files stay
as long as old versions are kept, and go with a later `timestore gc`. What a legal hold keeps stays.

`--max-age`, `--max-bytes`, `--keep-versions` and `--tier` set a retention in place of the declared one, whole; `--unset` takes
it back."""

Datasets = Annotated[list[str] | None, typer.Argument(metavar="[DATASET]...", help="Datasets.", show_default=False)]
All = Annotated[bool, typer.Option("--all", help="Every dataset that has a retention.")]
Execute = Annotated[bool, typer.Option("--execute/--dry-run", help="Do it, or only say what would be done.")]
MaxAge = Annotated[str | None, typer.Option("--max-age", metavar="AGE", help="Set the age at which partitions expire: 90d, 5y.")]
MaxBytes = Annotated[
    str | None, typer.Option("--max-bytes", metavar="SIZE", help="Set the size above which the oldest expire: 500GB.")
]
KeepVersions = Annotated[
    str | None, typer.Option("--keep-versions", metavar="AGE", help="Set how long old versions and expired partitions stay.")
]
Tiers = Annotated[
    list[str] | None,
    typer.Option("--tier", metavar="AGE=TARGET", help="Set where partitions of an age are kept: 90d=cold; repeat for more."),
]
Unset = Annotated[bool, typer.Option("--unset", help="Let what is declared count again.")]
Reopen = Annotated[
    list[str] | None,
    typer.Option("--reopen", metavar="KEY", help="Let rows land in this expired partition again; repeat for more."),
]


def add_to(app: typer.Typer) -> None:
    app.command("retention", help=RETENTION_HELP)(retention)


def retention(
    datasets: Datasets = None,
    all_datasets: All = False,
    execute: Execute = False,
    max_age: MaxAge = None,
    max_bytes: MaxBytes = None,
    keep_versions: KeepVersions = None,
    tier: Tiers = None,
    unset: Unset = False,
    reopen: Reopen = None,
    json: AsJson = False,
) -> None:
    if bool(datasets) == all_datasets:
        raise InputError("name datasets, or say --all for every one that has a retention")
    wanted = _wanted(max_age, max_bytes, keep_versions, tier)
    if wanted is not None and unset:
        raise InputError("--unset takes back what was set; leave the other options out")
    with open_warehouse() as warehouse:
        names = list(datasets or sorted(warehouse.datasets))
        if reopen:
            _reopen(warehouse, names, reopen, json=json)
            return
        if wanted is not None or unset:
            if all_datasets:
                raise InputError("a retention is set for datasets that you name, not for all")
            for name in names:
                warehouse.set_retention(name, wanted, actor=actor())
        chosen = [name for name in names if datasets or warehouse.retention(name).acts]
        reports = [warehouse.apply_retention(name, execute=execute, actor=actor()) for name in chosen]
    _print(reports, execute=execute, json=json)


def _wanted(
    max_age: str | None, max_bytes: str | None, keep_versions: str | None, tiers: Sequence[str] | None
) -> Retention | None:
    if max_age is None and max_bytes is None and keep_versions is None and not tiers:
        return None
    return Retention(
        max_age=None if max_age is None else parse_duration(max_age),
        max_bytes=None if max_bytes is None else _bytes(max_bytes),
        keep_versions=None if keep_versions is None else parse_duration(keep_versions),
        tier=tuple(sorted((_tier(text) for text in tiers or ()), key=lambda one: one.after)),
    )


def _bytes(text: str) -> int:
    from timestore_assets.declaration.attributes import parse_size

    try:
        return parse_size(text)
    except ValueError as error:
        raise InputError(f"--max-bytes {text}: {error}") from None


def _tier(text: str) -> Tier:
    after, equals, target = text.partition("=")
    if not equals or not target:
        raise InputError(f"--tier {text}: write an age and a storage target, for instance 90d=cold")
    return Tier(after=parse_duration(after), to=target)


def _reopen(warehouse: Warehouse, names: Sequence[str], keys: Sequence[str], *, json: bool) -> None:
    if len(names) != 1:
        raise InputError("--reopen is about partitions of one dataset; name it")
    reopened = warehouse.reopen(names[0], keys, actor=actor())
    again = warehouse.landed_into(names[0], reopened)
    if json:
        print_json({"dataset": names[0], "reopened": reopened, "land_again": again})
        return
    what = ", ".join(reopened) if reopened else "none of them had expired"
    lines = [f"rows may land again in {names[0]}: {what}"]
    if again:
        lines += [
            "what they held does not come back by that; these land it again from where it came:",
            *(f"  {one}" for one in again),
        ]
    for line in lines:
        stdout().print(line, markup=False, soft_wrap=True)


def _print(reports: Sequence[RetentionReport], *, execute: bool, json: bool) -> None:
    if json:
        from timestore_assets.model.schema import to_plain

        print_json([{**to_plain(report), "executed": execute} for report in reports])
        return
    if not reports:
        stdout().print("no dataset has a retention", markup=False)
        return
    rows = [row for report in reports for row in _rows(report)]
    if rows:
        print_table(["dataset", "partition", "", ">rows", ">bytes", "~"], rows)
    for report in reports:
        stdout().print(_summary(report), markup=False, soft_wrap=True)
    if not execute and any(report.changed for report in reports):
        does = timestore("retention", *(report.dataset for report in reports if report.changed), "--execute")
        stdout().print(f"nothing was changed; `{does}` does it", markup=False, soft_wrap=True)


def _rows(report: RetentionReport) -> list[list[Any]]:
    goes, moves = ("expires", "moves") if report.dry_run else ("expired", "moved")
    return [
        *([report.dataset, one.partition, goes, count(one.rows), size(one.bytes), one.reason] for one in report.expired),
        *([report.dataset, one.partition, "stays", "", "", f"held by {', '.join(one.held_by)}"] for one in report.held),
        *([report.dataset, one.partition, moves, "", size(one.bytes), f"to {one.target}"] for one in report.moved),
    ]


def _summary(report: RetentionReport) -> str:
    verb = "would expire" if report.dry_run else "expired"
    held = f", {counted(len(report.held), 'partition')} kept by legal holds" if report.held else ""
    moved = f", {counted(len(report.moved), 'partition')} {'would move' if report.dry_run else 'moved'}" if report.moved else ""
    over = f"; {size(report.over)} above max_bytes stay, since nothing more may expire" if report.over else ""
    expired = f"{counted(len(report.expired), 'partition')} {verb}"
    return f"{report.dataset} ({retention_text(report.retention)}): {expired}{held}{moved}{over}"


def retention_text(retention: Retention) -> str:
    """A retention as a person says it: `90d, 500.0 GB, after 30d in cold`."""
    plain = retention.to_policy()
    parts = [plain["max_age"] or "", size(retention.max_bytes) if retention.max_bytes else ""]
    parts += [f"after {one['after']} in {one['to']}" for one in plain.get("tier", ())]
    parts += [f"old versions for {plain['keep_versions']}"] if "keep_versions" in plain else []
    return ", ".join(part for part in parts if part) or "for ever"
