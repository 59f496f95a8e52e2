"""Clients of Flight: ADBC's driver, and calls in raw bytes for what no driver would send."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import adbc_driver_flightsql.dbapi as flight_sql
import grpc
import pyarrow as pa

from timestore_assets.service.flight.flight_messages import FLIGHT, make, packed, read, unpacked
from timestore_assets_tests.support.landing_warehouse import START

UNARY = ("GetFlightInfo", "GetSchema")
TAKING_STREAMS = ("DoPut", "Handshake")
SECONDS = 60.0
HEADER = "adbc.flight.sql.rpc.call_header."


@contextmanager
def adbc(place: str, token: str | None = None, **options: str) -> Iterator[Any]:
    """A cursor of ADBC's driver. `options`: of the database."""
    kwargs = {"adbc.flight.sql.authorization_header": f"Bearer {token}"} if token else {}
    with flight_sql.connect(place, db_kwargs={**kwargs, **options}, autocommit=True) as db, db.cursor() as cursor:
        yield cursor


def ask(place: str, text: str, parameters: Any = None, **options: Any) -> pa.Table:
    """The answer to a statement."""
    with adbc(place, **options) as cursor:
        cursor.execute(text, parameters)
        return cursor.fetch_arrow_table()


def readings(count: int, *, station: str = "S", first: datetime = START) -> pa.Table:
    """Rows of `weather`, one a minute; the temperature is the number of the minute, up to 100."""
    return pa.table(
        {
            "ts": pa.array([first + timedelta(minutes=n) for n in range(count)], pa.timestamp("us", tz="UTC")),
            "station": [station] * count,
            "temp": [float(n % 100) for n in range(count)],
        }
    )


def until(true: Callable[[], bool]) -> None:
    """Wait for something that others do."""
    deadline = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


class RawFlight:
    """Calls in bytes; errors are gRPC's."""

    def __init__(self, place: str) -> None:
        self._channel = grpc.insecure_channel(place.removeprefix("grpc://"), options=[("grpc.max_receive_message_length", -1)])

    def call(self, method: str, sent: bytes | Iterable[bytes], headers: Mapping[str, str] | None = None) -> list[bytes]:
        """All that is answered."""
        return list(self.answers(method, sent, headers))

    def answers(self, method: str, sent: bytes | Iterable[bytes], headers: Mapping[str, str] | None = None) -> Any:
        """A call under way, whose answers are read as they are asked for."""
        path = f"/{FLIGHT}.FlightService/{method}"
        metadata = tuple((headers or {}).items())
        if method in UNARY:
            return iter([self._channel.unary_unary(path)(sent, timeout=SECONDS, metadata=metadata)])
        if method in TAKING_STREAMS:
            stream = iter([sent] if isinstance(sent, bytes) else sent)
            return self._channel.stream_stream(path)(stream, timeout=SECONDS, metadata=metadata)
        return self._channel.unary_stream(path)(sent, timeout=SECONDS, metadata=metadata)

    def streamed(self, method: str, sent: Iterable[bytes], headers: Mapping[str, str] | None = None) -> Any:
        """A call under way whose messages are sent one by one, also to a method that takes a single one."""
        metadata = tuple((headers or {}).items())
        path = f"/{FLIGHT}.FlightService/{method}"
        return self._channel.stream_stream(path)(iter(sent), timeout=SECONDS, metadata=metadata)

    def info(self, command: bytes) -> Any:
        """The `FlightInfo` for a packed command."""
        return read("FlightInfo", self.call("GetFlightInfo", descriptor(command))[0])

    def ticket(self, text: str) -> bytes:
        """A `Ticket` for the rows of a statement."""
        made: bytes = self.info(packed("CommandStatementQuery", query=text)).endpoint[0].ticket.SerializeToString()
        return made

    def act(self, kind: str, body: bytes) -> bytes:
        """The body of an action's only result."""
        made: bytes = read("Result", self.call("DoAction", action(kind, body))[0]).body
        return made

    def prepared(self, text: str) -> Any:
        body = packed("ActionCreatePreparedStatementRequest", query=text)
        return unpacked(self.act("CreatePreparedStatement", body))[1]

    def close(self) -> None:
        self._channel.close()


def descriptor(command: bytes) -> bytes:
    made: bytes = make("FlightDescriptor", type=2, cmd=command).SerializeToString()
    return made


def action(kind: str, body: bytes) -> bytes:
    made: bytes = make("Action", type=kind, body=body).SerializeToString()
    return made
