"""The door for Flight: gRPC in the event loop of the HTTP server, over the same service.

`grpc.aio` and not pyarrow's own server: that one has threads of its own, so that neither the gate nor tokens could be shared,
sends tracebacks to clients, and decodes what comes in before anybody can refuse it.
"""

from __future__ import annotations

from typing import Any

import grpc
import grpc.aio

from timestore_assets.model.errors import InputError, UnavailableError
from timestore_assets.service.flight.actions import Actions
from timestore_assets.service.flight.calls import MOST_CALLS, Calls, Handler, handshake, of_one_message
from timestore_assets.service.flight.flight_messages import FLIGHT
from timestore_assets.service.flight.putting import Putting
from timestore_assets.service.flight.reading import StatementReading
from timestore_assets.service.flight.statements import Statements
from timestore_assets.service.front.connections import ConnectionLimits
from timestore_assets.service.state import Service

STOP_SECONDS = 2.0
_ENVELOPE_BYTES = 1_000_000
"""Of a message, around a body."""
_KEEPALIVE_MS, _IDLE_MS, _HANDSHAKE_MS = 60_000, 900_000, 10_000
_SHARE = 2
"""For so many connections of HTTP there is one of Flight: both take descriptors of one process."""
_HEADER_BYTES = 32_768
"""Of a call, as of a request over HTTP: JSON Web Tokens are long."""


class FlightServer:
    """`address`: `HOST:PORT`; port 0 takes a free one, which `port` then says."""

    def __init__(self, service: Service, address: str) -> None:
        self.host, self._port = split_address(address)
        self.port = 0
        self._service = service
        self._server: Any = None

    @property
    def address(self) -> str:
        return f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    async def start(self) -> None:
        """Take calls, in the loop that runs.

        Raises:
            UnavailableError: the port is busy.
        """
        # it belongs to the loop that it is made in
        self._server = grpc.aio.server(
            maximum_concurrent_rpcs=MOST_CALLS,
            options=(
                ("grpc.so_reuseport", 0),  # or a second service would take part of the calls
                ("grpc.max_receive_message_length", self._service.intake.body_bytes + _ENVELOPE_BYTES),
                ("grpc.max_send_message_length", -1),
                ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
                ("grpc.max_connection_idle_ms", _IDLE_MS),
                ("grpc.server_handshake_timeout_ms", _HANDSHAKE_MS),
                ("grpc.max_allowed_incoming_connections", self._connections()),
                ("grpc.max_concurrent_streams", MOST_CALLS),
                ("grpc.max_metadata_size", _HEADER_BYTES),
                ("grpc.absolute_max_metadata_size", _HEADER_BYTES),
            ),
        )
        calls = Calls(self._service)
        self._server.add_generic_rpc_handlers((_methods(self._service, calls),))
        host = f"[{self.host}]" if ":" in self.host else self.host
        try:
            self.port = calls.port = self._server.add_insecure_port(f"{host}:{self._port}")
        except RuntimeError:
            raise UnavailableError(f"{self.host}:{self._port} can't be listened on for Flight; is the port busy?") from None
        await self._server.start()

    def _connections(self) -> int:
        return max(1, ConnectionLimits.of(self._service.warehouse.settings).connections_now() // _SHARE)

    async def stop(self) -> None:
        """Take no more calls; those under way are given a moment."""
        if self._server is not None:
            await self._server.stop(STOP_SECONDS)


def split_address(address: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`; InputError when it is none."""
    host, colon, port = address.strip().rpartition(":")
    if not colon or not host.strip("[]") or not port.isdigit() or int(port) > 65_535:
        raise InputError(f"{address[:100]!r} is no address for Flight; write HOST:PORT, for instance 127.0.0.1:4101")
    return host.strip("[]"), int(port)


def _methods(service: Service, calls: Calls) -> Any:
    """Messages stay bytes, so that what is wrong with one is answered as any other error is. All of them are taken as streams:
    gRPC would receive a single message before anybody knows who sends it, and wait for it without end.
    """
    statements = Statements(service)
    reading, actions, putting = StatementReading(service, statements), Actions(statements), Putting(service, statements)
    single, stream = grpc.stream_unary_rpc_method_handler, grpc.stream_stream_rpc_method_handler
    known: dict[str, tuple[Any, Handler]] = {
        "Handshake": (stream, handshake),
        "GetFlightInfo": (single, of_one_message(reading.flight_info)),
        "GetSchema": (single, of_one_message(reading.schema)),
        "DoGet": (stream, of_one_message(reading.get)),
        "DoPut": (stream, putting.put),
        "DoAction": (stream, of_one_message(actions.act)),
        "ListActions": (stream, of_one_message(actions.list)),
    }
    handlers = {name: kind(calls.around(name, handler)) for name, (kind, handler) in known.items()}
    return grpc.method_handlers_generic_handler(f"{FLIGHT}.FlightService", handlers)
