"""SQL over HTTP: parameters are values and nothing else, the sandbox holds, saved queries are shared by those who may read."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from timestore_assets.model.dataset import Access
from timestore_assets.service.access.api_tokens import digest_of, new_secret
from timestore_assets_tests.support.http_service import HttpService as Service
from timestore_assets_tests.support.http_service import service
from timestore_assets_tests.support.query_warehouse import METER, QueryWarehouse, row

SECRET = "correct-horse-battery-staple"
HIDDEN = replace(METER, name="hidden", access=Access(read=("hidden:read",), write=("hidden:write",)))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """`meter` has three days of rows, `hidden` one row whose note is a secret."""
    home = tmp_path_factory.mktemp("sql")
    with service(home, {METER.name: METER, HIDDEN.name: HIDDEN}, sql_timeout_seconds=20) as made:
        for dataset, rows in (
            (
                METER,
                [row("a", minute, day=day, value=float(minute), n=day, note="x") for day in (1, 2, 3) for minute in range(3)],
            ),
            (HIDDEN, [row("a", 0, note=SECRET)]),
        ):
            warehouse = made.warehouse
            ground = QueryWarehouse(
                folder=home,
                catalog=warehouse.catalog,
                store=warehouse.storage.target("default"),
                limits=warehouse.limits,
                dataset=dataset,
                querier=warehouse.querier,
            )
            ground.land(rows)
        (home / "secret.csv").write_text(f"word\n{SECRET}\n")
        yield made


def token(made: Service, name: str, *scopes: str) -> dict[str, str]:
    secret = new_secret()
    made.warehouse.catalog.tokens.add(name=name, digest=digest_of(secret), scopes=scopes, expires_at=None, actor="test")
    return {"Authorization": f"Bearer {secret}"}


@pytest.fixture(scope="module")
def reader(running: Service) -> dict[str, str]:
    return token(running, "reader", "timestore:read", "timestore:write")


@pytest.fixture(scope="module")
def keeper(running: Service) -> dict[str, str]:
    """Reads both."""
    return token(running, "keeper", "timestore:read", "timestore:write", "hidden:read")


def asked(made: Service, headers: dict[str, str], sql: str, parameters: Any = None, **more: Any) -> httpx.Response:
    body = {"sql": sql, **({} if parameters is None else {"parameters": parameters}), **more}
    return made.client.post("/sql", json=body, headers=headers)


def rows(response: httpx.Response) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()["rows"]
    return found


@pytest.mark.parametrize(
    ("sql", "parameters", "expected"),
    [
        ("SELECT $a AS a", {"a": "it's $b -- \" ; DROP"}, [{"a": "it's $b -- \" ; DROP"}]),
        ("SELECT $a AS a, $b AS b, $c AS c", {"a": 2**62, "b": 0.1, "c": None}, [{"a": 2**62, "b": 0.1, "c": None}]),
        ("SELECT typeof($a) AS t", {"a": {"type": "double", "value": 1}}, [{"t": "DOUBLE"}]),
        ("SELECT count(*) AS c FROM meter WHERE n = $n AND note = $note", {"n": 2, "note": "x"}, [{"c": 3}]),
        ("SELECT count(*) AS c FROM meter WHERE note = $note", {"note": "' OR true --"}, [{"c": 0}]),
        (
            "SELECT min(ts) AS t FROM meter WHERE ts >= $since",
            {"since": {"type": "timestamp", "value": "2024-01-02T02:00:00+02:00"}},
            [{"t": "2024-01-02T00:00:00Z"}],
        ),
        ("SELECT $d + 1 AS d", {"d": {"type": "date", "value": "2024-02-28"}}, [{"d": "2024-02-29"}]),
        ("SELECT n FROM meter ORDER BY ts LIMIT $n", {"n": 1}, [{"n": 1}]),
        ("SELECT INTERVAL 1 DAY AS i, $a AS a", {"a": True}, [{"i": "1 day", "a": True}]),
    ],
)
def test_parameters_are_values(running: Service, reader: dict[str, str], sql: str, parameters: Any, expected: Any) -> None:
    assert rows(asked(running, reader, sql, parameters)) == expected


def test_parameters_prune_like_constants(running: Service, reader: dict[str, str]) -> None:
    since = {"since": {"type": "timestamp", "value": "2024-01-03T00:00:00Z"}}
    found = asked(running, reader, "SELECT count(*) AS c FROM meter WHERE ts >= $since", since).json()
    assert found["rows"] == [{"c": 3}] and (found["scanned"], found["pruned"]) == (1, 2)
    assert found["manifestVersions"] == {"meter": 1}


def test_a_short_answer_is_sent_as_a_whole_and_a_long_one_in_pieces(running: Service, reader: dict[str, str]) -> None:
    short, long = (asked(running, reader, f"SELECT range AS n FROM range({count})") for count in (10, 30_000))
    assert int(short.headers["content-length"]) == len(short.content) and "transfer-encoding" not in short.headers
    assert "content-length" not in long.headers and long.headers["transfer-encoding"] == "chunked"
    assert [one["n"] for one in (*rows(short), *rows(long))] == [*range(10), *range(30_000)]


@pytest.mark.parametrize("accept", ["application/vnd.apache.arrow.stream", "application/vnd.apache.parquet", "text/csv"])
def test_every_format_is_there(running: Service, reader: dict[str, str], accept: str) -> None:
    body = {"sql": "SELECT n, ts FROM meter WHERE n < $n ORDER BY ts", "parameters": {"n": 2}}
    response = running.client.post("/sql", json=body, headers={**reader, "Accept": accept})
    assert response.headers["x-timestore-manifest-versions"] == '{"meter":1}'
    if accept == "text/csv":
        assert response.text.splitlines()[:2] == ["n,ts", "1,2024-01-01T00:00:00Z"]
        return
    stream = accept.endswith("stream")
    table = pa.ipc.open_stream(response.content).read_all() if stream else pq.read_table(io.BytesIO(response.content))
    assert table.num_rows == 3 and table.schema.field("ts").type == pa.timestamp("us", tz="UTC")


@pytest.mark.parametrize(
    ("sql", "parameters", "status", "said"),
    [
        ("SELECT $a", {}, 422, "the parameter $a has no value"),
        ("SELECT 1", {"a": 1}, 422, "write $a there"),
        ("SELECT ?", {"a": 1}, 422, "parameters have names: $start"),
        ("SELECT $1", {}, 422, "parameters have names: $start"),
        ("SELECT $a", {"a": {"type": "int", "value": "1"}}, 422, "the parameter 'a' is a int"),
        ("SELECT $a", {"a": 2**63}, 422, "the parameter 'a' is a int"),
        ("SELECT $a", {"a": {"type": "timestamp", "value": "soon"}}, 422, "the parameter 'a' is a timestamp"),
        ("SELECT $a", {"a": [1]}, 422, "body.parameters.a"),
        ("SELECT $a", {"a b": 1}, 422, "body.parameters"),
        ("SELECT * FROM meter WHERE ts > $t", {"t": "2024-01-01T00:00:00+02:00"}, 422, "give the parameter the type timestamp"),
        ("SELECT * FROM $t", {"t": "meter"}, 422, "SQL: "),
        ("SELECT * FROM query_table($t)", {"t": "hidden"}, 403, "query_table"),
        ("SELECT * FROM query($t)", {"t": "FROM hidden"}, 403, "query"),
        ("SELECT * FROM read_text($t)", {"t": "/etc/passwd"}, 403, "read_text"),
        ("SELECT getenv($t)", {"t": "HOME"}, 403, "getenv"),
        ("SELECT $t::regclass", {"t": "hidden"}, 403, "regclass"),
    ],
)
def test_what_parameters_can_not_do(
    running: Service, reader: dict[str, str], sql: str, parameters: Any, status: int, said: str
) -> None:
    response = asked(running, reader, sql, parameters)
    assert response.status_code == status and said in response.json()["detail"], response.text


ATTACKS: Sequence[str] = [
    "SELECT * FROM read_text('{home}/secret.csv')",
    "SELECT * FROM read_csv('{home}/secret.csv')",
    "SELECT * FROM '{home}/secret.csv'",
    "SELECT * FROM glob('{home}/*')",
    "SELECT getenv('PATH')",
    "SELECT * FROM duckdb_settings()",
    "SELECT * FROM duckdb_views()",
    "SELECT * FROM information_schema.tables",
    "SELECT current_setting('temp_directory')",
    "PRAGMA database_list",
    "PRAGMA show_tables",
    "ATTACH '{home}/catalog.sqlite' AS c",
    "COPY meter TO '{home}/out.csv'",
    "COPY (SELECT 1) TO '/dev/stdout'",
    "INSTALL httpfs",
    "LOAD sqlite",
    "SET memory_limit = '100GB'",
    "SELECT 1; SELECT 2",
    "CREATE TABLE t AS SELECT 1",
    "SELECT " + "(" * 20_000 + "1" + ")" * 20_000,
    "SELECT " + "NOT " * 20_000 + "true",
    "SELECT " + "[" * 5_000 + "]" * 5_000,
    "SELECT '" + "x" * 200_000 + "'",
    "SELECT repeat('x', 10000000000)",
    "SELECT lpad('', 4000000000, 'x')",
    "SELECT * FROM hidden",
    "SELECT * FROM hiden",
    "SELECT hidden.note FROM meter",
    "SELECT (SELECT note FROM hidden)",
    "WITH a AS (FROM hidden) SELECT * FROM a",
    "SELECT * FROM meter WHERE note IN (FROM hidden SELECT note)",
    "FROM (FROM (FROM hidden))",
    "DESCRIBE hidden",
    "SUMMARIZE hidden",
    "EXPLAIN FROM hidden",
    "EXPLAIN SELECT * FROM read_text('{home}/secret.csv')",
    "EXPLAIN COPY (SELECT 1) TO '{home}/out.csv'",
    "SUMMARIZE '{home}/secret.csv'",
    "SHOW ALL TABLES",
]


@pytest.mark.parametrize("attack", ATTACKS, ids=range(len(ATTACKS)))
def test_the_sandbox_holds_over_http(running: Service, reader: dict[str, str], attack: str) -> None:
    home = str(running.warehouse.settings.home_folder)
    response = asked(running, reader, attack.replace("{home}", home))
    assert response.status_code in (403, 422), response.text
    assert response.headers["content-type"] == "application/problem+json"
    said = response.text.replace("hiden", "").replace("{home}", home)
    assert SECRET not in said and "segment_" not in said and "Traceback" not in said
    if "{home}" not in attack:
        assert home not in said
    if "hidden" not in attack:
        assert "hidden" not in said
    assert not (Path(home) / "out.csv").exists()
    assert rows(asked(running, reader, "SELECT 1 AS one")) == [{"one": 1}]


def test_what_others_have_is_as_if_it_were_not_there(running: Service, reader: dict[str, str], keeper: dict[str, str]) -> None:
    assert rows(asked(running, keeper, "SELECT note FROM hidden")) == [{"note": SECRET}]
    there, absent = asked(running, reader, "SELECT * FROM hidden"), asked(running, reader, "SELECT * FROM absent")
    assert there.status_code == absent.status_code
    assert there.json()["detail"].replace("hidden", "absent") == absent.json()["detail"]


def test_statements_beside_select_tell_of_what_one_may_read_only(
    running: Service, reader: dict[str, str], keeper: dict[str, str]
) -> None:
    assert rows(asked(running, reader, "SHOW TABLES")) == [{"name": "meter"}]
    assert rows(asked(running, keeper, "SHOW TABLES")) == [{"name": "hidden"}, {"name": "meter"}]
    described = asked(running, reader, "DESCRIBE meter")
    assert described.json()["scanned"] == 0
    assert {one["column_name"]: one["column_type"] for one in rows(described)}["amount"] == "DECIMAL(12,2)"
    (summary,) = rows(asked(running, reader, "SUMMARIZE SELECT n FROM meter WHERE n > $low", {"low": 1}))
    assert (summary["min"], summary["max"], summary["count"]) == ("2", "3", 6)
    plan = asked(running, reader, "EXPLAIN SELECT max(value) FROM meter WHERE n = $n", {"n": 2})
    assert set(rows(plan)[0]) == {"step", "rows", "details"}
    assert str(running.warehouse.settings.home_folder) not in plan.text and "__" not in plan.text


def test_too_large_values_end_in_an_error_and_the_service_lives_on(running: Service, reader: dict[str, str]) -> None:
    doubled = ", ".join(f"t{i} AS (SELECT s || s AS s FROM t{i - 1})" for i in range(1, 45))
    response = asked(running, reader, f"WITH t0 AS (SELECT 'xxxxxxxxxxxxxxxx' AS s), {doubled} SELECT length(s) AS n FROM t44")
    assert response.status_code in (422, 503), response.text
    assert rows(asked(running, reader, "SELECT count(*) AS c FROM meter")) == [{"c": 9}]


@pytest.mark.parametrize("sample", ["USING SAMPLE 3", "TABLESAMPLE reservoir(3 ROWS)", "TABLESAMPLE bernoulli(100%)"])
def test_samples_can_be_taken(running: Service, reader: dict[str, str], sample: str) -> None:
    response = asked(running, reader, f"SELECT n FROM meter {sample}")
    assert response.status_code == 200, response.text
    assert 0 < len(response.json()["rows"]) <= 9


KINDS = {
    "TIMESTAMP_NS '2024-01-01 00:00:00.000000001'": "2024-01-01T00:00:00.000000001Z",
    "[TIMESTAMP_NS '2024-01-01 00:00:00.000000001']": ["2024-01-01T00:00:00.000000001Z"],
    "TIMESTAMP 'infinity'": "infinity",
    "TIMESTAMP_S '2024-01-01'": "2024-01-01T00:00:00Z",
    "INTERVAL '1 day'": "1 day",
    "MAP {'a': 1}": {"a": 1},
    "'a'::ENUM('a', 'b')": "a",
    "[1, 2]::INT[2]": [1, 2],
    "TIMETZ '01:02:03+01'": "01:02:03+01",
}


@pytest.mark.parametrize("value", KINDS)
def test_every_type_of_value_is_answered_whole_in_every_format(running: Service, reader: dict[str, str], value: str) -> None:
    body = {"sql": f"SELECT {value} AS v UNION ALL SELECT NULL"}
    assert {"v": KINDS[value]} in running.client.post("/sql", json=body, headers=reader).json()["rows"]
    for form in ("application/x-ndjson", "text/csv", "application/vnd.apache.arrow.stream", "application/vnd.apache.parquet"):
        response = running.client.post("/sql", json=body, headers={**reader, "Accept": form})
        assert response.status_code == 200, (form, response.text)


# --- saved queries

SAVED = "/saved-queries/warm"
WARM = {
    "sql": "SELECT max(value) AS v FROM meter WHERE ts >= $since AND n <= $n",
    "parameters": {"since": {"type": "timestamp", "default": "2024-01-02T00:00:00Z"}, "n": {"type": "int"}},
}


def test_a_saved_query_from_its_making_to_its_end(running: Service, reader: dict[str, str]) -> None:
    client = running.client
    made = client.put(SAVED, json=WARM, headers={**reader, "If-None-Match": "*"})
    assert made.status_code == 201 and made.json()["datasets"] == ["meter"] and made.json()["version"] == 1
    assert client.put(SAVED, json=WARM, headers={**reader, "If-None-Match": "*"}).status_code == 412
    again = client.put(SAVED, json={**WARM, "description": "warmest"}, headers={**reader, "If-Match": made.headers["etag"]})
    assert again.status_code == 200 and again.json()["version"] == 2
    assert client.put(SAVED, json=WARM, headers={**reader, "If-Match": made.headers["etag"]}).status_code == 412
    assert client.get(SAVED, headers=reader).json()["description"] == "warmest"
    assert [one["name"] for one in client.get("/saved-queries", headers=reader).json()["queries"]] == ["warm"]
    run = client.post(f"{SAVED}/run", json={"parameters": {"n": 3}}, headers=reader)
    assert rows(run) == [{"v": 2.0}] and run.json()["scanned"] == 2
    for parameters, said in (({}, "'n' needs a value"), ({"n": "3"}, "'n' is a int"), ({"n": 1, "x": 1}, "has no parameter 'x'")):
        refused = client.post(f"{SAVED}/run", json={"parameters": parameters}, headers=reader)
        assert refused.status_code == 422 and said in refused.json()["detail"]
    assert client.delete(SAVED, headers={**reader, "If-Match": made.headers["etag"]}).status_code == 412
    assert client.delete(SAVED, headers={**reader, "If-Match": again.headers["etag"]}).status_code == 204
    assert client.get(SAVED, headers=reader).status_code == 404


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"sql": "SELECT nope FROM meter"}, "nope"),
        ({"sql": "SELECT 1"}, "reads no dataset"),
        ({"sql": "DROP TABLE meter"}, "only one SELECT"),
        ({"sql": "SELECT $a FROM meter"}, "$a has no value"),
        ({"sql": "SELECT n FROM meter", "parameters": {"a": {"type": "int"}}}, "write $a there"),
        ({"sql": "SELECT $a FROM meter", "parameters": {"a": {"type": "int", "default": "x"}}}, "'a' is a int"),
        ({"sql": "SELECT note FROM hidden"}, "there is no dataset 'hidden'"),
    ],
)
def test_only_what_could_be_run_is_saved(running: Service, reader: dict[str, str], body: Any, said: str) -> None:
    refused = running.client.put("/saved-queries/bad", json=body, headers=reader)
    assert refused.status_code in (403, 422) and said in refused.json()["detail"], refused.text
    assert running.client.get("/saved-queries/bad", headers=reader).status_code == 404


def test_saving_takes_more_than_reading(running: Service) -> None:
    headers = token(running, "only_reader", "timestore:read")
    assert running.client.put("/saved-queries/mine", json={"sql": "FROM meter"}, headers=headers).status_code == 403


def test_queries_over_what_one_may_not_read_are_not_there(
    running: Service, reader: dict[str, str], keeper: dict[str, str]
) -> None:
    path = "/saved-queries/both"
    client = running.client
    assert client.put(path, json={"sql": "SELECT h.note FROM hidden h, meter"}, headers=keeper).status_code == 201
    assert client.get(path, headers=reader).status_code == 404
    assert client.post(f"{path}/run", json={}, headers=reader).status_code == 404
    assert client.delete(path, headers=reader).status_code == 404
    assert client.get("/saved-queries", headers=reader).json() == {"queries": []}
    mine = client.put(path, json={"sql": "SELECT n FROM meter"}, headers={**reader, "If-None-Match": "*"})
    assert mine.status_code == 201
    several = client.get(path, headers=keeper)
    assert several.status_code == 409 and mine.json()["id"] in several.json()["detail"]
    assert client.get(f"/saved-queries/{mine.json()['id']}", headers=keeper).json()["sql"] == "SELECT n FROM meter"
