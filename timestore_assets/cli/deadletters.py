"""`deadletters list` and `deadletters show`: refused records, with their original bytes, place and reason."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from timestore_assets.cli.invocation import timestore
from timestore_assets.cli.numbers import count
from timestore_assets.cli.options import AsJson, DatasetName
from timestore_assets.cli.output import print_json, print_table, stdout
from timestore_assets.cli.session import open_warehouse

if TYPE_CHECKING:
    from timestore_assets.catalog.records import DeadLetterFile, SourceRecord
    from timestore_assets.landing.dead_letters import DeadLetter

SHOWN_BYTES = 120

Limit = Annotated[int, typer.Option("--limit", min=1, help="Most records.")]
Reason = Annotated[str | None, typer.Option("--reason", metavar="CODE", help="Only records refused for this reason.")]


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(help="Look at refused records: original bytes, place and reason.")
    group.command("list", help="Count refused records by source and reason.")(list_reasons)
    group.command("show", help="Show refused records, newest first, with their original bytes.")(show)
    app.add_typer(group, name="deadletters")


def list_reasons(dataset: DatasetName, json: AsJson = False) -> None:
    with open_warehouse() as warehouse:
        _, record = warehouse.resolve(dataset)
        rows = by_reason(warehouse.catalog.dead_letter_files(record.id))
    if json:
        print_json(rows)
    elif rows:
        print_table(
            ["~source", "reason", ">records", "first", "last"],
            ([row["source"], row["reason"], count(row["records"]), _moment(row["first"]), _moment(row["last"])] for row in rows),
        )
        stdout().print(f"Look at them: {timestore('deadletters', 'show', dataset)}", markup=False, soft_wrap=True)
    else:
        stdout().print(f"{dataset} has no dead letters.")


def by_reason(files: list[tuple[SourceRecord, DeadLetterFile, datetime]]) -> list[dict[str, Any]]:
    """One row per source and reason code, the most frequent first."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for source, file, at in files:
        address = f"{source.kind}:{source.address}"
        for reason, number in file.reasons.items():
            new = {"source": address, "reason": reason, "records": 0, "first": at, "last": at}
            row = rows.setdefault((address, reason), new)
            row["records"] += number
            row["first"], row["last"] = min(row["first"], at), max(row["last"], at)
    return sorted(rows.values(), key=lambda row: (-row["records"], row["source"], row["reason"]))


def show(dataset: DatasetName, limit: Limit = 20, reason: Reason = None, json: AsJson = False) -> None:
    from timestore_assets.landing.dead_letters import read_dead_letters

    with open_warehouse() as warehouse:
        _, record = warehouse.resolve(dataset)
        letters = list(read_dead_letters(warehouse.catalog, warehouse.store, record.id, limit=limit, code=reason))
    if json:
        print_json([_as_json(letter) for letter in letters])
    elif letters:
        print_table(
            ["~source", ">line", ">position", "reason", "column", "~", "~record"],
            (_row(letter) for letter in letters),
        )
    else:
        stdout().print(f"{dataset} has no dead letters" + (f" with the reason {reason}." if reason else "."))


def _row(letter: DeadLetter) -> list[str]:
    raw = letter.raw or b""
    text = raw[: SHOWN_BYTES * 4].decode("utf-8", errors="replace")
    shown = "".join(char if char.isprintable() else "·" for char in text)
    shown = shown if len(shown) <= SHOWN_BYTES and len(raw) <= SHOWN_BYTES * 4 else shown[:SHOWN_BYTES] + "…"
    line = count(letter.line) if letter.line else ""
    return [letter.source, line, count(letter.position), letter.code, letter.column, letter.reason, shown]


def _as_json(letter: DeadLetter) -> dict[str, Any]:
    """`raw` as text, or `raw_base64` when the bytes are no UTF-8."""
    import base64

    plain: dict[str, Any] = {name: getattr(letter, name) for name in ("source", "line", "position", "code", "column", "reason")}
    plain["recorded_at"] = letter.recorded_at
    if letter.raw is None:
        return {**plain, "raw": None}
    try:
        return {**plain, "raw": letter.raw.decode("utf-8")}
    except UnicodeDecodeError:
        return {**plain, "raw_base64": base64.b64encode(letter.raw).decode("ascii")}


def _moment(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S}"
