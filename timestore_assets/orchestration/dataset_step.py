"""What the steps that work on a dataset have in common, whether they build it or land into it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import dagster as dg

from timestore_assets.model.dataset import Dataset, Source
from timestore_assets.model.errors import InputError
from timestore_assets.orchestration.dagster_names import DATASET_TAG
from timestore_assets.orchestration.liveness import run_lease
from timestore_assets.orchestration.resources import WarehouseResource
from timestore_assets.orchestration.step_failures import failing
from timestore_assets.warehouse import Warehouse

_S = TypeVar("_S", bound=Source)


@contextmanager
def dataset_step(doing: str, dataset: Dataset, run_id: str) -> Iterator[Warehouse]:
    """The warehouse, with the dataset as this step loaded it, while the run's lease says that it is at work.

    Raises:
        dagster.Failure: for an error of ours in the block. `doing`: begins its sentence, as in `landing into`.
    """
    with (
        failing(f"{doing} {dataset.name}"),
        WarehouseResource().opened(dataset) as warehouse,
        run_lease(warehouse.catalog, run_id),
    ):
        yield warehouse


def job_of_step(name: str, step: dg.OpDefinition, dataset: Dataset, *, description: str) -> dg.JobDefinition:
    """A job of one step of a dataset, in the run's own process."""

    @dg.job(name=name, description=description, executor_def=dg.in_process_executor, tags={DATASET_TAG: dataset.name})
    def job() -> None:
        step()

    return job


def source_at(address: str, sources: Sequence[_S], *, otherwise: str) -> _S:
    """The source with an address, which a person may have mistyped.

    Raises:
        InputError: there is none. `otherwise`: begins its sentence, to which the addresses that there are are added.
    """
    for source in sources:
        if source.address == address:
            return source
    # topics of one source are separated by commas
    known = "; ".join(source.address for source in sources) or "none"
    raise InputError(f"{otherwise}: {known}")
