"""Times in other forms than ISO 8601, found by trying: formats, numbers since 1970, several columns that are one time."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING, Any

from timestore_assets.cli.proposal.column_guesses import Guess
from timestore_assets.decoding.coercion import value_of_text
from timestore_assets.decoding.spelling import QUARTER
from timestore_assets.model.record_form import NAMED_FORMATS, EpochUnit, Spelling
from timestore_assets.model.types import TIMESTAMP, literal, quote

if TYPE_CHECKING:
    import duckdb

PANDAS_INDEX = "__index_level_"
ENOUGH = 0.99
"""Share of the values that have to be times in a form."""
_DATES = (
    *("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%m.%d.%Y", "%d-%m-%Y", "%m-%d-%Y"),
    *("%d/%m/%y", "%m/%d/%y", "%d.%m.%y", "%d-%m-%y", "%m-%d-%y", "%y-%m-%d", "%y/%m/%d"),
    *(
        "%d %b %Y",
        "%d-%b-%Y",
        "%d-%b-%y",
        "%b %d %Y",
        "%b %d, %Y",
        "%b-%d-%Y",
        "%d. %b %Y",
        "%d %B %Y",
        "%B %d %Y",
        "%B %d, %Y",
        "%d. %B %Y",
    ),
    *("%Y %b %d", "%Y-%b-%d", "%a %d %b %Y", "%a, %d %b %Y", "%A, %d %B %Y", "%A, %B %d, %Y"),
    *("%Y %b", "%Y %B", "%b %Y", "%B %Y", "%b-%Y", "%b-%y", "%Y-%m", "%Y/%m", "%m/%Y", "%Y%m", "%Y"),
)
_CLOCKS = ("%H:%M:%S", "%H:%M", "%H:%M:%S.%f", "%I:%M:%S %p", "%I:%M %p", "%H.%M.%S", "%H.%M", "%H%M%S", "%H%M", "%H")
_WHOLE = ("%a %b %d %H:%M:%S %Y", "%d/%b/%Y:%H:%M:%S %z", "%a, %d %b %Y %H:%M:%S %Z", "%H:%M:%S %d/%m/%Y", "%H:%M %d/%m/%Y")
_CODES = {
    **dict.fromkeys(("%d", "%m", "%H", "%I", "%M", "%S"), r"\d{1,2}"),
    "%Y": r"\d{4}",
    "%y": r"\d{2}",
    "%f": r"\d{1,6}",
    "%p": "(?i:[ap]m)",
    "%z": r"[+-]\d\d:?\d\d",
    "%Z": "[A-Z]{3,4}",
    "%b": "[A-Za-z]{3}",
    "%B": "[A-Za-z]{3,9}",
    "%a": "[A-Za-z]{3}",
    "%A": "[A-Za-z]{6,9}",
}
_UNITS: tuple[tuple[EpochUnit, int], ...] = (("s", 1), ("ms", 1_000), ("us", 1_000_000), ("ns", 1_000_000_000))
_EARLIEST, _LATEST = 300_000_000, 4_200_000_000
"""1979 and 2103 in seconds: what an epoch number plausibly counts."""
_SUGGESTIVE = re.compile(r"(?i)(time|date|stamp|epoch|unix|_at$|_ts$|^ts|when|zeit|datum|^at$|^t$)")
_CLOCK_NAME = re.compile(r"(?i)(time|hour|clock|zeit|uhr|stunde|hh)")
_PARTS = (
    ("%Y", ("year", "yr", "yyyy", "jahr"), (1000, 9999)),
    ("%m", ("month", "mon", "mo", "mm", "monat"), (1, 12)),
    ("%d", ("day", "dom", "dd", "tag", "mday"), (1, 31)),
    ("%H", ("hour", "hr", "hh", "stunde"), (0, 23)),
    ("%M", ("minute", "min", "mi"), (0, 59)),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class TimeGuess:
    """A column of times as it could be declared."""

    name: str
    sql: str
    """Its values over the sample, naive and in UTC."""
    columns: tuple[str, ...] = ()
    """Fields that it is made of, none for the column of that name."""
    format: str | None = None
    """As in a declaration, like `unit`."""
    unit: EpochUnit | None = None
    clock: bool = True
    """Whether it has a time of day."""
    missing: bool = False
    doubt: str = ""
    """Another format that fits as well."""

    @property
    def is_usual(self) -> bool:
        return not (self.columns or self.format or self.unit)


@dataclass(frozen=True, kw_only=True, slots=True)
class Times:
    """Looks for times in the sample, a table of a connection."""

    con: duckdb.DuckDBPyConnection
    table: str
    texts: dict[str, str]
    """SQL of each column's text."""

    def found(self, guesses: Sequence[Guess], formats: Sequence[str] = ()) -> list[TimeGuess]:
        """Times in the columns; `formats` are tried before others."""
        known = [guess for guess in guesses if guess.name in self.texts]
        singles = [one for guess in known if (one := self._single(guess, formats))]
        taken = {one.name for one in singles}
        if all(date.clock for date in singles):
            return [*singles, *([] if singles else [one for one in [self._parts(known)] if one])]
        clocks = [found for guess in known if guess.name not in taken and (found := self._clock(guess))]
        pairs = [pair for date in singles if not date.clock for clock in clocks if (pair := self._pair(date, *clock, guesses))]
        made = [*singles, *pairs]
        if not any(one.clock and not one.missing for one in made):
            made += [one for one in [self._parts(known)] if one]
        return made

    def _single(self, guess: Guess, formats: Sequence[str]) -> TimeGuess | None:
        kind, text = guess.kind, self.texts[guess.name]
        if guess.name.startswith(PANDAS_INDEX):
            sql = self._fitting(text, Spelling())
            return TimeGuess(name="time", columns=(guess.name,), sql=sql) if kind == "timestamp" else None
        missing = bool(guess.missing or guess.tokens)
        if kind in ("timestamp", "date"):
            return TimeGuess(name=guess.name, sql=self._fitting(text, Spelling()), clock=kind == "timestamp", missing=missing)
        if kind in ("int64", "double", "int32") and (unit := self._unit(guess)):
            return TimeGuess(name=guess.name, unit=unit, sql=self._fitting(text, Spelling(unit=unit)), missing=missing)
        if kind in ("string", "int64", "int32"):
            return self._formatted(guess, formats, missing)
        return None

    def _fitting(self, text: str, spelling: Spelling) -> str:
        return value_of_text(text, TIMESTAMP, spelling=spelling)

    def _unit(self, guess: Guess) -> EpochUnit | None:
        """The unit in which all numbers of a column lie in our time, if its name or its order says that they are times."""
        text = self.texts[guess.name]
        number = f"try_cast({text} AS DOUBLE)"
        least, most, values = self._row(f"SELECT min({number}), max({number}), count(*) FROM {self.table}")
        if least is None or (least == most and values > 1):
            return None
        unit = next((unit for unit, factor in _UNITS if _EARLIEST * factor <= least <= most <= _LATEST * factor), None)
        if unit is None or _SUGGESTIVE.search(guess.name) or (unit != "s" and self._rising(number)):
            return unit
        return None

    def _rising(self, value: str) -> bool:
        falls = f"SELECT count(*) FROM (SELECT {value} < lag({value}) OVER () AS falls FROM {self.table}) WHERE falls"
        return bool(self._row(falls)[0] == 0)

    def _formatted(self, guess: Guess, formats: Sequence[str], missing: bool) -> TimeGuess | None:
        name, text = guess.name, self.texts[guess.name]
        tokens = ", ".join(map(literal, ("", *guess.null_tokens)))
        query = f"SELECT DISTINCT trim({text}) AS t FROM {self.table} WHERE trim({text}) NOT IN ({tokens}) LIMIT 1000"
        values = [str(value) for (value,) in self.con.execute(query).fetchall()]
        wanted = tuple(formats)
        digits = guess.kind != "string" and not wanted
        if not values or (digits and not (_SUGGESTIVE.search(name) or name.lower() in ("year", "yr", "day", "month"))):
            return None
        tried = [
            one
            for one in (wanted or _all_formats())
            if (NAMED_FORMATS.get(one) or _matches(one, values)) and not (digits and not _is_date(one))
        ]
        fitting = [one for one in tried if self._share(text, one, tokens) >= ENOUGH]
        if not fitting:
            return None
        best, doubt = self._decided(text, fitting)
        if best == "%Y" and not _SUGGESTIVE.search(name) and name.lower() not in ("year", "yr"):
            return None
        sql = self._fitting(text, Spelling(format=best))
        return TimeGuess(name=name, format=best, sql=sql, clock=_has_clock(best), missing=missing, doubt=doubt)

    def _share(self, text: str, form: str, tokens: str) -> float:
        value = self._fitting(text, Spelling(format=form))
        real = f"{text} IS NOT NULL AND trim({text}) NOT IN ({tokens})"
        fits, values = self._row(
            f"SELECT count(*) FILTER ({real} AND ({value}) IS NOT NULL), count(*) FILTER ({real}) FROM {self.table}"
        )
        return float(fits / values) if values else 0.0

    def _decided(self, text: str, fitting: Sequence[str]) -> tuple[str, str]:
        """The format, and another one that fits and means other times: the order of the records decides, if it can."""
        best = fitting[0]
        # nobody writes the month before the day with points between them
        others = [one for one in fitting[1:] if not one.startswith("%m.%d") and self._differ(text, best, one)]
        if not others:
            return best, ""
        rising = [one for one in (best, *others) if self._rising(self._fitting(text, Spelling(format=one)))]
        return (rising[0], "") if len(rising) == 1 else (best, others[0])

    def _differ(self, text: str, one: str, other: str) -> bool:
        first, second = (self._fitting(text, Spelling(format=form)) for form in (one, other))
        return bool(self._row(f"SELECT count(*) FROM {self.table} WHERE ({first}) IS DISTINCT FROM ({second})")[0])

    def _clock(self, guess: Guess) -> tuple[str, str, bool] | None:
        """A column of times of day, their format, and whether ISO 8601 writes them so."""
        if guess.kind not in ("string", "mixed") and not _CLOCK_NAME.search(guess.name):
            return None
        text = self.texts[guess.name]
        query = f"SELECT DISTINCT trim({text}) FROM {self.table} WHERE trim({text}) <> '' LIMIT 1000"
        values = [str(value) for (value,) in self.con.execute(query).fetchall()]
        if not values:
            return None
        for form in _CLOCKS:
            if ":" not in form and "." not in form and not (_CLOCK_NAME.search(guess.name) and _are_hours(form, values)):
                continue
            if _matches(form, values):
                padded = all(re.fullmatch(r"\d\d:\d\d(:\d\d(\.\d+)?)?", value) for value in values)
                return guess.name, form, padded
        return None

    def is_clock(self, guess: Guess) -> bool:
        """Whether a column holds times of day."""
        return guess.name in self.texts and self._clock(guess) is not None

    def _pair(self, date: TimeGuess, clock: str, form: str, padded: bool, guesses: Sequence[Guess]) -> TimeGuess | None:
        joined = f"concat_ws(' ', trim({self.texts[date.name]}), trim({self.texts[clock]}))"
        usual = date.format is None and padded
        format = None if usual else f"{date.format or '%Y-%m-%d'} {form}"
        sql = self._fitting(joined, Spelling(format=format))
        fits, values = self._row(f"SELECT count({sql}), count({self.texts[date.name]}) FROM {self.table}")
        if not values or fits < values * ENOUGH:
            return None
        others = {guess.name for guess in guesses} - {date.name, clock}
        name = next(one for one in ("time", "timestamp", "date_time", "time_of_record") if one not in others)
        doubt = f"{date.doubt} {form}" if date.doubt else ""
        return TimeGuess(name=name, columns=(date.name, clock), format=format, sql=sql, missing=date.missing, doubt=doubt)

    def _parts(self, guesses: Sequence[Guess]) -> TimeGuess | None:
        """Year, month, day, hour and minute in columns of their own; from the year as far as they go."""
        columns: list[str] = []
        format: list[str] = []
        for code, names, (low, high) in _PARTS:
            guess = next((one for one in guesses if one.name.lower() in names and one.kind in ("int64", "int32")), None)
            if guess is None:
                break
            number = f"try_cast({self.texts[guess.name]} AS BIGINT)"
            least, most = self._row(f"SELECT min({number}), max({number}) FROM {self.table}")
            if least is None or not low <= least <= most <= high:
                break
            columns.append(guess.name)
            format.append(code)
        if len(columns) < 2:
            return None
        joined = f"concat_ws(' ', {', '.join(self.texts[name] for name in columns)})"
        spelling = Spelling(format=" ".join(format))
        name = next(one for one in ("time", "timestamp", "date_time") if one not in {guess.name for guess in guesses})
        return TimeGuess(name=name, columns=tuple(columns), format=spelling.format, sql=self._fitting(joined, spelling))

    def _row(self, query: str) -> tuple[Any, ...]:
        return self.con.execute(query).fetchone() or ()


