"""Two tenants in one service: by no route, method, name, header or text does either read, write, list or infer the other's.

Every request for the other's dataset is sent once more for one that does not exist, of a name as long; the answers have to be
equal byte by byte, apart from the name that was asked for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pyarrow as pa
import pytest

from timestore_assets.model.dataset import Access, HttpSource
from timestore_assets.service.access.api_tokens import digest_of, new_secret
from timestore_assets_tests.support.http_service import HttpService, service
from timestore_assets_tests.support.landing_warehouse import columns, dataset
from timestore_assets_tests.support.service_callers import bearer

TENANTS = [("north", "south"), ("south", "north")]
ABSENT = {"north": "xorth", "south": "xouth"}
"""What does not exist, beside what does."""
ASKING = {"north": "south", "south": "north"}
"""The tenant that asks, by the one it asks about."""
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
CHANGING = ("date", "x-request-id", "traceresponse", "traceparent", "server-timing")
"""Headers that differ between two answers to the same request."""
JSON_TYPES = ("application/json", "application/x-ndjson", "text/csv", "application/vnd.apache.arrow.stream")


@dataclass(frozen=True, kw_only=True)
class Ask:
    """A request; `{name}` in it stands for the dataset, and in any case."""

    method: str
    path: str
    headers: Mapping[str, str] | None = None
    body: Any = None

    def of(self, name: str) -> dict[str, Any]:
        def put(text: str) -> str:
            return text.replace("{name}", name).replace("{NAME}", name.upper())

        content = self.body if isinstance(self.body, bytes | None) else json.dumps(self.body).encode()
        return {
            "method": self.method,
            "url": put(self.path),
            "headers": {"Content-Type": "application/json", **{key: put(value) for key, value in (self.headers or {}).items()}},
            "content": None if content is None else put(content.decode("latin-1")).encode("latin-1"),
        }


@dataclass(frozen=True, kw_only=True)
class World:
    """`secrets`: tokens of both tenants. `ingestions`, `tags`, `cursors`: what each was given in answers of its own."""

    ground: HttpService
    secrets: dict[str, str]
    ingestions: dict[str, str]
    tags: dict[str, str]
    cursors: dict[str, str]

    def send(self, tenant: str, asked: Ask, name: str) -> httpx.Response:
        wanted = asked.of(name)
        return self.ground.client.request(**{**wanted, "headers": {**wanted["headers"], **bearer(self.secrets[tenant])}})

    def state(self, name: str) -> Any:
        """What must not change by what the other does."""
        catalog = self.ground.warehouse.catalog
        record = catalog.datasets.find(name)
        assert record is not None
        queries = [one for one in catalog.saved_queries.listed() if one.datasets == (name,)]
        return (
            record,
            catalog.sources.of(record.id),
            catalog.partitions.of(record.id),
            queries,
            catalog.audit.newest(dataset_ids=[record.id]),
        )


def declared(name: str) -> Any:
    base = dataset(*columns(**{f"column_of_{name}": "string?"}), name=name, sources=(HttpSource(),))
    access = Access(read=(f"{name}:read",), write=(f"{name}:write",))
    return replace(base, description=f"secret of {name}", owners=(f"team:{name}",), access=access)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    names = [mine for mine, _ in TENANTS]
    with service(tmp_path_factory.mktemp("tenants") / "home", {name: declared(name) for name in names}) as ground:
        made = World(ground=ground, secrets={}, ingestions={}, tags={}, cursors={})
        for name in names:
            made.secrets[name] = new_secret()
            ground.warehouse.catalog.tokens.add(
                name=f"token_of_{name}", digest=digest_of(made.secrets[name]), expires_at=None, actor="test",
                scopes=[f"{name}:read", f"{name}:write", "timestore:write"],
            )  # fmt: skip
        for name in names:
            furnish(made, name)
        yield made


def furnish(world: World, name: str) -> None:
    """Rows, a dead letter, an ingestion, a saved query and a cursor of the tenant's own."""
    records = [
        {"ts": f"2024-01-01T00:0{minute}:00Z", "station": f"station of {name}", "temp": minute, f"column_of_{name}": "secret"}
        for minute in range(5)
    ]
    body = {"records": [*records, {"ts": "soon"}]}
    landed = world.send(
        name, Ask(method="POST", path="/datasets/{name}/ingest", headers={"Idempotency-Key": "1"}, body=body), name
    )
    assert landed.status_code == 200 and landed.json()["landed"] == 5, landed.text
    world.ingestions[name] = landed.json()["ingestionId"]
    query = {"sql": f"SELECT * FROM {name}", "description": f"secret of {name}"}
    saved = world.send(name, Ask(method="PUT", path="/saved-queries/{name}_query", body=query), name)
    assert saved.status_code == 201, saved.text
    world.tags[name] = saved.headers["ETag"]
    page = world.send(name, Ask(method="POST", path="/datasets/{name}/query", body={"pageSize": 2}), name)
    assert page.status_code == 200, page.text
    world.cursors[name] = page.json()["nextCursor"]


