"""From a sample to a proposed declaration, as a value."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from timestore_assets.cli.proposal.column_guesses import Guess
from timestore_assets.cli.proposal.extent import Extent, extent_of, suggest_end, suggest_window
from timestore_assets.cli.proposal.remarks import clocks_left, future_times, remarks, shared_times
from timestore_assets.cli.proposal.sample import TABLE, Sample
from timestore_assets.cli.proposal.time_columns import choose, ranked
from timestore_assets.cli.proposal.time_forms import TimeGuess, Times
from timestore_assets.model.errors import InputError
from timestore_assets.model.types import TIMESTAMP, quote
from timestore_assets.model.window import Window

if TYPE_CHECKING:
    import duckdb


KEY_VALUES = 1000
"""A key column has at most so many values; with more it is not what rows are grouped by."""
_THINGS = "id|no|nr|num|number|code|key|zip|sensor|station|device|meter|site|node|unit|channel|user|plant"
_NAMING = re.compile(rf"(?i)(^|[_ .-])({_THINGS})s?([_ .-]|$)|(?-i:Id$)")
"""Of columns of whole numbers that stand for something; others count or measure, and are unique by chance."""
_COMPRESSED = re.compile(r"(?i)(\.(gz|gzip|zst|zstd|zip))+$")
_TRAILING_DATE = re.compile(r"[-_. ]*(19|20)\d\d([-_.]?\d\d){0,2}$")


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposal:
    """What `init` would declare."""

    name: str
    prefix: str
    sample: Sample
    time: TimeGuess
    other_times: tuple[str, ...]
    times: tuple[TimeGuess, ...]
    """Columns whose form of times has to be declared."""
    window: Window
    extent: Extent
    end: datetime | None
    """Where it ends, if it looks finished."""
    nulls: tuple[str, ...]
    keys: tuple[str, ...]
    """Columns that are unique in the whole file, empty when that is not certain."""
    replace: bool
    """Records with equal keys replace earlier ones."""
    remarks: tuple[str, ...]
    """Sentences on what was found, left out, or could be meant in another way."""

    @property
    def columns(self) -> tuple[Guess, ...]:
        """Columns that get declared, a time that is made of others first."""
        formed = {time.name for time in self.times}
        declared = [guess for guess in self.sample.guesses if guess.type is not None and declarable_name(guess.name)]
        found = [replace(one, type=TIMESTAMP) if one.name in formed else one for one in declared if one.name not in self.consumed]
        made = [Guess(name=time.name, type=TIMESTAMP) for time in self.times if time.columns]
        return (*made, *found)

    @property
    def consumed(self) -> frozenset[str]:
        """Fields that are parts of a time and no columns themselves."""
        return frozenset(name for time in self.times for name in time.columns)

    @property
    def left_out(self) -> tuple[Guess, ...]:
        """Columns that evolution takes as they come."""
        names = {guess.name for guess in self.columns} | self.consumed
        return tuple(guess for guess in self.sample.guesses if guess.name not in names)

    @property
    def start(self) -> datetime:
        """The first partition's start; when the earliest time is not certain, the year before it, for older rows may follow."""
        first = self.extent.first
        if not self.extent.whole:
            return datetime(max(first.year - 1, 1), 1, 1, tzinfo=UTC)
        return (Window.DAY if self.window is Window.ALL else self.window).start_of(first)

    def nullable(self, guess: Guess) -> bool:
        """Whether a column may be null: certain only when the whole file was seen."""
        if guess.name == self.time.name:
            return False
        becomes_null = not set(guess.null_tokens).isdisjoint(self.nulls)
        return bool(guess.missing or becomes_null or not self.sample.complete)


@dataclass(frozen=True, kw_only=True, slots=True)
class ProposalOptions:
    """What the person decides; None is left to the file."""

    name: str | None = None
    time: str | None = None
    time_format: str | None = None
    window: str | None = None
    replace: bool = False
    """Later records with the keys of earlier ones replace them, if keys are found."""
    watched: tuple[str, ...] = ()
    """Prefixes of other datasets, which must not overlap."""


