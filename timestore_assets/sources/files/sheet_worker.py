"""A spreadsheet in a process of its own, see `sheet_worker_process`: what it asks for in memory is refused to that one alone."""

from __future__ import annotations

import json
import subprocess
import sys
import weakref
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from timestore_assets.model.errors import BadFileError
from timestore_assets.sources.files import sheet_worker_process
from timestore_assets.sources.files.sheet_worker_process import AGAIN, MORE

_HEADROOM_BYTES = 256 << 20
_TIMES_ITS_SIZE = 6
"""A cell takes about as much as its text in the file, a text twice; and the file is there as well."""
_USUAL_BYTES = 256 << 20


class SheetWorker:
    """One sheet: its `name`, how many `rows` it has. The process ends with this object, or when this process does.

    Raises:
        BadFileError: it is damaged, `no_sheet`, or `too_large`: it wanted more memory than a multiple of `whole_bytes`.
    """

    def __init__(self, content: bytes, *, file: str, wanted: str | None, whole_bytes: int | None) -> None:
        self._file = file
        memory = _HEADROOM_BYTES + _TIMES_ITS_SIZE * (whole_bytes or _USUAL_BYTES)
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-P", sheet_worker_process.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C lets a landing end its batch, and is not for this one
        )
        self._finalizer = weakref.finalize(self, _end, self._process)
        order = json.dumps({"bytes": len(content), "sheet": wanted, "memory": memory}).encode()
        found = self._answer(order + b"\n", content)
        if "error" in found:
            why = found["error"].strip().partition("\n")[0][:200]
            if "capacity overflow" in why:
                raise self._too_large()
            raise BadFileError("corrupt", f"{file} is a spreadsheet that is damaged or can't be read: {why}")
        if "sheets" in found:
            there = ", ".join(map(repr, found["sheets"][:12])) or "none"
            raise BadFileError("no_sheet", f"{file} has no sheet {wanted or ''!r} (sheet); there are {there}")
        self.name: str = found["name"]
        self.rows: int = found["rows"]

    def all_rows(self) -> Iterator[Sequence[Any]]:
        """All rows of the sheet from its first one on; one pass at a time."""
        order = AGAIN
        while some := self._answer(order.encode() + b"\n"):
            yield from some
            order = MORE

    def _answer(self, *asked: bytes) -> Any:
        orders, answers = self._process.stdin, self._process.stdout
        assert orders is not None and answers is not None  # noqa: S101 - they are pipes
        try:
            for part in asked:
                orders.write(part)
            orders.flush()
            line = answers.readline()
        except BrokenPipeError:
            line = b""
        if not line.endswith(b"\n"):
            raise self._too_large()
        return json.loads(line)

    def _too_large(self) -> BadFileError:
        return BadFileError(
            "too_large",
            f"{self._file} is a spreadsheet that is only read whole, and takes more than the memory (a cell far away from the "
            "others makes it as large as all between); save it as CSV, or raise TIMESTORE_MEMORY",
        )


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    for pipe in (process.stdin, process.stdout):
        with suppress(OSError):
            assert pipe is not None  # noqa: S101 - as above
            pipe.close()
    process.wait()
