"""Times and numbers as texts spell them, as DuckDB SQL.

Times are ISO 8601 in all its usual spellings, in a declared format, or a number since 1970. Wall-clock times become UTC: the
first of two for an ambiguous time, NULL for one that never was. Numbers in other marks become the text that DuckDB's casts take.
"""

from __future__ import annotations

import re

from timestore_assets.model.record_form import NAMED_FORMATS, POINT, EpochUnit, NumberMarks, Spelling
from timestore_assets.model.types import literal

BLANKS = " \t\r\n\u00a0"
"""Around a number or a time they are no part of it."""
_GROUPING = {" ": "[ \u00a0\u2009\u202f]", "'": "['’]"}
"""Marks that are written in several ways."""
_NOT_FINITE = "[+-]?(?i:nan|inf|infinity)"


def trimmed(text: str) -> str:
    """SQL for a text without the blanks around it."""
    return f"trim({text}, {literal(BLANKS)})"


def with_point(text: str, marks: NumberMarks) -> str:
    """SQL for a number's text in other marks as `1234.5`; NULL for what is no number in them, wrongly grouped ones included."""
    text = trimmed(text)
    if marks == POINT:
        return text
    drop, pattern = _grouped(marks)
    plain = f"regexp_replace({text}, {literal(drop)}, '', 'g')" if drop else text
    if marks.decimal != ".":
        plain = f"replace({plain}, {literal(marks.decimal)}, '.')"
    return (
        f"CASE WHEN regexp_full_match({text}, {literal(pattern)}) THEN {plain} "
        f"WHEN regexp_full_match({text}, {literal(_NOT_FINITE)}) THEN {text} END"
    )


def _grouped(marks: NumberMarks) -> tuple[str | None, str]:
    """The pattern of the thousands mark, and that of a number in these marks."""
    point = rf"\{marks.decimal}"
    whole, drop = "[0-9]+", None
    if marks.thousands is not None:
        drop = _GROUPING.get(marks.thousands, rf"\{marks.thousands}" if marks.thousands in ".," else marks.thousands)
        # in groups of three, or without any: `12.34` may be meant in any way
        whole = f"(?:[1-9][0-9]{{0,2}}(?:{drop}[0-9]{{3}})+|[0-9]+)"
    return drop, rf"[+-]?(?:{whole}(?:{point}[0-9]*)?|{point}[0-9]+)(?:[eE][+-]?[0-9]+)?"


UTC_NAMES = frozenset({"UTC", "Etc/UTC", "Z", "GMT", "Etc/GMT"})


def local_to_utc(local: str, zone: str) -> str:
    """SQL for the UTC TIMESTAMP of a naive TIMESTAMP expression in an IANA zone, or at an offset such as `+01:00`.

    A wall-clock time stands for every instant that the zone shows it at. Those can only lie at the offsets that hold a day
    before and a day after, since zones do not change twice within two days; each is tried, and the earlier kept. That asks
    for no more of ICU than its offsets: of two instants it picks one by itself, and a time inside a gap it moves on silently.
    """
    if zone in UTC_NAMES:
        return local
    if zone[0] in "+-":
        hours, minutes = (int(part) for part in zone[1:].split(":"))
        return f"({local} {'-' if zone[0] == '+' else '+'} INTERVAL ({60 * hours + minutes}) MINUTE)"
    return _instant(local, literal(zone))


def _instant(local: str, zone: str) -> str:
    """The same for a zone that an SQL expression names."""
    candidates = [_candidate("local", zone, f"INTERVAL ({days}) DAY") for days in (-1, 1)]
    # least() leaves NULLs out
    return bound(local, "local", f"least({', '.join(candidates)})")


def bound(value: str, name: str, expression: str) -> str:
    """SQL for an expression in which `name` stands for `value`, which is computed once however often the name occurs."""
    return f"list_transform([{value}], lambda {name}: {expression})[1]"


def _candidate(local: str, zone: str, shift: str) -> str:
    near = f"({local} + {shift})"
    instant = f"({local} - ({_wall_clock(near, zone)} - {near}))"
    return bound(instant, "instant", f"CASE WHEN {_wall_clock('instant', zone)} = {local} THEN instant END")


def _wall_clock(utc: str, zone: str) -> str:
    """What clocks in the zone show at a naive UTC time."""
    return f"timezone({zone}, timezone('UTC', {utc}))"


DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
MIDNIGHT = r"00:00(?::00(?:\.0+)?)?"
FIRST_TIME = "TIMESTAMP '0001-01-01 00:00:00'"
LAST_TIME = "TIMESTAMP '9999-12-31 23:59:59.999999'"
_CLOCK = r"[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?"
_OFFSET = r"[+-](?:0[0-9]|1[0-8])(?::?[0-5][0-9])?"
_FIRST_MICRO, _LAST_MICRO = -62135596800000000, 253402300799999999
_FACTORS: dict[EpochUnit, int] = {"s": 1_000_000, "ms": 1_000, "us": 1}
_INTEGER = "[+-]?[0-9]{1,18}"
_NUMBER = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?"
_END_OF_DAY = re.compile(r"%-?H(?P<mark>:?)%-?M|%T|%R|%X")
QUARTER = r"([0-9]{4})[-_/ ]?Q([1-4])|Q([1-4])[-_/ ]?([0-9]{4})"
"""`1995Q1`, `1995-Q1`, `Q1 1995`."""
_FIRST_OF_QUARTER = (
    f"CASE WHEN regexp_full_match(spelt, {literal(QUARTER)}) THEN make_timestamp("
    "CAST(regexp_extract(spelt, '[0-9]{4}') AS BIGINT), CAST(regexp_extract(spelt, 'Q([1-4])', 1) AS BIGINT) * 3 - 2, "
    "1, 0, 0, 0.0) END"
)
_OWN_ZONE = re.compile(r"%[zZ]")
_ZONE_NAME = "[A-Z][A-Za-z_]+/[A-Za-z][A-Za-z_/+0-9-]*"
_WITH_NAME = rf"^(.*[0-9Zz]) ?[ \[]({_ZONE_NAME})\]?$"


def time_of_text(text: str, spelling: Spelling, *, usual: bool = False) -> str:
    """SQL for the UTC TIMESTAMP that a VARCHAR expression holds, NULL for none within the years 1 to 9999.

    `usual`: of ISO 8601 take the usual spellings only.
    """
    if spelling.unit is not None:
        return _since_1970(text, spelling)
    if spelling.format is not None:
        value = _formatted(text, spelling.format, spelling.zone)
    else:
        value = f"CASE {_usual_iso(text, spelling.zone)} END" if usual else _iso(text, spelling.zone)
    return bound(value, "time", in_calendar("time"))


def date_of_text(text: str, spelling: Spelling, *, usual: bool = False) -> str:
    """The same for a DATE; a time of day other than midnight is none."""
    if spelling.format is not None:
        day = f"CASE WHEN date_trunc('day', time) = time THEN CAST({in_calendar('time')} AS DATE) END"
        return bound(_formatted(text, spelling.format, None), "time", day)
    plain = literal(f"{DATE}(?:[ T]{MIDNIGHT})?")
    value = in_calendar("try_cast(left({0}, 10) AS DATE)")
    taken = f"WHEN regexp_full_match({text}, {plain}) THEN {value.format(text)}"
    if usual:
        return f"CASE {taken} END"
    again = f"CASE WHEN regexp_full_match(spelt, {plain}) THEN {value.format('spelt')} END"
    return f"CASE {taken} ELSE {bound(_usual(text), 'spelt', again)} END"


def in_calendar(value: str) -> str:
    """SQL for a DATE or TIMESTAMP expression, NULL outside the years 1 to 9999.

    DuckDB's calendar goes far beyond them; Python, most Arrow consumers and RFC 3339 can't write such times.
    """
    return f"CASE WHEN {value} BETWEEN {FIRST_TIME} AND {LAST_TIME} THEN {value} END"


def _iso(text: str, zone: str | None) -> str:
    # other spellings are looked for only where the usual one was not found
    other = bound(_usual(text), "spelt", f"CASE {_usual_iso('spelt', zone)} END")
    return f"CASE {_usual_iso(text, zone)} WHEN contains({text}, '/') THEN {_with_name(text)} ELSE {other} END"


def _with_name(text: str) -> str:
    """A local time and the name of its zone behind it: `2024-03-01 10:00 Europe/Berlin`, `…T10:00:00+01:00[Europe/Berlin]`."""
    time, name = (f"regexp_extract({trimmed(text)}, {literal(_WITH_NAME)}, {group})" for group in (1, 2))
    spelt = bound(_usual(time), "spelt", f"CASE {_usual_iso('spelt', None)} END")
    # with an offset of its own the time says which of two it is
    at_offset = f"regexp_full_match({time}, {literal('(?i).*(?:Z|[ 0-9][+-][0-9]{2}:?[0-9]{2})')})"
    known = f"try_strptime('2000-01-01 ' || {name}, '%Y-%m-%d %Z') IS NOT NULL"
    return f"CASE WHEN {known} THEN CASE WHEN {at_offset} THEN {spelt} ELSE {_instant(spelt, name)} END END"


def _usual_iso(text: str, zone: str | None) -> str:
    # a cast to TIMESTAMP drops an offset silently, so only texts without one go that way
    local = f"try_cast({text} AS TIMESTAMP)"
    offset = f"make_timestamp(epoch_us(try_cast({text} AS TIMESTAMPTZ)))"
    day = f"{DATE}(?:[ T]{_CLOCK}"
    if zone is None:
        first, cases = f"{day}Z?)?", local
    else:
        first, cases = f"{day})?", local_to_utc(local, zone)
    with_offset = f"WHEN regexp_full_match({text}, {literal(f'{DATE}[ T]{_CLOCK}(?:Z|{_OFFSET})')}) THEN {offset}"
    return f"WHEN regexp_full_match({text}, {literal(first)}) THEN {cases} {with_offset}"