def queries(world: World, other: str) -> list[Ask]:
    path = "/datasets/{name}/query"
    bodies: list[Any] = [
        {}, {"columns": [f"column_of_{other}"]}, {"columns": ["nothing"]}, {"asOf": 1}, {"asOf": 99}, {"limit": 1},
        {"filters": [{"column": f"column_of_{other}", "op": "eq", "value": "secret"}]},
        {"downsample": {"aggregations": [{"fn": "count"}], "groupBy": ["station"]}},
        {"pageSize": 2, "cursor": world.cursors[other]}, {"pageSize": 2, "cursor": "x"}, {"unknown": 1}, [], b"{", b"",
    ]  # fmt: skip
    kinds = [Ask(method="POST", path=path, headers={"Accept": kind}, body={}) for kind in (*JSON_TYPES, "image/png")]
    return [*(Ask(method="POST", path=path, body=body) for body in bodies), *kinds]


def ingests(world: World, other: str) -> list[Ask]:
    path = "/datasets/{name}/ingest"
    record = {"ts": "2024-01-01T00:00:00Z", "station": "intruder"}
    table = pa.table({"ts": pa.array([0], pa.timestamp("us", tz="UTC")), "station": ["intruder"]})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    contents = {
        "application/json": json.dumps({"records": [record], "schema": {f"column_of_{other}": "string"}}).encode(),
        "application/x-ndjson": json.dumps(record).encode(),
        "text/csv": b"ts,station\n2024-01-01,intruder\n",
        "application/vnd.apache.arrow.stream": sink.getvalue().to_pybytes(),
        "image/png": b"x",
    }
    more: list[dict[str, str]] = [{}, {"Idempotency-Key": "1"}, {"Prefer": "respond-async"}, {"Content-Encoding": "gzip"}]
    return [
        Ask(method="POST", path=path, headers={"Content-Type": kind, **headers}, body=content)
        for kind, content in contents.items()
        for headers in more
    ] + [Ask(method="POST", path=path, body=body) for body in ([], {"records": []}, b"{", b"", {"records": [{}]})]


