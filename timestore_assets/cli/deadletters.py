"""`deadletters list` and `deadletters show`: records that did not land, with their original bytes, place and reason."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from timestore_assets.cli import deadletters_replay
from timestore_assets.cli.deadletters_replay import KINDS, known_kind
from timestore_assets.cli.open_warehouse import open_warehouse, timestore
from timestore_assets.cli.options import AsJson, DatasetName
from timestore_assets.cli.output import count, print_json, print_table, stdout, without_empty

if TYPE_CHECKING:
    from timestore_assets.catalog.records import DeadLetterFile, DeadLetterKind, SourceRecord
    from timestore_assets.landing.dead_letters.dead_letter_reader import DeadLetter
    from timestore_assets.warehouse import Warehouse

SHOWN_BYTES = 120

Limit = Annotated[int, typer.Option("--limit", min=1, help="Most records.")]
Reason = Annotated[str | None, typer.Option("--reason", metavar="CODE", help="Only records refused for this reason.")]
Kind = Annotated[str | None, typer.Option("--kind", metavar="KIND", help=f"Only {', '.join(KINDS)}.")]

Places = dict[int, tuple[str, int]]
"""Topic and partition by source partition."""


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(help="Look at records that did not land: original bytes, place and reason; replay them.")
    group.command("list", help="Count them by source, kind and reason.")(list_reasons)
    group.command("show", help="Show them, newest first, with their original bytes.")(show)
    deadletters_replay.add_to(group)
    app.add_typer(group, name="deadletters")


def list_reasons(dataset: DatasetName, kind: Kind = None, json: AsJson = False) -> None:
    only = known_kind(kind)
    with open_warehouse() as warehouse:
        _, record = warehouse.resolve(dataset)
        files = warehouse.catalog.dead_letters.of(record.id)
    rows = by_reason([found for found in files if only in (None, found[1].kind)])
    if json:
        print_json(rows)
    elif rows:
        heads = ["~source", "kind", "reason", ">records", "first", "last"]
        print_table(heads, (_counted(row) for row in rows))
        stdout().print(f"Look at them: {timestore('deadletters', 'show', dataset)}", markup=False, soft_wrap=True)
    else:
        stdout().print(f"{dataset} has no dead letters" + (f" of the kind {kind}." if kind else "."))


def by_reason(files: list[tuple[SourceRecord, DeadLetterFile, datetime]]) -> list[dict[str, Any]]:
    """One row per source, kind and reason code, the most frequent first."""
    rows: dict[tuple[str, str, str], dict[str, Any]] = {}
    for source, file, at in files:
        address = f"{source.kind}:{source.address}"
        for reason, number in file.reasons.items():
            new = {"source": address, "kind": file.kind, "reason": reason, "records": 0, "first": at, "last": at}
            row = rows.setdefault((address, file.kind, reason), new)
            row["records"] += number
            row["first"], row["last"] = min(row["first"], at), max(row["last"], at)
    return sorted(rows.values(), key=lambda row: (-row["records"], row["source"], row["kind"], row["reason"]))


def _counted(row: dict[str, Any]) -> list[str]:
    return [row["source"], row["kind"], row["reason"], count(row["records"]), _moment(row["first"]), _moment(row["last"])]


def show(dataset: DatasetName, limit: Limit = 20, reason: Reason = None, kind: Kind = None, json: AsJson = False) -> None:
    from timestore_assets.landing.dead_letters.dead_letter_reader import read_dead_letters

    only = cast("DeadLetterKind | None", known_kind(kind))
    with open_warehouse() as warehouse:
        _, record = warehouse.resolve(dataset)
        found = read_dead_letters(warehouse.catalog, warehouse.storage, record.id, limit=limit, code=reason, kind=only)
        letters = list(found)
        places = _topic_places(warehouse, record.id)
    if json:
        print_json([_as_json(letter, places) for letter in letters])
    elif letters:
        heads = ["~source", ">partition", ">line", ">position", "kind", "reason", "column", "~", "~key", "~record"]
        print_table(*without_empty(heads, [_row(letter, places) for letter in letters], nothing=("", "refused")))
    else:
        wanted = f" with the reason {reason}" if reason else ""
        stdout().print(f"{dataset} has no dead letters" + wanted + (f" of the kind {kind}." if kind else "."))


def _topic_places(warehouse: Warehouse, dataset_id: int) -> Places:
    topics = [source for source in warehouse.catalog.sources.of(dataset_id) if source.reads_topics]
    found = (one for source in topics for one in warehouse.catalog.topics.partitions(source.id))
    return {one.id: (one.topic, one.number) for one in found}


def _row(letter: DeadLetter, places: Places) -> list[str]:
    topic, number = places.get(letter.source_partition or 0, (letter.source, None))
    place = [topic, "" if number is None else str(number), count(letter.line) if letter.line else "", count(letter.position)]
    why = [letter.kind, letter.code, letter.column, letter.reason]
    return [*place, *why, _text(letter.key), _text(letter.raw)]


def _text(raw: bytes | None) -> str:
    """The beginning of some bytes, as far as they can be printed."""
    raw = raw or b""
    text = raw[: SHOWN_BYTES * 4].decode("utf-8", errors="replace")
    shown = "".join(char if char.isprintable() else "·" for char in text)
    return shown if len(shown) <= SHOWN_BYTES and len(raw) <= SHOWN_BYTES * 4 else shown[:SHOWN_BYTES] + "…"


def _as_json(letter: DeadLetter, places: Places) -> dict[str, Any]:
    """Bytes as text, or under `<name>_base64` when they are no UTF-8. What topics have and files don't is null for files."""
    plain: dict[str, Any] = {name: getattr(letter, name) for name in ("source", "line", "position", "code", "column", "reason")}
    topic, number = places.get(letter.source_partition or 0, (None, None))
    place = {"kind": letter.kind, "topic": topic, "partition": number, "offset": None if topic is None else letter.position}
    headers = [{"name": name, **_bytes("value", value)} for name, value in letter.headers]
    return {
        **plain,
        "recorded_at": letter.recorded_at,
        **_bytes("raw", letter.raw),
        "is_prefix": letter.is_prefix,
        **place,
        "timestamp": letter.timestamp,
        **_bytes("key", letter.key),
        "headers": headers,
    }


def _bytes(name: str, value: bytes | None) -> dict[str, str | None]:
    import base64

    if value is None:
        return {name: None}
    try:
        return {name: value.decode("utf-8")}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(value).decode("ascii")}


def _moment(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S}"
