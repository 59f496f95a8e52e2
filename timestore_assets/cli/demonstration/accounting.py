"""Every record of the demo has to be accounted for: by disposition, and against an independent count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from timestore_assets.catalog.records import Counters
from timestore_assets.cli.demonstration.inputs import Input, StreamInput, records_in
from timestore_assets.warehouse import Warehouse


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """`in_file`: records an independent reader found. `stored`: rows a query counts; `superseded`: removed by deduplication."""

    dataset: str
    in_file: int
    counters: Counters
    stored: int
    superseded: int

    @property
    def balanced(self) -> bool:
        """I2, nothing lost between file and source, nothing between source and table."""
        whole = self.in_file == self.counters.read - self.counters.duplicates
        return self.counters.balanced and whole and self.stored + self.superseded == self.counters.landed


def account(warehouse: Warehouse, files: Sequence[Input | StreamInput]) -> list[Account]:
    """The books of each dataset."""
    return [_account(warehouse, file) for file in files]


def _account(warehouse: Warehouse, file: Input | StreamInput) -> Account:
    from timestore_assets.querying.question import Aggregate, Question

    _, record = warehouse.resolve(file.dataset)
    question = Question(dataset=file.dataset, aggregates=(Aggregate(fn="count"),))
    with warehouse.ask(question) as answer:
        stored = int(answer.table().column(0)[0].as_py())
    counters = warehouse.catalog.source(record.id, file.source.kind, file.source.address).counters
    return Account(
        dataset=file.dataset,
        in_file=records_in(file.original),
        counters=counters,
        stored=stored,
        superseded=sum(partition.superseded_rows for partition in warehouse.catalog.partitions(record.id)),
    )