STATEMENTS = (
    "SELECT * FROM {name}",
    'SELECT * FROM "{name}"',
    "SELECT * FROM {NAME}",
    'SELECT * FROM "{NAME}"',
    "SELECT * FROM main.{name}",
    "SELECT * FROM memory.main.{name}",
    "SELECT * FROM system.main.{name}",
    "FROM {name}",
    "TABLE {name}",
    "SELECT (SELECT count(*) FROM {name})",
    "WITH x AS (SELECT * FROM {name}) SELECT * FROM x",
    "WITH {name} AS (SELECT 1 AS a) SELECT * FROM {name}",
    "WITH RECURSIVE x AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM x, {name} WHERE n < 3) SELECT * FROM x",
    "SELECT * FROM {own} WHERE EXISTS (SELECT * FROM {name})",
    "SELECT * FROM {own} AS o, LATERAL (SELECT * FROM {name} AS t WHERE t.ts = o.ts)",
    "SELECT * FROM {own} JOIN {name} USING (ts)",
    "SELECT * FROM {own} UNION ALL SELECT * FROM {name}",
    "SELECT * FROM {own} AS {name}",
    "SELECT {name}.ts FROM {own}",
    "SELECT column_of_{name} FROM {own}",
    "SELECT colum_of_{name} FROM {own}",
    "SELECT * FROM {name}h",
    "SELECT * FROM {name} WHERE nothing = 1",
    "SELECT count(*) FROM query_table('{name}')",
    "SELECT * FROM query('SELECT * FROM {name}')",
    "SELECT * FROM '{name}'",
    "SELECT * FROM read_parquet('{name}/**/*.parquet')",
    "SELECT * FROM parquet_scan('../data/{name}/*')",
    "SELECT * FROM glob('{name}/*')",
    "SELECT * FROM duckdb_tables() WHERE table_name = '{name}'",
    "SELECT * FROM information_schema.columns WHERE table_name = '{name}'",
    "SELECT * FROM pg_catalog.pg_class WHERE relname = '{name}'",
    "PRAGMA table_info('{name}')",
    "DESCRIBE {name}",
    "SHOW TABLES",
    "SUMMARIZE {name}",
    "EXPLAIN SELECT * FROM {name}",
    "PIVOT {name} ON station USING count(*)",
    "COPY {name} TO 'x.csv'",
    "INSERT INTO {name} SELECT * FROM {own}",
    "DROP VIEW {name}",
    "SELECT 1; SELECT * FROM {name}",
    "SELECT * FROM {name} -- ' \" ",
    "SELECT * FROM /* {own} */ {name}",
    "SELECT 'a' FROM {name} WHERE",
)


def statements(own: str) -> Iterator[str]:
    return (text.replace("{own}", own) for text in STATEMENTS)


def in_sql(world: World, other: str) -> list[Ask]:
    own = ASKING[other]
    asked = [Ask(method="POST", path="/sql", body={"sql": text}) for text in statements(own)]
    given = {"sql": "SELECT * FROM query_table($t)", "parameters": {"t": {"type": "string", "value": "{name}"}}}
    kinds = [Ask(method="POST", path="/sql", headers={"Accept": kind}, body={"sql": "FROM {name}"}) for kind in JSON_TYPES]
    return [*asked, Ask(method="POST", path="/sql", body=given), *kinds]


def saved(world: World, other: str) -> list[Ask]:
    path, tag = "/saved-queries/{name}_query", world.tags[other]
    own = {"sql": f"SELECT * FROM {ASKING[other]}"}
    return [
        Ask(method="GET", path=path),
        Ask(method="GET", path=path, headers={"If-None-Match": tag}),
        Ask(method="GET", path=path, headers={"If-None-Match": "*"}),
        Ask(method="DELETE", path=path),
        Ask(method="DELETE", path=path, headers={"If-Match": tag}),
        Ask(method="DELETE", path=path, headers={"If-Match": "*"}),
        Ask(method="PUT", path=path, body={"sql": "SELECT * FROM {name}"}),
        Ask(method="PUT", path=path, body={"sql": "SELECT 1 AS a"}),
        Ask(method="PUT", path=path, body=own, headers={"If-Match": tag}),
        Ask(method="PUT", path=path, body=own, headers={"If-None-Match": "*"}),
        Ask(method="GET", path=path),
        Ask(method="PUT", path=path, body={"sql": "SELECT * FROM {name}"}),
        Ask(method="DELETE", path=path),
        Ask(method="POST", path=f"{path}/run", body={}),
        Ask(method="POST", path=f"{path}/run", body={"parameters": {"x": {"type": "string", "value": "y"}}}),
    ]


