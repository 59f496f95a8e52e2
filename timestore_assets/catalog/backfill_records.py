"""A request for a backfill as a value, how far it has come, and why it was made, in words."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, Literal

BackfillState = Literal["asked", "approved", "refused", "done"]
OPEN: tuple[BackfillState, ...] = ("asked", "approved")
"""States in which something is still to be done or decided."""
_SHOWN = 20
APPROVED: tuple[BackfillState, ...] = ("approved",)


@dataclass(frozen=True, kw_only=True, slots=True)
class Backfill:
    """One request.

    `cause`: `kind` (`migration`, `default` or `ignored_column`), and what that kind says of it; with `rewrite: all` every segment
    of before the version is concerned, otherwise those for which a column is computed. `partitions`: their starts, None for all
    that are concerned. `cost`: as it was when it was asked for, see `rewrites.RewriteCost`.
    """

    id: int
    dataset_id: int
    dataset: str
    schema_version: int
    cause: Mapping[str, Any]
    partitions: tuple[datetime, ...] | None
    cost: Mapping[str, Any]
    state: BackfillState
    #: Who asked for it, or decided.
    actor: str
    created_at: datetime
    updated_at: datetime

    @property
    def reloads(self) -> tuple[Mapping[str, Any], ...]:
        """Files that are to be landed again, each with `source` and `address`; none where partitions are to be built."""
        return tuple(self.cause.get("files", ()))

    @property
    def ranges(self) -> tuple[Mapping[str, Any], ...]:
        """Windows of topics that are to be read again, each with `source`, `topic`, `partition`, and offsets `from` and `to`."""
        return tuple(self.cause.get("ranges", ()))

    @property
    def others(self) -> int:
        """Values that were left out of what no source has any more."""
        return int(self.cause.get("others") or 0)

    @property
    def rewrites_all(self) -> bool:
        """Whatever is older is concerned, also where nothing is computed for it."""
        return self.cause.get("rewrite") == "all"

    @property
    def is_reload(self) -> bool:
        """Segments don't hold what is missing: the sources have to be landed again."""
        return self.cause.get("kind") == "ignored_column"


@dataclass(frozen=True, kw_only=True, slots=True)
class BackfillProgress:
    """`done` of `of` partitions, or files and windows of topics that are to be landed again."""

    done: int
    of: int
    #: Partitions that are left, in order of time; none for a reload.
    partitions: tuple[datetime, ...] = ()
    #: Files that are left, as `Backfill.reloads`.
    files: tuple[Mapping[str, Any], ...] = ()
    #: Windows of topics that are left, as `Backfill.ranges`.
    ranges: tuple[Mapping[str, Any], ...] = ()
    #: Nothing tells when it is over: a reload that is also about what no source has any more.
    is_unknown: bool = False

    @property
    def left(self) -> int:
        return self.of - self.done

    @property
    def is_over(self) -> bool:
        """Nothing is left, as far as that can be told."""
        return self.left == 0 and not self.is_unknown


def land_again(dataset: str, addresses: Iterable[str], windows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Command lines that land files and windows of topics (`Backfill.ranges`) again: the first ones, the others are like them."""
    lines = [f"timestore reload {dataset} --file {shlex.quote(address)}" for address in islice(addresses, _SHOWN)]
    for one in windows[:_SHOWN]:
        topic = f"{shlex.quote(one['topic'])}/{one['partition']}"
        lines.append(f"timestore reload {dataset} --source {topic} --from {one['from']} --to {one['to']}")
    return lines[:_SHOWN]


def cause_in_words(cause: Mapping[str, Any]) -> str:
    """Why a backfill is asked for, as the end of a sentence."""
    columns = cause.get("columns") or ([cause["column"]] if cause.get("column") else [])
    named = ", ".join(str(one) for one in columns)
    column, were = (f"column {named}" if named else "a column", "was") if len(columns) < 2 else (f"columns {named}", "were")
    match cause.get("kind"):
        case "migration":
            ticket = f" ({cause['ticket']})" if cause.get("ticket") else ""
            return f"a migration computes {named} for older rows{ticket}" if named else f"a migration changed older rows{ticket}"
        case "default":
            return f"{column} {were} given a value for older rows"
        case "ignored_column":
            return f"{column} {were} ignored when older records landed"
        case kind:
            return str(kind or "it was asked for").replace("_", " ")
