"""How a file of text is written, found by trying: the candidate whose records agree with each other best is taken.

The decimal and thousands marks of its numbers are decided by all columns together.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from timestore_assets.cli.proposal.column_guesses import NULL_TOKENS
from timestore_assets.model.dataset import CsvDialect
from timestore_assets.model.record_form import POINT, NumberMarks

_POINT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_GROUPINGS = {".": (None, ",", "'", " ", "_"), ",": (None, ".", "'", " ", "_")}


def _pattern(decimal: str, thousands: str | None) -> re.Pattern[str]:
    grouped = "" if thousands is None else r"[1-9]\d{0,2}(?:" + re.escape(thousands) + r"\d{3})+|"
    return re.compile(rf"[+-]?({grouped}\d+)({re.escape(decimal)}\d*)?([eE][+-]?\d+)?")


_PATTERNS = {
    NumberMarks(decimal=decimal, thousands=thousands): _pattern(decimal, thousands)
    for decimal, groupings in _GROUPINGS.items()
    for thousands in groupings
}


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundMarks:
    """Marks of numbers, and how sure they are."""

    marks: NumberMarks = POINT
    columns: tuple[str, ...] = ()
    """Those whose numbers need these marks."""
    doubt: str = ""
    """What the marks could mean as well, empty when it is certain."""


def find_marks(columns: Mapping[str, Iterable[str]]) -> FoundMarks:
    """The marks that make numbers of the most columns which are none with a point alone. `columns`: distinct texts of each."""
    texts = {name: [text.strip() for text in values] for name, values in columns.items()}
    texts = {name: [text for text in values if text and text not in NULL_TOKENS] for name, values in texts.items()}
    plain = [name for name, values in texts.items() if values and all(map(_POINT.fullmatch, values))]
    open_ = {name: values for name, values in texts.items() if values and name not in plain}
    scores: dict[NumberMarks, tuple[str, ...]] = {}
    for marks, pattern in _PATTERNS.items():
        if marks == POINT:
            continue
        fitting = tuple(name for name, values in open_.items() if all(map(pattern.fullmatch, values)))
        broken = [name for name in plain if not all(map(pattern.fullmatch, texts[name]))]
        if fitting and not broken:
            scores[marks] = fitting
    if not scores:
        return FoundMarks()
    best = max(scores, key=lambda marks: (len(scores[marks]), marks.thousands is None, marks.decimal == ","))
    return FoundMarks(marks=best, columns=scores[best], doubt=_doubt(best, scores, texts))


def _doubt(best: NumberMarks, scores: Mapping[NumberMarks, tuple[str, ...]], texts: Mapping[str, list[str]]) -> str:
    """Another reading under which the same columns are numbers too, with other values."""
    other = NumberMarks(decimal="." if best.decimal == "," else ",", thousands=best.decimal)
    if set(scores.get(other, ())) != set(scores[best]):
        return ""
    shown = next(text for name in scores[best] for text in texts[name] if best.decimal in text)
    return f"{shown} is read as {shown.replace(best.decimal, '.')}, and not as {shown.replace(best.decimal, '')}"


DELIMITERS = ",;\t|"
COMMENTS = ("#", "%", "//", "!")
HEAD_BYTES = 1 << 18
_MOST_LINES = 500
_MOST_SKIPPED = 100
_BOMS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_VALUE = re.compile(r"[+-]?(\d[\d.,' ]*|[.,]\d+)([eE][+-]?\d+)?|\d{1,4}[-/.:]\d{1,2}[-/.:]\d{1,4}.*|(?i:true|false|nan)|")
_NUMBER = re.compile(r"[+-]?(\d[\d.,']*|[.,]\d+)([eE][+-]?\d+)?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A dialect, and the units that a row behind the header gives, by column."""

    csv: CsvDialect
    units: dict[str, str]


def find_dialect(path: Path) -> Found:
    """The dialect of a CSV file by its beginning; the usual one where nothing speaks for another."""
    head, whole = _head(path)
    encoding = _encoding(head)
    text = head.decode(encoding, errors="replace").removeprefix("\ufeff")
    lines = text.splitlines() if whole else text.splitlines()[:-1] or text.splitlines()
    return _dialect([line[:20_000] for line in lines[:_MOST_LINES]], encoding)


def is_delimited(path: Path) -> bool:
    """Whether a file is none of the formats that need no dialect: Parquet, JSON."""
    head, _ = _head(path)
    text = head.decode(_encoding(head), errors="replace").removeprefix("\ufeff").lstrip()
    return not text.startswith("{") and not re.match(r"\[\s*[{\[\]]", text)


def _head(path: Path) -> tuple[bytes, bool]:
    from timestore_assets.sources.files.compression import DecodedStream
    from timestore_assets.sources.files.input_file import LocalFile

    with DecodedStream(LocalFile(path)) as stream:
        buffer = bytearray(HEAD_BYTES)
        return bytes(buffer[: stream.fill(memoryview(buffer))]), stream.at_end()


