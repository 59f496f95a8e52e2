"""From a sample to a proposed declaration, as a value."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from timestore_assets.cli.proposal.guess import Guess
from timestore_assets.cli.proposal.sample import TABLE, Sample
from timestore_assets.cli.proposal.time_columns import candidates, choose
from timestore_assets.landing.coercion import value_of_text
from timestore_assets.model.errors import InputError
from timestore_assets.model.types import TIMESTAMP, quote
from timestore_assets.model.window import Window

if TYPE_CHECKING:
    import duckdb

ROWS_A_PARTITION = 10_000
"""A day with fewer rows than this makes files too small to be worth a partition of their own, if the file spans many."""
MOST_ROWS_A_PARTITION = 20_000_000
FEW_PARTITIONS = 62
KEY_VALUES = 1000
"""A key column has at most so many values; with more it is not what rows are grouped by."""
_COMPRESSED = re.compile(r"(?i)(\.(gz|gzip|zst|zstd|zip))+$")
_TRAILING_DATE = re.compile(r"[-_. ]*(19|20)\d\d([-_.]?\d\d){0,2}$")


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposal:
    """What `init` would declare. `keys`: columns that are unique in the whole file, empty when that is not certain."""

    name: str
    prefix: str
    sample: Sample
    time: Guess
    other_times: tuple[str, ...]
    window: Window
    first: datetime
    last: datetime
    nulls: tuple[str, ...]
    keys: tuple[str, ...]

    @property
    def columns(self) -> tuple[Guess, ...]:
        """Columns that get declared."""
        return tuple(guess for guess in self.sample.guesses if guess.type is not None and declarable_name(guess.name))

    @property
    def left_out(self) -> tuple[Guess, ...]:
        """Columns that evolution takes as they come."""
        return tuple(guess for guess in self.sample.guesses if guess not in self.columns)

    @property
    def start(self) -> datetime:
        """The first partition's start; when only the beginning was looked at, the year before it, for older rows may follow."""
        if self.sample.complete:
            return self.window.start_of(self.first)
        return datetime(max(self.first.year - 1, 1), 1, 1, tzinfo=UTC)

    def nullable(self, guess: Guess) -> bool:
        """Whether a column may be null: certain only when the whole file was seen."""
        if guess.name == self.time.name:
            return False
        becomes_null = not set(guess.null_tokens).isdisjoint(self.nulls)
        return bool(guess.missing or becomes_null or not self.sample.complete)


@dataclass(frozen=True, kw_only=True, slots=True)
class Wishes:
    """What the person decides; None is left to the file. `watched`: prefixes of other datasets, which must not overlap."""

    name: str | None = None
    time: str | None = None
    window: str | None = None
    watched: tuple[str, ...] = ()


def propose(sample: Sample, con: duckdb.DuckDBPyConnection, wishes: Wishes) -> Proposal:
    """The declaration that fits a sample.

    Raises:
        InputError: there is no time column, or a wish does not fit the file.
    """
    _refuse_headerless(sample)
    chosen = choose(sample.guesses, wanted=wishes.time, path=sample.path)
    first, last = _span(con, chosen)
    name = wishes.name or name_of(sample.path)
    return Proposal(
        name=name,
        prefix=free_prefix(name, wishes.watched),
        sample=sample,
        time=chosen,
        other_times=tuple(guess.name for guess in candidates(sample.guesses) if guess.name != chosen.name),
        window=_window(wishes.window) if wishes.window else suggest_window(first, last, sample.estimated_rows),
        first=first,
        last=last,
        nulls=_null_tokens(sample),
        keys=_keys(con, sample, chosen) if sample.complete else (),
    )


def free_prefix(name: str, watched: Sequence[str]) -> str:
    """A folder to watch that no other dataset watches, nor one above or below it."""
    taken = [PurePosixPath(prefix) for prefix in watched]
    wanted = (PurePosixPath(folder, name + suffix) for folder in ("inbox", "incoming") for suffix in ("", "_files", "_data"))
    free = (one for one in wanted if not any(one.is_relative_to(other) or other.is_relative_to(one) for other in taken))
    return f"{next(free, PurePosixPath('files', name))}/"


