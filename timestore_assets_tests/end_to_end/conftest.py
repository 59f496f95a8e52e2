"""What the tests of the page share."""

from timestore_assets_tests.support.page_fixtures import browser, page_service, visit  # noqa: F401 - pytest finds them here
