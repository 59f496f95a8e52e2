"""Alerts, boards of several datasets and pictures of SQL answers, in a real browser."""

from __future__ import annotations

import re
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from timestore_assets_tests.support.page_visits import HOURS, HTML, Visits, data, drag, drawn, open_tab, wait_for_grain

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(300), pytest.mark.xdist_group("page")]

BY_DAY = "SELECT date_trunc('day', ts) AS day, station, avg(temp) AS mean FROM weather GROUP BY ALL ORDER BY ALL"
BY_STATION = "SELECT station, count(*) AS n, max(temp) AS warmest FROM weather GROUP BY ALL ORDER BY ALL"


def sql(text: str) -> str:
    return f"/#sql?q={quote(text)}"


def panels(page: Page) -> list[str]:
    return [title.inner_text() for title in page.locator(".board h2").all()]


def add_panel(page: Page, dataset: str) -> None:
    page.get_by_text("+ Panel").click()
    page.select_option("#panel-dataset", dataset)
    page.get_by_role("button", name="Add panel").click()


def test_alerts_are_marked_in_the_list_and_their_channels_can_be_tried(visit: Visits) -> None:
    visit.seen.expected = (404,)
    page = visit("/#/load/alerts")
    expect(page.locator(".dataset[data-name=load]")).to_contain_text("1 alert")
    expect(page.locator(".dataset[data-name=weather]")).not_to_contain_text("alert")
    rows = page.locator("#alerts tbody tr")
    expect(rows.locator(".alert-name")).to_have_text(["Staleness", "Dead letters", "Schema"])
    expect(rows.locator(".alert-state")).to_have_text(["firing", "in order", "tells each change"])
    expect(rows.first.locator("td").nth(4)).to_have_text("1 h")
    page.get_by_role("button", name="Test channel ops").first.press("Enter")
    page.get_by_text("ops has taken a test message.").wait_for()
    page.get_by_role("button", name="Test channel gone").click()
    expect(page.get_by_role("alert")).to_contain_text("There is no channel 'gone'")
    open_tab(page, "chart")
    expect(page.locator('[data-tab="alerts"]')).to_contain_text("1")


def test_a_retired_dataset_says_so_and_can_be_read(visit: Visits) -> None:
    page = visit("/#/burst")
    drawn(page)
    expect(page.locator(".retired-note")).to_have_text("Retired: nothing lands in it any more; what it has can be read.")
    expect(page.locator(".dataset[data-name=burst]")).to_contain_text("retired")
    open_tab(page, "alerts")
    expect(page.locator("#alerts")).to_have_text("It is retired: nobody looks at its alerts.")
    page.goto(f"{visit.http.url}/#/weather")
    drawn(page)
    expect(page.locator(".retired-note")).to_be_hidden()


def test_an_answer_over_time_is_drawn_as_lines_above_its_table(visit: Visits) -> None:
    page = visit(sql(BY_DAY))
    page.locator("#answer-chart svg").wait_for()
    expect(page.locator("#answer-chart path.line")).to_have_count(3)
    expect(page.locator(".answer-chart .legend li")).to_have_text([HTML, "JFK", "LGA"])
    expect(page.locator(".row-table tbody tr")).to_have_count(3 * (HOURS // 24))
    page.focus("#answer-chart")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#tip")).to_contain_text("1 Jan 2024")
    page.select_option("#answer-kind", "none")
    expect(page.locator("#answer-chart")).to_be_hidden()
    expect(page).to_have_url(re.compile("chart=none"))
    page.reload()
    page.locator(".row-table").wait_for()
    expect(page.locator("#answer-chart")).to_be_hidden()


def test_an_answer_by_category_is_drawn_as_bars_of_the_column_that_the_address_names(visit: Visits) -> None:
    page = visit(sql(BY_STATION) + "&chart=bars:n")
    page.locator(".bars").wait_for()
    expect(page.locator(".bar-name")).to_have_text([HTML, "JFK", "LGA"])
    expect(page.locator(".bar-value")).to_have_text([f"{HOURS:,}", f"{HOURS + 1:,}", f"{HOURS:,}"])
    page.select_option("#answer-column", "warmest")
    expect(page).to_have_url(re.compile("chart=bars:warmest"))
    page.reload()
    page.locator(".bars").wait_for()
    expect(page.locator(".bar-value")).to_have_text(["32.30", "12.30", "22.30"])
    assert page.evaluate("() => window.broken") is None
    page.fill("#sql-text", "SELECT 1 AS one")
    page.get_by_role("button", name="Run").click()
    page.locator(".row-table tbody tr:only-child").wait_for()
    expect(page.locator(".answer-chart")).to_be_hidden()


def test_a_board_shows_several_datasets_over_one_range_and_its_address_shows_it_again(visit: Visits) -> None:
    page = visit("/#board")
    expect(page.locator(".empty-board")).to_be_visible()
    add_panel(page, "load")
    drawn(page)
    add_panel(page, "weather")
    page.select_option("#by-1", "station")
    page.locator("#chart-1[data-series*=JFK]").wait_for()
    assert page.url.endswith("#board?panel=load:avg:load&panel=weather:avg:temp:station")
    page.locator(".time-menu summary").click()
    page.get_by_role("button", name="Last 7 days").click()
    expect(page.locator(".time-menu")).to_contain_text("Last 7 days before its newest row")
    page.goto(f"{visit.http.url}/#board?from=2024-01-01T00:00:00Z&to=2024-01-01T03:00:00Z&{page.url.partition('?')[2]}")
    wait_for_grain(page, "1 minute")
    drag(page, 0.3, 0.8)
    page.wait_for_url(re.compile("from=2024-01-01T00:[0-9]"))
    page.locator("#chart-1[data-state=drawn]").wait_for()
    other = visit("/" + page.url.partition("/")[2].partition("/")[2].partition("/")[2])
    drawn(other)
    other.locator("#chart-1[data-state=drawn]").wait_for()
    assert panels(other) == ["load", "weather"]
    assert data(other.locator("#chart-1"), "series") == data(page.locator("#chart-1"), "series")
    ranges = {tuple(one["timeRange"].values()) for one in visit.seen.questions[-2:]}
    assert len(ranges) == 1, "one range for both"
    other.get_by_role("button", name="Remove this panel").first.click()
    expect(other.locator(".board h2")).to_have_text(["weather"])


def test_a_chart_is_added_to_the_board_that_was_looked_at_last(visit: Visits) -> None:
    page = visit("/#board?panel=nowhere:avg:x")
    expect(page.locator(".board")).to_contain_text("There is no dataset “nowhere” that is open to you.")
    page.get_by_role("button", name="Remove nowhere:avg:x").click()
    expect(page.locator(".empty-board")).to_be_visible()
    add_panel(page, "load")
    drawn(page)
    page.goto(f"{visit.http.url}/#/weather?last=7d&panel=max:temp")
    drawn(page)
    page.get_by_role("button", name="Add to board").click()
    expect(page.locator(".board h2")).to_have_text(["load", "weather"])
    assert page.url.endswith("#board?last=7d&panel=load:avg:load&panel=weather:max:temp:station")
    page.get_by_role("link", name="weather", exact=True).last.click()
    expect(page.locator("h1")).to_have_text("weather")
    expect(page.locator("#figure")).to_have_value("max")
