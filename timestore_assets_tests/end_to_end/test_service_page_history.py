"""The History tab in a real browser: what a migration did, with its ticket, and its digest no longer than anybody reads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from timestore_assets_tests.support.asked_backfills import asked_to_rewrite_all
from timestore_assets_tests.support.http_service import HttpService, service
from timestore_assets_tests.support.migrations import manifest, rename
from timestore_assets_tests.support.page_visits import Visits

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(300), pytest.mark.xdist_group("page")]


@pytest.fixture
def http(tmp_path: Path) -> Iterator[HttpService]:
    with service(tmp_path / "home") as opened:
        yield opened


@pytest.fixture
def visit(browser: Browser, http: HttpService) -> Iterator[Visits]:
    """Opens addresses of it; the test fails where the page complains."""
    visits = Visits(browser, http)
    yield visits
    visits.close()
    assert visits.seen.noise == []


def test_a_migration_is_told_with_its_ticket_and_the_beginning_of_its_digest(visit: Visits, http: HttpService) -> None:
    rows = [{"ts": "2013-01-01T00:00:00Z", "station": "a", "temp": 1}]
    assert http.client.post("/datasets/weather/ingest", json={"records": rows}).status_code == 200
    asked = manifest("weather", rename("temp", "celsius"))
    http.warehouse.migrate(asked, actor="token:ann")
    asked_to_rewrite_all(http.warehouse.catalog, "weather")
    page = visit("/#/weather/history")
    table = page.locator("#history table")
    migrated = table.locator("tr", has_text="schema migrated")
    expect(migrated).to_contain_text("ticket OPS-1, approved by ann")
    expect(migrated.locator("code")).to_have_text(f"{asked.digest[:12]}…")
    assert migrated.locator("code").get_attribute("title") == asked.digest
    assert asked.digest not in migrated.inner_text()
    expect(table.locator("tr", has_text="backfill").first).to_contain_text("(OPS-12)")