def _encoding(head: bytes) -> str:
    for mark, name in _BOMS.items():
        if head.startswith(mark):
            return name
    zeros = head[::2].count(0), head[1::2].count(0)
    if len(head) >= 16 and max(zeros) > len(head) / 5 > len(head) / 20 > min(zeros):
        return "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"
    try:
        # the last character may be cut off
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        # what Windows writes; codes that it leaves open are control characters of latin-1
        return "latin-1" if re.search(rb"[\x81\x8d\x8f\x90\x9d]", head) else "cp1252"
    return "utf-8"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Candidate:
    delimiter: str
    quote: str
    comment: str | None
    skip: int
    header: tuple[str, ...]
    records: tuple[tuple[str, ...], ...]
    agreeing: float
    """Share of the records that have as many fields as the header."""

    @property
    def score(self) -> tuple[float, ...]:
        names, marked = _is_header(self.header), self.header[0].startswith(COMMENTS)
        return (round(self.agreeing, 2), names, not marked, -self.skip, self.comment is None, len(self.header))


def _dialect(lines: Sequence[str], encoding: str) -> Found:
    quote = _quote(lines)
    found = [one for comment in _comments(lines) for delimiter in DELIMITERS if (one := _try(lines, delimiter, quote, comment))]
    best = max((one for one in found if len(one.header) > 1), key=lambda one: one.score, default=None)
    if best is None or best.agreeing < 0.5:
        return Found(csv=CsvDialect(encoding=encoding, quote=quote), units={})
    units = _units(best)
    dialect = CsvDialect(
        delimiter=best.delimiter,
        quote=best.quote,
        comment=best.comment,
        skip=best.skip,
        units_row=units is not None,
        trim=_has_blanks(best),
        encoding=encoding,
    )
    return Found(csv=dialect, units=units or {})


def _quote(lines: Sequence[str]) -> str:
    if any('"' in line for line in lines):
        return '"'
    single = sum(re.search(r"(^|[,;\t|])'[^']*'($|[,;\t|])", line) is not None for line in lines)
    return "'" if single * 2 > len(lines) else '"'


def _comments(lines: Sequence[str]) -> list[str | None]:
    return [None, *(one for one in COMMENTS if any(line.startswith(one) for line in lines))]


def _try(lines: Sequence[str], delimiter: str, quote: str, comment: str | None) -> _Candidate | None:
    """The records that these marks give: the header is the first one that those behind it agree with."""
    kept = [(i, line) for i, line in enumerate(lines) if line.strip() and not (comment and line.startswith(comment))]
    reader = csv.reader((line for _, line in kept), delimiter=delimiter, quotechar=quote)
    records: list[tuple[int, tuple[str, ...]]] = []
    try:
        at = 0
        for fields in reader:
            records.append((kept[at][0], tuple(fields)))
            at = reader.line_num
    except csv.Error:
        return None
    if not records:
        return None
    width = Counter(_width(record) for _, record in records[len(records) // 4 :]).most_common(1)[0][0]
    for place, (line, record) in enumerate(records[:_MOST_SKIPPED]):
        rest = [one for _, one in records[place + 1 :]]
        if _width(record) == width and _is_header(record) and (not rest or _agreeing(rest, width) >= 0.9):
            return _candidate(lines, line, record, rest, width, (delimiter, quote, comment))
    line, record = records[0]
    rest = [one for _, one in records[1:]]
    return _candidate(lines, line, record, rest, _width(record), (delimiter, quote, comment))


def _candidate(
    lines: Sequence[str],
    line: int,
    header: tuple[str, ...],
    rest: list[tuple[str, ...]],
    width: int,
    marks: tuple[str, str, str | None],
) -> _Candidate:
    delimiter, quote, comment = marks
    # blank lines and comments before the header are passed over anyway
    before = [text for text in lines[:line] if text.strip() and not (comment and text.startswith(comment))]
    return _Candidate(
        delimiter=delimiter,
        quote=quote,
        comment=comment,
        skip=line if before else 0,
        header=header,
        records=tuple(rest),
        agreeing=_agreeing(rest, width) if rest else 0.5,
    )


def _width(record: Sequence[str]) -> int:
    """Fields of a record; a delimiter at the end of the line makes no further one."""
    return len(record) - (len(record) > 1 and not record[-1].strip())


def _agreeing(records: Sequence[Sequence[str]], width: int) -> float:
    return sum(len(one) in (width, width + 1) for one in records) / len(records)


def _is_header(record: Sequence[str]) -> bool:
    """Whether fields read like names: distinct, there, and no values."""
    names = [name.strip() for name in record[: _width(record)]]
    values = sum(_VALUE.fullmatch(name) is not None for name in names)
    return all(names) and len(set(names)) == len(names) and values * 2 <= len(names)


def _units(found: _Candidate) -> dict[str, str] | None:
    """Units by column, if the record behind the header holds no values where all others hold numbers."""
    if len(found.records) < 2:
        return None
    first, *others = found.records
    units: dict[str, str] = {}
    for place, name in enumerate(found.header[: _width(found.header)]):
        if place >= len(first):
            continue
        text = first[place].strip()
        below = [one[place].strip() for one in others if place < len(one) and one[place].strip() not in ("", *NULL_TOKENS)]
        numbers = sum(_NUMBER.fullmatch(value) is not None for value in below)
        values = sum(_VALUE.fullmatch(value) is not None for value in below)
        if below and values >= len(below) * 0.9 and text:
            if _VALUE.fullmatch(text) or text in NULL_TOKENS or len(text) > 20:
                return None
            if numbers >= len(below) * 0.9:
                units[name.strip()] = text.strip("[]()")
    return units or None


def _has_blanks(found: _Candidate) -> bool:
    """Whether names, or most fields of a column, have blanks around them."""
    if any(name != name.strip() for name in found.header):
        return True
    texts = [field for record in found.records for field in record if field.strip()]
    return bool(texts) and sum(field != field.strip() for field in texts) * 4 > len(texts)