def saved_anew(world: World, other: str) -> list[Ask]:
    """Queries over the other's dataset under a name of one's own, and whatever could be saved of that run and removed."""
    path = "/saved-queries/of_{name}"
    return [
        asked
        for text in statements(ASKING[other])
        for asked in (
            Ask(method="PUT", path=path, body={"sql": text}),
            Ask(method="POST", path=f"{path}/run", body={}),
            Ask(method="DELETE", path=path),
        )
    ]


def named(method: str, path: str, *bodies: Any) -> Callable[[World, str], list[Ask]]:
    """A route with a dataset in its path, plainly and with what others sent or were given."""

    def asked(world: World, other: str) -> list[Ask]:
        tag, cursor = world.tags[other], world.cursors[other]
        return [
            *(Ask(method=method, path=path, body=body) for body in bodies or (None,)),
            Ask(method=method, path=path, body=bodies[0] if bodies else None, headers={"If-Match": tag, "If-None-Match": tag}),
            Ask(method=method, path=f"{path}?cursor={cursor}", body=bodies[0] if bodies else None),
            Ask(method=method, path=f"{path}?limit=0", body=bodies[0] if bodies else None),
            Ask(
                method=method, path=path, body=bodies[0] if bodies else None,
                headers={"x-iam-user": "eve", "x-iam-scopes": "timestore:admin {name}:read {name}:write"},
            ),
        ]  # fmt: skip

    return asked


def ingestions(world: World, other: str) -> list[Ask]:
    """The other's id as if it were the name that exists; `{name}` becomes a hexadecimal text that is none."""
    return [Ask(method="GET", path="/ingestions/{name}")]


