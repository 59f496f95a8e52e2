"""The files of the page: sent with a strict policy, to anybody, and nothing else is."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from timestore_assets.service.page import FOLDER, page_paths
from timestore_assets_tests.support.http_service import HttpService, open_warehouse, serving

NAMES = sorted(path.relative_to(FOLDER).as_posix() for path in page_paths())
HOST = re.compile(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}")


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpService]:
    with open_warehouse(tmp_path_factory.mktemp("files") / "home") as warehouse:
        warehouse.catalog.tokens.add(name="any", digest="0" * 64, scopes=(), expires_at=None, actor="test")
        with serving(warehouse) as served:
            yield served


def test_the_page_is_there_without_a_token_and_holds_no_data(http: HttpService) -> None:
    found = http.client.get("/")
    assert (found.status_code, found.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "weather" not in found.text
    assert http.client.get("/datasets").status_code == 401
    assert http.client.head("/").headers["Content-Length"] == str(len(found.content))


@pytest.mark.parametrize("name", NAMES)
def test_each_file_has_its_type_and_the_strict_headers(http: HttpService, name: str) -> None:
    found = http.client.get(f"/pages/{name}")
    assert found.content == (FOLDER / name).read_bytes()
    kinds = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
    assert found.headers["Content-Type"].startswith(kinds[name.rpartition(".")[2]])
    assert found.headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in found.headers["Content-Security-Policy"]
    again = http.client.get(f"/pages/{name}", headers={"If-None-Match": found.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("name", NAMES)
def test_no_file_names_another_host_or_writes_markup(name: str) -> None:
    text = (FOLDER / name).read_text(encoding="utf-8")
    assert {found for found in HOST.findall(text) if "www.w3.org" not in found} == set()
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text)
    assert not re.search(r"<script>|<style|\son[a-z]+=|style=", text if name.endswith(".html") else "")


@pytest.mark.parametrize(
    "name", ["nothing.js", "..%2fpage.py", "%2e%2e%2fpage.py", "..%5cpage.py", "%2fetc%2fpasswd", "index.html%00"]
)
def test_nothing_else_is_sent(http: HttpService, name: str) -> None:
    found = http.client.get(f"/pages/{name}")
    assert found.status_code == 404
    assert found.headers["Content-Type"] == "application/problem+json"


def test_every_file_that_the_page_names_is_there() -> None:
    named = set(re.findall(r"/pages/([\w./-]+)", (FOLDER / "index.html").read_text(encoding="utf-8")))
    for name in NAMES:
        if name.endswith(".js"):
            script = FOLDER / name
            paths = re.findall(r'from "(\.[\w./-]+)"', script.read_text(encoding="utf-8"))
            named |= {(script.parent / path).resolve().relative_to(FOLDER.resolve()).as_posix() for path in paths}
    assert named == set(NAMES) - {"index.html"}
