"""A proposal as YAML, and as the commands to type next."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import yaml

from timestore_assets.cli.invocation import timestore
from timestore_assets.cli.proposal.guess import Guess
from timestore_assets.cli.proposal.propose import Proposal
from timestore_assets.model.declaration import COMPONENT_TYPE

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
)


def to_yaml(proposal: Proposal) -> str:
    """The text of the proposed `defs.yaml`, with comments on what was guessed."""
    sample = proposal.sample
    looked_at = f"all {sample.rows:,} records" if sample.complete else f"the first {sample.rows:,} records"
    lines = [
        f"# Proposed by `timestore init` from {looked_at} of {sample.path.name}; change what you know better.",
        f"type: {COMPONENT_TYPE}",
        "attributes:",
        f"  name: {_scalar(proposal.name)}",
        "  columns:",
        *(f"    {_scalar(guess.name)}: {_column(proposal, guess)}{_comment(guess)}" for guess in proposal.columns),
        *(f"    # {guess.name}: {guess.note or 'reserved name'}; taken as it comes" for guess in proposal.left_out),
        f"  time: {_scalar(proposal.time.name)}" + (f"  # or {', '.join(proposal.other_times)}" if proposal.other_times else ""),
        f"  window: {proposal.window.value}  # hour, day, week or month: one partition each",
        f"  start: {proposal.start:%Y-%m-%d}  # earlier rows are refused",
        *_key_suggestion(proposal),
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
    return f"{{type: {text}, nullable: true}}" if proposal.nullable(guess) else f"{{type: {text}}}"


def _comment(guess: Guess) -> str:
    if guess.misfits:
        misfit = json.dumps(guess.misfit, ensure_ascii=False)
        what = f"the value {misfit} does" if guess.misfits == 1 else f"{guess.misfits:,} values such as {misfit} do"
        return f"  # {what} not fit; such records are refused"
    return f"  # {guess.note}" if guess.note else ""


def _key_suggestion(proposal: Proposal) -> list[str]:
    if not proposal.keys:
        return []
    keys = ", ".join(_scalar(key, flow=True) for key in proposal.keys)
    return [
        f"  # No two records of the file have the same {' and '.join(proposal.keys)}. Let later ones replace earlier?",
        f"  # dedupe: {{keys: [{keys}], keep: last}}",
    ]


def _source(proposal: Proposal) -> str:
    sample = proposal.sample
    parts = [f"prefix: {proposal.prefix}", f"format: {sample.format}"]
    if sample.format == "csv" and sample.delimiter != ",":
        parts.append(f"delimiter: {json.dumps(sample.delimiter)}")
    if sample.format == "csv" and proposal.nulls:
        parts.append(f"nulls: [{', '.join(_scalar(token, flow=True) for token in proposal.nulls)}]")
    return "{" + ", ".join(parts) + "}"


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
    span = proposal.last - proposal.first
    return next((text for length, text in _EVERY if span / length <= BUCKETS_SHOWN), "month")


def declaration_path(folder: Path, name: str) -> Path:
    """Where the declaration of a dataset goes in a folder of declarations."""
    return folder / name / "defs.yaml"
