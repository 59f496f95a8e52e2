"""A proposal as YAML, and as the commands to type next."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import yaml

from timestore_assets.cli.open_warehouse import timestore
from timestore_assets.cli.proposal.column_guesses import Guess
from timestore_assets.cli.proposal.propose import Proposal
from timestore_assets.cli.proposal.time_forms import TimeGuess
from timestore_assets.declaration.from_yaml import COMPONENT_TYPE
from timestore_assets.model.dataset import CsvDialect
from timestore_assets.model.field_path import path_text

_NO_FIGURES = (
    *("year", "month", "day", "hour", "minute", "second", "week", "dow", "id", "number"),
    *("lat", "lon", "latitude", "longitude"),
)
BUCKETS_SHOWN = 60
_EVERY = (
    (timedelta(minutes=1), "1m"),
    (timedelta(minutes=15), "15m"),
    (timedelta(hours=1), "1h"),
    (timedelta(days=1), "1d"),
    (timedelta(weeks=1), "week"),
    (timedelta(days=30), "month"),
)


def to_yaml(proposal: Proposal) -> str:
    """The text of the proposed `defs.yaml`, with comments on what was guessed."""
    sample = proposal.sample
    looked_at = f"all {sample.rows:,} records" if sample.complete else f"the first {sample.rows:,} records"
    lines = [
        f"# Proposed by `timestore init` from {looked_at} of {sample.path.name}; change what you know better.",
        *(f"# {remark[0].upper()}{remark[1:]}." for remark in proposal.remarks),
        f"type: {COMPONENT_TYPE}",
        "attributes:",
        f"  name: {_scalar(proposal.name)}",
        "  columns:",
        *(f"    {_scalar(guess.name)}: {_column(proposal, guess)}{_comment(guess)}" for guess in proposal.columns),
        *(f"    # {guess.name}: {guess.note or 'reserved name'}; taken as it comes" for guess in proposal.left_out),
        f"  time: {_scalar(proposal.time.name)}" + (f"  # or {', '.join(proposal.other_times)}" if proposal.other_times else ""),
        f"  window: {proposal.window.value}  # hour, day, week, month or year: one partition each; or all",
        f"  start: {proposal.start.date().isoformat()}  # earlier rows are refused",
        *_end(proposal),
        *_keys(proposal),
        "  sources:",
        f"    - files: {_source(proposal)}",
    ]
    return "\n".join(lines) + "\n"


def next_commands(proposal: Proposal) -> list[str]:
    """Land, build and two queries, with the file's own names; each works when it is pasted."""
    name = proposal.name
    every = _bucket(proposal)
    figures = sorted(filter(_is_figure, proposal.columns), key=lambda guess: guess.type is None or not guess.type.is_float)
    aggregates = ["count", *(f"{fn}:{_aggregate_name(guess.name)}" for guess in figures[:1] for fn in ("avg", "max"))]
    return [
        timestore("land", name, str(proposal.sample.path)),
        timestore("build", name),
        timestore("query", name, "--limit", "5"),
        timestore("query", name, "--every", every, "--agg", ",".join(aggregates)),
    ]


def _column(proposal: Proposal, guess: Guess) -> str:
    is_time = guess.name == proposal.time.name
    kind = "timestamp" if is_time else guess.kind
    text = _scalar(kind, flow=True)
    unit = proposal.sample.units.get(guess.name, "")
    steps = proposal.sample.fields.get(guess.name)
    place = [f"from: {_scalar(path_text(steps), flow=True)}"] if steps else []
    parts = [f"type: {text}", *place, *(["nullable: true"] if proposal.nullable(guess) else [])]
    parts += [f"unit: {_quoted(unit)}"] if unit and guess.name not in proposal.consumed else []
    return f"{{{', '.join(parts)}}}"


def _comment(guess: Guess) -> str:
    if guess.misfits:
        misfit = json.dumps(guess.misfit, ensure_ascii=False)
        what = f"the value {misfit} does" if guess.misfits == 1 else f"{guess.misfits:,} values such as {misfit} do"
        return f"  # {what} not fit; such records are refused"
    return f"  # {guess.note}" if guess.note else ""


