"""What `dev` shows of the many lines that Dagster writes."""

from __future__ import annotations

from pathlib import Path

from timestore_assets.cli.dagster_output import LogFollower, errors_in

RUN = "85c1ba14-9dd7-4739-8222-06516d0d261a"
STAMP = "2026-11-30 11:50:17 +0000"
SENSOR_ERROR = f"""\
{STAMP} - dagster.daemon.SensorDaemon - ERROR - Sensor tick caught an error
Traceback (most recent call last):
  File "sensor.py", line 649, in _process_tick_generator
dagster._core.errors.DagsterUserCodeProcessError: SensorExecutionError: Error occurred
{STAMP} - dagster.daemon.SensorDaemon - ERROR - Sensor daemon caught an error for sensor timestore_files
Traceback (most recent call last):
  File "sensor.py", line 649, in _process_tick_generator
dagster._core.errors.DagsterUserCodeProcessError: SensorExecutionError: Error occurred

The above exception was caused by the following exception:
timestore_assets.model.errors.UnavailableError: the database can't be reached

Stack Trace:
  File "database.py", line 5, in read
"""
QUIET = f"""\
cli.py:911: SupersessionWarning: Function `dev_command` is superseded and its usage is discouraged. Use 'dg dev' instead.
  return callback(*args, **kwargs)
{STAMP} - dagster.daemon.SensorDaemon - INFO - Checking for new runs for sensor: timestore_files
{STAMP} - dagster.daemon - WARNING - No cursor for event type
{STAMP} - dagster - DEBUG - land_px - {RUN} - 24265 - RUN_START - Started execution of run for "land_px".
"""


def shown(text: str) -> list[str]:
    return list(errors_in(text.splitlines()))


def test_ticks_warnings_and_progress_are_not_shown() -> None:
    assert shown(QUIET) == []


def test_an_error_of_a_sensor_is_one_sentence() -> None:
    assert shown(QUIET + SENSOR_ERROR + QUIET) == ["sensor timestore_files: the database can't be reached"]


def test_a_failed_run_is_named_with_its_job_once() -> None:
    step = f"{STAMP} - dagster - ERROR - land_px - {RUN} - 24265 - land_px_files - STEP_FAILURE - Execution of step failed."
    failure = f'{STAMP} - dagster - ERROR - land_px - {RUN} - 24265 - RUN_FAILURE - Execution of run for "land_px" failed.'
    assert shown("\n".join([step, failure])) == ['run 85c1ba14 of land_px: Execution of run for "land_px" failed.']


def test_a_location_that_can_not_be_loaded_is_shown() -> None:
    warning = "context.py:1180: UserWarning: Error loading repository location timestore_assets:dagster._core.errors"
    assert shown(warning) == ["Dagster could not load timestore_assets; its UI says why"]


def test_any_other_error_is_shown_with_its_cause() -> None:
    text = f"{STAMP} - dagster.daemon - ERROR - Thread died\nTraceback (most recent call last):\nOSError: disk full"
    assert shown(text) == ["Thread died: disk full"]


def test_a_log_is_followed_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "dagster.log"
    follower = LogFollower(path)
    assert list(follower.lines()) == []
    path.write_bytes(b"\x1b[32mone\x1b[0m\ntw")
    assert list(follower.lines()) == ["one"]
    with path.open("ab") as log:
        log.write(b"o\nthree\n")
    assert list(follower.lines()) == ["two", "three"]
    assert list(follower.lines()) == []
