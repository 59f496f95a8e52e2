"""Asset checks: what an operator has to know about a dataset, read from the catalog.

They run with every build, and the relay evaluates them when only a landing ran. None is partitioned and none blocks: a
failing one never keeps data from being published, validation did that before the commit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import dagster as dg

from timestore_assets.model.dataset import Dataset
from timestore_assets.orchestration.findings import findings
from timestore_assets.orchestration.names import dataset_key
from timestore_assets.warehouse import Warehouse

_DESCRIPTIONS = {
    "schema": "No column was found that isn't declared and no type had to widen: a failure is a schema-evolution event.",
    "accounting": "Every record read is landed, a duplicate, dropped late, held or a dead letter, per source.",
    "freshness": "The newest row is no older than two windows and the lateness allowed.",
    "files": "No file is quarantined or rejected.",
    "dead_letters": "No record was refused.",
}
_OF_TOPICS = {
    "lost_offsets": "The brokers deleted no offsets before they were read, or somebody has taken note.",
    "stream": "Landing from topics is not paused.",
}


def check_specs(dataset: Dataset) -> list[dg.AssetCheckSpec]:
    """The checks of a dataset; they belong to the step that builds, since a build of no rows would skip a step of their own."""
    key = dataset_key(dataset.name)
    descriptions = {**_DESCRIPTIONS, **(_OF_TOPICS if dataset.kafka_sources else {})}
    return [dg.AssetCheckSpec(name, asset=key, description=text) for name, text in descriptions.items()]


def results(warehouse: Warehouse, dataset: Dataset, wanted: Iterable[dg.AssetCheckKey]) -> Iterator[dg.AssetCheckResult]:
    """The wanted checks as events of a run."""
    names = {check.name for check in wanted}
    for found in findings(warehouse, dataset):
        if found.check in names:
            yield dg.AssetCheckResult(
                asset_key=dataset_key(dataset.name),
                check_name=found.check,
                passed=found.passed,
                severity=found.severity,
                description=found.summary,
                metadata=dict(found.metadata),
            )


def evaluations(warehouse: Warehouse, dataset: Dataset) -> Iterator[dg.AssetCheckEvaluation]:
    """The checks as events that belong to no run."""
    for found in findings(warehouse, dataset):
        yield dg.AssetCheckEvaluation(
            asset_key=dataset_key(dataset.name),
            check_name=found.check,
            passed=found.passed,
            severity=found.severity,
            description=found.summary,
            metadata=dict(found.metadata),
        )
