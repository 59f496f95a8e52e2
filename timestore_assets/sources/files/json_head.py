"""The way to an array inside a JSON document: member by member, values that lie before it passed over without keeping them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import numpy as np

from timestore_assets.model.errors import BadFileError
from timestore_assets.model.position import Position
from timestore_assets.sources.files.compression import ByteStream
from timestore_assets.sources.files.json_structure import first_filled, structure, whole_escapes
from timestore_assets.sources.files.text_records import LINE_FEED

_PIECE_BYTES = 1 << 16
_LONGEST_NAME = 1 << 16
_DEEPEST = 4
_SHOWN = 12
_CLOSING_QUOTE = re.compile(rb'(?:[^"\\]|\\.)*+"', re.DOTALL)


class JsonHead:
    """Reads the beginning of a JSON document from a stream.

    Errors are BadFileError: `bad_json` when it is none, `no_array` when it holds nothing at a path.
    """

    def __init__(self, stream: ByteStream, begin: Position, name: str) -> None:
        self._stream, self._name = stream, name
        self._data = np.empty(0, np.uint8)
        self._at, self._line = 0, begin.line

    @property
    def position(self) -> Position:
        """The next byte."""
        return Position(offset=self._stream.offset - (self._data.size - self._at), line=self._line)

    def peek(self) -> str:
        """The next character that is no white space, which is not passed; empty at the end."""
        while True:
            self._pass(first_filled(self._data, self._at, self._data.size))
            if self._at < self._data.size:
                return chr(self._data[self._at])
            if not self._more():
                return ""

    def take(self, expected: str) -> None:
        """Pass a character."""
        if self.peek() != expected:
            raise self._bad(f"{expected} is missing")
        self._pass(self._at + 1)

    def enter(self, path: tuple[str, ...]) -> None:
        """Go behind the bracket that opens the array at a path of member names; an empty one is the document itself."""
        for depth, name in enumerate(path):
            where = ".".join(path[:depth]) or "its beginning"
            if self.peek() != "{":
                raise BadFileError("no_array", f"{self._name} has no object at {where}, so there is no {'.'.join(path)} (path)")
            seen = []
            for member in self.members():
                if member == name:
                    break
                seen.append(member)
                self.skip()
            else:
                there = ", ".join(map(repr, seen[:_SHOWN])) + (", …" if len(seen) > _SHOWN else "")
                raise BadFileError("no_array", f"{self._name} has no {name!r} at {where} (path); there are {there or 'none'}")
        if self.peek() != "[":
            raise BadFileError("no_array", f"{self._name} has no array at {'.'.join(path) or 'its beginning'} (path)")
        self.take("[")

    def members(self) -> Iterator[str]:
        """Names of the object's members; the caller passes each value before it asks for the next name."""
        self.take("{")
        while self.peek() != "}":
            name = self._string()
            self.take(":")
            yield name
            if self.peek() == ",":
                self.take(",")
            elif self.peek() != "}":
                raise self._bad("a comma is missing")
        self.take("}")

    def arrays(self, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
        """Paths of the arrays of objects below the object that comes next, in their order; none of those inside arrays."""
        for name in self.members():
            first = self.peek()
            if first == "{" and len(path) + 1 < _DEEPEST:
                yield from self.arrays((*path, name))
            elif first == "[" and self._holds_objects():
                yield (*path, name)
                self.skip(opened=1)
            elif first == "[":
                self.skip(opened=1)
            else:
                self.skip()

    def skip(self, *, opened: int = 0) -> None:
        """Pass a value; or, where `opened` brackets of one are passed already, its rest."""
        first = self.peek()
        if not opened and first == '"':
            self._string(keep=False)
        elif not opened and first not in ("{", "["):
            self._scalar()
        else:
            self._nested(opened)

    def _holds_objects(self) -> bool:
        self.take("[")
        return self.peek() == "{"

    def _nested(self, depth: int) -> None:
        in_string = False
        while True:
            stop = whole_escapes(self._data, self._at, self._data.size)
            found = structure(self._data, self._at, stop, depth=depth, in_string=in_string)
            closed = np.flatnonzero(found.depths == 0)
            if closed.size:
                self._pass(int(found.places[closed[0]]) + 1)
                return
            depth, in_string = found.depth, found.in_string
            self._pass(stop)
            if not self._more():
                raise self._bad("it ends too early")

    def _string(self, *, keep: bool = True) -> str:
        if self.peek() != '"':
            raise self._bad("a name in quotes is missing")
        self._pass(self._at + 1)
        text = bytearray()
        while True:
            stop = whole_escapes(self._data, self._at, self._data.size)
            end = self._end_of_string(stop)
            until = stop if end is None else end
            if keep:
                text += self._data[self._at : until].tobytes()
                if len(text) > _LONGEST_NAME:
                    raise self._bad("a name is too long")
            self._pass(until if end is None else end + 1)
            if end is not None:
                break
            if not self._more():
                raise self._bad("it ends too early")
        if not keep:
            return ""
        try:
            return str(json.loads(b'"' + bytes(text) + b'"', strict=False))
        except ValueError:
            raise self._bad("a name is no valid text") from None

    def _end_of_string(self, stop: int) -> int | None:
        found = _CLOSING_QUOTE.match(self._data.data, self._at, stop)
        return None if found is None else found.end() - 1

    def _scalar(self) -> None:
        while True:
            ends = np.flatnonzero(np.isin(self._data[self._at :], [*b",]} \t\r\n"]))
            if ends.size:
                self._pass(self._at + int(ends[0]))
                return
            self._pass(self._data.size)
            if not self._more():
                return

    def _pass(self, until: int) -> None:
        self._line += int(np.count_nonzero(self._data[self._at : until] == LINE_FEED))
        self._at = until

    def _more(self) -> bool:
        """Read on behind what is not passed yet; False when nothing is left."""
        rest = self._data[self._at :]
        buffer = np.empty(rest.size + _PIECE_BYTES, np.uint8)
        buffer[: rest.size] = rest
        filled = rest.size + self._stream.fill(buffer.data[rest.size :])
        self._data, self._at = buffer[:filled], 0
        return filled > rest.size

    def _bad(self, problem: str) -> BadFileError:
        place = self.position
        return BadFileError(
            "bad_json", f"{self._name} is not valid JSON near byte {place.offset}, line {place.line + 1}: {problem}"
        )
