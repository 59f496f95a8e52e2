"""The page at `/` in a real browser: what it shows is what is there, and a zoom asks again at the grain that fits."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from timestore_assets.model.dataset import FileSource, HttpSource
from timestore_assets.model.schema import Column
from timestore_assets.model.types import parse_type
from timestore_assets.model.window import Window
from timestore_assets.service.access.token_secret import digest_of, new_secret
from timestore_assets_tests.end_to_end.screenshots import FLAGS, chromium
from timestore_assets_tests.landing_ground import dataset
from timestore_assets_tests.service_ground import Ground, open_warehouse, serving

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(300), pytest.mark.xdist_group("page")]

START = datetime(2024, 1, 1, tzinfo=UTC)
HTML = '<img src=x onerror="window.broken=1">'
DAYS, BUILT, LATE = 45, 40, "2024-01-07"
GAP = range(20 * 24, 23 * 24)
"""Hours of `weather` that nobody measured."""
DRAWN = "#chart[data-state=drawn]"
FILES = (FileSource(prefix="inbox/", format="csv"), HttpSource())
WEATHER = dataset(sources=FILES, start=START, partition_by=("station",), description=f"Observations {HTML}")
LOAD = replace(
    dataset(Column(name="load", type=parse_type("int32"), nullable=True, unit="%"), sources=FILES, start=START),
    name="load",
    window=Window.HOUR,
)


@dataclass
class Seen:
    """`questions`: bodies of the queries the page asked, oldest first. `noise`: what should not have happened."""

    questions: list[dict[str, Any]] = field(default_factory=list)
    noise: list[str] = field(default_factory=list)
    expected: tuple[int, ...] = ()

    def follow(self, page: Page, url: str) -> None:
        page.on("console", lambda message: self._said(message.type, message.text))
        page.on("pageerror", lambda error: self.noise.append(f"error: {error}"))
        page.on("request", lambda request: self._asked(request.url, request.post_data, url))

    def _said(self, kind: str, text: str) -> None:
        if kind in ("error", "warning") and not any(f"status of {status}" in text for status in self.expected):
            self.noise.append(f"{kind}: {text}")

    def _asked(self, address: str, body: str | None, url: str) -> None:
        if not address.startswith(url):
            self.noise.append(f"asked {address}")
        if address.endswith("/query"):
            self.questions.append(json.loads(body or "{}"))


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    home = tmp_path_factory.mktemp("page")
    with open_warehouse(
        home, {"weather": WEATHER, "load": LOAD, "empty": replace(WEATHER, name="empty"), "later": replace(WEATHER, name="later")}
    ) as warehouse:
        land(warehouse, home, "weather", "ts,station,temp", weather_rows())
        partitions = [one.partition for one in warehouse.catalog.partitions(warehouse.resolve("weather")[1].id)]
        assert len(list(warehouse.build("weather", partitions[:BUILT], close=True))) == BUILT
        land(warehouse, home, "weather", "ts,station,temp", [f"{LATE}T00:30:00Z,JFK,1", f"{LATE}T00:40:00Z,{quoted(HTML)},hot"])
        seconds = (START + timedelta(seconds=10 * n) for n in range(3 * 360))
        rows = [f"{at:%Y-%m-%dT%H:%M:%SZ},m{n % 11},20,{n % 100}" for n, at in enumerate(seconds)]
        land(warehouse, home, "load", "ts,station,temp,load", rows)
        with serving(warehouse) as served:
            yield served


def weather_rows() -> list[str]:
    hours = [START + timedelta(hours=n) for n in range(DAYS * 24) if n not in GAP]
    named = [("JFK", 10), ("LGA", 20), (quoted(HTML), 30)]
    return [f"{at:%Y-%m-%dT%H:%M:%SZ},{name},{base + at.hour / 10}" for at in hours for name, base in named]


def quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def land(warehouse: Any, home: Path, name: str, header: str, rows: list[str]) -> None:
    path = home / f"{name}-{len(rows)}.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    assert warehouse.land(name, [path]).counters.read == len(rows)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    executable = chromium()
    if executable is None:
        pytest.skip("there is no Chromium on this machine to look at the page with")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        try:
            yield launched
        finally:
            launched.close()


@pytest.fixture
def seen() -> Iterator[Seen]:
    watched = Seen()
    yield watched
    assert watched.noise == []


@pytest.fixture
def visit(browser: Browser, seen: Seen) -> Iterator[Callable[..., Page]]:
    """Opens an address of a service in a tab of its own."""
    contexts = []

    def open_page(ground: Ground, path: str = "/", **options: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1440, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        seen.follow(page, ground.url)
        page.goto(ground.url + path)
        return page

    yield open_page
    for context in contexts:
        context.close()


def test_the_list_opens_the_fullest_dataset_and_can_be_searched(ground: Ground, visit: Callable[..., Page]) -> None:
    page = visit(ground)
    expect(page.locator("h1")).to_have_text("weather")
    names = page.locator(".dataset-name")
    expect(names).to_have_text(["empty", "later", "load", "weather"])
    expect(page.locator(".dataset[data-name=weather]")).to_contain_text("1 dead letter")
    page.fill("#search", "LOA")
    expect(names).to_have_text(["load"])
    page.fill("#search", "nothing like it")
    expect(page.locator("#datasets")).to_have_text("No dataset matches “nothing like it”.")


def test_the_figures_are_those_of_the_warehouse(ground: Ground, visit: Callable[..., Page]) -> None:
    page = visit(ground, "/#/weather")
    rows = (DAYS * 24 - len(GAP)) * 3 + 1
    expect(page.locator("#tiles")).to_contain_text(f"Rows{rows:,}")
    expect(page.locator("#tiles")).to_contain_text("Dead letters1")
    cells = page.locator("#sources tbody tr").first.locator("td")
    expect(cells.nth(1)).to_have_text(f"{rows + 1:,}")
    expect(cells.nth(2)).to_have_text(f"{rows:,}")


def test_the_calendar_shows_each_partition_in_its_state(ground: Ground, visit: Callable[..., Page]) -> None:
    page = visit(ground, "/#/weather")
    days = len(range(DAYS)) - len(GAP) // 24
    expect(page.locator(".calendar .cell")).to_have_count(days)
    shown = {cell.get_attribute("data-key"): cell.get_attribute("data-state") for cell in page.locator(".calendar .cell").all()}
    truth = {row["partition"]: row["state"] for row in ground.warehouse.partition_rows("weather")}
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


def test_the_chart_shows_averages_at_the_grain_that_fits(ground: Ground, visit: Callable[..., Page], seen: Seen) -> None:
    page = visit(ground, "/#/weather")
    chart = drawn(page)
    assert data(chart, "series").split(",") == [HTML, "JFK", "LGA"]
    asked = seen.questions[-1]["downsample"]
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


def test_a_gap_in_the_data_is_a_gap_in_the_line(ground: Ground, visit: Callable[..., Page]) -> None:
    page = visit(ground, "/#/weather")
    drawn(page)
    lines = page.locator("#chart path.line")
    expect(lines).to_have_count(3)
    assert [(line.get_attribute("d") or "").count("M") for line in lines.all()] == [2, 2, 2]


def test_a_zoom_asks_again_at_a_finer_grain(ground: Ground, visit: Callable[..., Page], seen: Seen) -> None:
    page = visit(ground, "/#/weather")
    whole = data(drawn(page), "grain")
    first = seen.questions[-1]["timeRange"]
    drag(page, 0.20, 0.62)
    wait_for_grain(page, "1 hour")
    asked = seen.questions[-1]
    assert first["start"] < asked["timeRange"]["start"] < asked["timeRange"]["end"] < first["end"]
    drag(page, 0.40, 0.50)
    wait_for_grain(page, "single rows")
    assert "downsample" not in seen.questions[-1]
    assert seen.questions[-1]["columns"] == ["ts", "temp", "station"]
    chart = page.locator(DRAWN)
    chart.dblclick(position={"x": 400, "y": 100})
    wait_for_grain(page, "1 hour")
    assert asked["timeRange"]["start"] in page.url.replace("%3A", ":")
    page.go_back()
    wait_for_grain(page, whole)
    assert seen.questions[-1]["timeRange"] == first
    assert all(later["timeRange"] != earlier["timeRange"] for earlier, later in pairwise(buckets_asked(seen)))


def test_a_click_on_a_partition_zooms_to_its_window(ground: Ground, visit: Callable[..., Page], seen: Seen) -> None:
    page = visit(ground, "/#/weather")
    drawn(page)
    page.click('[data-key="2024-01-05"]')
    wait_for_grain(page, "single rows")
    assert seen.questions[-1]["timeRange"] == {"start": "2024-01-05T00:00:00.000Z", "end": "2024-01-06T00:00:00.000Z"}
    expect(page.locator("#facts")).to_contain_text("72 single rows")
    expect(page.locator(".cell.within")).to_have_count(1)
    page.get_by_role("button", name="Whole range").click()
    wait_for_grain(page, "3 hours")
    expect(page.locator(".cell.within")).to_have_count(0)


def test_hours_other_columns_and_many_groups(ground: Ground, visit: Callable[..., Page], seen: Seen) -> None:
    page = visit(ground, "/#/load")
    chart = drawn(page)
    expect(page.locator("#column")).to_have_value("load")
    expect(page.locator(".calendar .cell")).to_have_count(3)
    expect(page.locator(".calendar h3")).to_have_text("1 Jan 2024")
    assert data(chart, "series") == "load"
    expect(page.locator("#chart .unit")).to_have_text("%")
    page.select_option("#by", "station")
    expect(page.locator(".legend li", has_text="not drawn")).to_have_text("and 3 more that are not drawn")
    assert len(data(drawn(page), "series").split(",")) == 8
    page.select_option("#column", "temp")
    page.wait_for_url(re.compile("column=temp"))
    assert seen.questions[-1]["timeRange"]["start"] == "2024-01-01T00:00:00.000Z"


def test_everything_works_without_a_mouse(ground: Ground, visit: Callable[..., Page]) -> None:
    page = visit(ground, "/#/weather")
    chart = drawn(page)
    chart.focus()
    page.keyboard.press("+")
    wait_for_grain(page, "1 hour", "2 hours")
    page.locator(".calendar .cell[tabindex='0']").focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    focused = page.locator(".cell:focus")
    expect(focused).to_have_attribute("data-key", "2024-01-02")
    expect(page.locator("#tip")).to_contain_text("2024-01-02")
    page.keyboard.press("Enter")
    wait_for_grain(page, "single rows")


def test_values_that_look_like_html_are_text(ground: Ground, visit: Callable[..., Page]) -> None:
    page = visit(ground, "/#/weather")
    drawn(page)
    expect(page.locator(".head p")).to_have_text(f"Observations {HTML}")
    expect(page.locator("#deadletters .record")).to_contain_text("onerror=")
    expect(page.locator(".legend li").first).to_have_text(HTML)
    assert page.locator("img").count() == 1, "the sign of the page itself"
    assert page.evaluate("() => window.broken") is None
    policy = ground.client.get("/").headers["Content-Security-Policy"]
    assert "unsafe" not in policy and "*" not in policy and policy.startswith("default-src 'none'")


def test_a_dataset_without_rows_and_one_that_is_not_there_say_so(ground: Ground, visit: Callable[..., Page]) -> None:
    page = visit(ground, "/#/empty")
    expect(page.locator("main")).to_contain_text("There is nothing to draw yet: no rows have landed.")
    expect(page.locator("#calendar")).to_have_text("There are no partitions yet: nothing has landed.")
    expect(page.locator("#deadletters")).to_have_text("No record was refused.")
    page.goto(f"{ground.url}/#/nowhere")
    expect(page.locator("main")).to_have_text("There is no dataset “nowhere” that is open to you.")


def test_a_service_that_went_away_is_said_to_be_gone(ground: Ground, visit: Callable[..., Page], seen: Seen) -> None:
    page = visit(ground, "/#/weather")
    drawn(page)
    page.route("**/query", lambda route: route.abort("connectionrefused"))
    page.click('[data-key="2024-01-05"]')
    expect(page.locator("#chart[data-state=error]")).to_have_text("The service does not answer. Is it still running?")
    seen.noise = [said for said in seen.noise if "ERR_CONNECTION_REFUSED" not in said]


def test_rows_that_land_meanwhile_appear_by_themselves(ground: Ground, visit: Callable[..., Page], tmp_path: Path) -> None:
    page = visit(ground, "/#/later")
    expect(page.locator("#chart[data-state=empty]")).to_have_text("There is nothing to draw yet: no rows have landed.")
    for day, rows in ((1, 3), (2, 6)):
        lines = [f"2024-01-0{day}T0{hour}:00:00Z,JFK,{hour}" for hour in range(3)]
        (tmp_path / str(day)).mkdir()
        land(ground.warehouse, tmp_path / str(day), "later", "ts,station,temp", lines)
        page.evaluate("() => document.dispatchEvent(new Event('visibilitychange'))")
        expect(page.locator("#facts")).to_contain_text(f"{rows} single rows")
        expect(page.locator(".calendar .cell")).to_have_count(day)


@pytest.mark.parametrize("width", [360, 390, 768, 1600])
def test_nothing_sticks_out_at_any_width(ground: Ground, visit: Callable[..., Page], width: int) -> None:
    page = visit(ground, "/#/weather", viewport={"width": width, "height": 800}, color_scheme="dark")
    drawn(page)
    expect(page.locator("#deadletters .record")).to_be_visible()
    assert page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0


@contextmanager
def closed_service(home: Path) -> Iterator[tuple[Ground, str, str]]:
    """A service with tokens: it, a reader's secret and an administrator's."""
    with open_warehouse(home, {"weather": WEATHER}) as warehouse:
        land(warehouse, home, "weather", "ts,station,temp", ["2024-01-01T00:00:00Z,JFK,1", "2024-01-01T01:00:00Z,JFK,hot"])
        secrets = new_secret(), new_secret()
        for name, secret in zip(("read", "admin"), secrets, strict=True):
            scopes = (f"timestore:{name}",)
            warehouse.catalog.tokens.add(name=name, digest=digest_of(secret), scopes=scopes, expires_at=None, actor="test")
        with serving(warehouse) as served:
            yield served, *secrets


def test_a_token_opens_the_page_and_stays_in_the_tab(tmp_path: Path, visit: Callable[..., Page], seen: Seen) -> None:
    seen.expected = (401, 403)
    with closed_service(tmp_path / "home") as (ground, reader, admin):
        page = visit(ground)
        expect(page.locator("h1")).to_have_text("This service asks for a token")
        expect(page.locator("#token")).to_be_focused()
        enter(page, "tst_wrong")
        expect(page.locator("#datasets")).to_contain_text("Enter a token at the top of the page.")
        enter(page, reader)
        expect(page.locator("h1")).to_have_text("weather")
        expect(page.locator("#deadletters")).to_have_text("1 refused. Looking at them needs an administrator’s token.")
        enter(page, admin)
        expect(page.locator("#deadletters tbody tr")).to_have_count(1)
        page.reload()
        expect(page.locator("h1")).to_have_text("weather")
        assert page.evaluate("() => [document.cookie, localStorage.length]") == ["", 0]
        other = visit(ground)
        expect(other.locator("h1")).to_have_text("This service asks for a token")
        for one in (page, other):
            one.close()


def enter(page: Page, secret: str) -> None:
    page.fill("#token", secret)
    page.get_by_role("button", name="Use").click()


def drawn(page: Page) -> Locator:
    chart = page.locator(DRAWN)
    chart.wait_for()
    return chart


def data(chart: Locator, name: str) -> str:
    found = chart.get_attribute(f"data-{name}")
    assert found is not None
    return found


def drag(page: Page, start: float, end: float) -> None:
    """Select a part of the chart's width with the mouse."""
    box = drawn(page).bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] * start, box["y"] + 80)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * end, box["y"] + 90, steps=4)
    page.mouse.up()


def wait_for_grain(page: Page, *grains: str) -> None:
    page.locator(", ".join(f'{DRAWN}[data-grain="{grain}"]' for grain in grains)).wait_for()


def buckets_asked(seen: Seen) -> list[dict[str, Any]]:
    """The questions for values, without those for the groups."""
    return [one for one in seen.questions if "intervalUnit" in one.get("downsample", {"intervalUnit": ""})]
