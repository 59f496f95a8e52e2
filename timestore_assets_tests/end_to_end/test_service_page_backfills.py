"""Backfills on the page in a real browser: why, how far, and an administrator's decision."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from timestore_assets.service.access.api_tokens import digest_of, new_secret
from timestore_assets_tests.support.asked_backfills import asked_to_rewrite_all
from timestore_assets_tests.support.http_service import WEATHER, HttpService, service
from timestore_assets_tests.support.page_visits import Visits

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(300), pytest.mark.xdist_group("page")]
DAYS = ("2013-01-01", "2013-01-02", "2013-01-03")


@pytest.fixture
def http(tmp_path: Path) -> Iterator[HttpService]:
    """A service over three days that were not built."""
    with service(tmp_path / "home") as opened:
        rows = [{"ts": f"{day}T00:00:00Z", "station": "a", "temp": 1} for day in DAYS]
        assert opened.client.post("/datasets/weather/ingest", json={"records": rows}).status_code == 200
        yield opened


@pytest.fixture
def visit(browser: Browser, http: HttpService) -> Iterator[Visits]:
    """Opens addresses of it; the test fails where the page complains."""
    visits = Visits(browser, http)
    yield visits
    visits.close()
    assert visits.seen.noise == []


def build(http: HttpService, *days: str) -> None:
    list(http.warehouse.build("weather", [WEATHER.partition(day) for day in days], close=True))


def badge(page: Page) -> str:
    return page.locator('[data-tab="partitions"]').inner_text()


def test_without_requests_there_is_no_card(visit: Visits) -> None:
    page = visit("/#/weather/partitions")
    expect(page.locator("#calendar")).to_be_visible()
    expect(page.locator("#backfills-title")).to_be_hidden()
    assert badge(page) == "Partitions"


def test_it_is_approved_and_seen_to_go_on(visit: Visits, http: HttpService) -> None:
    backfill = asked_to_rewrite_all(http.warehouse.catalog, "weather")
    page = visit("/#/weather/partitions")
    card = page.locator("#backfills")
    expect(card).to_contain_text("A migration changed older rows (OPS-12)")
    expect(card).to_contain_text("schema version 2, 3 partitions")
    expect(card).to_contain_text("0 of 3 partitions rewritten")
    assert badge(page).split() == ["Partitions", "1"]
    assert Axe().run(page).response["violations"] == []
    page.get_by_role("button", name=f"Approve backfill {backfill}").click()
    expect(page.get_by_text(f"Backfill {backfill} is approved.")).to_be_visible()
    expect(page.locator('[data-tab="partitions"]')).to_have_text("Partitions")
    assert http.warehouse.backfill(backfill).backfill.state == "approved"
    build(http, DAYS[0])
    page.reload()
    expect(card).to_contain_text("1 of 3 partitions rewritten")
    expect(card.get_by_role("progressbar")).to_have_attribute("value", "1")
    page.get_by_role("button", name=f"Stop backfill {backfill}").click()
    expect(page.get_by_text(f"Backfill {backfill} is refused.")).to_be_visible()
    expect(card.get_by_role("row")).to_have_count(0)


def test_a_decision_that_comes_too_late_is_told(visit: Visits, http: HttpService) -> None:
    backfill = asked_to_rewrite_all(http.warehouse.catalog, "weather")
    page = visit("/#/weather/partitions")
    page.get_by_role("button", name=f"Approve backfill {backfill}").wait_for()
    http.warehouse.decide_backfill(backfill, "done", actor="test")
    visit.seen.expected = (409,)
    page.get_by_role("button", name=f"Approve backfill {backfill}").click()
    expect(page.get_by_role("alert")).to_have_text(f"Backfill {backfill} is done, so it can't be approved any more.")


def test_a_reader_sees_it_without_buttons(visit: Visits, http: HttpService) -> None:
    asked_to_rewrite_all(http.warehouse.catalog, "weather")
    secret = new_secret()
    http.warehouse.catalog.tokens.add(
        name="reader", digest=digest_of(secret), scopes=("timestore:read",), expires_at=None, actor="test"
    )
    visit.seen.expected = (401,)
    page = visit("/#/weather/partitions")
    page.get_by_label("Token").fill(secret)
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("#backfills")).to_contain_text("asked for")
    assert page.locator("#backfills button").count() == 0
