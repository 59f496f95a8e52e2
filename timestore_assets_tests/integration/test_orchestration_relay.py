"""What happens outside Dagster appears there, once, and the checks say what an operator has to know."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from timestore_assets.model.dataset import Dataset
from timestore_assets.orchestration.checks.findings import CheckOutcome, findings
from timestore_assets.orchestration.outbox_relay import drain
from timestore_assets.warehouse import Warehouse
from timestore_assets_tests.support.dagster_deployment import QUIET, DagsterDeployment, dagster_deployment
from timestore_assets_tests.support.migrations import manifest, transform

pytestmark = QUIET
KEY, SOURCE = dg.AssetKey("readings"), dg.AssetKey(["readings", "inbox_readings"])


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[DagsterDeployment]:
    with dagster_deployment(tmp_path) as made:
        yield made


def rows(*days: int) -> list[str]:
    return [f"a,2024-01-{day:02d}T{hour:02d}:00:00Z,1.5" for day in days for hour in range(3)]


def land(deployment: DagsterDeployment, name: str, lines: list[str], header: str = "device,at,value") -> None:
    path = deployment.drop(name, lines, header=header)
    with deployment.warehouse() as warehouse:
        warehouse.land("readings", [path])


def build(deployment: DagsterDeployment, *days: int) -> None:
    with deployment.warehouse() as warehouse:
        partitions = [warehouse.datasets["readings"].partition(f"2024-01-{day:02d}") for day in days]
        assert [report.outcome for report in warehouse.build("readings", partitions, close=True)] == ["built"] * len(days)


def observations(deployment: DagsterDeployment) -> list[dict[str, Any]]:
    """What was told of the source: files that landed as materialisations, all else as observations."""
    instance = deployment.instance
    found = [record.asset_observation for record in instance.fetch_observations(SOURCE, limit=100).records]
    landed = [record.asset_materialization for record in instance.fetch_materializations(SOURCE, limit=100).records]
    return [{name: value.value for name, value in one.metadata.items()} for one in (*found, *landed) if one is not None]


def check(deployment: DagsterDeployment, name: str) -> dg.AssetCheckEvaluation:
    record = deployment.instance.event_log_storage.get_latest_asset_check_execution_by_key([dg.AssetCheckKey(KEY, name)])
    event = record[dg.AssetCheckKey(KEY, name)].event
    assert event is not None
    assert event.dagster_event is not None
    return event.dagster_event.asset_check_evaluation_data


def test_landings_and_builds_outside_dagster_are_reported(deployment: DagsterDeployment) -> None:
    land(deployment, "a.csv", rows(1, 2))
    build(deployment, 1, 2)
    assert deployment.tick("timestore_relay").skip_message == "reported 3 events"
    assert deployment.instance.get_materialized_partitions(KEY) == {"2024-01-01", "2024-01-02"}
    (landing,) = observations(deployment)
    assert (landing["read"], landing["landed"], landing["addresses"]) == (6, 6, "a.csv")
    assert landing["partitions"] == "2024-01-01, 2024-01-02"
    record = deployment.instance.get_latest_materialization_event(KEY)
    assert record is not None
    assert record.asset_materialization is not None
    assert record.asset_materialization.metadata["dagster/partition_row_count"].value == 3
    assert record.asset_materialization.metadata["dagster/row_count"].value == 6, "of the whole table"
    assert check(deployment, "accounting").passed
    assert deployment.tick("timestore_relay").skip_message == "nothing to report"


def test_a_relay_that_died_before_it_said_so_reports_nothing_twice(deployment: DagsterDeployment) -> None:
    land(deployment, "a.csv", rows(1))
    build(deployment, 1)
    with deployment.warehouse() as warehouse:
        catalog = warehouse.catalog
        real = catalog.outbox.delivered
        catalog.outbox.delivered = lambda ids: (_ for _ in ()).throw(ConnectionError)  # type: ignore[method-assign, assignment] # Dagster knows, the catalog does not
        with pytest.raises(ConnectionError):
            drain(warehouse, deployment.instance)
        catalog.outbox.delivered = real  # type: ignore[method-assign] # put back
    _expire_claims(deployment)
    assert deployment.tick("timestore_relay").skip_message == "reported 2 events"
    assert len(deployment.instance.fetch_materializations(KEY, limit=10).records) == 1
    assert len(observations(deployment)) == 1


def test_a_batch_is_bounded(deployment: DagsterDeployment) -> None:
    land(deployment, "a.csv", rows(*range(1, 11)))
    build(deployment, *range(1, 11))
    with deployment.warehouse() as warehouse:
        assert drain(warehouse, deployment.instance, most=4) == 4
        assert drain(warehouse, deployment.instance) == 7


def test_a_landing_run_reports_by_itself(deployment: DagsterDeployment) -> None:
    deployment.drop("a.csv", rows(1))
    deployment.drop("bad.csv", ["1"], header="nothing")
    cursor = deployment.tick("timestore_files").cursor
    (request,) = deployment.tick("timestore_files", cursor).run_requests or ()
    assert deployment.run(request, "land_readings").success
    kinds = {found["event"] for found in observations(deployment)}
    assert kinds == {"files_landed", "file_quarantined"}
    assert not check(deployment, "files").passed


def outcome(deployment: DagsterDeployment, name: str) -> CheckOutcome:
    with deployment.warehouse() as warehouse:
        (found,) = [finding for finding in findings(warehouse, deployment.dataset) if finding.check == name]
    return found


def test_the_schema_check_fails_until_the_column_is_declared(deployment: DagsterDeployment) -> None:
    land(deployment, "a.csv", rows(1))
    assert outcome(deployment, "schema").passed
    land(deployment, "b.csv", [f"{row},7" for row in rows(2)], header="device,at,value,humidity")
    found = outcome(deployment, "schema")
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
    (change,) = found.metadata["changes"].records
    assert change.data == {"change": "column_added", "column": "humidity", "before": "", "after": "int64"}
    assert "humidity: {type: int64, nullable: true}" in found.metadata["what_to_do"].value
    deployment.tick("timestore_relay")
    assert not check(deployment, "schema").passed


def test_a_new_schema_version_says_in_dagster_what_made_it_and_what_to_do(deployment: DagsterDeployment) -> None:
    land(deployment, "b.csv", [f"{row},sesame" for row in rows(2)], header="device,at,value,note")
    deployment.tick("timestore_relay")
    told = [record.asset_observation for record in deployment.instance.fetch_observations(KEY, limit=10).records]
    (event,) = [one for one in told if one is not None and one.metadata["event"].value == "schema_changed"]
    assert event.description == "schema version 2: note added as string"
    table = event.metadata["changes"]
    assert isinstance(table, dg.TableMetadataValue)
    (change,) = table.records
    assert (change.data["change"], change.data["column"], change.data["after"]) == ("column_added", "note", "string")
    assert change.data["record"] == "b.csv, line 2"
    assert str(event.metadata["cause"].value).startswith("files:inbox/readings/**/* in session ")
    assert "note: {type: string, nullable: true}" in str(event.metadata["what_to_do"].value)
    assert "sesame" not in str(event.metadata), "a value of the data"
    history = outcome(deployment, "schema").metadata["history"].records
    assert [row.data["record"] for row in history] == ["b.csv, line 2"]


def test_the_schema_check_passes_once_the_advice_was_followed(deployment: DagsterDeployment) -> None:
    land(deployment, "b.csv", [f"{row},7" for row in rows(2)], header="device,at,value,humidity")
    advice = outcome(deployment, "schema").metadata["what_to_do"].value.split("```yaml\n")[1].split("\n```")[0]
    declared = deployment.declare(lambda text: text.replace("  time: at\n", f"{_indented(advice)}\n  time: at\n"))
    with deployment.warehouse() as warehouse:
        (found,) = [finding for finding in findings(warehouse, declared) if finding.check == "schema"]
    assert found.passed, found.summary


def test_the_accounting_check_finds_an_unaccounted_record(deployment: DagsterDeployment) -> None:
    land(deployment, "a.csv", [*rows(1), "a,2024-01-01T05:00:00Z,1000", "a,never,1"])
    found = outcome(deployment, "accounting")
    assert (found.passed, found.summary) == (True, "all 5 records are accounted for")
    _sql(deployment, "UPDATE sources SET read = read + 1")
    found = outcome(deployment, "accounting")
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert found.summary == "1 of 6 records are unaccounted for"


def test_refused_records_and_files_are_visible(deployment: DagsterDeployment) -> None:
    land(deployment, "a.csv", [*rows(1), "a,2024-01-01T05:00:00Z,1000"])
    land(deployment, "a.csv", [*rows(1), "a,2024-01-01T06:00:00Z,1"])
    land(deployment, "empty.csv", [], header="")
    letters, files = outcome(deployment, "dead_letters"), outcome(deployment, "files")
    assert letters.summary == "1 record was refused, most for failed_check"
    assert not files.passed
    assert {row.data["file"]: row.data["state"] for row in files.metadata["refused"].records}["a.csv"] == "rejected"


def test_freshness_warns_of_rows_that_grew_old_and_not_of_what_is_past_or_has_ended(deployment: DagsterDeployment) -> None:
    assert outcome(deployment, "freshness").summary == "nothing has landed yet"
    land(deployment, "a.csv", rows(1))
    found = outcome(deployment, "freshness")
    assert found.passed and found.summary.startswith("its rows are of the past: the newest is of 2024-01-01T02:00:00Z")
    now = datetime.now(UTC)
    land(deployment, "b.csv", [f"a,{now.isoformat()},1"])
    assert outcome(deployment, "freshness").passed
    ended = deployment.declare(lambda text: text.replace("  start: 2024-01-01\n", "  start: 2024-01-01\n  end: 2100-01-01\n"))
    with deployment.warehouse() as warehouse:
        later = {at: _freshness(warehouse, ended, now + at) for at in (timedelta(days=5), timedelta(days=365 * 100))}
    old, past = later.values()
    assert not old.passed and "older than the 2 days allowed" in old.summary
    assert past.passed and past.summary.startswith("ended 2100-01-01")


def _freshness(warehouse: Warehouse, dataset: Dataset, now: datetime) -> CheckOutcome:
    (found,) = [finding for finding in findings(warehouse, dataset, now=now) if finding.check == "freshness"]
    return found


def _indented(advice: str) -> str:
    return "\n".join("  " + line for line in advice.splitlines())


def _expire_claims(deployment: DagsterDeployment) -> None:
    _sql(deployment, "UPDATE outbox SET claimed_until = 1")


def _sql(deployment: DagsterDeployment, statement: str) -> None:
    connection = sqlite3.connect(deployment.home / "catalog.sqlite")
    with connection:
        connection.execute(statement)
    connection.close()


def test_a_rollback_appears_at_each_partition_that_it_changed(deployment: DagsterDeployment) -> None:
    land(deployment, "a.csv", rows(1, 2))
    build(deployment, 1)
    deployment.tick("timestore_relay")
    with deployment.warehouse() as warehouse:
        assert warehouse.rollback("readings", 1, actor="test").version == 3
    assert deployment.tick("timestore_relay").skip_message == "reported 2 events"
    record = deployment.instance.get_latest_materialization_event(KEY)
    assert record is not None and record.asset_materialization is not None
    told = record.asset_materialization
    assert (told.partition, told.description) == ("2024-01-01", "rolled back to version 1")
    assert (told.metadata["state"].value, told.metadata["manifest_version"].value) == ("open", 3)
    seen = deployment.instance.fetch_observations(KEY, limit=10).records
    assert [one.asset_observation.description for one in seen if one.asset_observation] == ["rolled back to version 1"]


def test_what_a_migration_has_rewritten_names_its_ticket(deployment: DagsterDeployment) -> None:
    land(deployment, "a.csv", rows(1))
    build(deployment, 1)
    deployment.tick("timestore_relay")
    with deployment.warehouse() as warehouse:
        warehouse.migrate(manifest("readings", transform("value", "value + 1")), actor="ann")
        warehouse.decide_backfill(warehouse.backfills()[0].backfill.id, "approved", actor="ann")
        assert len(list(warehouse.run_backfills("readings"))) == 1
    deployment.tick("timestore_relay")
    told = deployment.instance.fetch_materializations(KEY, limit=10).records
    tickets = [one.asset_materialization.metadata.get("tickets") for one in told if one.asset_materialization]
    assert [None if one is None else one.value for one in tickets] == ["OPS-1", None]
