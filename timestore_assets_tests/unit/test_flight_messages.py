"""Messages of Flight, what is in their fields, and what is no message."""

from __future__ import annotations

import pyarrow as pa
import pytest

from timestore_assets.model.as_of import TagName
from timestore_assets.model.errors import InputError
from timestore_assets.querying.planning import syntax
from timestore_assets.querying.sql.check import check_sql
from timestore_assets.querying.sql.parameter_places import parameters_of
from timestore_assets.service.flight.flight_messages import make, packed, read, unpacked
from timestore_assets.service.flight.flight_server import split_address
from timestore_assets.service.flight.handles import Handle, announced
from timestore_assets.service.flight.sql_info import sql_info


def stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def test_a_command_survives_its_envelope() -> None:
    name, found = unpacked(packed("CommandGetTables", table_name_filter_pattern="w%", include_schema=True))
    assert (name, found.table_name_filter_pattern, found.include_schema) == ("CommandGetTables", "w%", True)
    assert not found.HasField("catalog")
    assert unpacked(packed("CommandGetTables", catalog=""))[1].HasField("catalog")


@pytest.mark.parametrize("data", [b"", b"\x00", b"\xff" * 40, packed("CommandGetTables")[:-3], b"\x0a\x03abc"])
def test_what_is_no_command_is_said_to_be_none(data: bytes) -> None:
    with pytest.raises(InputError, match="no command of Flight SQL"):
        unpacked(data)


def test_a_field_beyond_the_known_ones_is_let_pass() -> None:
    assert read("Ticket", b"\x0a\x01x\x92\x01\x01y").ticket == b"x"
    assert make("FlightData", data_body=b"b").SerializeToString() == b"\xc2\x3e\x01b", "the field's number is 1000"


def test_a_handle_holds_its_statement_and_nothing_else_is_one() -> None:
    handle = Handle.of("SELECT 'ü' WHERE ? > 1")
    assert Handle.read(handle.written()) == handle
    assert Handle.of(handle.text).written() != handle.written(), "two runs of a text are told apart"
    for data in (b"", b"\x02" + handle.written()[1:], handle.written()[:-3], handle.written()[:6]):
        with pytest.raises(InputError, match="none of this service"):
            Handle.read(data)


def test_a_handle_keeps_the_versions_that_its_statement_reads() -> None:
    handle = Handle.of("SELECT 1", as_of={"power": 17, "rooms": TagName("clean")})
    again = Handle.read(handle.written()).bound(stream(pa.table({"0": [1]})), ["1"])
    assert again.versions() == {"power": 17, "rooms": TagName("clean")} and again.values() == {"1": 1}
    assert again.meaning(18).versions() == 18 and again.meaning(None) == again
    assert Handle.of("SELECT 1").versions() is None
    for data in (handle.written()[:-3], handle.written()[:20], handle.written()[:14]):
        with pytest.raises(InputError, match="none of this service"):
            Handle.read(data)


def test_values_are_bound_by_name_if_the_names_are_the_statements_and_else_by_place() -> None:
    handle = Handle.of("")
    by_place = handle.bound(stream(pa.table({"0": [1], "1": ["a"]})), ["1", "2"])
    assert by_place.values() == {"1": 1, "2": "a"}
    by_name = handle.bound(stream(pa.table({"to": [2], "since": [1]})), ["since", "to"])
    assert by_name.values() == {"since": 1, "to": 2}
    zoned = pa.array([1_704_085_200_000], pa.timestamp("ms", tz="Europe/Berlin"))
    assert str(handle.bound(stream(pa.table({"0": zoned})), ["1"]).values()["1"]) == "2024-01-01 05:00:00"
    nanoseconds = pa.array([1_704_085_200_000_000_123], pa.timestamp("ns"))
    assert str(handle.bound(stream(pa.table({"0": nanoseconds})), ["1"]).values()["1"]) == "2024-01-01 05:00:00"


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (pa.table({"0": [1, 2]}), "one set of parameters can be bound at a time"),
        (pa.table({"0": pa.array([], pa.int64())}), "here is none"),
        (pa.table({"0": [1], "1": [2]}), "1 parameters, and values of 2"),
        (pa.table({"0": ["x" * 70_000]}), "more than 64,000 bytes"),
        (pa.table({"0": [[1, 2]]}), "plain values can be bound"),
    ],
)
def test_other_values_are_refused(table: pa.Table, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Handle.of("").bound(stream(table), ["1"]).values()


def test_places_tell_what_a_parameter_is() -> None:
    text = (
        "SELECT $x::DATE, $a FROM weather WHERE temp > $low AND ts BETWEEN $since AND now() AND station IN ($b, 'c') LIMIT $most"
    )
    checked = check_sql(syntax.parser(), text, datasets=["weather"], parameters=None)
    found = {one.name: one.column or one.type for one in parameters_of(checked.statement)}
    assert found == {"x": "DATE", "a": "", "low": "temp", "since": "ts", "b": "station", "most": "bigint"}
    assert list(found) == ["x", "a", "low", "since", "b", "most"]


def test_times_are_announced_as_jdbc_binds_them() -> None:
    from datetime import datetime

    assert announced({"1": datetime(2000, 1, 1)}).field(0).type == pa.timestamp("ms", tz="UTC")
    assert announced({"1": 0, "2": 0.0, "3": ""}).types == [pa.int64(), pa.float64(), pa.string()]


def test_every_info_of_the_specification_is_there() -> None:
    numbers = [*range(10), 100, 101, *range(500, 577)]
    assert sql_info([]).column("info_name").to_pylist() == numbers
    assert sql_info([8, 77]).to_pylist() == [{"info_name": 8, "value": 0}]


@pytest.mark.parametrize("address", ["4101", "127.0.0.1:", ":4101", "127.0.0.1:x", "127.0.0.1:70000"])
def test_what_is_no_address_is_said(address: str) -> None:
    with pytest.raises(InputError, match="is no address for Flight; write HOST:PORT"):
        split_address(address)
    assert split_address("[::1]:4101") == ("::1", 4101)
