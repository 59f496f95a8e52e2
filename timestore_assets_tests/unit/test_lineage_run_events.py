"""What an event says of topics, expressions, Dagster's runs and changes, without a warehouse."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from openlineage.client.serde import Serde

from timestore_assets.lineage.run_events import RunEvents, Table
from timestore_assets.lineage.runs import Run, RunKind, RunNews, RunState
from timestore_assets.model.dataset import KafkaSource
from timestore_assets.model.schema import Column
from timestore_assets.model.types import DOUBLE
from timestore_assets.model.window import Window
from timestore_assets.settings import Settings
from timestore_assets_tests.support.landing_warehouse import dataset

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RUN = "1d9f2a1e-1111-4222-8333-444455556666"
TOPICS = KafkaSource(topics=("obs", "more"), bootstrap_servers="me:hidden@b1:9094")
CELSIUS = Column(name="celsius", type=DOUBLE, nullable=True, id=4, expression='("#3" - 32) / 1.8')


def events(warehouse: str = "w1") -> RunEvents:
    return RunEvents(settings=Settings(home=Path("/srv/home")), warehouse=warehouse)


def run(kind: RunKind = "landing", **more: Any) -> Run:
    return Run(key="session/7", kind=kind, dataset="weather", actor=f"dagster run {RUN}", began=0, **more)


def table() -> Table:
    declared = dataset(sources=(TOPICS,))
    numbered = tuple(replace(column, id=number) for number, column in enumerate(declared.schema.columns, 1))
    schema = replace(declared.schema, columns=(*numbered, CELSIUS))
    return Table(name="weather", declared=declared, schema=schema, window=Window.DAY)


def made(of: Run, state: RunState = "COMPLETE", shown: Table | None = None, error: str = "") -> dict[str, Any]:
    return Serde.to_dict(events().event(RunNews(state=state, at=NOW, run=of, error=error), shown or table()))


def test_a_session_on_topics_reads_each_of_them() -> None:
    event = made(run(source="obs,more", source_kind="kafka", counters={"read": 5, "landed": 5}))
    assert [(one["namespace"], one["name"]) for one in event["inputs"]] == [
        ("kafka://b1:9094", "obs"),
        ("kafka://b1:9094", "more"),
    ]
    assert all(one["inputFacets"] == {} for one in event["inputs"]), "the counters are of both together"
    fields = event["outputs"][0]["facets"]["columnLineage"]["fields"]["temp"]["inputFields"]
    assert [(one["name"], one["field"]) for one in fields] == [("obs", "temp"), ("more", "temp")]
    assert event["job"]["facets"]["jobType"]["processingType"] == "STREAMING"
    parent = event["run"]["facets"]["parent"]
    assert (parent["run"]["runId"], parent["job"]["name"]) == (RUN, "stream_weather")
    assert "hidden" not in str(event)


def test_a_build_reads_the_columns_of_an_expression() -> None:
    event = made(run("build", rows=10, superseded=2, first_partition="2013-01-01", last_partition="2013-01-01"))
    itself, read = event["outputs"][0]["facets"]["columnLineage"]["fields"]["celsius"]["inputFields"]
    assert itself["field"] == "celsius" and itself["transformations"][0]["subtype"] == "IDENTITY"
    assert read["field"] == "temp"
    assert read["transformations"][0]["description"] == '("temp" - 32) / 1.8'
    assert event["inputs"][0]["inputFacets"]["inputStatistics"]["rowCount"] == 12
    assert event["run"]["facets"]["nominalTime"]["nominalEndTime"] == "2013-01-02T00:00:00Z"
    assert event["run"]["facets"]["parent"]["job"]["name"] == "__ASSET_JOB"


def test_a_dataset_that_is_gone_is_still_told_of() -> None:
    gone = Table(name="weather", declared=None, schema=None, window=None)
    event = made(run(source="inbox/**/*", source_kind="files"), "FAIL", gone, error="it was dropped")
    assert event["run"]["facets"]["errorMessage"]["message"] == "it was dropped"
    assert event["inputs"][0]["name"] == "/srv/home/inbox" and "schema" not in event["outputs"][0]["facets"]


@pytest.mark.parametrize("kind", ["landing", "replay", "build"])
def test_a_run_has_one_id_in_one_warehouse(kind: RunKind) -> None:
    one, other = run(kind), replace(run(kind), key="session/8")
    assert events().run_id(one) == events().run_id(replace(one, rows=3)) != events().run_id(other)
    assert events("w2").run_id(one) != events().run_id(one)


def test_what_does_not_add_up_is_an_assertion_that_fails() -> None:
    shown = Table(name="weather", declared=None, schema=None, window=None)
    event = made(run(source="inbox/**/*", source_kind="files", counters={"read": 5, "landed": 4}), shown=shown)
    [read] = event["inputs"]
    found = {one["assertion"]: one["success"] for one in read["inputFacets"]["dataQualityAssertions"]["assertions"]}
    assert found == {"accounting": False, "dead_letters": True, "late_records": True}


def test_a_change_says_what_it_did_to_the_dataset_and_reads_nothing() -> None:
    event = made(run("change", action="schema_migrated", manifest_version=4))
    (output,) = event["outputs"]
    assert event["inputs"] == [] and output["outputFacets"] == {} and event["job"]["name"] == "weather.change"
    assert output["facets"]["lifecycleStateChange"]["lifecycleStateChange"] == "ALTER"
    assert "celsius" in {field["name"] for field in output["facets"]["schema"]["fields"]}
    assert "parent" not in event["run"]["facets"] and "columnLineage" not in output["facets"]
    assert {"key": "change", "value": "schema_migrated", "source": "timestore"} in [
        {name: tag[name] for name in ("key", "value", "source")} for tag in event["run"]["facets"]["tags"]["tags"]
    ]


def test_a_renamed_dataset_has_its_name_of_before() -> None:
    gone = Table(name="climate", declared=None, schema=None, window=None)
    event = made(run("change", action="dataset_renamed", former_name="climate"), shown=gone)
    change = event["outputs"][0]["facets"]["lifecycleStateChange"]
    assert change["lifecycleStateChange"] == "RENAME"
    assert (change["previousIdentifier"]["namespace"], change["previousIdentifier"]["name"]) == ("timestore", "climate")