def name_of(path: Path) -> str:
    """A dataset name from a file's: `Weather 2013-01.csv.gz` becomes `weather`."""
    stem = _COMPRESSED.sub("", path.name)
    stem = stem.rsplit(".", 1)[0] if "." in stem.strip(".") else stem
    stem = _TRAILING_DATE.sub("", stem) or stem
    name = re.sub(r"[^a-z0-9]+", "_", stem.lower()).strip("_")[:63]
    return name if name[:1].isalpha() else f"data_{name}".rstrip("_")[:63]


def suggest_window(first: datetime, last: datetime, rows: int) -> Window:
    """Days, unless they would be many and nearly empty, or so full that hours are wanted."""
    days = max((last - first) / timedelta(days=1), 1.0)
    if rows / days > MOST_ROWS_A_PARTITION:
        return Window.HOUR
    if days <= FEW_PARTITIONS or rows / days >= ROWS_A_PARTITION:
        return Window.DAY
    return Window.MONTH


def declarable_name(name: str) -> bool:
    """Whether a column of that name can be declared; names that begin with two underscores are reserved."""
    return bool(name) and not name.startswith("__") and name.isprintable()


def _refuse_headerless(sample: Sample) -> None:
    names = [guess.name for guess in sample.guesses]
    numbers = sum(re.fullmatch(r"[+-]?\d+(\.\d+)?|\d{4}-\d\d-\d\d.*", name) is not None for name in names)
    if sample.format == "csv" and numbers * 2 > len(names):
        first = ", ".join(names[:4])
        raise InputError(f"the first line of {sample.path.name} holds data ({first}, …), not column names; add a header line")


def _window(text: str) -> Window:
    known = [window.value for window in Window]
    if text not in known:
        raise InputError(f"--window {text!r} is not known; write one of {', '.join(known)}")
    return Window(text)


def _null_tokens(sample: Sample) -> tuple[str, ...]:
    """Texts that stand for null in a column that is no text; in a column of text alone they may mean themselves."""
    return tuple(sorted({token for guess in sample.guesses if guess.kind != "string" for token in guess.null_tokens}))


def _span(con: duckdb.DuckDBPyConnection, time: Guess) -> tuple[datetime, datetime]:
    """Smallest and largest time of the sample."""
    query = f"SELECT min(t), max(t) FROM (SELECT {_time_expression(con, time.name)} AS t FROM {TABLE})"
    first, last = con.execute(query).fetchone() or (None, None)
    if first is None:
        raise InputError(f"column {time.name!r} has no value that is a time")
    return first.replace(tzinfo=UTC), last.replace(tzinfo=UTC)


def _time_expression(con: duckdb.DuckDBPyConnection, name: str) -> str:
    """SQL for the naive UTC time that landing would store."""
    described = con.execute(f"SELECT column_type FROM (DESCRIBE SELECT {quote(name)} FROM {TABLE})").fetchone()
    kind = described[0] if described else ""
    if kind == "VARCHAR":
        return value_of_text(quote(name), TIMESTAMP, zone=None)
    zoned = "ZONE" in kind or kind.startswith("TIMESTAMPTZ")
    return f"make_timestamp(epoch_us({quote(name)}::TIMESTAMPTZ))" if zoned else f"{quote(name)}::TIMESTAMP"


def _keys(con: duckdb.DuckDBPyConnection, sample: Sample, time: Guess) -> tuple[str, ...]:
    """The time alone, or with one column of few values, when that is unique in the file; else nothing is certain."""
    if sample.rows < 2:
        return ()
    if _unique(con, (time.name,)):
        return (time.name,)
    for guess in sample.guesses:
        if guess.kind in ("string", "int64", "int32") and not guess.missing and not guess.tokens:
            (values,) = con.execute(f"SELECT count(DISTINCT {quote(guess.name)}) FROM {TABLE}").fetchone() or (0,)
            if 1 < values <= min(KEY_VALUES, sample.rows // 2) and _unique(con, (guess.name, time.name)):
                return (guess.name, time.name)
    return ()


def _unique(con: duckdb.DuckDBPyConnection, names: tuple[str, ...]) -> bool:
    columns = ", ".join(map(quote, names))
    row = con.execute(f"SELECT count(*) FROM (SELECT {columns} FROM {TABLE} GROUP BY ALL HAVING count(*) > 1 LIMIT 1)").fetchone()
    return row == (0,)
