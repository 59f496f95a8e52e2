"""Pictures of the Dagster UI by a headless browser: `python -m timestore_assets_tests.end_to_end.screenshots URL FOLDER`."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DEMO = {
    "lineage": ("/assets/nyc_weather?view=lineage", "365 partitions"),
    "partitions": ("/assets/nyc_flights?view=partitions&partition=2013-01-01", "content_hash"),
    "overview": ("/assets/nyc_weather?view=overview", "dedupe_key"),
    "checks": ("/assets/nyc_weather?view=checks", "Succeeded"),
    "source": ("/assets/nyc_weather/inbox_weather?view=events", "records landed"),
    "runs": ("/runs", "build_nyc_weather"),
    "sensors": ("/automation", "timestore_files"),
}
"""Page by picture: its path, and a text that is there once it has loaded."""
PATIENCE_MS = 60_000


def chromium() -> str | None:
    """The browser's path, or None when this machine has none."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@contextmanager
def browser_page(executable: str) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        try:
            yield browser.new_page(viewport={"width": 1440, "height": 900})
        finally:
            browser.close()


def take(page: Page, base: str, folder: Path, pages: Mapping[str, tuple[str, str]]) -> None:
    """Open each page, wait for its text, and save a picture of it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (path, text) in pages.items():
        page.goto(base + path, wait_until="domcontentloaded", timeout=PATIENCE_MS)
        page.get_by_text(text).first.wait_for(timeout=PATIENCE_MS)
        page.screenshot(path=folder / f"{name}.png", animations="disabled")


if __name__ == "__main__":
    found = chromium()
    if found is None:
        sys.exit("no chromium on this machine")
    with browser_page(found) as opened:
        take(opened, sys.argv[1].rstrip("/"), Path(sys.argv[2]), DEMO)
