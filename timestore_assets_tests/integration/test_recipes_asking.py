"""Recipes that ask: their queries and files, as the pages have them, against the service."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import jinja2
import pytest
import yaml

from timestore_assets_tests.support.doc_pages import DOCS, DocPage
from timestore_assets_tests.support.readings_service import ADDRESS, ROWS, SENSORS, ReadingsService, readings_service

DASHBOARD = json.loads((DOCS / "grafana" / "readings.json").read_text(encoding="utf-8"))
TARGETS = {panel["title"]: panel["targets"][0] for panel in DASHBOARD["panels"]}


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReadingsService]:
    with readings_service(tmp_path_factory.mktemp("readings")) as made:
        yield made


@pytest.fixture(scope="module")
def token(ground: ReadingsService) -> str:
    """Of the page; from then on the service wants one, which it notices within a second. Tests that take it come last."""
    (secret,) = DocPage("recipes/grafana.md").type_commands(ground.line).split()
    deadline = time.monotonic() + 60
    while ground.http.client.get("/datasets").status_code != 401:
        assert time.monotonic() < deadline, "the service is still open"
        time.sleep(0.05)
    return secret


def asked(ground: ReadingsService, target: Mapping[str, Any], token: str) -> list[dict[str, Any]]:
    """What Infinity sends for a target, from 2 to 4 March, and the rows that it finds in the answer."""
    assert target["type"] == "json"
    assert target["parser"] == "backend"
    body = re.sub(r"\$\{__timeFrom:date:iso\}", "2024-03-02T00:00:00.000Z", target["url_options"]["data"])
    body = re.sub(r"\$\{__timeTo:date:iso\}", "2024-03-04T00:00:00.000Z", body)
    body = re.sub(r"\$__customInterval\(([^)]*)\)", lambda found: found[1].split(",")[5], body)
    body = body.replace("${sensor:doublequote}", ",".join(f'"{sensor}"' for sensor in SENSORS))
    assert "$_" not in body
    assert "${" not in body
    headers = {"Authorization": f"Bearer {token}", "Content-Type": target["url_options"]["body_content_type"]}
    answer = ground.http.client.request(target["url_options"]["method"], target["url"], content=body, headers=headers)
    assert answer.status_code == 200, answer.text
    rows = answer.json()[target["root_selector"]]
    wanted = [column["selector"] for column in target["columns"]]
    assert all([*row] == wanted for row in rows), "the columns are those of the answer, in order"
    return list(rows)


def test_the_cells_of_the_notebook_run(ground: ReadingsService, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import matplotlib

    matplotlib.use("agg")
    names: dict[str, Any] = {}
    with contextlib.chdir(tmp_path):
        for cell in DocPage("recipes/notebook.md").of("python"):
            exec(cell.replace(ADDRESS, ground.http.url), names)
    assert names["frame"].height == 7 * 24 * 2
    assert names["frame"]["count"].sum() == 7 * 24 * 4
    assert names["warmest"]["sensor"].to_list() == list(SENSORS)
    assert (tmp_path / "readings.png").read_bytes().startswith(b"\x89PNG")
    assert names["above"].height > 0
    assert "readings at ['at', 'sensor', 'celsius']" in capsys.readouterr().out
    matplotlib.pyplot.close("all")


@pytest.fixture(scope="module")
def views(ground: ReadingsService) -> Path:
    """The file that the page of DuckDB tools writes."""
    DocPage("recipes/duckdb.md").type_commands(ground.line)
    return ground.line.folder / "warehouse.duckdb"


def test_duckdb_tools_read_the_file_of_views(views: Path) -> None:
    page = DocPage("recipes/duckdb.md")
    version = int.from_bytes(views.read_bytes()[12:20], "little")
    assert version == 64, "the storage version that DuckDB reads since 1.0; Evidence brings 1.4, dbt-duckdb 1.5"
    with duckdb.connect(str(views), read_only=True) as con:
        versions, hours = (con.sql(text).fetchall() for text in page.file("explore.sql").split(";")[:2])
        sources = con.sql(page.file("sources/warehouse/hourly.sql")).fetchall()
    assert ("readings", 1) in [row[:2] for row in versions]
    assert len(hours) == 6 * 24 * 2
    assert sum(row[-1] for row in sources) == ROWS


def test_the_model_of_dbt_is_made_and_then_brought_up_to_date(views: Path, tmp_path: Path) -> None:
    page = DocPage("recipes/dbt.md")
    (attached,) = yaml.safe_load(page.file("dbt/profiles.yml"))["sensors"]["outputs"]["dev"]["attach"]
    (source,) = yaml.safe_load(page.file("dbt/models/sources.yml"))["sources"]
    assert (source["database"], source["tables"][0]["name"]) == (attached["alias"], "readings")

    def model(*, again: bool) -> str:
        """As dbt would write it."""
        return (
            jinja2.Environment(autoescape=False)
            .from_string(page.file("dbt/models/daily_extremes.sql"))
            .render(
                config=lambda **_: "",
                source=lambda _, table: f"{source['database']}.{source['schema']}.{table}",
                is_incremental=lambda: again,
                this="daily_extremes",
            )
        )

    with duckdb.connect(str(tmp_path / "marts.duckdb")) as con:
        con.execute(f"ATTACH '{views}' AS {attached['alias']} (READ_ONLY)").fetchall()
        con.execute(f"CREATE TABLE daily_extremes AS {model(again=False)}").fetchall()
        assert con.sql("SELECT count(*), sum(n) FROM daily_extremes").fetchall() == [(7 * 2, ROWS)]
        days = con.sql(f"SELECT min(day), max(n) FROM ({model(again=True)})").fetchall()
    assert days == [(datetime(2024, 3, 4), 96 // 2)]


def test_the_model_that_asks_the_service(ground: ReadingsService) -> None:
    names: dict[str, Any] = {}
    exec(DocPage("recipes/dbt.md").file("dbt/models/hourly.py").replace(ADDRESS, ground.http.url), names)

    class Dbt:
        """What a Python model is given."""

        @staticmethod
        def config(**_: Any) -> None:
            """Says how it is stored."""

    table = names["model"](Dbt, None)
    assert table.column_names == ["at", "sensor", "mean", "count"]
    assert sum(table["count"].to_pylist()) == ROWS


def test_the_dashboard_fits_the_data_source() -> None:
    page = DocPage("recipes/grafana.md")
    (source,) = yaml.safe_load(page.file("provisioning/datasources/timestore.yaml"))["datasources"]
    assert source["url"] in source["jsonData"]["allowedHosts"]
    (sensor,) = DASHBOARD["templating"]["list"]
    used = [*TARGETS.values(), sensor["query"]["infinityQuery"]]
    assert {(target["datasource"]["type"], target["datasource"]["uid"]) for target in used} == {(source["type"], source["uid"])}
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    shown = re.sub(r"\s", "", page.of("json")[0])
    assert shown == re.sub(r"\s", "", TARGETS["Temperature"]["url_options"]["data"]), "the page shows the panel's own query"


@pytest.mark.parametrize("title", TARGETS)
def test_each_panel_has_an_answer(ground: ReadingsService, token: str, title: str) -> None:
    rows = asked(ground, TARGETS[title], token)
    moment = TARGETS[title]["columns"][0]["selector"]
    assert {row["sensor"] for row in rows} == set(SENSORS)
    assert {row[moment][:10] for row in rows} == {"2024-03-02", "2024-03-03"}
    if title == "Rows":
        assert sum(row["n"] for row in rows) == 2 * 24 * 4


def test_the_variable_lists_the_sensors_and_the_token_opens_no_more(ground: ReadingsService, token: str) -> None:
    (sensor,) = DASHBOARD["templating"]["list"]
    assert asked(ground, sensor["query"]["infinityQuery"], token) == [{"sensor": name} for name in SENSORS]
    headers = {"Authorization": f"Bearer {token}"}
    assert ground.http.client.get("/datasets", headers=headers).status_code == 200, "the health check"
    assert ground.http.client.get("/admin/audit", headers=headers).status_code == 403
