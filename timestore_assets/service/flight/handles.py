"""Handles of statements: what is to be computed, written out. So nothing is kept between calls, and any instance may answer.

A handle brings no rights: who redeems one is asked for them as if it had sent the text.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time
from decimal import Decimal
from secrets import token_bytes
from typing import Any, Self

import pyarrow as pa
import pyarrow.types as pt

from timestore_assets.model.as_of import AsOfEach, as_of_words, parse_as_of_words
from timestore_assets.model.errors import InputError
from timestore_assets.sources.http.arrow_body import arrow_body
from timestore_assets.sources.http.request_body import BodyLimits, TooManyBytesError, TooManyRowsError

_PLAIN, _OF_VERSIONS = b"\x01", b"\x02"
"""The first byte of a handle; before the text of one of the latter stands which versions it reads."""
_NONCE_BYTES = 8
_HEAD = struct.Struct(f">1s{_NONCE_BYTES}sI")
_LENGTH = struct.Struct(">I")
MOST_BYTES = 64_000
"""Of a statement's parameters."""
_LIMITS = BodyLimits(bytes=MOST_BYTES, rows=1, record_bytes=MOST_BYTES)
_SCALARS = (bool, int, float, str, bytes, date, datetime, time, Decimal, type(None))


@dataclass(frozen=True, kw_only=True, slots=True)
class Handle:
    """A statement. `parameters`: an Arrow stream of one row, empty without any. `nonce`: tells it from equal ones.

    `as_of`: the words of `parse_as_of_words`, with no time in them that depends on now: a statement is described and run by
    different calls.
    """

    text: str
    as_of: tuple[str, ...] = ()
    parameters: bytes = b""
    nonce: bytes = b""

    @classmethod
    def of(cls, text: str, *, as_of: AsOfEach | None = None) -> Self:
        """A new one."""
        return cls(text=text, as_of=() if as_of is None else as_of_words(as_of), nonce=token_bytes(_NONCE_BYTES))

    @classmethod
    def read(cls, data: bytes) -> Self:
        """InputError when the bytes are none of ours."""
        try:
            kind, nonce, length = _HEAD.unpack_from(data)
            rest, as_of = data[_HEAD.size :], ""
            if kind == _OF_VERSIONS:
                (until,) = _LENGTH.unpack_from(rest)
                rest = rest[_LENGTH.size :]
                as_of, rest = rest[:until].decode(), rest[until:]
            if kind not in (_PLAIN, _OF_VERSIONS) or length > len(rest):
                raise ValueError
            words = tuple(as_of.split(",")) if as_of else ()
            return cls(text=rest[:length].decode(), as_of=words, parameters=rest[length:], nonce=nonce)
        except (struct.error, ValueError):
            raise InputError("this handle is none of this service; prepare the statement again") from None

    def written(self) -> bytes:
        text, as_of = self.text.encode(), ",".join(self.as_of).encode()
        head = _HEAD.pack(_OF_VERSIONS if as_of else _PLAIN, self.nonce, len(text))
        return head + (_LENGTH.pack(len(as_of)) + as_of if as_of else b"") + text + self.parameters

    def versions(self) -> AsOfEach | None:
        """What is read, None for the newest; InputError when that is none of ours."""
        return parse_as_of_words(self.as_of) if self.as_of else None

    def meaning(self, as_of: AsOfEach | None) -> Self:
        """The same, reading these versions; those that it was prepared for where none are meant."""
        return self if as_of is None else replace(self, as_of=as_of_words(as_of))

    def bound(self, stream: bytes, names: Sequence[str]) -> Self:
        """With these parameters: by name if the names are the statement's, else by place.

        `stream`: an Arrow stream. `names`: of the statement's parameters.

        Raises:
            InputError: it is not one row of as many plain values.
        """
        table = _row(stream)
        given = table.column_names
        if len(given) != len(names):
            raise InputError(f"the statement has {len(names)} parameters, and values of {len(given)} were bound")
        table = table.select(list(names)) if set(given) == set(names) else table.rename_columns(list(names))
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return replace(self, parameters=sink.getvalue().to_pybytes())

    def values(self) -> dict[str, Any]:
        """Values by name, zoned times naive and in UTC; InputError as `bound`."""
        if not self.parameters:
            return {}
        table = _row(self.parameters)
        return {name: _value(name, table.column(name)) for name in table.column_names}


def _row(stream: bytes) -> pa.Table:
    """One row, every offset of it checked: it comes from outside."""
    try:
        body = arrow_body(stream, limits=_LIMITS)
    except TooManyBytesError:
        raise InputError(f"the parameters have more than {MOST_BYTES:,} bytes") from None
    except TooManyRowsError:
        raise InputError("one set of parameters can be bound at a time, here are several; send records by an ingest") from None
    if body.rows != 1:
        raise InputError("one set of parameters has to be bound, here is none")
    if body.bad:
        raise InputError("a parameter's text is not UTF-8")
    return body.records


def _value(name: str, column: pa.ChunkedArray) -> Any:
    kind = column.type
    if pt.is_timestamp(kind):
        column = column.cast(pa.timestamp("us", tz=kind.tz), safe=False).cast(pa.timestamp("us"))
    try:
        value = column[0].as_py()
    except (ValueError, OverflowError):
        raise InputError(f"the value of the parameter {name!r} is beyond what SQL knows") from None
    if not isinstance(value, _SCALARS):
        raise InputError(f"the parameter {name!r} is of Arrow type {kind}; plain values can be bound")
    return value


def announced(samples: Mapping[str, Any]) -> pa.Schema:
    """The types that drivers are told for parameters: those which they can bind without changing a value.

    JDBC's driver binds times as milliseconds whatever it is told, whole numbers cut to what it is told, and decimals at exactly
    the scale that it is told.
    """
    return pa.schema([pa.field(name, _TYPES[type(sample)]) for name, sample in samples.items()])


_TYPES: Mapping[type, pa.DataType] = {
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
    date: pa.date32(),
    datetime: pa.timestamp("ms", tz="UTC"),
}