DROP_A_COLUMN = {
    "governance": {"ticketId": "1", "approvedBy": "intruder"},
    "operations": [{"drop": {"column": "temp", "archive": False}}],
    "execution": {"dryRun": False},
}
ROUTES: dict[tuple[str, str], Callable[[World, str], Sequence[Ask]]] = {
    ("POST", "/datasets/{name}/ingest"): ingests,
    ("GET", "/ingestions/{ingestion_id}"): ingestions,
    ("GET", "/datasets"): named("GET", "/datasets?name={name}"),
    ("GET", "/datasets/{name}"): named("GET", "/datasets/{name}"),
    ("POST", "/datasets/{name}/query"): queries,
    ("GET", "/datasets/{name}/partitions"): named("GET", "/datasets/{name}/partitions"),
    ("GET", "/datasets/{name}/status"): named("GET", "/datasets/{name}/status"),
    ("GET", "/datasets/{name}/alerts"): named("GET", "/datasets/{name}/alerts"),
    ("GET", "/backfills"): named("GET", "/backfills?state=asked&name={name}"),
    ("GET", "/datasets/{name}/backfills"): named("GET", "/datasets/{name}/backfills"),
    ("POST", "/datasets/{name}/backfills/{id}/approve"): named("POST", "/datasets/{name}/backfills/1/approve"),
    ("POST", "/datasets/{name}/backfills/{id}/refuse"): named("POST", "/datasets/{name}/backfills/1/refuse"),
    ("GET", "/datasets/{name}/schema"): named("GET", "/datasets/{name}/schema"),
    ("GET", "/datasets/{name}/schema/migrations"): named("GET", "/datasets/{name}/schema/migrations"),
    ("POST", "/datasets/{name}/schema/migrations"): named(
        "POST", "/datasets/{name}/schema/migrations", {"operations": []}, DROP_A_COLUMN, b"{"
    ),
    ("GET", "/datasets/{name}/schema/archives"): named("GET", "/datasets/{name}/schema/archives?files=true"),
    ("POST", "/datasets/{name}/schema/restore"): named(
        "POST", "/datasets/{name}/schema/restore", {"to": 1}, {"to": 1, "dryRun": False, "nulls": True}, {}, b"{"
    ),
    ("GET", "/datasets/{name}/schema/events"): named("GET", "/datasets/{name}/schema/events"),
    ("GET", "/session"): named("GET", "/session?dataset={name}"),
    ("POST", "/sql"): in_sql,
    ("GET", "/saved-queries"): named("GET", "/saved-queries?dataset={name}"),
    ("GET", "/saved-queries/{name}"): saved,
    ("PUT", "/saved-queries/{name}"): saved_anew,
    ("DELETE", "/saved-queries/{name}"): saved,
    ("POST", "/saved-queries/{name}/run"): saved,
    ("GET", "/admin/datasets"): named("GET", "/admin/datasets?search={name}"),
    ("GET", "/admin/datasets/{name}"): named("GET", "/admin/datasets/{name}"),
    ("PUT", "/admin/datasets/{name}"): named("PUT", "/admin/datasets/{name}", {"time": "ts"}, {}, b"{"),
    ("DELETE", "/admin/datasets/{name}"): named("DELETE", "/admin/datasets/{name}?data=true"),
    ("POST", "/admin/datasets/{name}/rename"): named("POST", "/admin/datasets/{name}/rename", {"name": "mine"}),
    ("POST", "/admin/datasets/{name}/retire"): named("POST", "/admin/datasets/{name}/retire", {"retired": True}),
    ("GET", "/admin/datasets/{name}/manifest"): named("GET", "/admin/datasets/{name}/manifest"),
    ("GET", "/admin/datasets/{name}/partitions"): named("GET", "/admin/datasets/{name}/partitions"),
    ("GET", "/admin/datasets/{name}/retention"): named("GET", "/admin/datasets/{name}/retention"),
    ("PUT", "/admin/datasets/{name}/retention"): named("PUT", "/admin/datasets/{name}/retention", {"maxAge": "1d"}),
    ("GET", "/admin/datasets/{name}/retractions"): named("GET", "/admin/datasets/{name}/retractions"),
    ("POST", "/admin/datasets/{name}/retractions"): named(
        "POST", "/admin/datasets/{name}/retractions", {"session": 1}, {"file": "a.csv", "dryRun": True}, {}, b"{"
    ),
    ("DELETE", "/admin/datasets/{name}/retractions/{retraction_id}"): named("DELETE", "/admin/datasets/{name}/retractions/1"),
    ("DELETE", "/admin/datasets/{name}/retention"): named("DELETE", "/admin/datasets/{name}/retention"),
    ("GET", "/datasets/{name}/late"): named("GET", "/datasets/{name}/late"),
    ("GET", "/admin/datasets/{name}/late/held"): named("GET", "/admin/datasets/{name}/late/held"),
    ("POST", "/admin/datasets/{name}/late/accept"): named("POST", "/admin/datasets/{name}/late/accept", {"all": True}, {}, b"{"),
    ("POST", "/admin/datasets/{name}/late/refuse"): named("POST", "/admin/datasets/{name}/late/refuse", {"all": True}, {}, b"{"),
    ("GET", "/datasets/{name}/tags"): named("GET", "/datasets/{name}/tags"),
    ("GET", "/datasets/{name}/tags/{tag}"): named("GET", "/datasets/{name}/tags/a-tag"),
    ("PUT", "/datasets/{name}/tags/{tag}"): named("PUT", "/datasets/{name}/tags/a-tag", {"version": 0}, {}, b"{"),
    ("DELETE", "/datasets/{name}/tags/{tag}"): named("DELETE", "/datasets/{name}/tags/a-tag"),
    ("POST", "/datasets/{name}/rollback"): named("POST", "/datasets/{name}/rollback", {"to": 0, "dryRun": True}, {}, b"{"),
    ("POST", "/admin/datasets/{name}/retention/runs"): named("POST", "/admin/datasets/{name}/retention/runs", {"execute": True}),
    ("GET", "/admin/datasets/{name}/storage-target"): named("GET", "/admin/datasets/{name}/storage-target"),
    ("PUT", "/admin/datasets/{name}/storage-target"): named(
        "PUT", "/admin/datasets/{name}/storage-target", {"target": "default"}
    ),
    ("GET", "/admin/datasets/{name}/deadletters"): named("GET", "/admin/datasets/{name}/deadletters"),
    ("POST", "/admin/datasets/{name}/deadletters/replay"): named(
        "POST", "/admin/datasets/{name}/deadletters/replay", {}, {"code": "bad_value", "kind": "all"}, b"{"
    ),
    ("POST", "/admin/proposals"): named("POST", "/admin/proposals?file={name}.csv", b"ts,station\n2024-01-01,intruder\n"),
    ("POST", "/admin/datasets/{name}/files"): named(
        "POST", "/admin/datasets/{name}/files?file=a.csv", b"ts,station\n2024-01-01,intruder\n"
    ),
    ("GET", "/admin/storage-targets"): named("GET", "/admin/storage-targets"),
    ("GET", "/admin/alerts"): named("GET", "/admin/alerts?dataset={name}"),
    ("POST", "/admin/alerts/channels/{name}/test"): named("POST", "/admin/alerts/channels/{name}/test"),
    ("POST", "/admin/datasets/{name}/erasures"): named(
        "POST", "/admin/datasets/{name}/erasures", {"where": "station = 'x'", "execute": True, "deadLetters": True}, {}, b"{"
    ),
    ("POST", "/admin/datasets/{name}/reloads"): named(
        "POST", "/admin/datasets/{name}/reloads", {"files": ["a.csv"]}, {"topic": "t", "partition": 0, "from": 0}, {}, b"{"
    ),
    ("GET", "/admin/datasets/{name}/operations/{id}"): named("GET", "/admin/datasets/{name}/operations/" + "0" * 32),
    ("GET", "/admin/audit"): named("GET", "/admin/audit?dataset={name}"),
    ("GET", "/health"): named("GET", "/health"),
    ("GET", "/ready"): named("GET", "/ready?dataset={name}"),
    ("GET", "/metrics"): named("GET", "/metrics?name%5B%5D={name}"),
}
"""What a tenant tries on each route of the service; a new route needs a case here."""


