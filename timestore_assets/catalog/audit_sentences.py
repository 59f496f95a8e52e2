"""A row of the audit as one sentence for people: what was done, by whom, and what it changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

_SHOWN = 3
_LONGEST = 200
Details = Mapping[str, Any]


def sentence(row: Mapping[str, Any]) -> str:
    """For instance `partition 2013-01-01 built by dagster run 4f…: 12,000 rows in 1 segment, replaced 5 segments`.

    What has no sentence of its own is told by its action and its details.
    """
    details: Details = row["details"]
    what, told = _SENTENCES.get(row["action"], (_named, _listed))
    words = f"{what(row)} by {row['actor']}"
    more = told(details)
    return f"{words}: {more}" if more else words


def _named(row: Mapping[str, Any]) -> str:
    """The action, with the partition that it is about."""
    action = str(row["action"]).replace("_", " ")
    keys = row["details"].get("partitions") or row["details"].get("partition")
    return f"{action} ({_keys(keys)})" if keys else action


def _keys(keys: Any) -> str:
    """A short list whole, a long one by its ends; of rows by partition their keys."""
    if isinstance(keys, Mapping):
        keys = list(keys)
    if not isinstance(keys, list):
        return str(keys)
    if len(keys) <= _SHOWN:
        return ", ".join(map(str, keys))
    return f"{len(keys):,} partitions from {keys[0]} to {keys[-1]}"


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _landed(row: Mapping[str, Any]) -> str:
    details = row["details"]
    where = details.get("file") or details.get("source") or "records"
    into = details.get("partitions") or []
    action = "replayed from" if details.get("replayed") else "landed from"
    return f"{action} {where}" + (f" into {_keys(into)}" if into else "")


def _counters(details: Details) -> str:
    counters = details.get("counters", {})
    parts = [f"{counters.get('landed', 0):,} of {counters.get('read', 0):,} records"]
    labels = {"duplicates": "duplicates", "late_dropped": "late", "held": "held", "dead_letters": "refused"}
    parts += [f"{counters[name]:,} {label}" for name, label in labels.items() if counters.get(name)]
    if details.get("reasons"):
        parts[-1] += f" ({', '.join(details['reasons'])})"
    if details.get("retracted"):
        parts.append(f"replaced {_counted(len(details['retracted']), 'older content')}")
    return ", ".join(parts)


def _replayed(details: Details) -> str:
    """Of records that were refused before: where the counters went down, others went up."""
    counters = details.get("counters", {})
    return f"{_counted(counters.get('landed', 0), 'record')} landed, {-counters.get('dead_letters', 0):,} refused no more"


def _built(row: Mapping[str, Any]) -> str:
    return f"partition {row['details'].get('partition')} built"


def _swapped(details: Details) -> str:
    rows, segments = _counted(details.get("rows", 0), "row"), _counted(details.get("segments", 0), "segment")
    parts = [f"{rows} in {segments}"]
    if details.get("replaced"):
        parts.append(f"replaced {_counted(details['replaced'], 'segment')}")
    parts += [f"{details[f'{name}_rows']:,} {name}" for name in ("superseded", "retracted") if details.get(f"{name}_rows")]
    parts += [f"rewritten for {', '.join(details['tickets'])}"] if details.get("tickets") else []
    return ", ".join([*parts, f"now {details['state']}"] if details.get("state") else parts)


def _failed(row: Mapping[str, Any]) -> str:
    kind = str(row["action"]).removesuffix("_failed")
    about = row["details"].get("partition") or row["details"].get("source")
    return f"{kind} of {about} failed, begun" if about else f"{kind} failed, begun"


def _reason(details: Details) -> str:
    return str(details.get("reason", ""))


def _file(row: Mapping[str, Any]) -> str:
    return f"file {row['details'].get('address')} {str(row['action']).removeprefix('file_')}"


def _listed(details: Details) -> str:
    """Plain values by name, also of what something was set to; what is nested otherwise stays in the details."""
    after = details.get("after")
    shown = {**details, **(after if isinstance(after, Mapping) else {})}
    plain = {key: value for key, value in shown.items() if isinstance(value, str | int | float) and key != "partition"}
    text = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in plain.items() if value != "")
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


_SENTENCES: Mapping[str, tuple[Callable[[Mapping[str, Any]], str], Callable[[Details], str]]] = {
    "landed": (_landed, _counters),
    "replayed": (_landed, _replayed),
    "built": (_built, _swapped),
    **{f"{kind}_failed": (_failed, _reason) for kind in ("landing", "replay", "build")},
    **{f"file_{state}": (_file, _reason) for state in ("duplicate", "rejected", "quarantined", "replaced")},
}
