"""The SQL door: reading datasets works as in DuckDB, everything else is refused with one clear line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from timestore_assets.model.errors import InputError, RefusedError, TimestoreError
from timestore_assets.querying.sql.room import lock
from timestore_assets.querying.sql.sandbox import run_sql
from timestore_assets.segments.engine import connect
from timestore_assets.upkeep.collect import collect
from timestore_assets_tests.support.query_warehouse import DAY, METER, QueryWarehouse, query_warehouse_in, row

SECRET = "correct-horse-battery-staple"


class Door:
    def __init__(self, warehouse: QueryWarehouse) -> None:
        self.ground = warehouse
        other = replace(METER, name="other")
        self.datasets = {
            "meter": (warehouse.dataset, warehouse.record),
            "other": (other, warehouse.catalog.datasets.register(other, actor="test")),
        }

    def __call__(self, text: str, **options: Any) -> list[dict[str, Any]]:
        with run_sql(self.ground.querier, text, self.datasets, **options) as answer:
            found: list[dict[str, Any]] = answer.table().to_pylist()
            return found

    def counts(self, text: str) -> tuple[int, int]:
        with run_sql(self.ground.querier, text, self.datasets) as answer:
            answer.table()
            return answer.scanned, answer.pruned


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """Day 1 is a `.duckdb` segment, day 2 Parquet, day 3 unbuilt with a newer row for one of its keys."""
    warehouse = query_warehouse_in(tmp_path_factory.mktemp("door"), format="duckdb")
    for day in (1, 2, 3):
        warehouse.land([row("a", minute, value=float(minute), n=day, note="x", day=day) for minute in range(3)])
    warehouse.build(1)
    warehouse.dataset = replace(warehouse.dataset, segments=replace(warehouse.dataset.segments, format="parquet"))
    warehouse.build(2)
    warehouse.land([row("a", 0, value=100.0, n=3, rev=2, day=3)])
    (warehouse.folder / "secret.csv").write_text(f"word\n{SECRET}\n")
    yield Door(warehouse)
    warehouse.close()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT count(*) AS c, max(value) AS v FROM meter", [{"c": 9, "v": 100.0}]),
        ("SELECT count(*) AS c FROM other", [{"c": 0}]),
        ("FROM meter SELECT max(n) AS n;", [{"n": 3}]),
        ('SELECT "n" AS x FROM "Meter" ORDER BY ts LIMIT 1 -- a comment', [{"x": 1}]),
        ("WITH a AS (SELECT * FROM meter WHERE n = 2), b AS (FROM a) SELECT count(*) AS c FROM b", [{"c": 3}]),
        (
            "WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r WHERE i < 4) SELECT sum(i)::INT AS s FROM r",
            [{"s": 10}],
        ),
        ("SELECT a.n FROM meter a JOIN meter b USING (device, ts) WHERE a.ts = '2024-01-01' ", [{"n": 1}]),
        ("SELECT n FROM meter UNION SELECT n FROM meter ORDER BY n", [{"n": 1}, {"n": 2}, {"n": 3}]),
        ("SELECT n, rank() OVER (ORDER BY n) AS r FROM meter QUALIFY r = 1 LIMIT 1", [{"n": 1, "r": 1}]),
        ("SELECT (SELECT max(n) FROM meter) AS m WHERE EXISTS (FROM meter WHERE n = 3)", [{"m": 3}]),
        ("SELECT list_transform([1, 2], lambda x: x + 1) AS l, {'a': 1}.a AS s", [{"l": [2, 3], "s": 1}]),
        ("SELECT sum(i)::INT AS s FROM range(4) t(i)", [{"s": 6}]),
        ("SELECT unnest([1, 2]) AS u", [{"u": 1}, {"u": 2}]),
        ("VALUES (1, 'a')", [{"col0": 1, "col1": "a"}]),
        ("WITH meter AS (SELECT 5 AS n) SELECT n FROM meter", [{"n": 5}]),
        ("SELECT date_trunc('day', ts) AS d, count(*) AS c FROM meter GROUP BY ALL ORDER BY d LIMIT 1", [{"d": DAY, "c": 3}]),
        ("SELECT min(ts) AS t FROM meter WHERE ts > TIMESTAMPTZ '2024-01-01 02:00:00+02'", [{"t": DAY + timedelta(minutes=1)}]),
        ("SELECT 1 AS a, 2 AS a", [{"a": 1, "a_1": 2}]),
        ("SELECT INTERVAL 1 DAY AS i, NULL AS n", [{"i": "1 day", "n": None}]),
        ("SHOW TABLES", [{"name": "meter"}, {"name": "other"}]),
        ("show /* all */ tables ;", [{"name": "meter"}, {"name": "other"}]),
        (
            "SELECT column_name AS c, column_type AS t FROM (DESCRIBE SELECT n, ts FROM meter)",
            [{"c": "n", "t": "BIGINT"}, {"c": "ts", "t": "TIMESTAMP"}],
        ),
        ("SELECT min, max, count FROM (SUMMARIZE SELECT n FROM meter WHERE n > 1)", [{"min": "2", "max": "3", "count": 6}]),
        ("PIVOT (SELECT n FROM meter) ON n IN (1, 3) USING count(*)", [{"1": 3, "3": 3}]),
    ],
)
def test_what_reads_datasets_works(door: Door, text: str, expected: list[dict[str, Any]]) -> None:
    assert door(text) == expected


def test_describe_opens_nothing_and_summarize_sees_what_a_select_sees(door: Door) -> None:
    described = door("DESCRIBE meter")
    assert {one["column_name"] for one in described} == set(door("SELECT * FROM meter LIMIT 1")[0])
    assert door.counts("DESCRIBE meter") == (0, 0)
    assert door.counts("DESC SELECT n FROM meter WHERE n = 1") == (0, 0)
    summary = {one["column_name"]: one for one in door("SUMMARIZE meter")}
    assert (summary["value"]["max"], summary["value"]["count"]) == ("100.0", 9), "the newer row, and its old one not"
    assert door.counts("SUMMARIZE SELECT * FROM meter WHERE ts < '2024-01-02'") == (1, 3)


def test_explain_gives_the_plan_and_what_is_read_but_not_where_it_is(door: Door) -> None:
    text = "/* why */ EXPLAIN SELECT note, sum(value) FROM meter WHERE ts < '2024-01-03' AND value > $low GROUP BY note"
    with run_sql(door.ground.querier, text, door.datasets, parameters={"low": 1}) as answer:
        rows = answer.table().to_pylist()
        assert (answer.scanned, answer.pruned, answer.manifest_versions["meter"] > 0) == (2, 2, True)
    assert not rows[0]["step"].startswith("·") and rows[-1]["step"].startswith("· ·")
    said = str(rows)
    assert "read parquet" in said and "groups" in said and "value>1" in said.replace(" ", "")
    for hidden in (str(door.ground.folder), "segment_", "shared_keys", "__", ".parquet"):
        assert hidden not in said


def test_hidden_columns_are_not_there(door: Door) -> None:
    assert "__source" not in door("SELECT * FROM meter LIMIT 1")[0]
    with pytest.raises(InputError, match=r"__source|not found"):
        door("SELECT __source FROM meter")


def test_only_the_datasets_that_are_named_are_opened_and_time_and_keys_prune(door: Door) -> None:
    assert door.counts("SELECT 1") == (0, 0)
    assert door.counts("SELECT * FROM other") == (0, 0)
    assert door.counts("SELECT * FROM meter") == (4, 0)
    assert door.counts("SELECT * FROM meter WHERE ts < '2024-01-02' AND n = 1") == (1, 3)
    assert door.counts("SELECT * FROM meter AS m WHERE m.TS >= '2024-01-02' AND n < 3") == (3, 1)
    assert door.counts("WITH a AS (SELECT * FROM meter WHERE ts < '2024-01-02') SELECT count(*) FROM a, a AS b") == (1, 3)
    # read in two places, or beside another table: nothing may be left out for one condition
    assert door.counts("SELECT * FROM meter WHERE ts < '2024-01-02' UNION ALL FROM meter") == (4, 0)
    assert door.counts("SELECT * FROM meter m LEFT JOIN range(3) r(i) ON true WHERE m.ts < '2024-01-02'") == (4, 0)
    assert door("SELECT count(*) AS c FROM meter WHERE value < 1 AND ts >= '2024-01-03'") == [{"c": 0}]


ATTACKS = [
    # files, by function, by name, by quoting, through anything that takes a path
    "SELECT * FROM read_csv('{secret}')",
    "SELECT * FROM read_csv_auto('{secret}')",
    "SELECT * FROM read_text('{secret}')",
    "SELECT * FROM read_blob('{secret}')",
    "SELECT * FROM read_json('{secret}')",
    "SELECT * FROM read_parquet('{segment}')",
    "SELECT * FROM parquet_scan('{segment}')",
    "SELECT * FROM parquet_metadata('{segment}')",
    "SELECT * FROM parquet_schema('{segment}')",
    "SELECT * FROM parquet_kv_metadata('{segment}')",
    "SELECT * FROM sniff_csv('{secret}')",
    "SELECT * FROM glob('{folder}/*')",
    "SELECT * FROM read_duckdb('{folder}/x.duckdb')",
    "FROM '{secret}'",
    'FROM "{secret}"',
    "SELECT * FROM '{secret}' AS meter",
    "SELECT m.* FROM meter m, '{secret}'",
    "SELECT (SELECT word FROM '{secret}')",
    "WITH x AS (FROM '{secret}') FROM x",
    'SELECT * FROM (WITH "{secret}" AS (SELECT 1) SELECT 1), "{secret}"',
    'WITH "{secret}" AS (SELECT * FROM "{secret}") FROM "{secret}"',
    "SELECT * FROM meter WHERE note IN (FROM '{secret}')",
    "SELECT * FROM meter ORDER BY (SELECT word FROM '{secret}')",
    "SELECT * FROM meter LIMIT (SELECT count(*) FROM '{secret}')",
    "SELECT CASE WHEN true THEN (FROM '{secret}') END",
    "SELECT [word FOR word IN (SELECT list(word) FROM '{secret}')]",
    "SELECT count(*) FILTER (WHERE EXISTS (FROM '{secret}')) FROM meter",
    "SELECT * FROM meter PIVOT (count(*) FOR note IN (SELECT word FROM '{secret}'))",
    "SELECT * FROM read_csv(['{secret}'])",
    "SELECT * FROM main.read_csv('{secret}')",
    "SELECT * FROM 'https://example.invalid/x.csv'",
    "SELECT * FROM read_csv('s3://bucket/x.csv')",
    # SQL as text
    "SELECT * FROM query('FROM duckdb_settings()')",
    "SELECT * FROM query_table('duckdb_settings')",
    "SELECT json_execute_serialized_sql(json_serialize_sql('SELECT 1'))",
    "SELECT * FROM json_execute_serialized_sql('x')",
    "SELECT json_serialize_sql('SELECT 1')",
    # the system's catalogs, settings and secrets
    "SELECT * FROM duckdb_settings()",
    "SELECT * FROM duckdb_databases()",
    "SELECT sql FROM duckdb_views()",
    "SELECT * FROM duckdb_secrets()",
    "SELECT * FROM duckdb_logs()",
    "SELECT * FROM duckdb_temporary_files()",
    "SELECT * FROM duckdb_functions()",
    "SELECT * FROM pragma_database_list()",
    "SELECT * FROM pragma_table_info('meter')",
    "SELECT * FROM which_secret('x', 's3')",
    "SELECT * FROM sqlite_master",
    "SELECT * FROM pg_class",
    "SELECT * FROM pg_catalog.pg_views",
    "SELECT * FROM information_schema.tables",
    "SELECT * FROM system.information_schema.tables",
    "SELECT * FROM temp.meter",
    "SELECT * FROM memory.main.meter",
    "SELECT * FROM segment_1.segment",
    "SELECT * FROM segment_1.main.segment",
    "SELECT * FROM shared_keys_0",
    "WITH pg_class AS (SELECT * FROM pg_class) FROM pg_class",
    "SELECT current_setting('temp_directory')",
    "SELECT main.current_setting('temp_directory')",
    "SELECT getvariable('x')",
    "SELECT getenv('HOME')",
    "SELECT version()",
    "SELECT current_database()",
    "SELECT current_user",
    "SELECT current_query()",
    "SELECT pg_get_viewdef(1)",
    "SELECT has_table_privilege('meter', 'select')",
    "SELECT 'meter'::regclass",
    "SELECT CAST(1 AS pg_catalog.int4)",
    # statements
    "COPY meter TO '{folder}/out.csv'",
    "COPY (SELECT 1) TO '{folder}/out.csv'",
    "COPY meter FROM '{secret}'",
    "EXPORT DATABASE '{folder}/out'",
    "IMPORT DATABASE '{folder}/out'",
    "ATTACH '{folder}/out.db'",
    "DETACH meter",
    "USE memory",
    "CREATE TABLE t AS SELECT 1",
    "CREATE MACRO m() AS 1",
    "CREATE SECRET (TYPE s3)",
    "DROP VIEW meter",
    "INSERT INTO meter VALUES (1)",
    "UPDATE meter SET n = 1",
    "DELETE FROM meter",
    "WITH x AS (INSERT INTO meter VALUES (1) RETURNING *) FROM x",
    "INSTALL httpfs",
    "LOAD '{folder}/x.so'",
    "SET threads = 1",
    "RESET lock_configuration",
    "PRAGMA version",
    "PRAGMA database_list",
    "CALL duckdb_settings()",
    "EXPLAIN ANALYZE SELECT 1",
    "EXPLAIN EXPLAIN SELECT 1",
    "EXPLAIN (FORMAT json) SELECT 1",
    "EXPLAIN (ANALYZE) SELECT 1",
    "EXPLAIN SELECT 1; SELECT 2",
    "EXPLAIN SELECT * FROM read_csv('{secret}')",
    "EXPLAIN FROM '{secret}'",
    "EXPLAIN COPY (SELECT 1) TO '{folder}/out.csv'",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{folder}/out.csv'",
    "EXPLAIN DROP VIEW meter",
    "EXPLAIN SHOW TABLES",
    "EXPLAIN",
    "/* a */ EXPLAIN -- b\n INSERT INTO meter VALUES (1)",
    "SHOW ALL TABLES",
    "SHOW TABLES FROM main",
    "SHOW DATABASES",
    "SHOW meter",
    "SHOW threads",
    "SHOW TABLES; SELECT 1",
    "SHOW /* TABLES */ settings",
    "DESCRIBE",
    "DESCRIBE '{secret}'",
    "DESCRIBE pg_class",
    "DESCRIBE memory.main.meter",
    "DESCRIBE SELECT * FROM read_csv('{secret}')",
    "DESCRIBE SELECT current_setting('temp_directory')",
    "DESCRIBE INSERT INTO meter VALUES (1)",
    "SUMMARIZE '{secret}'",
    "SUMMARIZE duckdb_settings()",
    "SUMMARIZE pg_class",
    "SUMMARIZE FROM '{secret}'",
    "FROM (SUMMARIZE '{secret}')",
    "FROM (DESCRIBE pg_class)",
    "FROM (SHOW ALL TABLES)",
    "FROM (SHOW TABLES)",
    "SELECT (SELECT count(*) FROM (SUMMARIZE pg_class))",
    "WITH pg_class AS (SELECT 1) FROM (SUMMARIZE pg_class)",
    'WITH "{secret}" AS (SELECT 1) FROM (SUMMARIZE "{secret}")',
    "WITH pg_class AS (SELECT 1) FROM (DESCRIBE SELECT * FROM pg_class)",
    "PIVOT meter ON note USING sum(n)",
    "BEGIN",
    "VACUUM",
    "CHECKPOINT",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "SELECT 1; SELECT 2",
    "SELECT 1; COPY (SELECT 1) TO '{folder}/out.csv'",
    "SELECT 1 /* ; */ ; DROP VIEW meter --",
    # time, memory, waiting
    "SELECT repeat('x', 10000000000)",
    "SELECT lpad('x', 2000000000, 'y')",
    "SELECT range(10000000000)",
    "SELECT generate_series(1, 10000000000)",
    "SELECT list_resize([1], 10000000000)",
    "SELECT format('{{:>2000000000}}', 1)",
    "SELECT sleep_ms(100000)",
    "SELECT pg_sleep(100)",
    "SELECT write_log('x')",
    "SELECT setval('x', 1)",
    "SELECT error('x')",
    # Python's variables, parameters, nothing
    "SELECT * FROM word",
    "SELECT * FROM arrow_scan(1, 2, 3)",
    "SELECT * FROM pandas_scan(1)",
    "SELECT * FROM python_map_function(1)",
    "SELECT $1",
    "SELECT ?",
    "SELECT * FROM meter AT (VERSION => 1)",
    "SELECT 'a' COLLATE \"../x\"",
    "",
    ";",
    "-- nothing",
    "SELECT",
    "SELECT 1 \x00",
    "SELECT " + "(" * 5000 + "1" + ")" * 5000,
    "SELECT '" + "x" * 200_000 + "'",
    "SELECT * FROM meter WHERE ts > '2024-01-01T00:00:00+02:00'",
]


@pytest.mark.parametrize("text", ATTACKS, ids=range(len(ATTACKS)))
def test_everything_else_is_refused_with_one_clear_line(door: Door, text: str) -> None:
    word = {"word": [SECRET]}  # what a replacement scan of Python's variables would find
    assert word
    folder = str(door.ground.folder)
    segment = str(door.ground.store.local_path(door.ground.catalog.manifest.segments(door.ground.record.id)[0].name))
    asked = text.format(secret=f"{folder}/secret.csv", segment=segment, folder=folder)
    with pytest.raises((InputError, RefusedError)) as error:
        door(asked)
    said = str(error.value)
    assert "\n" not in said and 10 < len(said) < 400
    assert SECRET not in said
    assert "segment_" in text or "segment_" not in said
    if folder not in text and "{" not in text:
        assert folder not in said
    found = {path.name for path in door.ground.folder.iterdir() if not path.name.startswith("catalog.sqlite")}
    assert found == {"data", "secret.csv", "spill"}


@pytest.mark.parametrize(
    "text",
    [
        "SELECT * FROM read_csv('{secret}')",
        "SELECT * FROM '{secret}'",
        "SELECT * FROM read_text('{folder}/data/../secret.csv')",
        "SELECT * FROM glob('{folder}/*')",
        "COPY (SELECT 1) TO '{folder}/out.csv'",
        "ATTACH '{folder}/out.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SET allowed_paths = ['{secret}']",
        "SET lock_configuration = false",
        "RESET enable_external_access",
        "SELECT * FROM word",
    ],
)
def test_the_connection_behind_the_check_is_a_wall_of_its_own(door: Door, text: str) -> None:
    word = duckdb.sql("SELECT 1 AS word")  # reachable only if Python's variables are
    assert word is not None
    folder = door.ground.folder
    with connect(door.ground.limits) as con:
        lock(con, [str(folder / "data" / "some.parquet")])
        with pytest.raises(duckdb.Error):
            con.execute(text.format(secret=folder / "secret.csv", folder=folder)).fetchall()
    assert not (folder / "out.csv").exists() and not (folder / "out.db").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SELECT nope FROM meter", 'column "nope" not found .* Candidate bindings: "note"'),
        ("SELECT * FROM metre", "there is no dataset 'metre'; did you mean meter"),
        ("SELECT FROM meter WHERE", "SQL: "),
        ("SELECT note + 1 FROM meter", "No function matches|Could not convert"),
        ("SELECT note::INTEGER FROM meter", "Could not convert string 'x'"),
        ("SELECT read_text('/etc/passwd')", "the function 'read_text' is not available here"),
        ("DROP TABLE meter", "only one SELECT is possible here"),
        ("SELECT 1; SELECT 2", "exactly one SELECT is expected, here are 2"),
        ("SHOW meter", "there are SHOW TABLES, DESCRIBE x and SUMMARIZE x here"),
        ("DESCRIBE metre", "there is no dataset 'metre'; did you mean meter"),
        ("PIVOT meter ON note USING sum(n)", "name the values of a PIVOT: PIVOT t ON column IN"),
        ("SELECT * FROM meter WHERE ts > '2024-01-01T00:00:00+02:00'", "write TIMESTAMPTZ '2024-01-01T00:00:00"),
    ],
)
def test_messages_help(door: Door, text: str, message: str) -> None:
    with pytest.raises(TimestoreError, match=message):
        door(text)


def test_paths_in_values_and_errors_are_not_shown(door: Door) -> None:
    with pytest.raises(InputError) as error:
        door("SELECT CAST('/home/somebody/private/file.txt' AS INTEGER)")
    assert "somebody" not in str(error.value)


def test_time_is_limited_and_the_time_nobody_reads_does_not_count(door: Door) -> None:
    with pytest.raises(RefusedError, match="the time limit was reached"):  # nobody would see its own end
        door("SELECT count(*) FROM range(100000000) a, range(100000000) b WHERE a.range + b.range = -1", timeout=0.5)
    with run_sql(door.ground.querier, "SELECT i FROM range(200000) t(i)", door.datasets, timeout=5.0) as answer:
        batches = answer.batches()
        rows = next(batches).num_rows
        assert rows + sum(batch.num_rows for batch in batches) == 200_000


def test_an_answer_keeps_its_files_until_it_is_closed(door: Door) -> None:
    with run_sql(door.ground.querier, "SELECT * FROM meter", door.datasets) as answer:
        assert set(answer.manifest_versions) == {"meter"}
        collect(door.ground.catalog, door.ground.storage, intent_grace=timedelta(0), keep_versions=timedelta(0))
        assert answer.table().num_rows == 9


def test_no_dataset_can_take_the_place_of_a_system_table(tmp_path: Path) -> None:
    """A dataset may be named like one of DuckDB's own; its view answers, not DuckDB's table."""
    warehouse = query_warehouse_in(tmp_path, replace(METER, name="sqlite_master"))
    warehouse.land([row("a", 0, n=7)])
    with run_sql(
        warehouse.querier, "SELECT n FROM sqlite_master", {"sqlite_master": (warehouse.dataset, warehouse.record)}
    ) as answer:
        assert answer.table().to_pylist() == [{"n": 7}]
    warehouse.close()
