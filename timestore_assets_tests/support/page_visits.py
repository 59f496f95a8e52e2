"""The page at `/` in a real browser, over a warehouse with something of everything that it shows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright

from timestore_assets.alerting.monitor import look
from timestore_assets.cli.upload_proposals import proposer_for
from timestore_assets.model.alert import Alert
from timestore_assets.model.dataset import Dataset, FileSource, HttpSource
from timestore_assets.model.schema import Checks, Column
from timestore_assets.model.types import parse_type
from timestore_assets.model.window import Window
from timestore_assets.warehouse import Warehouse
from timestore_assets_tests.end_to_end.screenshots import FLAGS, chromium
from timestore_assets_tests.support.alert_receivers import webhook
from timestore_assets_tests.support.http_service import HttpService, open_warehouse, serving
from timestore_assets_tests.support.landing_warehouse import dataset

START = datetime(2024, 1, 1, tzinfo=UTC)
HTML = '<img src=x onerror="window.broken=1">'
DAYS, BUILT, LATE = 45, 40, "2024-01-07"
GAP = range(20 * 24, 23 * 24)
"""Hours of `weather` that nobody measured."""
HOURS = DAYS * 24 - len(GAP)
BURST = 2_100
"""Rows of `burst` that are of the same moment."""
DRAWN = "#chart[data-state=drawn]"
PATIENCE_MS = 30_000
"""Of all waits: the first SQL of a process starts a worker, which takes its time on a busy machine."""


def watching(name: str, *more: Column, **changes: Any) -> Dataset:
    """Of station, time and temperature, from its own folder and over HTTP."""
    sources = (FileSource(prefix=f"inbox/{name}/", format="csv"), HttpSource())
    return replace(dataset(*more, sources=sources, start=START, **changes), name=name)


def observing(name: str) -> Dataset:
    return watching(name, partition_by=("station",), description=f"Observations {HTML}")


WEATHER = observing("weather")
LOAD = replace(watching("load", Column(name="load", type=parse_type("int32"), nullable=True, unit="%")), window=Window.HOUR)
STRICT = Column(name="level", type=parse_type("double"), nullable=True, checks=Checks(le=30))
MENDED = replace(STRICT, checks=Checks(le=300))
ALERTS = (
    Alert(on="dead_letters", to=("gone",)),
    Alert(on="staleness", age=timedelta(hours=1), to=("ops",)),
    Alert(on="schema", to=("ops",)),
)
"""Of these the second fires; the channel `gone` is none of the deployment's."""
DATASETS = {
    "weather": WEATHER,
    "load": replace(LOAD, alerts=ALERTS),
    "tank": watching("tank", STRICT),
    "burst": watching("burst"),
    **{name: observing(name) for name in ("empty", "later")},
}


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
        if not address.startswith((url, f"blob:{url}")):
            self.noise.append(f"asked {address}")
        if address.endswith("/query"):
            self.questions.append(json.loads(body or "{}"))

    def buckets(self) -> list[dict[str, Any]]:
        """The questions for values, without those for groups and for suggestions."""
        return [one for one in self.questions if "intervalUnit" in one.get("downsample", {"intervalUnit": ""})]


@dataclass
class Visits:
    """Opens addresses of a service, each in a tab without memory."""

    browser: Browser
    http: HttpService
    seen: Seen = field(default_factory=Seen)
    contexts: list[BrowserContext] = field(default_factory=list)

    def __call__(self, path: str = "/", *, http: HttpService | None = None, **options: Any) -> Page:
        context = self.browser.new_context(**{"viewport": {"width": 1440, "height": 900}, **options})
        self.contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        url = (http or self.http).url
        self.seen.follow(page, url)
        page.goto(url + path)
        return page

    def close(self) -> None:
        for context in self.contexts:
            context.close()


@contextmanager
def launched() -> Iterator[Browser]:
    """The browser; skips where there is none."""
    executable = chromium()
    if executable is None:
        pytest.skip("there is no Chromium on this machine to look at the page with")
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def filled_service(home: Path) -> Iterator[HttpService]:
    """A service over `weather` (hourly, three stations, a gap, all states), `load` (every 10 s), `tank` (a dead letter, a column
    that was added), `burst` (many rows of one moment, retired) and two datasets without rows; an alert of `load` fires.
    """
    with (
        webhook() as receiver,
        open_warehouse(
            home, DATASETS, dagster_url="http://dagster.test", alert_channels=json.dumps({"ops": receiver.url})
        ) as warehouse,
    ):
        land(warehouse, home, "weather", "ts,station,temp", weather_rows())
        partitions = [one.partition for one in warehouse.catalog.partitions.of(warehouse.resolve("weather")[1].id)]
        assert len(list(warehouse.build("weather", partitions[:BUILT], close=True))) == BUILT
        land(warehouse, home, "weather", "ts,station,temp", [f"{LATE}T00:30:00Z,JFK,1", f"{LATE}T00:40:00Z,{quoted(HTML)},hot"])
        seconds = (START + timedelta(seconds=10 * n) for n in range(3 * 360))
        rows = [f"{at:%Y-%m-%dT%H:%M:%SZ},m{n % 11},20,{n % 100}" for n, at in enumerate(seconds)]
        land(warehouse, home, "load", "ts,station,temp,load", rows)
        land(warehouse, home, "tank", "ts,station,level,seal", ["2024-01-01T00:00:00Z,a,12,ok", "2024-01-01T01:00:00Z,a,35,ok"])
        moments = ["2024-01-01T00:00:00Z"] * 150 + ["2024-01-01T06:00:00Z"] * BURST + ["2024-01-01T07:00:00Z"] * 20
        land(warehouse, home, "burst", "ts,station,temp", [f"{at},a,{n % 90}" for n, at in enumerate(moments)])
        look(warehouse)
        warehouse.retire("burst", actor="test")
        with serving(warehouse, more=lambda app: setattr(app.state, "proposer", proposer_for(warehouse))) as served:
            yield served


def weather_rows() -> list[str]:
    hours = [START + timedelta(hours=n) for n in range(DAYS * 24) if n not in GAP]
    named = [("JFK", 10), ("LGA", 20), (quoted(HTML), 30)]
    return [f"{at:%Y-%m-%dT%H:%M:%SZ},{name},{base + at.hour / 10}" for at in hours for name, base in named]


def quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def land(warehouse: Warehouse, home: Path, name: str, header: str, rows: list[str]) -> None:
    path = home / f"{name}-{len(rows)}.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    assert warehouse.land(name, [path]).counters.read == len(rows)


def drawn(page: Page) -> Locator:
    chart = page.locator(DRAWN)
    chart.wait_for()
    return chart


def open_tab(page: Page, tab: str) -> None:
    page.locator(f'[data-tab="{tab}"]').click()


def data(chart: Locator, name: str) -> str:
    found = chart.get_attribute(f"data-{name}")
    assert found is not None
    return found


def drag(page: Page, start: float, end: float) -> None:
    """Select a part of the chart's width with the mouse, which stays where it let go."""
    box = drawn(page).bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] * start, box["y"] + 80)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * end, box["y"] + 90, steps=4)
    page.mouse.up()


def wait_for_grain(page: Page, *grains: str) -> None:
    page.locator(", ".join(f'{DRAWN}[data-grain="{grain}"]' for grain in grains)).wait_for()