def _end(proposal: Proposal) -> list[str]:
    if proposal.end is None:
        return []
    return [f"  end: {proposal.end.date().isoformat()}  # later rows are refused; leave this out if more will come"]


def _keys(proposal: Proposal) -> list[str]:
    if not proposal.keys:
        return []
    keys = ", ".join(_scalar(key, flow=True) for key in proposal.keys)
    if proposal.replace:
        return [f"  dedupe: {{keys: [{keys}], keep: last}}  # later records with equal keys replace earlier ones"]
    return [
        f"  # No two records of the file have the same {' and '.join(proposal.keys)}. Let later ones replace earlier?",
        f"  # dedupe: {{keys: [{keys}], keep: last}}",
    ]


def _source(proposal: Proposal) -> str:
    sample = proposal.sample
    parts = [f"prefix: {proposal.prefix}", f"format: {sample.format}"]
    parts += [f"path: {_scalar(_path(sample.record_path), flow=True)}"] if sample.record_path else []
    parts += [f"skip: {sample.dialect.skip}"] if sample.format == "spreadsheet" and sample.dialect.skip else []
    if sample.format == "csv":
        parts += _dialect(sample.dialect)
    if sample.format == "csv" and proposal.nulls:
        parts.append(f"nulls: [{', '.join(_scalar(token, flow=True) for token in proposal.nulls)}]")
    marks = sample.marks.marks
    parts += [f"decimal: {_quoted(marks.decimal)}"] if marks.decimal != "." else []
    parts += [f"thousands: {_quoted(marks.thousands)}"] if marks.thousands else []
    if proposal.times:
        parts.append(f"times: {{{', '.join(map(_time, proposal.times))}}}")
    parts += ["path_columns: hive"] if sample.path_columns else []
    return "{" + ", ".join(parts) + "}"


def _path(names: Sequence[str]) -> str:
    plain = all(name and not set(".[]'\"*") & set(name) for name in names)
    return ".".join(names) if plain else "".join(f"[{_quoted(name)}]" for name in names)


def _dialect(csv: CsvDialect) -> list[str]:
    usual = CsvDialect()
    parts = [f"delimiter: {_quoted(csv.delimiter)}"] if csv.delimiter != usual.delimiter else []
    parts += [f"quote: {_quoted(csv.quote)}"] if csv.quote != usual.quote else []
    parts += [f"comment: {_quoted(csv.comment)}"] if csv.comment else []
    parts += [f"skip: {csv.skip}"] if csv.skip else []
    parts += ["units_row: true"] if csv.units_row else []
    parts += ["trim: true"] if csv.trim else []
    return [*parts, f"encoding: {csv.encoding}"] if csv.encoding != usual.encoding else parts


def _time(time: TimeGuess) -> str:
    parts = [f"columns: [{', '.join(map(_quoted, time.columns))}]"] if time.columns else []
    parts += [f"format: {_quoted(time.format)}"] if time.format else []
    parts += [f"unit: {time.unit}"] if time.unit else []
    return f"{_scalar(time.name, flow=True)}: {{{', '.join(parts)}}}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _scalar(text: str, *, flow: bool = False) -> str:
    """A text as a YAML scalar, quoted where it has to be (`no`, `12`, `a: b`)."""
    dumped = yaml.safe_dump([text] if flow else text, default_flow_style=flow, allow_unicode=True, width=10**6).strip()
    return dumped[1:-1] if flow else dumped.removesuffix("...").strip()


def _is_figure(guess: Guess) -> bool:
    """Whether an average of the column says something."""
    name = guess.name.lower()
    if guess.type is None or not guess.type.is_numeric or guess.type.kind == "decimal":
        return False
    return name not in _NO_FIGURES and not name.endswith(("_id", "_time"))


def _aggregate_name(name: str) -> str:
    return name if name.replace("_", "").isalnum() else '"' + name.replace('"', '""') + '"'


def _bucket(proposal: Proposal) -> str:
    """The shortest bucket that keeps the answer on a screen."""
    span = proposal.extent.last - proposal.extent.first
    return next((text for length, text in _EVERY if span / length <= BUCKETS_SHOWN), "year")


def declaration_path(folder: Path, name: str) -> Path:
    """Where the declaration of a dataset goes in a folder of declarations."""
    return folder / name / "defs.yaml"
