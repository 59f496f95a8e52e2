"""Records over Flight: landed as those over HTTP are, once under a key, all or nothing within the limits of a body."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import adbc_driver_manager
import grpc
import pyarrow as pa
import pytest

from timestore_assets.service.flight.flight_data import batch_data, schema_data
from timestore_assets.service.flight.flight_messages import make, packed, read
from timestore_assets_tests.support.flight_clients import HEADER, RawFlight, adbc, readings, until
from timestore_assets_tests.support.http_service import WEATHER, HttpService, service
from timestore_assets_tests.support.landing_warehouse import START

CLOSED = replace(WEATHER, name="closed", sources=())
APPEND = make("TableDefinitionOptions", if_not_exist=2, if_exists=2)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpService]:
    home = tmp_path_factory.mktemp("flight-ingest") / "home"
    declared = {"weather": WEATHER, "closed": CLOSED, "pieces": replace(WEATHER, name="pieces")}
    with service(home, declared, flight_address="127.0.0.1:0", ingest_buffer_rows=1_000, query_concurrency=2) as served:
        yield served


@pytest.fixture(scope="module")
def raw(ground: HttpService) -> Iterator[RawFlight]:
    opened = RawFlight(ground.flight)
    yield opened
    opened.close()


def ingested(ground: HttpService, table: Any, *, key: str | None = None, name: str = "weather", **options: Any) -> int:
    with adbc(ground.flight) as cursor:
        if key is not None:
            cursor.adbc_statement.set_options(**{f"{HEADER}idempotency-key": key})
        return int(cursor.adbc_ingest(name, table, **{"mode": "append", **options}))


def landed(ground: HttpService, station: str, name: str = "weather") -> int:
    text = f"SELECT count(*) AS n FROM {name} WHERE station = $station"
    answer = ground.client.post("/sql", json={"sql": text, "parameters": {"station": station}})
    return int(answer.json()["rows"][0]["n"])


def frames(*tables: pa.Table, name: str = "weather", **fields: Any) -> list[bytes]:
    """A `DoPut` of these tables, one after the other."""
    command = packed("CommandStatementIngest", table=name, table_definition_options=APPEND, **fields)
    first = read("FlightData", schema_data(tables[0].schema))
    first.flight_descriptor.CopyFrom(make("FlightDescriptor", type=2, cmd=command))
    batches = [piece for table in tables for batch in table.to_batches() for piece in batch_data(batch)]
    return [first.SerializeToString(), *batches]


def test_records_are_durable_when_they_are_counted(ground: HttpService) -> None:
    assert ingested(ground, readings(100, station="A")) == 100
    assert landed(ground, "A") == 100
    source = ground.client.get("/datasets/weather/status").json()["sources"][0]
    assert source["landed"] + source["deadLetters"] == source["read"] >= 100


def test_the_same_key_lands_once_whichever_door_it_comes_by(ground: HttpService) -> None:
    assert [ingested(ground, readings(50, station="K"), key="load-7") for _ in range(2)] == [50, 50]
    assert landed(ground, "K") == 50
    with pytest.raises(adbc_driver_manager.Error, match="used before for other content") as refused:
        ingested(ground, readings(51, station="K"), key="load-7")
    assert (b"timestore-code", b"key_reused") in refused.value.details
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, readings(50, station="K").schema) as writer:
        writer.write_table(readings(50, station="K"))
    headers = {"Content-Type": "application/vnd.apache.arrow.stream", "Idempotency-Key": "load-7"}
    answer = ground.client.post("/datasets/weather/ingest", content=sink.getvalue().to_pybytes(), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (409, "key_reused"), "the key is the dataset's, not the door's"
    assert landed(ground, "K") == 50


def test_a_bad_row_is_a_dead_letter_and_is_not_counted(ground: HttpService, raw: RawFlight) -> None:
    table = readings(10, station="D").set_column(2, "temp", pa.array([1.0] * 9 + [999.0]))
    call = raw.answers("DoPut", frames(table))
    assert [read("DoPutUpdateResult", read("PutResult", one).app_metadata).record_count for one in call] == [9]
    trailers = dict(call.trailing_metadata())
    assert trailers["timestore-dead-letters"] == "1" and len(trailers["timestore-ingestion-id"]) == 32
    assert landed(ground, "D") == 9


def test_no_rows_are_no_error(ground: HttpService, raw: RawFlight) -> None:
    assert ingested(ground, readings(0)) == 0
    found = raw.call("DoPut", [])
    assert [read("DoPutUpdateResult", read("PutResult", one).app_metadata).record_count for one in found] == [0]


def test_a_long_stream_lands_in_pieces_each_once(ground: HttpService) -> None:
    first, bad = readings(2_400, station="P"), readings(300, station="P", first=START + timedelta(days=9))
    reader = pa.Table.to_reader(first, max_chunksize=400)
    assert ingested(ground, reader, key="long", name="pieces") == 2_400
    assert landed(ground, "P", "pieces") == 2_400
    # sent again after it broke off, with more behind it
    again = pa.concat_tables([first, bad]).to_reader(max_chunksize=400)
    assert ingested(ground, pa.RecordBatchReader.from_batches(first.schema, again), key="longer", name="pieces") == 2_700
    assert ingested(ground, first.to_reader(max_chunksize=400), key="long", name="pieces") == 2_400
    assert landed(ground, "P", "pieces") == 2_400 + 2_700


def test_a_stream_that_broke_off_is_sent_again_and_lands_once(ground: HttpService, raw: RawFlight) -> None:
    parts = [readings(800, station="Z", first=START + timedelta(days=day)) for day in range(4)]
    sent = frames(*parts, name="pieces")
    broken_off(raw, sent[:4], "broken", until_there=lambda: landed(ground, "Z", "pieces") == 1_600)
    assert counted(raw, sent, {"idempotency-key": "broken"}) == [3_200]
    assert landed(ground, "Z", "pieces") == 3_200


def test_a_part_is_never_taken_for_the_whole(ground: HttpService) -> None:
    sent = frames(readings(60, station="H"), readings(40, station="H", first=START + timedelta(days=1)))
    for number in range(12):
        # each on a connection of its own, half of which go without a word
        one = RawFlight(ground.flight)
        broken_off(one, sent[:2], f"half-{number}", cancelling=number % 2 == 0)
        one.close()
    until(lambda: "timestore_flight_calls_in_flight 0.0" in ground.client.get("/metrics").text)
    assert landed(ground, "H") == 0
    again = RawFlight(ground.flight)
    assert counted(again, sent, {"idempotency-key": "half-0"}) == [100], "the key is not taken by the part"
    again.close()
    assert landed(ground, "H") == 100


def broken_off(raw: RawFlight, sent: list[bytes], key: str, *, until_there: Any = lambda: True, cancelling: bool = True) -> None:
    """Send so much and go."""
    taken, gone = threading.Event(), threading.Event()

    def stream() -> Iterator[bytes]:
        yield from sent
        taken.set()
        gone.wait(20)

    call = raw.answers("DoPut", stream(), {"idempotency-key": key})
    assert taken.wait(20)
    until(until_there)
    call.cancel() if cancelling else raw.close()
    gone.set()


def test_a_batch_that_no_body_could_hold_is_refused_as_a_whole(ground: HttpService) -> None:
    with pytest.raises(adbc_driver_manager.Error, match="more than 1,000 records; send smaller ones"):
        ingested(ground, readings(1_001, station="W"))
    assert landed(ground, "W") == 0


def test_dictionaries_are_sent_with_every_piece(ground: HttpService) -> None:
    table = readings(1_500, station="C")
    encoded = table.set_column(1, "station", table.column("station").combine_chunks().dictionary_encode())
    options = pa.ipc.IpcWriteOptions(unify_dictionaries=True)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, encoded.schema, options=options) as writer:
        writer.write_table(encoded, max_chunksize=300)
    raw = RawFlight(ground.flight)
    assert sum(counted(raw, stream_frames(sink.getvalue().to_pybytes()))) == 1_500
    raw.close()
    assert landed(ground, "C") == 1_500


def counted(raw: RawFlight, sent: list[bytes], headers: Any = None) -> list[int]:
    found = raw.call("DoPut", sent, headers)
    return [read("DoPutUpdateResult", read("PutResult", one).app_metadata).record_count for one in found]


def stream_frames(stream: bytes) -> list[bytes]:
    """The messages of a stream as they are, dictionaries too."""
    command = packed("CommandStatementIngest", table="weather", table_definition_options=APPEND)
    found = []
    for message in pa.ipc.MessageReader.open_stream(pa.py_buffer(stream)):
        body = b"" if message.body is None else message.body.to_pybytes()
        found.append(make("FlightData", data_header=message.metadata.to_pybytes(), data_body=body))
    found[0].flight_descriptor.CopyFrom(make("FlightDescriptor", type=2, cmd=command))
    return [one.SerializeToString() for one in found]


@pytest.mark.parametrize(
    ("name", "options", "error", "said"),
    [
        ("nowhere", {}, adbc_driver_manager.Error, "there is no dataset 'nowhere' that you may use"),
        ("nowhere", {"mode": "create"}, adbc_driver_manager.Error, "an ingest makes none: declare it first"),
        ("weather", {"mode": "create"}, adbc_driver_manager.Error, "ALREADY_EXISTS.*append to it"),
        ("weather", {"mode": "replace"}, adbc_driver_manager.NotSupportedError, "can't be replaced by an ingest"),
        ("weather", {"temporary": True}, adbc_driver_manager.NotSupportedError, "no temporary tables"),
        ("weather", {"db_schema_name": "other"}, adbc_driver_manager.Error, "no such schema or catalog"),
        ("closed", {}, adbc_driver_manager.Error, "takes no records over HTTP"),
    ],
)
def test_what_is_no_append_is_refused_with_the_way(ground: HttpService, name: str, options: Any, error: Any, said: str) -> None:
    with pytest.raises(error, match=said):
        ingested(ground, readings(3), name=name, **options)


def test_the_schema_that_is_listed_can_be_named(ground: HttpService) -> None:
    assert ingested(ground, readings(3, station="N"), db_schema_name="main") == 3


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda sent: [sent[0], sent[1][: len(sent[1]) // 2]], "no FlightData"),
        (lambda sent: [sent[0], make("FlightData", data_header=b"\xff" * 30).SerializeToString()], "not valid Arrow"),
        (lambda sent: [sent[0], without_body(sent[1])], "not a valid Arrow IPC stream"),
        (lambda sent: [sent[0], sent[0]], "not a valid Arrow IPC stream|damaged"),
        (lambda sent: sent[1:], "no command of Flight SQL"),
    ],
)
def test_damaged_frames_land_nothing(raw: RawFlight, ground: HttpService, damage: Any, said: str) -> None:
    with pytest.raises(grpc.RpcError, match=said) as refused:
        raw.call("DoPut", damage(frames(readings(5, station="X"))))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert landed(ground, "X") == 0


def without_body(frame: bytes) -> bytes:
    message = read("FlightData", frame)
    message.data_body = message.data_body[:8]
    found: bytes = message.SerializeToString()
    return found


def test_zeros_that_would_fill_the_memory_are_refused_by_what_they_say(ground: HttpService, raw: RawFlight) -> None:
    zeros = pa.table({"ts": pa.array([START] * 10, pa.timestamp("us", tz="UTC")), "blob": [b"\0" * 8_000_000] * 10})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, zeros.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(zeros)
    assert sink.tell() < 1_000_000
    with pytest.raises(grpc.RpcError, match="longer than 64,000,000 bytes, decoded") as refused:
        raw.call("DoPut", stream_frames(sink.getvalue().to_pybytes()))
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_key_that_can_not_be_kept_is_refused(raw: RawFlight) -> None:
    with pytest.raises(grpc.RpcError, match="1 to 190 printable ASCII"):
        raw.call("DoPut", frames(readings(3)), {"idempotency-key": "k" * 191})
