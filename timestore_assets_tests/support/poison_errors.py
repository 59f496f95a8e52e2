"""What tests of poison share: every foreign class of error, and the places where one is raised when a marked record is judged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import duckdb
import polars.exceptions
import pyarrow as pa
import pyarrow.compute as pc

from timestore_assets.decoding.poison import is_poison

MARK = "S-poison"


class UnheardOfError(Exception):
    """A class that no code of this project knows."""


def _classes(module: Any, base: type[BaseException]) -> list[type[Exception]]:
    found = {kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, base)}
    return sorted((kind for kind in found if issubclass(kind, Exception)), key=lambda kind: kind.__name__)


def _made(kind: type[Exception]) -> Exception:
    if issubclass(kind, UnicodeDecodeError):
        return kind("utf-8", b"\xff", 0, 1, "invalid start byte")
    if issubclass(kind, UnicodeEncodeError):
        return kind("utf-8", "\udcff", 0, 1, "surrogates not allowed")
    return kind("made for a test")


BUILT_IN = [
    *(Exception, ValueError, TypeError, KeyError, IndexError, AttributeError, LookupError, ArithmeticError, OverflowError),
    *(ZeroDivisionError, RecursionError, AssertionError, StopIteration, RuntimeError, NotImplementedError, EOFError),
    *(BufferError, UnicodeDecodeError, UnicodeEncodeError, UnheardOfError),
]
LIBRARIES = [*_classes(duckdb, duckdb.Error), *_classes(pa, pa.ArrowException), *_classes(polars.exceptions, Exception)]
FOREIGN: tuple[Exception, ...] = tuple(error for error in map(_made, [*BUILT_IN, *LIBRARIES]) if is_poison(error))

PLACES = {
    "decode": "timestore_assets.landing.preparing.prepare.decode",
    "coerce": "timestore_assets.decoding.decode.coerce",
    "documents": "timestore_assets.decoding.decode.read_records",
    "required values": "timestore_assets.landing.preparing.prepare.refuse_missing",
    "bounds": "timestore_assets.landing.preparing.prepare.refuse_out_of_range",
    "constraints": "timestore_assets.landing.preparing.validate.Validator.refuse_invalid",
    "lateness": "timestore_assets.landing.preparing.prepare.refuse_late",
    "evolution": "timestore_assets.landing.preparing.prepare.evolve",
    "write": "timestore_assets.landing.committing.batch_commit.write_segments",
}


@contextmanager
def raising(target: str, error: Exception, *, when: Callable[[Sequence[Any]], bool] | None = None) -> Iterator[None]:
    """Have a function raise the error whenever the marked record is among what it is given."""
    module, _, name = target.rpartition(".")
    owner = _found(module)
    real = getattr(owner, name)

    def judged(*args: Any, **kwargs: Any) -> Any:
        if (when or marked)([*args, *kwargs.values()]):
            raise error
        return real(*args, **kwargs)

    with patch.object(owner, name, judged):
        yield


def marked(given: Sequence[Any]) -> bool:
    """Whether any table among the arguments, or inside them, holds the mark."""
    return any(_holds(one) for one in given)


def _holds(one: Any) -> bool:
    for name in ("records", "table", "_table", "_documents", "raw"):
        inner = getattr(one, name, None)
        if isinstance(inner, pa.Table | pa.ChunkedArray) and _holds(inner):
            return True
    if isinstance(one, list | tuple):
        return any(_holds(item) for item in one)
    columns = one.columns if isinstance(one, pa.Table) else [one] if isinstance(one, pa.ChunkedArray) else []
    texts = [column for column in columns if pa.types.is_string(column.type) or pa.types.is_large_string(column.type)]
    texts += [column for column in columns if pa.types.is_binary(column.type)]
    return any(pc.any(pc.match_substring(column.cast(pa.large_binary()), MARK.encode())).as_py() for column in texts)


def _found(dotted: str) -> Any:
    import importlib

    try:
        return importlib.import_module(dotted)
    except ModuleNotFoundError:
        module, _, name = dotted.rpartition(".")
        return getattr(importlib.import_module(module), name)