def test_every_route_has_a_case(world: World) -> None:
    found = world.ground.client.get("/openapi.json").json()["paths"]
    assert {(method.upper(), path) for path, methods in found.items() for method in methods} == set(ROUTES)


@pytest.mark.parametrize(("mine", "other"), TENANTS)
@pytest.mark.parametrize("route", sorted(ROUTES), ids=" ".join)
def test_what_is_the_others_is_as_if_it_were_not(world: World, mine: str, other: str, route: tuple[str, str]) -> None:
    before = world.state(other)
    there, absent = other, ABSENT[other]
    if route[1].startswith("/ingestions"):
        there = world.ingestions[other]
        absent = there[::-1] if there != there[::-1] else "0" * len(there)
    for asked in ROUTES[route](world, other):
        real = seen(world.send(mine, asked, there), there)
        assert real == seen(world.send(mine, asked, absent), absent), asked
        assert f"secret of {other}" not in real[1] and f"station of {other}" not in real[1], asked
    assert world.state(other) == before


@pytest.mark.parametrize(("mine", "other"), TENANTS)
def test_no_method_of_any_path_tells(world: World, mine: str, other: str) -> None:
    before = world.state(other)
    for path in sorted({path for _, path in ROUTES}):
        for method in METHODS:
            asked = Ask(method=method, path=path.replace("{ingestion_id}", "{name}"))
            real, none = world.send(mine, asked, other), world.send(mine, asked, ABSENT[other])
            assert seen(real, other) == seen(none, ABSENT[other]), (method, path)
    assert world.state(other) == before