def propose(sample: Sample, con: duckdb.DuckDBPyConnection, wishes: ProposalOptions) -> Proposal:
    """The declaration that fits a sample.

    Raises:
        InputError: there is no time column, or a wish does not fit the file.
    """
    _refuse_headerless(sample)
    found = _times(sample, con, wishes)
    chosen = found[0]
    formed = tuple(time for time in found if (not time.is_usual if time == chosen else _is_formatted_column(time, chosen)))
    extent = extent_of(con, sample, chosen)
    window = _window(wishes.window) if wishes.window else suggest_window(extent)
    keys = _keys(con, sample, chosen) if sample.complete else ()
    if wishes.replace and not keys:
        raise InputError(f"--replace: no columns of {sample.path.name} are certain to be unique; write `dedupe:` by hand")
    name = wishes.name or name_of(sample.path)
    return Proposal(
        name=name,
        prefix=free_prefix(name, wishes.watched),
        sample=sample,
        time=chosen,
        other_times=tuple(time.name for time in found[1:] if not time.columns and time.name not in chosen.columns),
        times=formed,
        window=window,
        extent=extent,
        end=suggest_end(extent, window, datetime.now(UTC)),
        nulls=_null_tokens(sample),
        keys=keys,
        replace=wishes.replace,
        remarks=tuple(_remarks(con, sample, chosen, formed, keys)),
    )


def _remarks(
    con: duckdb.DuckDBPyConnection, sample: Sample, chosen: TimeGuess, formed: Sequence[TimeGuess], keys: Sequence[str]
) -> Iterator[str]:
    yield from remarks(sample, formed)
    yield from future_times(con, chosen)
    yield from clocks_left(con, sample, chosen)
    if not keys:  # else records that share a time are told apart by another column
        yield from shared_times(con, sample, chosen)


def _times(sample: Sample, con: duckdb.DuckDBPyConnection, wishes: ProposalOptions) -> list[TimeGuess]:
    """Times of the sample, the one to take first.

    Raises:
        InputError: there is none, the wanted one is none, or its format could be another one.
    """
    formats = () if wishes.time_format is None else (wishes.time_format,)
    looking = Times(con=con, table=TABLE, texts=dict(sample.texts))
    found = ranked(looking.found(sample.guesses, formats), sample.guesses)
    if wishes.time is not None:
        found = sorted(found, key=lambda time: time.name != wishes.time)
    if not found or (wishes.time is not None and found[0].name != wishes.time):
        choose(sample.guesses, wanted=wishes.time, path=sample.path)
        raise InputError(f"{sample.path.name} has no time column; name one with --time")
    if wishes.time_format is not None and not any(time.format == wishes.time_format for time in found[:1]):
        raise InputError(f"no column of {sample.path.name} holds times like {wishes.time_format!r}; name it with --time")
    if found[0].doubt:
        one, other = found[0].format, found[0].doubt
        name = " and ".join(found[0].columns) or found[0].name
        raise InputError(f"the times in {name} could be {one} or {other}; say which with --time-format {one!r} (or {other!r})")
    return found


def _is_formatted_column(time: TimeGuess, chosen: TimeGuess) -> bool:
    """Whether a column beside the time is declared as times of a format; one of years alone, or a part of the time, is not."""
    if time.columns or time.doubt or time.name in chosen.columns:
        return False
    return time.format not in (None, "%Y", "%Y%m")


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


def _keys(con: duckdb.DuckDBPyConnection, sample: Sample, time: TimeGuess) -> tuple[str, ...]:
    """The time alone, or with one column of few values, when that is unique in the file; else nothing is certain."""
    if sample.rows < 2:
        return ()
    if _unique(con, (time.sql,)):
        return (time.name,)
    for guess in sample.guesses:
        names_something = guess.kind == "string" or (guess.kind in ("int64", "int32") and _NAMING.search(guess.name))
        fits = names_something and guess.name not in time.columns and guess.name in sample.texts
        if fits and not guess.missing and not guess.tokens:
            (values,) = con.execute(f"SELECT count(DISTINCT {quote(guess.name)}) FROM {TABLE}").fetchone() or (0,)
            if 1 < values <= min(KEY_VALUES, sample.rows // 2) and _unique(con, (quote(guess.name), time.sql)):
                return (guess.name, time.name)
    return ()


def _unique(con: duckdb.DuckDBPyConnection, values: tuple[str, ...]) -> bool:
    columns = ", ".join(f"{value} AS v{i}" for i, value in enumerate(values))
    query = f"SELECT count(*) FROM (SELECT {columns} FROM {TABLE} GROUP BY ALL HAVING count(*) > 1 LIMIT 1)"
    return con.execute(query).fetchone() == (0,)
