"""`timestore_assets.open()`: the warehouse of a script or a notebook answers as a service's client does."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import timestore_assets
from timestore_assets import TimestoreClient
from timestore_assets.in_process import Timestore
from timestore_assets.model.errors import InputError, RefusedError
from timestore_assets_tests.support.http_service import serving

START = datetime(2024, 1, 1, tzinfo=UTC)
DECLARED = """
type: timestore_assets.Dataset
attributes:
  name: readings
  time: ts
  start: 2024-01-01
  window: day
  columns:
    ts: timestamp
    station: string
    temp: {type: double, nullable: true}
  sources:
    - http: {}
"""


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Timestore]:
    home = tmp_path_factory.mktemp("open") / "home"
    (home / "defs" / "readings").mkdir(parents=True)
    (home / "defs" / "readings" / "defs.yaml").write_text(DECLARED)
    drop = home / "readings.csv"
    lines = [f"{(START + timedelta(minutes=n)).isoformat()},{'AB'[n % 2]},{n / 4}" for n in range(400)]
    drop.write_text("ts,station,temp\n" + "\n".join(lines))
    with timestore_assets.open(home) as timestore:
        timestore.warehouse.land("readings", [drop])
        yield timestore


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"columns": ["temp", "ts"], "limit": 5},
        {"descending": True, "limit": 5},
        {"descending": True, "every": "1h", "aggregates": "count"},
        {"start": "2024-01-01T01:00", "end": START + timedelta(hours=2)},
        {"filters": {"station": "A"}, "start": START.date()},
        {"filters": [("temp", ">", 20), ("station", "in", ["A", "B"])]},
        {"every": "1h", "aggregates": "avg:temp,count", "group_by": ["station"], "fill": "null", "end": "2024-01-01T12:00"},
        {"every": timedelta(minutes=90), "aggregates": ["max:temp as top"], "fill": "none"},
        {"every": "day", "aggregates": "count", "timezone": "Europe/Berlin", "as_of": 1},
    ],
)
def test_a_dataset_is_asked_with_the_arguments_of_the_client(opened: Timestore, asked: Any) -> None:
    with serving(opened.warehouse) as served, TimestoreClient(served.url, retries=0) as client:
        there, here = client.query("readings", **asked), opened.query("readings", **asked)
        assert here.arrow().equals(there.arrow()) and here.arrow().num_rows > 0
        assert (here.manifest_version, here.complete_through) == (there.manifest_version, there.complete_through)


def test_the_latest_come_first_also_in_pages(opened: Timestore) -> None:
    latest = [row["ts"] for row in opened.query("readings", descending=True, limit=3).rows()]
    assert latest == [START + timedelta(minutes=n) for n in (399, 398, 397)]
    with serving(opened.warehouse) as served, TimestoreClient(served.url, retries=0) as client:
        pages = [list(page.rows()) for page in client.pages("readings", page_rows=150, descending=True)]
        assert [len(page) for page in pages] == [150, 150, 100]
        assert [row for page in pages for row in page] == list(opened.query("readings").rows())[::-1]


def test_sql_is_asked_as_it_is(opened: Timestore) -> None:
    assert opened.query("SELECT count(*) AS n FROM readings").arrow().to_pylist() == [{"n": 400}]
    since = opened.sql("SELECT count(*) AS n FROM readings WHERE ts >= $since", {"since": START + timedelta(minutes=390)})
    assert since.arrow().to_pylist() == [{"n": 10}] and since.manifest_versions == {"readings": 1}


def test_a_result_is_what_the_clients_is(opened: Timestore) -> None:
    result = opened.query("readings")
    assert type(result) is timestore_assets.client.Result
    assert repr(result).splitlines()[-1] == "400 rows, the first 10 shown, 3 columns"
    assert pl.DataFrame(result).height == 400 and "<polyline" in (result._repr_html_() or "")
    assert "readings" in repr(opened) and "readings" in opened.datasets()


@pytest.mark.parametrize(
    ("asked", "options", "error", "said"),
    [
        ("reading", {}, InputError, "did you mean 'readings'"),
        ("readings", {"filters": [("temp", "like", 1)]}, InputError, "'like' is no operator of a filter"),
        ("readings", {"filters": {"temp": "warm"}}, InputError, "no value of that type"),
        ("readings", {"aggregates": "count"}, InputError, "need every"),
        ("SELECT 1", {"limit": 1}, InputError, "a SELECT takes no keyword argument but as_of"),
        ("DROP TABLE readings", {}, RefusedError, "only one SELECT"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(opened: Timestore, asked: str, options: Any, error: Any, said: str) -> None:
    with pytest.raises(error, match=said):
        opened.query(asked, **options)


def test_the_home_comes_from_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIMESTORE_HOME", str(tmp_path / "elsewhere"))
    with timestore_assets.open() as timestore:
        assert timestore.warehouse.settings.home_folder == tmp_path / "elsewhere"
    assert "open" in dir(timestore_assets) and "open" not in timestore_assets.__all__
