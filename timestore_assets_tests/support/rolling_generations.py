"""A dataset whose columns change from generation to generation, and what each record of it has to show in each."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from timestore_assets.model.dataset import Dataset, FileSource, HttpSource, KafkaSource
from timestore_assets.model.schema import Schema
from timestore_assets_tests.support.landing_warehouse import START, columns
from timestore_assets_tests.support.migrations import drop, rename
from timestore_assets_tests.support.topic_warehouse import QUICK

NAME = "rolling"
DAYS = ("2013-01-01", "2013-01-02", "2013-01-03")
Row = dict[str, Any]


def declared(generation: int, generations: int, topic: str) -> Dataset:
    """As the file of a generation says: another name, a name with other values, and a column less each time."""
    spare = {f"spare_{number}": "string?" for number in range(generation, generations)}
    own = {f"code_{generation}": "int64?", **spare, f"temp_{generation}": "double?"}
    schema = Schema(columns=columns(ts="timestamp", station="string", **own))
    sources = (FileSource(prefix="inbox"), HttpSource(), KafkaSource(topics=(topic,), flush=QUICK))
    return Dataset(name=NAME, schema=schema, time="ts", start=START, sources=sources)


def operations(generation: int) -> tuple[dict[str, Any], ...]:
    """What leads from a generation to the next."""
    temp, following = f"temp_{generation}", f"temp_{generation + 1}"
    return (
        rename(temp, following, expression=f"{temp} + 1", inverse=f"{following} - 1"),
        rename(f"code_{generation}", f"code_{generation + 1}"),
        drop(f"spare_{generation}"),
    )


def record(number: int, generation: int, generations: int) -> Row:
    """As a producer of that generation writes it; all of it follows from its number."""
    at = datetime(2013, 1, 1, tzinfo=UTC) + timedelta(days=number % len(DAYS), seconds=number % 86_000)
    return {"ts": at.isoformat(), "station": str(number), **values(number, generation, generations)}


def values(number: int, generation: int, generations: int) -> Row:
    spare = {f"spare_{one}": f"s{one}" for one in range(generation, generations)}
    return {f"code_{generation}": number % 1000, **spare, f"temp_{generation}": float(number % 50 + generation)}


def marker(home: Path, generation: int) -> Path:
    """There once the generation has been left, so that its last column may have been lost when it comes back."""
    return home / f"left-{generation}"


def checked(rows: list[Row], generations: int, home: Path) -> tuple[int, set[int]]:
    """The generation that all of an answer is of, and the numbers of its records; AssertionError when anything is wrong."""
    found = {int(row["station"]) for row in rows}
    assert len(found) == len(rows), f"records are there twice: {_twice(row['station'] for row in rows)}"
    if not rows:
        return -1, found
    names = set(rows[0])
    (generation,) = (int(name.removeprefix("code_")) for name in names if name.startswith("code_"))
    may_lack = f"spare_{generation}" if marker(home, generation).exists() else ""
    for row in rows:
        number = int(row["station"])
        wanted = values(number, generation, generations)
        shown = {name: value for name, value in row.items() if name not in ("ts", "station")}
        if shown.get(may_lack, "") is None:
            shown[may_lack] = wanted[may_lack]
        assert shown == wanted, f"record {number} in generation {generation}: {shown}, not {wanted}"
        assert row["ts"] is not None
    return generation, found


def _twice(stations: Iterable[str]) -> list[str]:
    seen: set[str] = set()
    return [one for one in stations if one in seen or seen.add(one)][:5]  # type: ignore[func-returns-value] # the idiom
