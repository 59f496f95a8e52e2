"""Fixtures of the page's tests: a filled service and a browser for a file's tests, tabs without memory for each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from timestore_assets_tests.support.http_service import HttpService
from timestore_assets_tests.support.page_visits import Visits, filled_service, launched


@pytest.fixture(scope="module")
def page_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpService]:
    """See `filled_service`."""
    with filled_service(tmp_path_factory.mktemp("page")) as served:
        yield served


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as started:
        yield started


@pytest.fixture
def visit(browser: Browser, page_service: HttpService) -> Iterator[Visits]:
    """Opens addresses of `page_service`; the test fails where a page complains or asks another host."""
    visits = Visits(browser, page_service)
    yield visits
    visits.close()
    assert visits.seen.noise == []
