"""The page at `/` in a real browser: what it shows is what is there, and a zoom asks again at the grain that fits."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from timestore_assets.model.alert import Alert
from timestore_assets.service.access.api_tokens import digest_of, new_secret
from timestore_assets_tests.support.http_service import HttpService, open_warehouse, serving
from timestore_assets_tests.support.page_visits import (
    DAYS,
    DRAWN,
    GAP,
    HOURS,
    HTML,
    LATE,
    WEATHER,
    Visits,
    data,
    drag,
    drawn,
    land,
    open_tab,
    wait_for_grain,
)

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(300), pytest.mark.xdist_group("page")]


def test_the_list_opens_the_fullest_dataset_and_can_be_searched(visit: Visits) -> None:
    page = visit()
    expect(page.locator("h1")).to_have_text("weather")
    names = page.locator(".dataset-name")
    expect(names).to_have_text(["burst", "empty", "later", "load", "tank", "weather"])
    expect(page.locator(".dataset[data-name=weather]")).to_contain_text("1 dead letter")
    page.fill("#search", "LOA")
    expect(names).to_have_text(["load"])
    page.fill("#search", "nothing like it")
    expect(page.locator("#datasets")).to_have_text("No dataset matches “nothing like it”.")


def test_the_list_is_one_request_however_many_datasets_it_has(visit: Visits) -> None:
    page = visit("/#/weather")
    drawn(page)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url.removeprefix(visit.http.url)))
    page.reload()
    drawn(page)
    page.wait_for_load_state("networkidle")
    assert asked.count("/datasets") == 1
    assert {one for one in asked if one.endswith("/status")} == {"/datasets/weather/status"}


def test_the_page_of_the_interface_shows_its_requests_and_tries_them(visit: Visits) -> None:
    page = visit("/docs")
    shown = page.locator(".opblock", has_text="Datasets you may use")
    expect(page.locator(".opblock")).to_have_count(sum(map(len, visit.http.client.get("/openapi.json").json()["paths"].values())))
    shown.locator(".opblock-summary-control").click()
    shown.get_by_role("button", name="Try it out").click()
    shown.get_by_role("button", name="Execute").click()
    expect(shown.locator(".live-responses-table")).to_contain_text('"name": "weather"')
    for summary, answered in {"Ask in SQL": "LGA", "Ask a dataset": '"station": "LGA"'}.items():
        shown = page.locator(".opblock", has_text=summary).first
        shown.locator(".opblock-summary-control").click()
        shown.get_by_role("button", name="Try it out").click()
        shown.get_by_role("button", name="Execute").click()
        expect(shown.locator(".live-responses-table")).to_contain_text(answered)


def test_the_figures_are_those_of_the_warehouse(visit: Visits) -> None:
    page = visit("/#/weather")
    rows = HOURS * 3 + 1
    expect(page.locator("#tiles")).to_contain_text(f"Rows{rows:,}")
    expect(page.locator("#tiles")).to_contain_text("Dead letters1")
    open_tab(page, "sources")
    cells = page.locator("#sources tbody tr").first.locator("td")
    expect(cells.nth(1)).to_have_text(f"{rows + 1:,}")
    expect(cells.nth(2)).to_have_text(f"{rows:,}")


def test_the_calendar_shows_each_partition_in_its_state(visit: Visits) -> None:
    page = visit("/#/weather/partitions")
    days = len(range(DAYS)) - len(GAP) // 24
    expect(page.locator(".calendar .cell")).to_have_count(days)
    shown = {cell.get_attribute("data-key"): cell.get_attribute("data-state") for cell in page.locator(".calendar .cell").all()}
    truth = {found.partition.key: found.state for found in visit.http.warehouse.partitions("weather")}
    assert shown == truth
    assert set(truth.values()) == {"open", "sealed", "stale"}
    expect(page.locator(".calendar h3")).to_have_text(["Jan 2024", "Feb 2024"])
    first = page.locator('[data-key="2024-01-01"]')
    expect(first).to_have_attribute("aria-label", "2024-01-01, sealed, 72 rows")
    monday, tuesday = (page.locator(f'[data-key="{key}"]').bounding_box() for key in ("2024-01-01", "2024-01-02"))
    assert monday and tuesday
    assert monday["y"] == tuesday["y"] and monday["x"] < tuesday["x"], "the week begins on a Monday"
    page.hover(f'[data-key="{LATE}"]')
    expect(page.locator("#tip")).to_contain_text("stale73 rows")
    newest = page.locator("#partition-list tbody tr").first.locator("td")
    expect(newest.nth(0)).to_have_text("2024-02-14")
    expect(newest.nth(2)).to_have_text("72")


def test_the_chart_shows_averages_at_the_grain_that_fits(visit: Visits) -> None:
    page = visit("/#/weather")
    chart = drawn(page)
    assert data(chart, "series").split(",") == [HTML, "JFK", "LGA"]
    asked = visit.seen.questions[-1]["downsample"]
    buckets = int(data(chart, "buckets"))
    width = chart.bounding_box()
    assert width
    assert width["width"] / 6 <= buckets <= width["width"] / 2, "about one bucket for every two pixels"
    assert (asked["intervalUnit"], asked["intervalSize"]) == ("hour", 3)
    chart.focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#tip")).to_contain_text("1 Jan 2024 – 03:00")
    # hours 0, 1 and 2 of JFK: 10.0, 10.1 and 10.2
    expect(page.locator("#tip .tip-row").nth(1)).to_have_text("JFK10.1010.00 – 10.20")


def test_a_gap_in_the_data_is_a_gap_in_the_line(visit: Visits) -> None:
    page = visit("/#/weather")
    drawn(page)
    lines = page.locator("#chart path.line")
    expect(lines).to_have_count(3)
    assert [(line.get_attribute("d") or "").count("M") for line in lines.all()] == [2, 2, 2]


def test_a_zoom_asks_again_at_a_finer_grain(visit: Visits) -> None:
    page = visit("/#/weather")
    whole = data(drawn(page), "grain")
    first = visit.seen.questions[-1]["timeRange"]
    drag(page, 0.20, 0.62)
    wait_for_grain(page, "1 hour")
    tip = page.locator("#tip")
    assert not tip.is_visible() or "03:00" not in tip.inner_text(), "what the three hours of the picture before held"
    asked = visit.seen.questions[-1]
    assert first["start"] < asked["timeRange"]["start"] < asked["timeRange"]["end"] < first["end"]
    drag(page, 0.40, 0.50)
    wait_for_grain(page, "single rows")
    assert "downsample" not in visit.seen.questions[-1]
    assert visit.seen.questions[-1]["columns"] == ["ts", "temp", "station"]
    chart = page.locator(DRAWN)
    chart.dblclick(position={"x": 400, "y": 100})
    wait_for_grain(page, "1 hour")
    assert asked["timeRange"]["start"] in page.url.replace("%3A", ":")
    page.go_back()
    wait_for_grain(page, whole)
    assert visit.seen.questions[-1]["timeRange"] == first
    assert all(later["timeRange"] != earlier["timeRange"] for earlier, later in pairwise(visit.seen.buckets()))


def test_a_click_on_a_partition_zooms_to_its_window(visit: Visits) -> None:
    page = visit("/#/weather/partitions")
    page.click('[data-key="2024-01-05"]')
    wait_for_grain(page, "single rows")
    assert visit.seen.questions[-1]["timeRange"] == {"start": "2024-01-05T00:00:00.000Z", "end": "2024-01-06T00:00:00.000Z"}
    expect(page.locator("#facts")).to_contain_text("72 single rows")
    open_tab(page, "partitions")
    expect(page.locator(".cell.within")).to_have_attribute("data-key", "2024-01-05")
    open_tab(page, "chart")
    page.get_by_role("button", name="Whole range").click()
    wait_for_grain(page, "3 hours")


def test_hours_other_columns_and_many_groups(visit: Visits) -> None:
    page = visit("/#/load")
    chart = drawn(page)
    expect(page.locator("#column")).to_have_value("load")
    assert data(chart, "series") == "load"
    expect(page.locator("#chart .unit")).to_have_text("%")
    page.select_option("#by", "station")
    expect(page.locator(".legend li", has_text="not drawn")).to_have_text("and 3 more that are not drawn")
    assert len(data(drawn(page), "series").split(",")) == 8
    page.select_option("#column", "temp")
    page.wait_for_url(re.compile("panel=avg:temp"))
    assert visit.seen.questions[-1]["timeRange"]["start"] == "2024-01-01T00:00:00.000Z"
    open_tab(page, "partitions")
    expect(page.locator(".calendar .cell")).to_have_count(3)
    expect(page.locator(".calendar h3")).to_have_text("1 Jan 2024")


def test_everything_works_without_a_mouse(visit: Visits) -> None:
    page = visit("/#/weather")
    chart = drawn(page)
    chart.focus()
    page.keyboard.press("+")
    wait_for_grain(page, "1 hour", "2 hours")
    page.get_by_role("link", name="Partitions").press("Enter")
    page.locator(".calendar .cell[tabindex='0']").focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    focused = page.locator(".cell:focus")
    expect(focused).to_have_attribute("data-key", "2024-01-02")
    expect(page.locator("#tip")).to_contain_text("2024-01-02")
    page.keyboard.press("Enter")
    wait_for_grain(page, "single rows")


def test_values_that_look_like_html_are_text(visit: Visits) -> None:
    page = visit("/#/weather")
    drawn(page)
    expect(page.locator(".head p")).to_have_text(f"Observations {HTML}")
    expect(page.locator(".legend li").first).to_have_text(HTML)
    open_tab(page, "rows")
    expect(page.locator(".row-table")).to_contain_text(HTML)
    open_tab(page, "deadletters")
    expect(page.locator("#deadletters .record")).to_contain_text("onerror=")
    assert page.locator("img").count() == 1, "the sign of the page itself"
    assert page.evaluate("() => window.broken") is None
    policy = visit.http.client.get("/").headers["Content-Security-Policy"]
    assert "unsafe" not in policy and "*" not in policy and policy.startswith("default-src 'none'")


def test_a_dataset_without_rows_and_one_that_is_not_there_say_so(visit: Visits) -> None:
    page = visit("/#/empty")
    expect(page.locator("main")).to_contain_text("There is nothing to draw yet: no rows have landed.")
    expect(page.locator(".feeding")).to_contain_text("inbox/")
    expect(page.locator(".feeding")).to_contain_text("/datasets/empty/ingest")
    for tab, words in {
        "rows": "There is nothing to show yet: no rows have landed.",
        "partitions": "There are no partitions yet: nothing has landed.",
        "deadletters": "No record was refused.",
    }.items():
        open_tab(page, tab)
        expect(page.locator("#tab")).to_contain_text(words)
    page.goto(f"{visit.http.url}/#/nowhere")
    expect(page.locator("main")).to_have_text("There is no dataset “nowhere” that is open to you.")


def test_a_service_that_went_away_is_said_to_be_gone(visit: Visits) -> None:
    page = visit("/#/weather")
    drawn(page)
    page.route("**/query", lambda route: route.abort("connectionrefused"))
    page.select_option("#every", "1d")
    expect(page.locator("#chart[data-state=error]")).to_have_text("The service does not answer. Is it still running?")
    visit.seen.noise = [said for said in visit.seen.noise if "ERR_CONNECTION_REFUSED" not in said]


def test_rows_that_land_meanwhile_appear_by_themselves(visit: Visits, tmp_path: Path) -> None:
    page = visit("/#/later")
    expect(page.locator("#chart[data-state=empty]")).to_have_text("There is nothing to draw yet: no rows have landed.")
    for day, rows in ((1, 3), (2, 6)):
        lines = [f"2024-01-0{day}T0{hour}:00:00Z,JFK,{hour}" for hour in range(3)]
        (tmp_path / str(day)).mkdir()
        land(visit.http.warehouse, tmp_path / str(day), "later", "ts,station,temp", lines)
        page.evaluate("() => document.dispatchEvent(new Event('visibilitychange'))")
        expect(page.locator("#facts")).to_contain_text(f"{rows} single rows")
        expect(page.locator("#tiles")).to_contain_text(f"Partitions{day}")


@pytest.mark.parametrize("width", [360, 768, 1600])
def test_nothing_sticks_out_at_any_width(visit: Visits, width: int) -> None:
    page = visit("/#/weather", viewport={"width": width, "height": 800}, color_scheme="dark")
    drawn(page)
    bars = "#sql?q=SELECT%20station,count(*)%20FROM%20weather%20GROUP%20BY%20ALL"
    board = "#board?panel=load:avg:load,temp:station&panel=weather:avg:temp:station"
    views = (
        "weather",
        "weather/rows",
        "tank/schema",
        "weather/deadletters",
        "load/sources",
        "load/alerts",
        "load/history",
        "burst",
        "empty",
    )
    for path in (*(f"#/{view}" for view in views), "#sql", bars, board):
        page.goto(f"{visit.http.url}/{path}")
        page.wait_for_load_state("networkidle")
        assert page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0, path


@contextmanager
def closed_service(home: Path) -> Iterator[tuple[HttpService, str, str]]:
    """A service with tokens: it, a reader's secret and an administrator's."""
    watched = replace(WEATHER, alerts=(Alert(on="dead_letters", to=("ops",)),))
    with open_warehouse(home, {"weather": watched}) as warehouse:
        land(warehouse, home, "weather", "ts,station,temp", ["2024-01-01T00:00:00Z,JFK,1", "2024-01-01T01:00:00Z,JFK,hot"])
        secrets = new_secret(), new_secret()
        for name, secret in zip(("read", "admin"), secrets, strict=True):
            scopes = (f"timestore:{name}",)
            warehouse.catalog.tokens.add(name=name, digest=digest_of(secret), scopes=scopes, expires_at=None, actor="test")
        with serving(warehouse) as served:
            yield served, *secrets


def test_a_token_opens_what_the_address_names_and_stays_in_the_tab(tmp_path: Path, visit: Visits) -> None:
    visit.seen.expected = (401, 403)
    with closed_service(tmp_path / "home") as (http, reader, admin):
        page = visit("/#/weather/deadletters", http=http)
        expect(page.locator("h1")).to_have_text("This service asks for a token")
        expect(page.locator("#token")).to_be_focused()
        enter(page, "tst_wrong")
        expect(page.get_by_role("alert")).to_contain_text("These credentials are not valid here")
        enter(page, reader)
        expect(page.locator("h1")).to_have_text("weather")
        expect(page.locator("#deadletters")).to_have_text("1 refused. Looking at them needs an administrator’s token.")
        expect(page.locator("#session")).to_contain_text("token:read")
        open_tab(page, "alerts")
        expect(page.locator("#alerts tbody tr")).to_contain_text("Dead letters")
        expect(page.get_by_role("button", name="Test channel ops")).to_have_count(0)
        open_tab(page, "history")
        expect(page.locator("#history")).to_have_text("Looking at it needs an administrator’s token.")
        open_tab(page, "alerts")
        page.get_by_role("button", name="Sign out").click()
        enter(page, admin)
        expect(page.get_by_role("button", name="Test channel ops")).to_have_count(1)
        open_tab(page, "history")
        expect(page.locator("#history tbody tr").first).to_contain_text("1 of 2 records, 1 refused (")
        page.fill("#history-partition", "2031-01-01")
        page.locator("#history-partition").press("Enter")
        expect(page.locator("#history")).to_have_text("Nothing of that kind.")
        page.fill("#history-partition", "2024-01-01")
        page.locator("#history-partition").press("Enter")
        expect(page.locator("#history tbody tr")).to_have_count(1)
        open_tab(page, "deadletters")
        expect(page.locator("#deadletters tbody tr")).to_have_count(1)
        page.reload()
        expect(page.locator("#deadletters tbody tr")).to_have_count(1)
        assert page.evaluate("() => document.cookie + JSON.stringify(localStorage)").find("tst_") == -1
        other = visit(http=http)
        expect(other.locator("h1")).to_have_text("This service asks for a token")
        for one in (page, other):
            one.close()


def enter(page: Page, secret: str) -> None:
    page.fill("#token", secret)
    page.get_by_role("button", name="Sign in").click()
