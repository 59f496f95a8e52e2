"""SQL that costs more than it says: read in another process, within its limits, and nothing of it in the service's own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from timestore_assets.service.access.api_tokens import digest_of, new_secret
from timestore_assets_tests.support.http_service import HttpService, service

SECONDS = 3
NESTED = ", ".join(f"t{i} AS (SELECT [x] AS x FROM t{i - 1})" for i in range(1, 120))


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpService]:
    with service(tmp_path_factory.mktemp("bombs") / "home", sql_timeout_seconds=30) as made:
        rows = [{"ts": f"2024-01-01T00:{minute:02}:00Z", "station": "a", "temp": minute} for minute in range(60)]
        assert made.client.post("/datasets/weather/ingest", json=rows).status_code == 200
        assert made.client.post("/sql", json={"sql": "SELECT 1 AS one"}).status_code == 200
        yield made


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT " + "(" * 90_000,
        "SELECT " + "(" * 390,
        "SELECT " + ",".join(["(" * 390 + "1" + ")" * 390] * 100),
        "SELECT * FROM range(1)" + " CROSS JOIN range(1)" * 3_000,
        "SELECT " + ",".join(["*"] * 3_000) + " FROM weather",
        "SELECT 1 FROM weather WHERE temp IN (" + ",".join(["1"] * 40_000) + ")",
        f"WITH t0 AS (SELECT 1 AS x), {NESTED} FROM t119",
        'WITH t AS (SELECT 1 AS "' + "n" * 50_000 + '") SELECT ' + ",".join(["*"] * 1_900) + " FROM t",
        "SELECT a" + ".b" * 40_000,
    ],
    ids=["open", "open-few", "groups", "joins", "stars", "in", "types", "names", "dots"],
)
def test_bombs_cost_the_service_nothing(http: HttpService, sql: str) -> None:
    before = resident()
    response = http.client.post("/sql", json={"sql": sql, "timeoutSeconds": SECONDS})
    assert response.status_code in (200, 422), response.text[:300]
    assert resident() - before < 150_000_000
    assert http.client.get("/health").status_code == 200


@pytest.mark.parametrize("operator", [" + ", " || ", " OR "])
def test_generated_statements_of_hundreds_of_terms_are_answered(http: HttpService, operator: str) -> None:
    term = {" + ": "temp", " || ": "station", " OR ": "temp = 1"}[operator]
    response = http.client.post("/sql", json={"sql": f"SELECT count({operator.join([term] * 300)}) AS n FROM weather"})
    assert response.status_code == 200 and response.json()["rows"] == [{"n": 60}], response.text[:300]


def test_an_answer_of_too_many_columns_is_one_clear_sentence(http: HttpService) -> None:
    response = http.client.post("/sql", json={"sql": "SELECT " + ", ".join(["*"] * 700) + " FROM weather"})
    assert response.status_code == 422 and "2,100 columns; at most 2,000" in response.json()["detail"]


def test_columns_of_one_name_get_numbers(http: HttpService) -> None:
    response = http.client.post("/sql", json={"sql": "SELECT 1 AS a, 2 AS a_1, 3 AS a, 4 AS a, 5 AS a_1"})
    assert response.json()["rows"] == [{"a": 1, "a_1": 2, "a_2": 3, "a_3": 4, "a_1_1": 5}]


def test_a_saved_query_is_read_in_the_same_bounds(http: HttpService) -> None:
    for sql in ("SELECT " + "(" * 90_000, "SELECT " + ", ".join(["*"] * 700) + " FROM weather"):
        response = http.client.put("/saved-queries/bomb", json={"sql": sql})
        assert response.status_code == 422, response.text[:300]


def test_bodies_of_more_values_or_levels_than_anybody_means_are_refused(http: HttpService) -> None:
    deep = b'{"sql": "SELECT 1", "parameters": {"a": ' + b"[" * 100 + b"]" * 100 + b"}}"
    wide = b'{"sql": "SELECT 1", "parameters": {"a": [' + b"1," * 200_000 + b"1]}}"
    for body, said in ((deep, "64 lists or objects"), (wide, "150,000 values")):
        response = http.client.post("/sql", content=body, headers={"Content-Type": "application/json"})
        assert response.status_code == 422 and said in response.json()["detail"]
    filters = [{"column": "temp", "op": "in", "values": list(range(9_000))}] * 3
    response = http.client.post("/datasets/weather/query", json={"filters": filters})
    assert response.status_code == 422 and "27,000 values in all" in response.json()["detail"]


def test_who_may_read_nothing_has_no_sql_read(http: HttpService) -> None:
    """Last here: a token closes the service for the others."""
    secret = new_secret()
    http.warehouse.catalog.tokens.add(
        name="nobody", digest=digest_of(secret), scopes=("some:thing",), expires_at=None, actor="test"
    )
    for sql in ("SELECT 1", "this is no SQL"):
        response = http.client.post("/sql", json={"sql": sql}, headers={"Authorization": f"Bearer {secret}"})
        assert response.status_code == 403 and "your scopes open no dataset" in response.json()["detail"]
