"""What happens outside Dagster appears there, once, and the checks say what an operator has to know."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from timestore_assets.orchestration.findings import Finding, findings
from timestore_assets.orchestration.relay import drain
from timestore_assets_tests.orchestration_ground import QUIET, Ground, ground

pytestmark = QUIET
KEY, SOURCE = dg.AssetKey("readings"), dg.AssetKey(["readings", "inbox_readings"])


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Ground]:
    with ground(tmp_path) as made:
        yield made


def rows(*days: int) -> list[str]:
    return [f"a,2024-01-{day:02d}T{hour:02d}:00:00Z,1.5" for day in days for hour in range(3)]


def land(there: Ground, name: str, lines: list[str], header: str = "device,at,value") -> None:
    path = there.drop(name, lines, header=header)
    with there.warehouse() as warehouse:
        warehouse.land("readings", [path])


def build(there: Ground, *days: int) -> None:
    with there.warehouse() as warehouse:
        partitions = [warehouse.datasets["readings"].partition(f"2024-01-{day:02d}") for day in days]
        assert [report.outcome for report in warehouse.build("readings", partitions, close=True)] == ["built"] * len(days)


def observations(there: Ground) -> list[dict[str, Any]]:
    found = there.instance.fetch_observations(SOURCE, limit=100).records
    return [
        {name: value.value for name, value in record.asset_observation.metadata.items()}
        for record in found
        if record.asset_observation
    ]


def check(there: Ground, name: str) -> dg.AssetCheckEvaluation:
    record = there.instance.event_log_storage.get_latest_asset_check_execution_by_key([dg.AssetCheckKey(KEY, name)])
    event = record[dg.AssetCheckKey(KEY, name)].event
    assert event is not None
    assert event.dagster_event is not None
    return event.dagster_event.asset_check_evaluation_data


def test_landings_and_builds_outside_dagster_are_reported(there: Ground) -> None:
    land(there, "a.csv", rows(1, 2))
    build(there, 1, 2)
    assert there.tick("timestore_relay").skip_message == "reported 3 events"
    assert there.instance.get_materialized_partitions(KEY) == {"2024-01-01", "2024-01-02"}
    (landing,) = observations(there)
    assert (landing["read"], landing["landed"], landing["addresses"]) == (6, 6, "a.csv")
    assert landing["partitions"] == "2024-01-01, 2024-01-02"
    record = there.instance.get_latest_materialization_event(KEY)
    assert record is not None
    assert record.asset_materialization is not None
    assert record.asset_materialization.metadata["dagster/row_count"].value == 3
    assert check(there, "accounting").passed
    assert there.tick("timestore_relay").skip_message == "nothing to report"


def test_a_relay_that_died_before_it_said_so_reports_nothing_twice(there: Ground) -> None:
    land(there, "a.csv", rows(1))
    build(there, 1)
    with there.warehouse() as warehouse:
        catalog = warehouse.catalog
        real = catalog.delivered
        catalog.delivered = lambda ids: (_ for _ in ()).throw(ConnectionError)  # type: ignore[method-assign, assignment]
        with pytest.raises(ConnectionError):
            drain(warehouse, there.instance)
        catalog.delivered = real  # type: ignore[method-assign]
    _expire_claims(there)
    assert there.tick("timestore_relay").skip_message == "reported 2 events"
    assert len(there.instance.fetch_materializations(KEY, limit=10).records) == 1
    assert len(observations(there)) == 1


def test_a_batch_is_bounded(there: Ground) -> None:
    land(there, "a.csv", rows(*range(1, 11)))
    build(there, *range(1, 11))
    with there.warehouse() as warehouse:
        assert drain(warehouse, there.instance, most=4) == 4
        assert drain(warehouse, there.instance) == 7


def test_a_landing_run_reports_by_itself(there: Ground) -> None:
    there.drop("a.csv", rows(1))
    there.drop("bad.csv", ["1"], header="nothing")
    cursor = there.tick("watch_readings").cursor
    (request,) = there.tick("watch_readings", cursor).run_requests or ()
    assert there.run(request, "land_readings").success
    kinds = {found["event"] for found in observations(there)}
    assert kinds == {"files_landed", "file_quarantined"}
    assert not check(there, "files").passed


def outcome(there: Ground, name: str) -> Finding:
    with there.warehouse() as warehouse:
        (found,) = [finding for finding in findings(warehouse, there.dataset) if finding.check == name]
    return found


def test_the_schema_check_fails_until_the_column_is_declared(there: Ground) -> None:
    land(there, "a.csv", rows(1))
    assert outcome(there, "schema").passed
    land(there, "b.csv", [f"{row},7" for row in rows(2)], header="device,at,value,humidity")
    found = outcome(there, "schema")
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
    (change,) = found.metadata["changes"].records
    assert change.data == {"change": "column_added", "column": "humidity", "before": "", "after": "int64"}
    assert "humidity: {type: int64, nullable: true}" in found.metadata["what_to_do"].value
    there.tick("timestore_relay")
    assert not check(there, "schema").passed


def test_the_schema_check_passes_once_the_advice_was_followed(there: Ground) -> None:
    land(there, "b.csv", [f"{row},7" for row in rows(2)], header="device,at,value,humidity")
    advice = outcome(there, "schema").metadata["what_to_do"].value.split("```yaml\n")[1].split("\n```")[0]
    declared = there.declare(lambda text: text.replace("  time: at\n", f"{_indented(advice)}\n  time: at\n"))
    with there.warehouse() as warehouse:
        (found,) = [finding for finding in findings(warehouse, declared) if finding.check == "schema"]
    assert found.passed, found.summary


def test_the_accounting_check_finds_an_unaccounted_record(there: Ground) -> None:
    land(there, "a.csv", [*rows(1), "a,2024-01-01T05:00:00Z,1000", "a,never,1"])
    found = outcome(there, "accounting")
    assert (found.passed, found.summary) == (True, "all 5 records are accounted for")
    _sql(there, "UPDATE sources SET read = read + 1")
    found = outcome(there, "accounting")
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert found.summary == "1 of 6 records are unaccounted for"


def test_refused_records_and_files_are_visible(there: Ground) -> None:
    land(there, "a.csv", [*rows(1), "a,2024-01-01T05:00:00Z,1000"])
    land(there, "a.csv", [*rows(1), "a,2024-01-01T06:00:00Z,1"])
    land(there, "empty.csv", [], header="")
    letters, files = outcome(there, "dead_letters"), outcome(there, "files")
    assert letters.summary == "1 record was refused, most for failed_check"
    assert not files.passed
    assert {row.data["file"]: row.data["state"] for row in files.metadata["refused"].records}["a.csv"] == "rejected"


def test_freshness_warns_of_old_rows_and_not_of_a_dataset_that_has_ended(there: Ground) -> None:
    assert outcome(there, "freshness").summary == "nothing has landed yet"
    land(there, "a.csv", rows(1))
    found = outcome(there, "freshness")
    assert not found.passed
    assert "older than the 2 days allowed" in found.summary
    ended = there.declare(lambda text: text.replace("  start: 2024-01-01\n", "  start: 2024-01-01\n  end: 2024-02-01\n"))
    with there.warehouse() as warehouse:
        (found,) = [finding for finding in findings(warehouse, ended) if finding.check == "freshness"]
    assert found.passed


def _indented(advice: str) -> str:
    return "\n".join("  " + line for line in advice.splitlines())


def _expire_claims(there: Ground) -> None:
    _sql(there, "UPDATE outbox SET claimed_until = 1")


def _sql(there: Ground, statement: str) -> None:
    connection = sqlite3.connect(there.home / "catalog.sqlite")
    with connection:
        connection.execute(statement)
    connection.close()
