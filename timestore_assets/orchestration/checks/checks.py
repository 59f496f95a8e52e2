"""Asset checks: what an operator has to know about a dataset, read from the catalog.

They run with every build, and the relay evaluates them when only a landing ran; while a stream lands not at every commit, each
of which would make rows in Dagster. None is partitioned and none blocks: a failing one never keeps data from being published,
validation did that before the commit.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Self

import dagster as dg

from timestore_assets.model.dataset import Dataset
from timestore_assets.orchestration.checks.findings import findings
from timestore_assets.orchestration.dagster_names import dataset_key
from timestore_assets.warehouse import Warehouse

SECONDS = 60.0
_VERSION = 1


@dataclass(kw_only=True)
class CheckPace:
    """When the checks of which dataset are due."""

    checked: dict[str, float] = field(default_factory=dict)
    """When (seconds since 1970) a dataset's checks were evaluated."""
    owed: set[str] = field(default_factory=set)
    """Datasets that have changed since."""

    @classmethod
    def parse(cls, cursor: str | None) -> Self:
        """The pace that a sensor's cursor holds; a new one when it holds none, or one of another version."""
        try:
            found = json.loads(cursor or "{}")
        except ValueError:
            return cls()
        if not isinstance(found, dict) or found.get("version") != _VERSION:
            return cls()
        return cls(checked=dict(found["checked"]), owed=set(found["owed"]))

    def cursor(self) -> str:
        return json.dumps({"version": _VERSION, "checked": self.checked, "owed": sorted(self.owed)})

    def due(self, urgent: Collection[str], streamed: Collection[str], *, now: float, at_once: bool = False) -> list[str]:
        """Datasets to check now: those of `urgent`, and of `streamed` those whose last check is a minute ago or more.

        `at_once`: all that are owed. The rest is owed until another call.
        """
        self.owed.update(urgent, streamed)
        due = sorted(
            name for name in self.owed if at_once or name in urgent or not 0 <= now - self.checked.get(name, 0.0) < SECONDS
        )
        self.owed.difference_update(due)
        self.checked.update(dict.fromkeys(due, round(now, 3)))
        return due


_DESCRIPTIONS = {
    "schema": "No column was found that isn't declared and no type had to widen: a failure is a schema-evolution event.",
    "accounting": "Every record read is landed, a duplicate, dropped late, held or a dead letter, per source.",
    "freshness": "The newest row is no older than two windows and the lateness allowed, or only rows of the past ever came.",
    "files": "No file is quarantined or rejected.",
    "dead_letters": "No record was refused.",
}
_OF_TOPICS = {
    "lost_offsets": "The brokers deleted no offsets before they were read, or somebody has taken note.",
    "stream": "Landing from topics is not paused.",
}


def check_specs(dataset: Dataset) -> list[dg.AssetCheckSpec]:
    """The checks of a dataset; they belong to the step that builds, since a build of no rows would skip a step of their own."""
    key = dataset_key(dataset)
    descriptions = {**_DESCRIPTIONS, **(_OF_TOPICS if dataset.kafka_sources else {})}
    if dataset.freshness.max_age is not None:  # Dagster judges by the policy
        del descriptions["freshness"]
    return [dg.AssetCheckSpec(name, asset=key, description=text) for name, text in descriptions.items()]


def results(warehouse: Warehouse, dataset: Dataset, wanted: Iterable[dg.AssetCheckKey]) -> Iterator[dg.AssetCheckResult]:
    """The wanted checks as events of a run."""
    names = {check.name for check in wanted}
    for outcome in findings(warehouse, dataset):
        if outcome.check in names:
            yield dg.AssetCheckResult(
                asset_key=dataset_key(dataset),
                check_name=outcome.check,
                passed=outcome.passed,
                severity=outcome.severity,
                description=outcome.summary,
                metadata=dict(outcome.metadata),
            )


def evaluations(warehouse: Warehouse, dataset: Dataset) -> Iterator[dg.AssetCheckEvaluation]:
    """The checks as events that belong to no run."""
    for outcome in findings(warehouse, dataset):
        yield dg.AssetCheckEvaluation(
            asset_key=dataset_key(dataset),
            check_name=outcome.check,
            passed=outcome.passed,
            severity=outcome.severity,
            description=outcome.summary,
            metadata=dict(outcome.metadata),
        )