def _usual(text: str) -> str:
    """SQL for the usual spelling of other ones: lower case, basic form, a comma, ` UTC`, blanks around and before the zone."""
    found = f"upper({trimmed(text)})"
    for pattern, replacement in (
        (r"^([0-9]{4})([0-9]{2})([0-9]{2})([ T])", r"\1-\2-\3\4"),
        (r"^(.{10}[ T][0-9]{2})([0-9]{2})([0-9]{2})", r"\1:\2:\3"),
        (r"^(.{10}[ T][0-9]{2})([0-9]{2})([^0-9:]|$)", r"\1:\2\3"),
        (r"(:[0-9]{2}),([0-9])", r"\1.\2"),
        (r"([0-9]) ?(?:Z|UTC|GMT)$", r"\1Z"),
        (r"([0-9]) ([+-][0-9:]+)$", r"\1\2"),
    ):
        found = f"regexp_replace({found}, {literal(pattern)}, {literal(replacement)})"
    return found


def _formatted(text: str, form: str, zone: str | None) -> str:
    text = trimmed(text)
    if form == "quarter":
        first = bound(f"upper({text})", "spelt", _FIRST_OF_QUARTER)
        return first if zone is None else local_to_utc(first, zone)
    forms = NAMED_FORMATS.get(form, (form,))
    codes = literal(form) if forms == (form,) else f"[{', '.join(map(literal, forms))}]"
    value = f"try_strptime({text}, {codes})"
    clock = next(filter(None, map(_END_OF_DAY.search, forms)), None)
    if clock is not None:
        mark = clock["mark"] if clock["mark"] is not None else ":"
        # the end of a day is the next one's beginning, as it is in ISO 8601
        ending = rf"(^|[^0-9:.])24{mark}00((?:{mark}00)?(?:[.,]0+)?)([^0-9:.,]|$)"
        if not mark:
            ending = r"(^|[^0-9]|[0-9]{8})2400((?:00)?)([^0-9]|$)"
        begun = r"\1" + f"00{mark}00" + r"\2\3"
        midnight = f"regexp_replace({text}, {literal(ending)}, {literal(begun)})"
        later = f"try_strptime({midnight}, {codes}) + INTERVAL 1 DAY"
        value = f"coalesce({value}, CASE WHEN regexp_matches({text}, {literal(ending)}) THEN {later} END)"
    if _OWN_ZONE.search(forms[0]):
        return _zoned(text, value, codes)
    return value if zone is None else local_to_utc(value, zone)


def _zoned(text: str, value: str, codes: str) -> str:
    """The instant of a text with its zone. For named ones DuckDB takes the second of two, and moves times that never were."""
    instant = f"make_timestamp(epoch_us({value}))"
    if "%Z" not in codes:
        return instant
    name = f"regexp_extract({text}, {literal(_ZONE_NAME)})"
    local = f"make_timestamp(epoch_us(try_strptime(regexp_replace({text}, {literal(_ZONE_NAME)}, 'UTC'), {codes})))"
    return f"CASE WHEN {value} IS NULL THEN NULL WHEN {name} <> '' THEN {_instant(local, name)} ELSE {instant} END"


def _since_1970(text: str, spelling: Spelling) -> str:
    """Exact: the digits are shifted as decimal ones, and what is finer than microseconds is cut off."""
    unit = spelling.unit or "s"
    if unit == "ns":
        nanos = "CAST(floor(try_cast(number AS DECIMAL(38,9))) AS HUGEINT)"
        # // goes towards zero
        micros = bound(nanos, "nanos", "CASE WHEN nanos < 0 THEN -((999 - nanos) // 1000) ELSE nanos // 1000 END")
        whole = micros
    else:
        factor = _FACTORS[unit]
        low, high = _FIRST_MICRO // factor, _LAST_MICRO // factor + 1
        micros = f"floor(try_cast(left_digits AS DECIMAL(28,9)) * {factor}::DECIMAL(7,0))"
        # digits beyond the ninth would be rounded
        micros = bound(r"regexp_replace(number, '^([^.eE]*\.[0-9]{9})[0-9]+$', '\1')", "left_digits", micros)
        whole = bound(
            "try_cast(number AS BIGINT)", "count", f"CASE WHEN count BETWEEN {low} AND {high} THEN count * {factor} END"
        )
    inside = f"CASE WHEN micros BETWEEN {_FIRST_MICRO} AND {_LAST_MICRO} THEN make_timestamp(CAST(micros AS BIGINT)) END"
    value = (
        f"CASE WHEN regexp_full_match(number, {literal(_INTEGER)}) THEN {bound(whole, 'micros', inside)} "
        f"WHEN regexp_full_match(number, {literal(_NUMBER)}) THEN {bound(micros, 'micros', inside)} END"
    )
    return bound(with_point(text, spelling.marks), "number", value)
