"""Questions over HTTP get what DuckDB answers on the same rows in a plain table, in every format."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import duckdb
import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st

from timestore_assets_tests.support.http_service import service
from timestore_assets_tests.support.query_warehouse import DAY, METER, QueryWarehouse, money, plain_table, row

JSON, LINES, CSV = "application/json", "application/x-ndjson", "text/csv"
ARROW, PARQUET = "application/vnd.apache.arrow.stream", "application/vnd.apache.parquet"
FORMATS = (JSON, LINES, CSV, ARROW, PARQUET)
NOTES = [None, "", "x", "y,z", 'quo"te', " padded ", "two\nlines", "ünï🦆"]
VALUES = [None, 0.0, -1.5, 3.25, 1e9, float("nan"), float("inf"), 1 / 3]


@dataclass
class Asked:
    """The service, and the rows it should answer from."""

    client: httpx.Client
    plain: duckdb.DuckDBPyConnection


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    """Three days in all kinds of segments, with newer rows for some keys."""
    home = tmp_path_factory.mktemp("equal")
    with service(home, {METER.name: METER}) as running:
        warehouse = running.warehouse
        ground = QueryWarehouse(
            folder=home,
            catalog=warehouse.catalog,
            store=warehouse.storage.target("default"),
            limits=warehouse.limits,
            dataset=METER,
            querier=warehouse.querier,
        )
        for part in range(3):
            ground.land([one for number, one in enumerate(rows()) if number % 3 == part])
            if part == 1:
                ground.build(1, 2)
        ground.land([{**one, "rev": 2, "n": 100} for one in rows()[::7]])
        newest = {(one["device"], one["ts"]): one for one in ground.logical}
        con = duckdb.connect()
        con.execute("SET TimeZone='UTC'")
        plain_table(con, "t", list(newest.values()), METER.schema)
        yield Asked(client=running.client, plain=con)
        con.close()


def rows() -> list[dict[str, Any]]:
    return [
        row(
            "abc"[number % 3],
            (number * 37) % 1440 + (number % 4) / 4,
            day=1 + number % 3 if number % 5 else 3,
            value=VALUES[number % len(VALUES)],
            n=[None, -3, 0, 7, 2**53 + 1, -(2**63)][number % 6],
            amount=[None, money("0.10"), money("-12.50"), money("99999999.99")][number % 4],
            flag=[None, True, False][number % 3 if number % 2 else 0],
            date=[None, date(2024, 2, 29), date(1999, 12, 31)][number % 3],
            note=NOTES[number % len(NOTES)],
        )
        for number in range(240)
    ]


# --- what is asked: the body of a request, and the condition in SQL that it stands for


@dataclass(frozen=True)
class Condition:
    filter: Mapping[str, Any]
    sql: str


CONDITIONS = [
    Condition({"column": "device", "op": "eq", "value": "a"}, "device = 'a'"),
    Condition({"column": "device", "op": "in", "values": ["b", "zz"]}, "device IN ('b', 'zz')"),
    Condition({"column": "device", "op": "notIn", "values": ["b"]}, "device NOT IN ('b')"),
    Condition({"column": "value", "op": "gt", "value": 1}, "value > 1"),
    Condition({"column": "VALUE", "op": "lte", "value": 3.25}, "value <= 3.25"),
    Condition({"column": "value", "op": "isNull"}, "value IS NULL"),
    Condition({"column": "n", "op": "between", "values": [-3, 6]}, "n BETWEEN -3 AND 6"),
    Condition({"column": "n", "op": "ne", "value": 7}, "n <> 7"),
    Condition({"column": "n", "op": "eq", "value": 2**53 + 1}, f"n = {2**53 + 1}"),
    Condition({"column": "n", "op": "isNotNull"}, "n IS NOT NULL"),
    Condition({"column": "amount", "op": "eq", "value": "0.10"}, "amount = 0.10"),
    Condition({"column": "amount", "op": "lt", "value": -12}, "amount < -12"),
    Condition({"column": "flag", "op": "eq", "value": True}, "flag"),
    Condition({"column": "flag", "op": "ne", "value": True}, "NOT flag"),
    Condition({"column": "date", "op": "gte", "value": "2000-01-01"}, "date >= DATE '2000-01-01'"),
    Condition({"column": "note", "op": "contains", "value": "'"}, "note LIKE '%''%'"),
    Condition({"column": "note", "op": "contains", "value": "o"}, "note LIKE '%o%'"),
    Condition({"column": "note", "op": "startsWith", "value": "y,"}, "note LIKE 'y,%'"),
    Condition({"column": "note", "op": "gte", "value": ""}, "note >= ''"),
    Condition({"column": "ts", "op": "lt", "value": "2024-01-02T12:00:00+12:00"}, "ts < '2024-01-02'"),
    Condition({"column": "rev", "op": "eq", "value": 2}, "rev = 2"),
]
COLUMNS = ("device", "ts", "value", "n", "amount", "flag", "date", "note", "rev")
FIGURES: Mapping[tuple[str, str | None], str] = {
    ("count", None): "count(*)",
    ("count", "n"): "count(n)",
    ("sum", "rev"): "sum(rev)::BIGINT",
    ("sum", "amount"): "sum(amount)",
    ("min", "value"): "min(value)",
    ("max", "note"): "max(note)",
    ("avg", "rev"): "avg(rev)",
    ("median", "rev"): "median(rev::DOUBLE)",
    ("percentile", "rev"): "quantile_cont(rev::DOUBLE, 0.9)",
    ("count_distinct", "note"): "count(DISTINCT note)",
    ("first", "n"): "first(n ORDER BY ts, n) FILTER (WHERE n IS NOT NULL)",
    ("last", "note"): "last(note ORDER BY ts, note) FILTER (WHERE note IS NOT NULL)",
}
TEXTS = {("max", "note"), ("last", "note")}
ZEROS: Mapping[tuple[str, str | None], Any] = {
    ("sum", "amount"): money("0.00"),
    **dict.fromkeys([("count", None), ("count", "n"), ("sum", "rev"), ("count_distinct", "note"), ("first", "n")], 0),
}
LENGTHS: Mapping[tuple[str, int], timedelta] = {
    ("minute", 90): timedelta(minutes=90),
    ("hour", 1): timedelta(hours=1),
    ("hour", 7): timedelta(hours=7),
    ("day", 1): timedelta(days=1),
    ("week", 1): timedelta(weeks=1),
}
BOUNDS = [None, *(DAY + timedelta(hours=hours, minutes=20) for hours in (-3, 12, 24, 36, 70))]


@dataclass(frozen=True)
class Question:
    body: dict[str, Any]
    start: datetime | None
    end: datetime | None
    where: str

    @property
    def figures(self) -> list[tuple[str, str | None]]:
        return [(one["fn"], one.get("column")) for one in self.body["downsample"]["aggregations"]]

    @property
    def groups(self) -> list[str]:
        found: list[str] = self.body["downsample"]["groupBy"]
        return found


@st.composite
def questions(draw: st.DrawFn) -> Question:
    start, end = draw(st.sampled_from(BOUNDS)), draw(st.sampled_from(BOUNDS))
    end = None if start and end and start >= end else end
    chosen = draw(st.lists(st.sampled_from(CONDITIONS), max_size=3))
    body: dict[str, Any] = {"filters": [one.filter for one in chosen]}
    body["timeRange"] = {name: time.isoformat() for name, time in (("start", start), ("end", end)) if time}
    bounds = [f"ts {sign} '{time.replace(tzinfo=None)}'" for sign, time in ((">=", start), ("<", end)) if time]
    if draw(st.booleans()):
        body["columns"] = draw(st.lists(st.sampled_from(COLUMNS), min_size=1, max_size=9, unique=True))
    else:
        body["downsample"] = draw(downsamples())
    body["limit"] = draw(st.sampled_from([None, None, 1, 7, 1000]))
    body["descending"] = draw(st.booleans())
    if page := draw(st.sampled_from([None, None, None, 17, 60])):
        body["pageSize"] = page
    return Question(body, start, end, " AND ".join([*bounds, *(one.sql for one in chosen)]) or "true")


@st.composite
def downsamples(draw: st.DrawFn) -> dict[str, Any]:
    figures = draw(st.lists(st.sampled_from(sorted(FIGURES, key=str)), min_size=1, max_size=4, unique=True))
    length = draw(st.sampled_from([None, *LENGTHS]))
    fills = ["none", "null", "previous"] + ([] if TEXTS & set(figures) else ["linear", "zero"])
    return {
        **({"intervalUnit": length[0], "intervalSize": length[1]} if length else {}),
        "aggregations": [
            {
                "fn": fn,
                "alias": f"f{i}",
                **({"column": column} if column else {}),
                **({"percentile": 90} if fn == "percentile" else {}),
            }
            for i, (fn, column) in enumerate(figures)
        ],
        "groupBy": draw(st.lists(st.sampled_from(("device", "flag")), max_size=2, unique=True)),
        "fill": draw(st.sampled_from(fills)) if length else "none",
    }


# --- what must come out


def expected(question: Question, con: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    body = question.body
    if "columns" in body:
        names = ", ".join(body["columns"])
        order = f"ts, {names}" if body["limit"] is not None or "pageSize" in body else "ts"
        found = fetched(con, f"SELECT {names} FROM t WHERE {question.where} ORDER BY {order}")
    else:
        found = aggregated(question, con)
    if body["descending"]:
        found.reverse()
    return found if body["limit"] is None else found[: body["limit"]]


def aggregated(question: Question, con: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    asked = question.body["downsample"]
    length = LENGTHS.get((asked.get("intervalUnit"), asked.get("intervalSize")))
    seconds = length.total_seconds() if length else 0
    keys = [*([f"time_bucket(to_seconds({seconds}), ts) AS ts"] if length else []), *question.groups]
    values = [*keys, *(f"{FIGURES[one]} AS f{i}" for i, one in enumerate(question.figures))]
    places = ", ".join(str(i + 1) for i in range(len(keys)))
    grouped = f" GROUP BY {places} ORDER BY {places}" if keys else ""
    found = fetched(con, f"SELECT {', '.join(values)} FROM t WHERE {question.where}{grouped}")
    return filled(found, question, length) if length and asked["fill"] != "none" else found


def filled(found: list[dict[str, Any]], question: Question, length: timedelta) -> list[dict[str, Any]]:
    """Gaps filled one bucket after the other."""
    times = [one["ts"] for one in found]
    if not times and (not question.start or not question.end):
        return []
    first = bucket(question.start, length) if question.start else min(times)
    last = bucket(question.end - timedelta(microseconds=1), length) if question.end else max(times)
    groups = list(dict.fromkeys(tuple(one[name] for name in question.groups) for one in found)) if question.groups else [()]
    by_place = {(one["ts"], *(one[name] for name in question.groups)): one for one in found}
    names = [f"f{i}" for i in range(len(question.figures))]
    made = []
    for group in groups:
        series = []
        time = first
        while time <= last:
            blank = {"ts": time, **dict(zip(question.groups, group, strict=True)), **dict.fromkeys(names)}
            series.append(dict(by_place.get((time, *group), blank)))
            time += length
        for name, figure in zip(names, question.figures, strict=True):
            fill(series, name, question.body["downsample"]["fill"], ZEROS.get(figure, 0.0))
        made += series
    return sorted(
        made,
        key=lambda one: [
            (one[name] is None, one[name] or 0) if name == "flag" else one[name] for name in ("ts", *question.groups)
        ],
    )


def fill(series: Sequence[dict[str, Any]], name: str, how: str, zero: Any) -> None:
    known = [(one["ts"], one[name]) for one in series if one[name] is not None]
    for one in series:
        before = [value for value in known if value[0] <= one["ts"]]
        after = [value for value in known if value[0] >= one["ts"]]
        if how == "zero" and one[name] is None:
            one[name] = zero
        elif how == "previous" and before:
            one[name] = before[-1][1]
        elif how == "linear" and one[name] is not None:
            one[name] = float(one[name])
        elif how == "linear" and before and after:
            (low, a), (high, b) = before[-1], after[0]
            one[name] = float(a) + (float(b) - float(a)) * ((one["ts"] - low) / (high - low))


def bucket(time: datetime, length: timedelta) -> datetime:
    origin = datetime(2000, 1, 3, tzinfo=UTC)
    return origin + (time - origin) // length * length


def fetched(con: duckdb.DuckDBPyConnection, sql: str) -> list[dict[str, Any]]:
    result = con.execute(sql)
    names = [one[0] for one in result.description]
    return [dict(zip(names, map(aware, values), strict=True)) for values in result.fetchall()]


def aware(value: Any) -> Any:
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) else value


# --- reading an answer, and what stands in it for a value


def answered(client: httpx.Client, body: Mapping[str, Any], accept: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        asked = dict(body) if cursor is None else {**body, "cursor": cursor}
        response = client.post("/datasets/meter/query", json=asked, headers={"Accept": accept})
        assert response.status_code == 200, response.text
        page = decoded(response.content, accept)
        assert len(page) <= body.get("pageSize", math.inf)
        found += page
        cursor = response.json()["nextCursor"] if accept == JSON else response.headers.get("x-timestore-next-cursor")
        if not cursor:
            return found


def decoded(content: bytes, accept: str) -> list[dict[str, Any]]:
    if accept == JSON:
        rows: list[dict[str, Any]] = json.loads(content, parse_constant=pytest.fail)["rows"]
        return rows
    if accept == LINES:
        return [json.loads(line, parse_constant=pytest.fail) for line in content.decode().splitlines()]
    if accept == CSV:
        header, *lines = csv.reader(io.StringIO(content.decode(), newline=""))
        # a single null is an empty line
        return [dict(zip(header, line or [""], strict=True)) for line in lines]
    table = pa.ipc.open_stream(content).read_all() if accept == ARROW else pq.read_table(io.BytesIO(content))
    plain: list[dict[str, Any]] = table.to_pylist()
    return plain


def in_json(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return str(value) if isinstance(value, Decimal | date) else value


def in_csv(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return in_json(value) if isinstance(value, datetime) else str(value)


FORMS: Mapping[str, Callable[[Any], Any]] = {
    JSON: in_json,
    LINES: in_json,
    CSV: in_csv,
    ARROW: lambda value: value,
    PARQUET: lambda value: value,
}


def same(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, float) and isinstance(found, float | int):
        return (math.isnan(found) and math.isnan(wanted)) or math.isclose(found, wanted, rel_tol=1e-12)
    return type(found) is type(wanted) and bool(found == wanted)


def agree(found: Sequence[Mapping[str, Any]], wanted: Sequence[Mapping[str, Any]], accept: str) -> bool:
    if accept == CSV:
        return len(found) == len(wanted) and all(
            list(a) == list(b) and all(csv_same(a[name], b[name]) for name in b) for a, b in zip(found, wanted, strict=True)
        )
    form = FORMS[accept]
    return len(found) == len(wanted) and all(
        list(a) == list(b) and all(same(a[name], form(b[name])) for name in b) for a, b in zip(found, wanted, strict=True)
    )


def csv_same(found: str, wanted: Any) -> bool:
    if isinstance(wanted, float):
        return same(float(found), wanted)
    return found == in_csv(wanted)


# no shrinking: a failing question is short and readable as it is
@settings(
    max_examples=int(os.environ.get("TIMESTORE_QUESTION_EXAMPLES", "60")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
@given(question=questions(), other=st.sampled_from(FORMATS))
def test_questions_over_http_are_answered_as_duckdb_answers_them(asked: Asked, question: Question, other: str) -> None:
    """In JSON and one of all formats; pages, which take many requests, in that one alone."""
    wanted = expected(question, asked.plain)
    event(f"rows: {bool(wanted)}")
    for accept in {other} if "pageSize" in question.body else {JSON, other}:
        found = answered(asked.client, question.body, accept)
        if "columns" in question.body and question.body["limit"] is None and "pageSize" not in question.body:
            # rows of one time come in no order of their own
            found, wanted = by_text(found), by_text(wanted, FORMS[accept])
        assert agree(found, wanted, accept), (accept, question.body)


def by_text(rows: Sequence[dict[str, Any]], form: Callable[[Any], Any] = lambda value: value) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda one: repr({name: form(value) for name, value in one.items()}))