def texts_of(kinds: Iterable[tuple[str, bool]]) -> dict[str, str]:
    """SQL of the text of each column; `kinds`: name, and whether it is text already."""
    return {name: quote(name) if is_text else f"CAST({quote(name)} AS VARCHAR)" for name, is_text in kinds}


def _all_formats() -> list[str]:
    with_clock = [
        f"{date}{mark}{clock}" for date, clock, mark in product(_DATES[: _DATES.index("%Y %b")], _CLOCKS[:7], (" ", "T", ", "))
    ]
    return [
        "quarter",
        *_DATES,
        *with_clock,
        *(f"%Y%m%d{mark}{clock}" for clock in _CLOCKS[7:9] for mark in ("", " ", "_", "-")),
        *_WHOLE,
    ]


@lru_cache(maxsize=4096)  # each column is tried for all forms, of which there are more than `re` remembers
def _regex(form: str) -> re.Pattern[str]:
    if form == "quarter":
        return re.compile(f"(?i:{QUARTER})")
    parts = re.split(r"(%[A-Za-z])", form)
    if re.search(r"%[A-Za-z]%[A-Za-z]", form):
        # without marks between them parts have all their digits
        return re.compile("".join(r"\d{2}" if part in ("%m", "%d", "%H", "%M", "%S") else _part(part) for part in parts))
    return re.compile("".join(_part(part) for part in parts))


def _part(part: str) -> str:
    return _CODES[part] if part in _CODES else re.escape(part)


def _matches(form: str, values: Sequence[str]) -> bool:
    try:
        pattern = _regex(form)
    except (KeyError, re.error):
        return True
    return sum(pattern.fullmatch(value) is not None for value in values) >= len(values) * ENOUGH


def _are_hours(form: str, values: Sequence[str]) -> bool:
    return all(value.isdigit() and int(value) < 24 for value in values) if form == "%H" else all(map(str.isdigit, values))


def _is_date(form: str) -> bool:
    return form in ("%Y%m%d", "%Y%m", "%Y") or (form.startswith("%Y%m%d") and form[6:] in ("%H%M%S", "%H%M"))


def _has_clock(form: str) -> bool:
    return "%H" in form or "%I" in form
