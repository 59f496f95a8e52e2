"""Questions over Flight SQL, by ADBC's driver and in raw calls; the traps that drivers have set are each a test."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import adbc_driver_manager
import grpc
import httpx
import polars as pl
import pyarrow as pa
import pytest

from timestore_assets.model.dataset import Dedupe
from timestore_assets.service.flight.flight_messages import make, packed, read, unpacked
from timestore_assets_tests.support.flight_clients import RawFlight, adbc, ask, descriptor, readings
from timestore_assets_tests.support.http_service import WEATHER, HttpService, service
from timestore_assets_tests.support.landing_warehouse import START, columns, dataset

KEYED = replace(dataset(*columns(price="decimal(10,2)?"), name="keyed"), dedupe=Dedupe(keys=("station", "ts")))


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpService]:
    home = tmp_path_factory.mktemp("flight") / "home"
    with service(home, {"weather": WEATHER, "keyed": KEYED}, flight_address="127.0.0.1:0") as served:
        with adbc(served.flight) as cursor:
            cursor.adbc_ingest("weather", readings(1_000), mode="append")
        yield served


@pytest.fixture(scope="module")
def raw(ground: HttpService) -> Iterator[RawFlight]:
    opened = RawFlight(ground.flight)
    yield opened
    opened.close()


def test_a_statement_gives_what_it_gives_over_http(ground: HttpService) -> None:
    text = "SELECT station, ts, temp, temp IS NULL AS gone FROM weather ORDER BY ts"
    over_http = ground.client.post("/sql", json={"sql": text}, headers={"Accept": "application/vnd.apache.arrow.stream"})
    assert ask(ground.flight, text).equals(pa.ipc.open_stream(over_http.content).read_all())


def test_a_schema_before_the_name_is_taken_as_tools_write_it(ground: HttpService) -> None:
    assert ask(ground.flight, 'SELECT count(*) AS n FROM main.weather WHERE "main"."weather".temp < 10').to_pylist() == [
        {"n": 100}
    ]
    with pytest.raises(adbc_driver_manager.ProgrammingError, match="there is no dataset 'duckdb_settings'"):
        ask(ground.flight, "SELECT * FROM main.duckdb_settings")


def test_names_that_are_there_twice_are_the_same_in_the_info_and_in_the_stream(ground: HttpService) -> None:
    found = ask(ground.flight, "SELECT 1 AS a, 2 AS a, 3 AS a_1, a.*, b.* FROM (SELECT 4 AS a) a, (SELECT 5 AS a) b")
    assert [list(row.values()) for row in found.to_pylist()] == [[1, 2, 3, 4, 5]]
    assert len(set(found.column_names)) == 5


def test_nothing_encoded_passes_and_times_are_in_utc(ground: HttpService) -> None:
    found = ask(ground.flight, "SELECT 'a'::ENUM('a', 'b') AS kind, INTERVAL 1 DAY AS day, min(ts) AS first FROM weather")
    assert found.schema.types == [pa.string(), pa.string(), pa.timestamp("us", tz="UTC")]
    assert found.to_pylist() == [{"kind": "a", "day": "1 day", "first": START}]


LONG = "(SELECT string_agg(station, '') AS t FROM weather) CROSS JOIN weather CROSS JOIN weather b"


def test_long_rows_come_in_messages_that_clients_take(ground: HttpService, raw: RawFlight) -> None:
    text = f"SELECT t || t AS t FROM {LONG} LIMIT 9000"
    pieces = raw.call("DoGet", raw.ticket(text))
    assert len(pieces) > 8 and max(map(len, pieces)) < 4_000_000, "plain clients take 4 MiB, these are 18 MB"
    assert ask(ground.flight, text).num_rows == 9_000


def test_a_row_that_no_client_takes_is_refused_in_words(ground: HttpService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("timestore_assets.service.flight.flight_data.LONGEST_ROW_BYTES", 2_000)
    monkeypatch.setattr("timestore_assets.service.flight.flight_data.PIECE_BYTES", 500)
    with pytest.raises(adbc_driver_manager.Error, match=r"a row of the answer has 3,\d+ bytes"):
        ask(ground.flight, "SELECT string_agg(station || 'xx', '') AS t FROM weather")


@pytest.mark.parametrize(
    "text", ["SHOW TABLES", "DESCRIBE weather", "SUMMARIZE SELECT temp FROM weather", "EXPLAIN SELECT temp FROM weather"]
)
def test_what_shows_something_is_described_before_it_runs_too(ground: HttpService, text: str) -> None:
    assert ask(ground.flight, text).num_rows > 0


@pytest.mark.parametrize(
    ("text", "values", "answer"),
    [
        ("SELECT count(*) FROM weather WHERE temp >= ? AND station = ?", [98.0, "S"], 20),
        ("SELECT count(*) FROM weather WHERE temp >= $1 AND station = $2 AND temp >= $1", [98, "S"], 20),
        ("SELECT count(*) FROM weather WHERE ts < ?", [START + timedelta(minutes=10)], 10),
        ("SELECT count(*) FROM (SELECT * FROM weather LIMIT ? OFFSET ?)", [7, 1], 7),
        ("SELECT count(*) FROM weather WHERE ts BETWEEN ? AND ?", [START, START + timedelta(minutes=2)], 3),
        ("SELECT ?::BIGINT + 1", [2**40], 2**40 + 1),
        ("SELECT CASE WHEN ?::BIGINT IS NULL THEN 1 ELSE 0 END", [None], 1),
    ],
)
def test_parameters_go_by_place(ground: HttpService, text: str, values: list[Any], answer: int) -> None:
    assert next(iter(ask(ground.flight, text, values).to_pylist()[0].values())) == answer


def test_parameters_go_by_name_in_a_batch_that_has_the_names(ground: HttpService) -> None:
    text = "SELECT count(*) AS n FROM weather WHERE temp >= $low AND temp < $high"
    assert ask(ground.flight, text, pa.record_batch({"high": [7.0], "low": [5.0]})).to_pylist() == [{"n": 20}]


def test_a_prepared_statement_is_run_again_with_other_values(ground: HttpService) -> None:
    with adbc(ground.flight) as cursor:
        assert cursor.adbc_prepare("SELECT count(*) AS n, ? AS asked FROM weather WHERE temp < ?") is not None
        for most, answer in ((5.0, 50), (2.0, 20), (5.0, 50)):
            cursor.execute("SELECT count(*) AS n, ? AS asked FROM weather WHERE temp < ?", ["x", most])
            assert cursor.fetchall() == [(answer, "x")]


def test_the_answers_type_follows_the_value(ground: HttpService) -> None:
    assert ask(ground.flight, "SELECT ? AS v", [1]).schema.types == [pa.int32()]
    assert ask(ground.flight, "SELECT ? AS v", [2**40]).schema.types == [pa.int64()]
    assert ask(ground.flight, "SELECT ? AS v", [datetime(2024, 1, 1, tzinfo=UTC)]).to_pylist() == [
        {"v": datetime(2024, 1, 1, tzinfo=UTC)}
    ]


def test_a_statement_is_told_what_its_parameters_are(raw: RawFlight) -> None:
    found = raw.prepared("SELECT temp FROM weather WHERE ts > ? AND temp > ? AND station = ? LIMIT ?")
    schema = pa.ipc.read_schema(pa.py_buffer(found.parameter_schema))
    assert schema.types == [pa.timestamp("ms", tz="UTC"), pa.float64(), pa.string(), pa.int64()]
    assert schema.names == ["1", "2", "3", "4"]
    assert pa.ipc.read_schema(pa.py_buffer(found.dataset_schema)).names == ["temp"]


@pytest.mark.parametrize(
    ("text", "values", "said"),
    [
        ("SELECT nope FROM weather", None, 'INVALID_ARGUMENT.*"nope" not found'),
        ("SELEC 1", None, "INVALID_ARGUMENT"),
        ("DELETE FROM weather", None, "only one SELECT is possible"),
        ("SELECT * FROM '/etc/passwd'", None, "there is no dataset '/etc/passwd'"),
        ("SELECT ?", None, r"\? and \$1 have no value here"),
        ("SELECT ?", [1, 2], "1 parameters, and values of 2 were bound"),
        ("SELECT count(*) FROM weather WHERE ts > ?", ["2024-01-01T00:00:00+02:00"], "offset of .* would be ignored"),
    ],
)
def test_what_can_not_be_answered_is_said_in_one_sentence(ground: HttpService, text: str, values: Any, said: str) -> None:
    with pytest.raises(adbc_driver_manager.Error, match=said) as refused:
        ask(ground.flight, text, values)
    assert "Traceback" not in str(refused.value) and "all DoGet attempts failed" not in str(refused.value)
    assert any(name == b"timestore-code" for name, _ in refused.value.details)


def test_a_failing_stream_says_so_too(ground: HttpService) -> None:
    with pytest.raises(adbc_driver_manager.Error, match="Could not convert"):
        ask(ground.flight, "SELECT station::INTEGER FROM weather")


def test_updates_and_transactions_are_refused_with_the_way(ground: HttpService) -> None:
    with adbc(ground.flight) as cursor, pytest.raises(adbc_driver_manager.NotSupportedError, match="records come by an ingest"):
        cursor.executemany("SELECT ?", [[1], [2]])
    raw = RawFlight(ground.flight)
    with pytest.raises(grpc.RpcError, match="no transactions here"):
        raw.info(packed("CommandStatementQuery", query="SELECT 1", transaction_id=b"t"))
    raw.close()


def test_what_there_is_can_be_listed(ground: HttpService) -> None:
    with adbc(ground.flight) as cursor:
        db = cursor.connection
        objects = db.adbc_get_objects().read_all().to_pylist()
        tables = objects[0]["catalog_db_schemas"][0]["db_schema_tables"]
        assert [one["table_name"] for one in tables] == ["keyed", "weather"]
        kinds = {one["column_name"]: one["xdbc_type_name"] for one in tables[0]["table_columns"]}
        assert kinds == {"ts": "timestamp", "station": "string", "temp": "double", "price": "decimal(10,2)"}
        assert db.adbc_get_table_types() == ["TABLE"]
        assert db.adbc_get_info()["vendor_name"] == "timestore"
        assert db.adbc_get_table_schema("weather").names == ask(ground.flight, "SELECT * FROM weather LIMIT 0").column_names
        assert [len(one) for one in (db.adbc_get_objects(table_name_filter="w_ather").read_all().to_pylist(),)] == [1]


@pytest.mark.parametrize(
    ("command", "fields", "rows"),
    [
        ("CommandGetCatalogs", {}, 0),
        ("CommandGetDbSchemas", {}, 1),
        ("CommandGetDbSchemas", {"db_schema_filter_pattern": "m__n"}, 1),
        ("CommandGetDbSchemas", {"db_schema_filter_pattern": "m\\_%"}, 0),
        ("CommandGetDbSchemas", {"catalog": "other"}, 0),
        ("CommandGetTables", {"table_types": ["VIEW"]}, 0),
        ("CommandGetTables", {"table_name_filter_pattern": "%eat%"}, 1),
        ("CommandGetPrimaryKeys", {"table": "keyed"}, 2),
        ("CommandGetPrimaryKeys", {"table": "weather"}, 0),
        ("CommandGetExportedKeys", {"table": "keyed"}, 0),
        ("CommandGetCrossReference", {"pk_table": "keyed", "fk_table": "weather"}, 0),
        ("CommandGetXdbcTypeInfo", {}, 10),
        ("CommandGetXdbcTypeInfo", {"data_type": 12}, 1),
        ("CommandGetSqlInfo", {"info": [0, 1, 8]}, 3),
    ],
)
def test_a_listing_has_the_schema_that_its_info_said(raw: RawFlight, command: str, fields: dict[str, Any], rows: int) -> None:
    info = raw.info(packed(command, **fields))
    assert [len(one.location) for one in info.endpoint] == [0], "an address could be one that the client can't reach"
    frames = [read("FlightData", one) for one in raw.call("DoGet", info.endpoint[0].ticket.SerializeToString())]
    said = pa.ipc.read_schema(pa.py_buffer(info.schema))
    assert said.equals(
        pa.ipc.read_schema(
            pa.py_buffer(read("SchemaResult", raw.call("GetSchema", descriptor(packed(command, **fields)))[0]).schema)
        )
    )
    from timestore_assets.service.flight.flight_data import ipc_message, ipc_stream

    table = pa.ipc.open_stream(ipc_stream([ipc_message(one.data_header, one.data_body) for one in frames])).read_all()
    assert table.schema.equals(said) and table.num_rows == rows


def test_polars_reads_by_the_driver(ground: HttpService) -> None:
    with adbc(ground.flight) as cursor:
        frame = pl.read_database("SELECT ts, temp FROM weather ORDER BY ts", cursor)
    assert frame.height == 1_000 and frame.schema["ts"] == pl.Datetime("us", "UTC")


def test_zoneless_times_are_given_to_who_asks_for_them(raw: RawFlight) -> None:
    headers = {"timestore-times": "zoneless"}
    frames = raw.call("DoGet", raw.ticket("SELECT ts FROM weather"), headers)
    schema = pa.ipc.read_schema(
        pa.py_buffer(
            b"\xff\xff\xff\xff"
            + len(read("FlightData", frames[0]).data_header).to_bytes(4, "little")
            + read("FlightData", frames[0]).data_header
        )
    )
    assert schema.types == [pa.timestamp("us")]


def test_session_options_have_one_value_each(raw: RawFlight) -> None:
    def option(key: str, value: str) -> Any:
        return make("SessionOption", key=key, value=make("SessionOptionValue", string_value=value))

    asked = [option("catalog", ""), option("schema", "main"), option("schema", "other"), option("colour", "red")]
    body = make("SetSessionOptionsRequest", session_options=asked).SerializeToString()
    errors = read("SetSessionOptionsResult", raw.act("SetSessionOptions", body)).errors
    assert [(one.key, one.value.value) for one in errors] == [("schema", 2), ("colour", 1)]
    assert read("CloseSessionResult", raw.act("CloseSession", b"")).status == 1


def test_an_unknown_action_is_told_what_there_is(raw: RawFlight) -> None:
    with pytest.raises(grpc.RpcError, match="there are CreatePreparedStatement") as refused:
        raw.act("BeginTransaction", b"")
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert len(raw.call("ListActions", b"")) == 7


def test_calls_are_counted_and_have_their_place_among_queries(ground: HttpService) -> None:
    ask(ground.flight, "SELECT 1")
    shown = ground.client.get("/metrics").text
    assert 'timestore_flight_calls_total{code="OK",command="TicketStatementQuery",method="DoGet"}' in shown
    assert 'timestore_query_seconds_count{dataset="",kind="flight"}' in shown
    assert "timestore_flight_calls_in_flight 0.0" in shown


def test_the_examples_of_the_docs_work_as_written(tmp_path: Any) -> None:
    page = (Path(__file__).parents[2] / "docs" / "flight.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    with service(tmp_path / "home", flight_address="127.0.0.1:0") as served:
        exec(block.replace("grpc://127.0.0.1:4101", served.flight), {})


def test_a_closed_door_is_closed(tmp_path: Any) -> None:
    with service(tmp_path / "home") as served:
        assert served.flight == "" and isinstance(served.client, httpx.Client)
        assert unpacked(packed("CommandGetCatalogs"))[0] == "CommandGetCatalogs"