def seen(answer: httpx.Response, name: str) -> tuple[int, str, dict[str, str]]:
    """An answer without the name that was asked for and what differs each time."""
    headers = {key: hidden(value, name) for key, value in answer.headers.items() if key not in CHANGING}
    if "etag" in headers:  # its digest is of a text with the name in it
        headers["etag"] = headers["etag"].partition("-")[0]
    body = answer.content.decode("latin-1")
    if answer.status_code == 200 and answer.headers.get("content-type", "").startswith("application/vnd"):
        body = ""
    return answer.status_code, hidden(without_times(body), name), headers


def hidden(text: str, name: str) -> str:
    return text.replace(name, "{name}").replace(name.upper(), "{NAME}")


def without_times(body: str) -> str:
    """The answer to an own change says when it was made."""
    try:
        value = json.loads(body)
    except ValueError:
        return body
    if isinstance(value, dict):
        value.pop("updatedAt", None)
    return json.dumps(value)


@pytest.mark.parametrize(("mine", "other"), TENANTS)
def test_lists_hold_ones_own_alone(world: World, mine: str, other: str) -> None:
    for path in ("/datasets", "/saved-queries", "/ready", "/health", "/", "/docs", "/openapi.json"):
        text = world.send(mine, Ask(method="GET", path=path), mine).text
        assert other not in text, path
    datasets = world.send(mine, Ask(method="GET", path="/datasets"), mine).json()["datasets"]
    assert [one["name"] for one in datasets] == [mine]
    for path in ("/metrics", "/admin/datasets", "/admin/audit"):
        refused = world.send(mine, Ask(method="GET", path=path), mine)
        assert refused.status_code == 403 and other not in refused.text, path


@pytest.mark.parametrize(("mine", "other"), TENANTS)
def test_a_name_of_the_other_is_free_for_ones_own_saved_query(world: World, mine: str, other: str) -> None:
    before = world.state(other)
    path = f"/saved-queries/{other}_query"
    made = world.send(
        mine,
        Ask(method="PUT", path=path, body={"sql": f"SELECT 7 AS a FROM {mine} LIMIT 1"}, headers={"If-None-Match": "*"}),
        mine,
    )
    assert made.status_code == 201, made.text
    ran = world.send(mine, Ask(method="POST", path=f"{path}/run", body={}), mine)
    assert ran.json()["rows"] == [{"a": 7}]
    assert (
        world.send(other, Ask(method="POST", path=f"{path}/run", body={}), other).json()["rows"][0]["station"]
        == f"station of {other}"
    )
    assert world.send(mine, Ask(method="DELETE", path=path), mine).status_code == 204
    assert world.state(other) == before


@pytest.mark.parametrize(("mine", "other"), TENANTS)
def test_a_key_of_the_other_is_free_for_ones_own_records(world: World, mine: str, other: str) -> None:
    body = {"records": [{"ts": "2024-01-02T00:00:00Z", "station": "x"}]}
    key = {"Idempotency-Key": f"key of {mine}"}
    first = world.send(other, Ask(method="POST", path="/datasets/{name}/ingest", headers=key, body=body), other)
    second = world.send(mine, Ask(method="POST", path="/datasets/{name}/ingest", headers=key, body=body), mine)
    for answer in (first, second):
        assert answer.status_code == 200 and (answer.json()["landed"], answer.json()["repeated"]) == (1, False), answer.text


def test_only_the_administrator_sees_both(world: World) -> None:
    secret = new_secret()
    tokens = world.ground.warehouse.catalog.tokens
    tokens.add(name="operations", digest=digest_of(secret), scopes=["timestore:admin"], expires_at=None, actor="test")
    found = world.ground.client.get("/datasets", headers=bearer(secret)).json()["datasets"]
    assert [one["name"] for one in found] == ["north", "south"]
