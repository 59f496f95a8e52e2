"""Saved queries that a migration would break: those that can be bound to the columns of now and not to those of afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from timestore_assets.catalog.effective_declaration import effective
from timestore_assets.catalog.records import DatasetRecord
from timestore_assets.catalog.service_records import SavedQuery
from timestore_assets.migrating.applying import Applied
from timestore_assets.migrating.dry_run import BrokenQuery
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.errors import InputError, RefusedError, TimeLimitError
from timestore_assets.querying.reading.querier import Querier
from timestore_assets.querying.sql.sandbox import check

Datasets = Mapping[str, tuple[Dataset, DatasetRecord]]


def broken_queries(
    querier: Querier, saved: Iterable[SavedQuery], datasets: Datasets, applied: Applied, name: str
) -> list[BrokenQuery]:
    """Of these queries those that read the dataset of that name and would fail after the migration."""
    dataset, record = datasets[name]
    state = applied.migrated.state
    afterwards = replace(record, schema=state.schema, definition=state.definition)
    target = _Instead(datasets, name, (effective(dataset, afterwards), afterwards))
    found = []
    for query in saved:
        if name in query.datasets and _problem(querier, query, datasets) is None:
            problem = _problem(querier, query, target)
            if problem is not None:
                found.append(BrokenQuery(name=query.name.partition("~")[0], problem=problem))
    return found


def _problem(querier: Querier, query: SavedQuery, datasets: Datasets) -> str | None:
    """Why a query can't be bound; None when it can, or takes too long to tell."""
    try:
        check(querier, query.sql, datasets, parameters=None, bound_only=True)
    except TimeLimitError:
        return None
    except (InputError, RefusedError) as error:
        return str(error)
    return None


class _Instead(Mapping[str, tuple[Dataset, DatasetRecord]]):
    """Datasets by name, one of them as it would be."""

    def __init__(self, others: Datasets, name: str, one: tuple[Dataset, DatasetRecord]) -> None:
        self._others, self._name, self._one = others, name, one

    def __getitem__(self, name: str) -> tuple[Dataset, DatasetRecord]:
        return self._one if name == self._name else self._others[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._others)

    def __len__(self) -> int:
        return len(self._others)
