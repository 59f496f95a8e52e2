"""Running a statement that Ctrl-C ends at once, in the middle of whatever DuckDB does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from timestore_assets.cli.interrupts import ctrl_c_calls

if TYPE_CHECKING:
    from timestore_assets.model.as_of import AsOfEach
    from timestore_assets.querying.answer import Answer
    from timestore_assets.querying.time_limit import Cancellable
    from timestore_assets.warehouse import Warehouse


@contextmanager
def answered(warehouse: Warehouse, statement: str, *, as_of: AsOfEach | None = None) -> Iterator[Answer]:
    """The answer to a statement, from these versions; errors as `Warehouse.sql`, or what DuckDB calls being interrupted."""
    stoppers: list[Cancellable] = []

    def stop() -> None:
        for stopper in stoppers:
            stopper.interrupt()

    with ctrl_c_calls(stop), warehouse.sql(statement, as_of=as_of, began=stoppers.append) as answer:
        yield answer
