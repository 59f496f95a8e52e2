"""The process that reads one spreadsheet: a few bytes of one can ask for any memory, and end the process that opens it.

It is run by its path and knows this library alone. One line of JSON comes (bytes of the file that follow it, wanted sheet, most
memory), and one goes back; then each line that comes asks for rows, from the first one on when it says so.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from itertools import chain, repeat
from typing import Any

AGAIN = "again"
MORE = "more"
DURATION = "us"
_BYTES_AT_ONCE = 1 << 20


def main() -> None:
    """Answer until nobody asks."""
    asked, answers = sys.stdin.buffer, sys.stdout.buffer
    order = json.loads(asked.readline())
    content = asked.read(order["bytes"])
    limit(order["memory"])
    try:
        sheet, names = opened(content, order["sheet"])
        answer = {"sheets": names} if sheet is None else {"name": sheet.name, "rows": sheet.total_height}
    except (Exception, BaseException) as error:  # a panic of the library is no Exception
        answer = {"error": str(error)}
        sheet = None
    rows: Iterator[Any] = iter(())
    answers.write(json.dumps(answer).encode() + b"\n")
    answers.flush()
    for line in asked if sheet is not None else ():
        if line.strip().decode() == AGAIN:
            rows = all_rows(sheet)
        answers.write(some(rows) + b"\n")
        answers.flush()


def limit(memory: int) -> None:
    """Let the kernel refuse more memory, where it can."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))


def opened(content: bytes, wanted: str | None) -> tuple[Any, list[str]]:
    """The wanted sheet, None when there is none, and the names of all."""
    from python_calamine import CalamineWorkbook

    book = CalamineWorkbook.from_filelike(io.BytesIO(content))
    names = list(book.sheet_names)
    name = wanted if wanted is not None else next(iter(names), "")
    return (book.get_sheet_by_name(name) if name in names else None), names


def all_rows(sheet: Any) -> Iterator[Any]:
    """All rows of the sheet, those above its first filled cell as well."""
    begin = sheet.start
    return chain(repeat([], begin[0] if begin else 0), sheet.iter_rows())


def some(rows: Iterator[Any]) -> bytes:
    """The next rows as a list of JSON, without the empty cells behind their last filled one; an empty list at the end."""
    size, texts = 0, []
    for row in rows:
        end = len(row)
        while end and row[end - 1] == "":
            end -= 1
        texts.append(json.dumps(row[:end], default=plain))
        size += len(texts[-1])
        if size > _BYTES_AT_ONCE:
            break
    return f"[{','.join(texts)}]".encode()


def plain(cell: Any) -> Any:
    """A time as JSON has it."""
    if isinstance(cell, timedelta):
        return {DURATION: cell // timedelta(microseconds=1)}
    if isinstance(cell, datetime | date | time):
        return cell.isoformat()
    return str(cell)


if __name__ == "__main__":
    main()
