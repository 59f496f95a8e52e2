"""The page's views in a real browser: rows, schema, dead letters, panels, SQL, each by an address that shows the same again."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from timestore_assets.model.dataset import KafkaSource, Late
from timestore_assets.model.schema import Schema
from timestore_assets_tests.support.http_service import WEATHER, service
from timestore_assets_tests.support.late_records import hold
from timestore_assets_tests.support.page_visits import (
    BURST,
    DATASETS,
    DRAWN,
    HOURS,
    HTML,
    MENDED,
    STRICT,
    Visits,
    data,
    drawn,
    open_tab,
)

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(300), pytest.mark.xdist_group("page")]


HTML_TEXT = HTML.replace('"', '\\"')


def asked(visit: Visits, **body: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = visit.http.client.post("/datasets/weather/query", json=body).json()["rows"]
    return rows


def cells(page: Page) -> list[list[str]]:
    script = (
        "() => [...document.querySelectorAll('.row-table tbody tr')].map((row) => [...row.cells].map((one) => one.textContent))"
    )
    found: list[list[str]] = page.evaluate(script)
    return found


def all_pages(page: Page) -> list[list[str]]:
    """Of all pages, from the first on."""
    found: list[list[str]] = []
    while True:
        where = page.locator("#rows-where").inner_text()
        found += cells(page)
        if page.get_by_role("button", name="Next →").is_disabled():
            return found
        page.get_by_role("button", name="Next →").click()
        expect(page.locator("#rows-where")).not_to_have_text(where)


def test_rows_are_all_there_once_in_either_order(visit: Visits) -> None:
    page = visit("/#/weather/rows?f=station:in:JFK,LGA")
    expect(page.locator("#rows-where")).to_contain_text("newest first")
    filters = [{"column": "station", "op": "in", "values": ["JFK", "LGA"]}]
    truth = [f"{row['ts'].replace('T', ' ').removesuffix('Z')} {row['station']}" for row in asked(visit, filters=filters)]
    assert len(truth) == 2 * HOURS + 1
    newest = [f"{row[0]} {row[1]}" for row in all_pages(page)]
    assert sorted(newest) == sorted(truth)
    assert [row[:19] for row in newest] == sorted((row[:19] for row in truth), reverse=True)
    page.get_by_role("button", name="Show the oldest first").click()
    expect(page.locator("#rows-where")).to_contain_text("oldest first")
    assert "order=oldest" in page.url
    assert [f"{row[0]} {row[1]}" for row in all_pages(page)] == truth
    page.get_by_role("button", name="← Back").click()
    assert len(cells(page)) == 100


def test_more_rows_of_one_moment_than_a_page_can_hold_are_told(visit: Visits) -> None:
    page = visit("/#/burst/rows")
    where = page.locator("#rows-where")
    expect(where).to_contain_text("Rows 1 – 20, newest first")
    page.get_by_role("button", name="Next →").click()
    expect(where).to_have_text(re.compile(r"^Rows 21 – 2020, newest first; more are of the same moment"))
    page.get_by_role("button", name="Next →").click()
    expect(where).to_have_text(re.compile(r"^Rows 2021 – 2170, the last, newest first"))
    page.goto(f"{visit.http.url}/#/burst/rows?order=oldest")
    expect(where).to_contain_text("Rows 1 – 100, oldest first")
    assert len(all_pages(page)) == 150 + BURST + 20


def test_a_filter_is_made_by_hand_shared_by_chart_and_rows_and_downloaded(visit: Visits) -> None:
    page = visit("/#/weather/rows")
    page.get_by_role("button", name="Filter by station").click()
    expect(page.locator("#filter-values option")).to_have_count(3)
    page.fill("#filter-value", HTML)
    page.get_by_role("button", name="Add filter").click()
    expect(page.locator(".chip")).to_contain_text("station =")
    page.locator(".time-menu summary").click()
    page.fill("#range-from", "2024-01-02T00:00:00")
    page.fill("#range-to", "2024-01-03T00:00:00")
    page.get_by_role("button", name="Show this range").click()
    expect(page.locator("#rows-where")).to_have_text("24 rows, newest first")
    assert {row[1] for row in cells(page)} == {HTML}
    page.get_by_text("Download").click()
    with page.expect_download() as started:
        page.get_by_role("button", name="CSV", exact=True).click()
    saved = Path(started.value.path()).read_text(encoding="utf-8").splitlines()
    assert (started.value.suggested_filename, len(saved), saved[0]) == ("weather.csv", 25, "ts,station,temp")
    open_tab(page, "chart")
    assert data(drawn(page), "series") == HTML
    page.get_by_role("button", name="Remove filter").click()
    expect(page.locator("#chart[data-series*=JFK]")).to_be_visible()
    assert visit.seen.questions[-1]["timeRange"]["start"] == "2024-01-02T00:00:00.000Z"


def test_an_address_shows_panels_figures_grain_and_range_again(visit: Visits) -> None:
    page = visit("/#/load?last=1h&every=5m&by=&panel=p95:load,temp&panel=count:load")
    chart = drawn(page)
    assert (data(chart, "series"), data(chart, "grain"), data(chart, "buckets")) == ("load,temp", "5 minutes", "12")
    assert data(page.locator("#chart-1"), "series") == "load"
    expect(page.locator(".legend").first).to_have_text("load (%)temp")
    expect(page.locator(".time-menu")).to_contain_text("Last hour before its newest row")
    asked = visit.seen.buckets()[0]
    assert asked["timeRange"]["end"] == "2024-01-01T02:59:51.000Z", "data that ended are looked at from their end"
    assert asked["downsample"]["aggregations"][0] == {"fn": "percentile", "percentile": 95, "column": "load", "alias": "__v0"}
    page.get_by_role("button", name="Remove this panel").first.click()
    expect(page.locator(".panel")).to_have_count(1)
    page.select_option("#figure", "max")
    page.select_option("#more", "temp")
    expect(page.locator("#chart[data-series='load,temp']")).to_be_visible()
    assert page.url.endswith("#/load?last=1h&every=5m&by=&panel=max:load,temp")
    page.goto(f"{visit.http.url}/#/load")
    expect(page.locator("#figure")).to_have_value("max")  # what was chosen is remembered
    expect(page).to_have_url(re.compile(r"#/load\?by=&panel=max:load,temp$"))


def test_the_schema_has_its_versions_and_a_mended_check_lets_a_dead_letter_land(visit: Visits) -> None:
    page = visit("/#/tank/schema")
    names = page.locator("#columns tbody tr td:first-child code")
    expect(names).to_have_text(["ts", "station", "temp", "level", "seal"])
    versions = page.locator("#schema-history tbody tr")
    expect(versions).to_have_count(2)
    expect(versions.first).to_contain_text("seal added as string")
    open_tab(page, "deadletters")
    expect(page.locator("#deadletters tbody tr")).to_contain_text("2024-01-01T01:00:00Z,a,35,ok")
    page.get_by_role("button", name="Replay all").click()
    expect(page.get_by_text("1 record tried: 0 landed, 1 refused still (1 failed_check).")).to_be_visible()
    warehouse = visit.http.warehouse
    tank = warehouse.declared("tank")
    columns = tuple(MENDED if one.name == STRICT.name else one for one in tank.schema)
    warehouse.datasets = {**DATASETS, "tank": replace(tank, schema=Schema(columns=columns))}
    page.get_by_role("button", name="Replay all").click()
    expect(page.get_by_text("1 record tried: 1 landed.")).to_be_visible()
    expect(page.locator("#tiles")).to_contain_text("Rows2")


def test_sql_is_completed_run_and_says_where_it_is_wrong(visit: Visits) -> None:
    visit.seen.expected = (422,)
    page = visit("/#sql")
    text = page.locator("#sql-text")
    text.fill("SELECT max(")
    text.press("End")
    text.press_sequentially("x) AS warmest FROM wea")
    expect(page.locator(".completions li").first).to_contain_text("weather")
    text.press("Tab")
    text.press_sequentially(" WHERE sta")
    expect(page.locator(".completions li").first).to_have_text("stationstring")
    text.press("Enter")
    text.press_sequentially(" = $where")
    page.fill("#parameter-where", "LGA")
    text.press("Control+Enter")
    expect(page.get_by_role("alert")).to_contain_text('Referenced column "x" not found')
    expect(page.locator(".sql-colours .wrong")).to_have_text("x")
    text.fill(text.input_value().replace("x)", "temp)"))
    page.get_by_role("button", name="Run").click()
    expect(page.locator(".row-table tbody")).to_have_text("22.3")
    assert "p.where=LGA" in page.url
    text.fill("SELECT 1\nFORM weather")
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_role("alert")).to_contain_text("(line 2, column 6)")
    expect(page.locator(".sql-colours .wrong")).to_have_text("weather")


def test_a_running_statement_is_cancelled_and_a_long_answer_cut(visit: Visits) -> None:
    page = visit("/#sql")
    text = page.locator("#sql-text")
    text.fill("SELECT count(*) FROM weather a, weather b, weather c, weather d WHERE a.temp + b.temp + c.temp + d.temp > 1e9")
    page.get_by_role("button", name="Run").click()
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#sql-results")).to_have_text("Cancelled.")
    text.fill("SELECT a.ts, b.station, 12345678901234567 AS big FROM weather a, weather b")
    page.get_by_role("button", name="Run").click()
    expect(page.locator("#sql-facts")).to_contain_text("the first 10,000 rows; a download has all")
    expect(page.locator(".row-table tbody tr")).to_have_count(200)
    expect(page.locator(".row-table tbody tr").first).to_contain_text("12345678901234567")


def test_a_saved_query_has_an_address_for_others(visit: Visits) -> None:
    visit.seen.expected = (422,)
    page = visit("/#sql")
    page.fill("#sql-text", "SELECT station, count(*) AS n FROM weather WHERE ts >= $since GROUP BY ALL ORDER BY ALL")
    page.fill("#parameter-since", "2024-02-14T00:00:00Z")
    page.get_by_text("Save…").click()
    page.fill("#saved-name", "by_station")
    page.fill("#saved-description", "Rows of each station")
    page.get_by_role("button", name="Save for all readers").click()
    expect(page.locator("h1")).to_have_text("by_station")
    expect(page.locator(".row-table tbody tr")).to_have_count(3)
    other = visit("/#sql/by_station?p.since=2024-02-14T12:00:00Z")
    expect(other.locator(".row-table tbody tr").first).to_have_text(f"{HTML}12")
    other.fill("#sql-text", other.locator("#sql-text").input_value().replace("ORDER BY ALL", "ORDER BY n"))
    expect(other).to_have_url(re.compile("#sql\\?q=SELECT"))  # a text that was changed is another one
    other.on("dialog", lambda dialog: dialog.accept())
    other.get_by_role("button", name="Delete by_station").click()
    expect(other.locator(".saved")).to_contain_text("None yet.")
    assert visit.http.client.get("/saved-queries").json() == {"queries": []}


def test_the_first_chart_is_of_what_is_measured_and_its_line_is_not_pressed_flat(visit: Visits) -> None:
    page = visit("/#/empty")
    choose = """async ([columns, partitionBy]) => {
      const { preferredColumn } = await import('/pages/dataset/choices.js');
      return preferredColumn(columns.map(([name, type, unit]) => ({ name, type, unit })), { partitionBy, keys: [] }).name;
    }"""
    flights = [["year", "int32", ""], ["dep_time", "int32", "HHMM"], ["delay", "double", "min"], ["lat", "double", "deg"]]
    assert page.evaluate(choose, [flights, []]) == "delay"
    assert page.evaluate(choose, [[["id", "int64", ""], ["level", "int32", ""]], []]) == "level"
    panels = """async (panels) => {
      const { drawnColumns, panelsFor } = await import('/pages/dataset/choices.js');
      const columns = [{ name: 'ts', type: 'timestamp' }, { name: 'kind', type: 'string' }];
      const dataset = { time: 'ts', columns, partitionBy: [], keys: [] };
      return panelsFor(dataset, drawnColumns(dataset), panels, null);
    }"""
    assert page.evaluate(panels, []) == [{"fn": "count", "columns": ["ts"]}], "rows are counted where nothing is measured"
    assert page.evaluate(panels, [{"fn": "max", "columns": ["gone", "ts"]}]) == [{"fn": "count", "columns": ["ts"]}]
    extent = """async ([low, high]) => {
      const { extent } = await import('/pages/chart/chart.js');
      const found = extent([{ points: [{ v: 10, lo: low, hi: high }, { v: 20, lo: low, hi: high }] }], true);
      return [found[0], found[1], found.cut];
    }"""
    low, high, cut = page.evaluate(extent, [0, 2400])
    assert (high - low <= 30, cut) == (True, [0, 2400])
    assert page.evaluate(extent, [5, 30])[2] is None


def test_a_long_list_is_in_natural_order_and_grouped(visit: Visits) -> None:
    names = ["site_10", "site_2", "co2", "site_1", "air_temp", "air"]
    facts = visit.http.client.get("/datasets/weather").json()
    page = visit("/docs")
    listed = {"datasets": [{**facts, "name": name} for name in names]}
    page.route("**/datasets", lambda route: route.fulfill(json=listed))
    page.route(re.compile(r"/datasets/.+"), lambda route: route.fulfill(json={}, status=500))
    page.goto(f"{visit.http.url}/#/nothing")
    expect(page.locator(".dataset-name")).to_have_text(["air", "air_temp", "co2", "site_1", "site_2", "site_10"])
    expect(page.locator(".group summary")).to_have_text("site3")
    page.locator(".group summary").click()
    expect(page.locator('[data-name="site_2"]')).to_be_hidden()
    page.press("body", "/")
    page.keyboard.type("SITE_1")
    expect(page.locator(".dataset-name")).to_have_text(["site_1", "site_10"])
    visit.seen.noise = [said for said in visit.seen.noise if "status of 500" not in said]


def test_a_file_is_looked_at_declared_and_landed(visit: Visits, tmp_path: Path) -> None:
    visit.seen.expected = (409,)
    file = tmp_path / "Power 2024-01.csv"
    lines = [f"2024-01-01T{n // 60:02}:{n % 60:02}:00Z,m{n % 2},{n}.5" for n in range(600)]
    file.write_text("\n".join(["at,meter,watts", *lines, "2024-01-01T23:00:00Z,m1,much"]) + "\n", encoding="utf-8")
    page = visit("/#upload")
    page.set_input_files("#file", file)
    expect(page.locator("#dataset-name")).to_have_value("power")
    expect(page.locator("#proposal table tbody tr")).to_have_count(3)
    assert "power" not in visit.http.client.get("/datasets").text, "nothing is declared before somebody agrees"
    page.fill("#dataset-name", "power_use")
    page.press("#dataset-name", "Tab")
    expect(page.locator(".declaration pre")).to_contain_text("name: power_use")
    page.get_by_role("button", name="Declare and land").click()
    expect(page.locator(".note.good")).to_contain_text("600 of 601 records landed, 1 refused (bad_value).")
    page.get_by_role("link", name="Look at it").click()
    assert data(drawn(page), "series") == "watts"
    assert (visit.http.warehouse.settings.home_folder / "inbox" / "power_use" / file.name).exists()
    page.goto(f"{visit.http.url}/#upload")
    page.set_input_files("#file", file)
    page.fill("#dataset-name", "power_use")
    page.press("#dataset-name", "Tab")
    page.get_by_role("button", name="Land into power_use, which is there").click()
    expect(page.get_by_role("alert")).to_contain_text("There is a file 'Power 2024-01.csv' already")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_view_has_a_serious_barrier(visit: Visits, scheme: Any) -> None:
    page = visit("/#/weather", color_scheme=scheme, bypass_csp=True)
    drawn(page)
    views = {
        "#/weather": DRAWN,
        "#/weather/rows?f=station:eq:JFK": ".row-table",
        "#/tank/schema": "#schema-history table",
        "#/weather/partitions": ".calendar",
        "#/load/sources": "#sources table",
        "#/load/alerts": "#alerts table",
        "#/weather/alerts": "#alerts .how",
        "#/burst": DRAWN,
        "#board": ".empty-board",
        "#board?panel=load:avg:load:station&panel=nowhere:avg:x": DRAWN,
        "#sql?q=SELECT%20ts,temp%20FROM%20weather%20LIMIT%2099": "#answer-chart svg",
        "#sql?q=SELECT%20station,count(*)%20FROM%20weather%20GROUP%20BY%20ALL": "#answer-chart .bars",
        "#/weather/deadletters": "#deadletters table",
        "#/empty": ".feeding",
        "#upload": "#file",
        "#sql?q=SELECT%20*%20FROM%20load%20LIMIT%203": "#sql-results:not([data-busy]) .row-table",
    }
    for address, content in views.items():
        page.goto(f"{visit.http.url}/{address}")
        page.locator(content).wait_for()
        found = Axe().run(page).response["violations"]
        serious = [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")]
        assert serious == [], address


def test_what_is_held_for_being_late_is_accepted_and_refused(visit: Visits, tmp_path: Path) -> None:
    held = replace(
        WEATHER,
        name="power",
        sources=(KafkaSource(topics=("power",)),),
        late=Late(policy="hold"),
        description="Late ones are held",
    )
    with service(tmp_path / "home", {"power": held}) as http:
        hold(http.warehouse, "power", *(f'{{"ts": "2024-0{month}-05", "station": "{HTML_TEXT}"}}' for month in (1, 1, 3)))
        hold(http.warehouse, "power", '{"ts": "2024-01-07", "station": "b"}', offset=3)
        page = visit("/#/power/deadletters", http=http)
        rows = page.locator("#held tbody tr")
        expect(rows).to_have_count(2)
        expect(rows.first).to_contain_text("2024-01-05 (2)")
        expect(rows.first).to_contain_text("onerror=")
        assert Axe().run(page).response["violations"] == []
        open_tab(page, "partitions")
        steps = page.locator("#late tbody tr")
        expect(steps).to_have_count(1)
        expect(steps.first).to_contain_text("to 2024-01-07")
        assert Axe().run(page).response["violations"] == []
        open_tab(page, "deadletters")
        rows.first.get_by_role("button", name="Accept").click()
        expect(page.get_by_text("2 records landed.")).to_be_visible()
        expect(rows).to_have_count(1)
        expect(page.locator("#tiles")).to_contain_text("Rows3")
        page.get_by_role("button", name="Refuse all").click()
        expect(page.get_by_text("1 record refused.")).to_be_visible()
        expect(rows).to_have_count(0)
        (source,) = http.client.get("/datasets/power/status").json()["sources"]
        assert (source["landed"], source["held"], source["lateDropped"]) == (3, 0, 1)
