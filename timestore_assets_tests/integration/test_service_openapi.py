"""The description of the HTTP interface: whole, shown without another host, and true of every answer (schemathesis)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from timestore_assets.service.app import create_app
from timestore_assets.service.openapi import OPEN_PATHS, TAGS
from timestore_assets_tests.support.http_service import WEATHER, HttpService, open_warehouse, serving

EXAMPLE = "nyc_weather"
"""The dataset that the document's examples name."""
TOKEN = "tst_" + "0" * 43
EXAMPLES = os.environ.get("TIMESTORE_SCHEMATHESIS_EXAMPLES", "8")
LONGEST_SECONDS = 270
PHASES = "examples,coverage,fuzzing"
UNDECLARABLE = "positive_data_acceptance"
"""Names, SQL and questions have rules that JSON Schema can't say; answers to such are declared all the same."""
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    with open_warehouse(tmp_path_factory.mktemp("document")) as warehouse:
        app = create_app(warehouse)
        yield app.openapi()
        app.state.service.close()


def test_threads_that_ask_for_it_first_at_once_all_get_it(tmp_path: Path) -> None:
    interval = sys.getswitchinterval()
    with open_warehouse(tmp_path) as warehouse, ThreadPoolExecutor(4) as threads:
        app = create_app(warehouse)
        sys.setswitchinterval(1e-5)
        try:
            documents = [asked.result(timeout=60) for asked in [threads.submit(app.openapi) for _ in range(4)]]
        finally:
            sys.setswitchinterval(interval)
        app.state.service.close()
    assert documents[0]["paths"] and documents == [documents[0]] * 4


@pytest.fixture
def http(tmp_path: Path) -> Iterator[HttpService]:
    """A service with some rows, a dead letter and a saved query, that lets in who has the token."""
    datasets = {name: replace(WEATHER, name=name) for name in ("weather", EXAMPLE)}
    with open_warehouse(tmp_path / "home", datasets) as warehouse:
        digest = sha256(TOKEN.encode()).hexdigest()
        warehouse.catalog.tokens.add(name="tester", digest=digest, scopes=("timestore:admin",), expires_at=None, actor="test")
        with serving(warehouse) as made:
            made.client.headers["Authorization"] = f"Bearer {TOKEN}"
            good = {"ts": "2013-01-01T00:00:00Z", "station": "JFK", "temp": 39.5}
            for name in datasets:
                sent = made.client.post(f"/datasets/{name}/ingest", json={"records": [good, {"ts": "bad"}]})
                assert sent.status_code == 200, sent.text
            saved = made.client.put("/saved-queries/all", json={"sql": "SELECT * FROM weather"})
            assert saved.status_code == 201, saved.text
            yield made


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def test_every_operation_is_described(document: dict[str, Any]) -> None:
    known = {tag["name"] for tag in TAGS}
    for path, method, operation in operations(document):
        where = f"{method.upper()} {path}"
        assert operation["summary"], where
        assert operation["description"], where
        assert set(operation["tags"]) <= known, where
        assert len(operation["tags"]) == 1, where
        for parameter in operation.get("parameters", ()):
            assert parameter["in"] == "path" or parameter.get("description"), f"{where}: {parameter['name']}"


def test_every_error_is_a_problem(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        for status, answer in operation["responses"].items():
            if status >= "400" and path not in OPEN_PATHS:
                assert list(answer["content"]) == ["application/problem+json"], f"{method.upper()} {path} {status}"
                assert answer["content"]["application/problem+json"]["schema"], f"{method.upper()} {path} {status}"
    assert "HTTPValidationError" not in str(document)


def test_all_but_health_needs_a_bearer_token(document: dict[str, Any]) -> None:
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    for path, method, operation in operations(document):
        assert ("security" in operation) == (path not in OPEN_PATHS), f"{method.upper()} {path}"
        assert ("401" in operation["responses"]) == (path not in OPEN_PATHS), f"{method.upper()} {path}"


def test_every_body_has_an_example(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for path, method, operation in operations(document):
        for kind, content in operation.get("requestBody", {}).get("content", {}).items():
            schema = content.get("schema", {})
            named = schemas.get(schema.get("$ref", "").rpartition("/")[2], schema)
            if "arrow" not in kind:  # there is no text of it
                shown = "example" in content or "examples" in content or "example" in str(named)
                assert shown, f"{method.upper()} {path} {kind}"


def test_the_page_loads_nothing_from_another_host(http: HttpService) -> None:
    page = http.client.get("/docs", headers={"Authorization": ""})
    assert page.status_code == 200
    assert "default-src 'self'" in page.headers["content-security-policy"]
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert {"/docs/docs.css", "/docs/docs.js", "/openapi.json"} <= set(loaded)
    assert {"/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js"} <= set(loaded)
    for address in loaded:
        assert address.startswith(("/", "data:,")), address
        if address.startswith("/"):
            part = http.client.get(address)
            assert part.status_code == 200
            assert not re.search(r"""(?:src=|url\(|import|fetch\()\s*["']?(?:https?:)?//""", part.text), address
            again = http.client.get(address, headers={"If-None-Match": part.headers.get("etag", "none")})
            assert again.status_code == (304 if address.startswith("/docs/") else 200)
    assert http.client.get("/docs/..%2fpage.py").status_code == 404


def test_an_address_names_all_its_methods(http: HttpService) -> None:
    answer = http.client.patch("/admin/datasets/weather/retention")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "DELETE, GET, PUT"


@pytest.mark.slow
@pytest.mark.timeout(LONGEST_SECONDS + 60)
def test_answers_are_as_declared_whatever_is_asked(http: HttpService, tmp_path: Path) -> None:
    """Generated requests, good and bad: no 5xx, only statuses, headers and bodies that the document names."""
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{http.url}/openapi.json"),
        *("--seed", "1", "--generation-deterministic", "--max-examples", EXAMPLES, "--phases", PHASES),
        *("--exclude-checks", UNDECLARABLE, "--continue-on-failure", "--no-color"),
        *("-H", f"Authorization: Bearer {TOKEN}"),
    ]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("TIMESTORE_")},
        "SCHEMATHESIS_HOOKS": "timestore_assets_tests.support.schemathesis_hooks",
        "PYTHONPATH": str(ROOT),
        "NO_PROXY": "*",
    }
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=LONGEST_SECONDS, check=False
    )
    assert done.returncode == 0, re.sub(r"(.)\1{200,}", r"\1…", done.stdout)[-20_000:] + done.stderr
    assert re.search(rf"Tested: {_count(http)}\n", done.stdout), done.stdout[-2000:]
    assert http.client.get("/ready").json()["status"] == "ready"


def _count(http: HttpService) -> int:
    document: dict[str, Any] = http.client.get("/openapi.json").json()
    return sum(1 for _ in operations(document))
