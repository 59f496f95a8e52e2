"""Which column could be the time, and what to say when none can."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from timestore_assets.cli.proposal.column_guesses import Guess
from timestore_assets.cli.proposal.time_forms import TimeGuess
from timestore_assets.model.errors import InputError

_LIKELY = (
    *("timestamp", "time", "ts", "datetime", "event_time", "time_hour"),
    *("observed_at", "recorded_at", "occurred_at", "date", "day"),
)
_BOOKKEEPING = re.compile(r"(?i)(updat|modif|chang|process|ingest|insert|load|creat|delet|expir|valid_to|end|birth)")
_SUGGESTIVE = re.compile(r"(?i)(time|date|stamp|_at$|_ts$|^ts_|when)")
_FOREIGN = (
    (re.compile(r"\d{9,10}(\.\d+)?"), "seconds since 1970"),
    (re.compile(r"\d{12,13}"), "milliseconds since 1970"),
    (re.compile(r"\d{1,2}/\d{1,2}/\d{2,4}.*"), "day and month with slashes"),
    (re.compile(r"\d{1,2}\.\d{1,2}\.\d{2,4}.*"), "day.month.year"),
    (re.compile(r"\d{4}/\d{1,2}/\d{1,2}.*"), "year/month/day"),
    (re.compile(r"\d{8}([T ]?\d{4,6}Z?)?"), "digits without separators"),
    (re.compile(r"(?i).*\d{1,2}[ -](jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*[ -]\d{2,4}.*"), "month names"),
)


def ranked(times: Sequence[TimeGuess], guesses: Sequence[Guess]) -> list[TimeGuess]:
    """Times as they could be declared, the likeliest first: one made of a date and a clock before the date alone."""
    order = {guess.name: i for i, guess in enumerate(guesses)}

    def score(time: TimeGuess) -> int:
        names = [time.name, *time.columns] if time.columns else [time.name]
        found = max(_score_of(name, clock=time.clock, missing=time.missing) for name in names)
        return found - (0 if time.is_usual else 45 if time.unit else 5)

    return sorted(times, key=lambda time: (-score(time), order.get(time.columns[0] if time.columns else time.name, 0)))


def candidates(guesses: Sequence[Guess]) -> list[Guess]:
    """Columns of times or dates, the likeliest first."""
    times = [guess for guess in guesses if guess.type is not None and guess.type.kind in ("timestamp", "date")]
    order = {guess.name: i for i, guess in enumerate(guesses)}
    return sorted(times, key=lambda guess: (-_score(guess), order[guess.name]))


def _score(guess: Guess) -> int:
    assert guess.type is not None  # noqa: S101 - candidates have a type
    return _score_of(guess.name, clock=guess.type.kind == "timestamp", missing=bool(guess.missing or guess.tokens))


def _score_of(name: str, *, clock: bool, missing: bool) -> int:
    name = name.lower()
    score = 40 if clock else 0
    score -= 60 if missing else 0
    score += 30 - _LIKELY.index(name) if name in _LIKELY else 10 if _SUGGESTIVE.search(name) else 0
    return score - (25 if _BOOKKEEPING.search(name) else 0)


def choose(guesses: Sequence[Guess], *, wanted: str | None, path: Path) -> Guess:
    """The time column: the one asked for, or the likeliest.

    Raises:
        InputError: there is none, or the wanted one holds no times.
    """
    if wanted is not None:
        return _wanted(guesses, wanted, path)
    found = candidates(guesses)
    if found:
        return found[0]
    looked_at = ", ".join(f"{guess.name} ({guess.kind})" for guess in guesses[:12])
    more = f" and {len(guesses) - 12} more" if len(guesses) > 12 else ""
    hints = [hint for guess in guesses if (hint := _foreign_hint(guess))]
    advice = hints[0] if hints else "add a column with times such as 2013-01-01T06:00:00Z"
    if len(guesses) == 1 and not hints:
        advice = "is it a table, with columns separated by commas, semicolons, tabs or | ?"
    raise InputError(f"{path.name} has no time column: looked at {looked_at}{more}; {advice}")


def _wanted(guesses: Sequence[Guess], wanted: str, path: Path) -> Guess:
    found = next((guess for guess in guesses if guess.name == wanted), None)
    if found is None:
        raise InputError(f"{path.name} has no column {wanted!r}; it has {', '.join(guess.name for guess in guesses)}")
    if found.type is None or found.type.kind not in ("timestamp", "date"):
        hint = _foreign_hint(found) or "write times like 2013-01-01T06:00:00Z"
        raise InputError(f"column {wanted!r} of {path.name} holds {found.kind}, for instance {found.example!r}, no times; {hint}")
    return found


def _foreign_hint(guess: Guess) -> str:
    """What to do about a column that holds times in a form landing refuses to guess at."""
    if guess.kind not in ("string", "int64", "double") or not guess.example:
        return ""
    for pattern, form in _FOREIGN:
        numeric = form.endswith("1970") or form.startswith("digits")
        if pattern.fullmatch(guess.example) and (not numeric or _SUGGESTIVE.search(guess.name) or guess.name.lower() in _LIKELY):
            return f"{guess.name} looks like {form} ({guess.example}): rewrite it as ISO 8601, like 2013-01-01T06:00:00Z"
    return ""
