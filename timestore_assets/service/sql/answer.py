"""Running SQL for a caller: over exactly the datasets that it may read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from timestore_assets.catalog.records import DatasetRecord
from timestore_assets.model.dataset import Dataset
from timestore_assets.querying.sandbox import run_sql
from timestore_assets.service.answers.computation import Answered, Computation, Interruption
from timestore_assets.service.answers.facts import SqlFacts, columns_of
from timestore_assets.service.answers.formats import chosen
from timestore_assets.service.answers.response import AnswerResponse
from timestore_assets.service.state import Service
from timestore_assets.warehouse import Warehouse


class Readable(Mapping[str, "tuple[Dataset, DatasetRecord]"]):
    """These datasets by name, with their catalog records, which are read when they are asked for."""

    def __init__(self, warehouse: Warehouse, datasets: Mapping[str, Dataset]) -> None:
        self._warehouse, self._datasets = warehouse, datasets

    def __getitem__(self, name: str) -> tuple[Dataset, DatasetRecord]:
        if name not in self._datasets:
            raise KeyError(name)
        return self._warehouse.resolve(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._datasets)

    def __len__(self) -> int:
        return len(self._datasets)


def sql_response(
    service: Service,
    datasets: Mapping[str, Dataset],
    text: str,
    *,
    parameters: Mapping[str, Any],
    accept: str | None,
    kind: str,
    timeout: float | None = None,
) -> AnswerResponse:
    """The answer to a SELECT over these datasets.

    Args:
        kind: as the metrics call it.
        timeout: seconds that it may take, at most and by default those of the settings.
    """
    most = float(service.warehouse.settings.sql_timeout_seconds)
    seconds = most if timeout is None else min(timeout, most)
    readable = Readable(service.warehouse, datasets)

    def ask(stop: Interruption) -> Answered:
        answer = run_sql(
            service.warehouse.querier,
            text,
            readable,
            parameters=parameters,
            timeout=seconds,
            began=stop.watch,
            room=service.workers.room,
        )
        facts = SqlFacts(
            manifest_versions=answer.manifest_versions,
            scanned=answer.scanned,
            pruned=answer.pruned,
            columns=columns_of(answer.schema),
        )
        return Answered(facts=facts, schema=answer.schema, batches=answer.batches(), close=answer.close)

    computation = Computation(ask, chosen(accept), seconds=seconds, done=partial(_done, service, kind))
    return AnswerResponse(computation, service.gate)


def _done(service: Service, kind: str, seconds: float, rows: int) -> None:
    service.metrics.observe_query(dataset="", kind=kind, seconds=seconds, rows=rows)
