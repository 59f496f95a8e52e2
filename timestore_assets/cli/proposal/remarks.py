"""What `init` says beside the declaration: how the file is written, what is left out, what could be meant otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from timestore_assets.cli.proposal.sample import TABLE, Sample
from timestore_assets.cli.proposal.time_forms import PANDAS_INDEX, TimeGuess, Times
from timestore_assets.model.record_form import POINT

if TYPE_CHECKING:
    import duckdb


def remarks(sample: Sample, times: Sequence[TimeGuess]) -> Iterator[str]:
    """Sentences without a full stop."""
    yield from _dialect(sample)
    if sample.marks.marks != POINT:
        thousands = f" and {sample.marks.marks.thousands!r} between thousands" if sample.marks.marks.thousands else ""
        mark = "a decimal comma" if sample.marks.marks.decimal == "," else "a decimal point"
        yield f"numbers in {_some(sample.marks.columns)} have {mark}{thousands}"
        if sample.marks.doubt:
            yield f"{sample.marks.doubt}: look at `decimal` and `thousands` if that is wrong"
    for time in times:
        yield _time(time)
    if sample.fields:
        objects = _some(list(dict.fromkeys(str(steps[0]) for steps in sample.fields.values())))
        yield f"columns with `from` are inside {objects}; these land as JSON too unless `evolution: {{columns: discard_value}}`"
    if sample.path_columns:
        yield f"{_some(list(sample.path_columns))} stand in the path alone (path_columns)"
    if sample.record_path:
        yield f"the records are the array at {'.'.join(sample.record_path)} (path)"
    if sample.other_paths:
        others = ", ".join(".".join(path) for path in sample.other_paths[:6])
        yield f"other arrays of objects in it are left out: {others}"
    if lost := [guess.name for guess in sample.guesses if guess.name.startswith("__") and not _is_used(guess.name, times)]:
        yield f"{_some(lost)} can't be columns under these names; pandas' index without a name is left out"


def _dialect(sample: Sample) -> Iterator[str]:
    csv = sample.dialect
    if csv.encoding != "utf-8":
        yield f"the text is {csv.encoding}"
    if csv.skip:
        yield f"the first {csv.skip} lines are before the header" if csv.skip > 1 else "the first line is before the header"
    if csv.comment:
        yield f"lines that begin with {csv.comment} are comments"
    if csv.units_row:
        yield "the line behind the header holds units"
    if csv.trim:
        yield "blanks around names and values are left out"


def _time(time: TimeGuess) -> str:
    if time.columns and time.columns[0].startswith(PANDAS_INDEX):
        return f"{time.name} is pandas' index, which had no name ({time.columns[0]})"
    if time.columns:
        return f"{time.name} is made of {' and '.join(time.columns)}, which are no columns of their own (times)"
    if time.unit:
        return f"{time.name} counts {time.unit} since 1970 (times)"
    return f"times in {time.name} are written as {time.format} (times)"


def _is_used(name: str, times: Sequence[TimeGuess]) -> bool:
    return any(name in time.columns for time in times)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def shared_times(con: duckdb.DuckDBPyConnection, sample: Sample, time: TimeGuess) -> list[str]:
    """A remark when many records share days, months or years: what tells their times apart may stand elsewhere."""
    (distinct,) = con.execute(f"SELECT count(DISTINCT {time.sql}) FROM {TABLE}").fetchone() or (0,)
    if time.clock or distinct * 2 > sample.rows:
        return []
    what = "years" if time.format == "%Y" else "dates without a time of day"
    return [
        f"{time.name} holds {what}: {sample.rows:,} records have {distinct:,} different times, and all lie at their beginning"
    ]


def future_times(con: duckdb.DuckDBPyConnection, time: TimeGuess) -> list[str]:
    """A remark when times lie ahead of today, which landing refuses."""
    query = f"SELECT count(*) FROM (SELECT {time.sql} AS t FROM {TABLE}) WHERE t > (now() + INTERVAL 2 DAY) AT TIME ZONE 'UTC'"
    (ahead,) = con.execute(query).fetchone() or (0,)
    if not ahead:
        return []
    return [f"{ahead:,} of the times lie ahead of now and would be refused: see `future_allowed`"]


def clocks_left(con: duckdb.DuckDBPyConnection, sample: Sample, time: TimeGuess) -> list[str]:
    """A remark on columns of times of day beside a time that has none, which are no part of it."""
    if time.clock or time.columns:
        return []
    looking = Times(con=con, table=TABLE, texts=dict(sample.texts))
    left = [guess.name for guess in sample.guesses if guess.name != time.name and looking.is_clock(guess)]
    if not left:
        return []
    which = "looks like a time of day and is" if len(left) == 1 else "look like times of day and are"
    return [f"{_some(left)} {which} no part of the time: see `columns` of `times`"]
