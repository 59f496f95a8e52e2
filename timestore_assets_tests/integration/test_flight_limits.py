"""Who waits, who is stopped and who is let in: cancelling, deadlines, stalled readers, tokens, and bytes that nobody sends."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import adbc_driver_flightsql.dbapi as flight_sql
import adbc_driver_manager
import grpc
import pytest

from timestore_assets.model.dataset import Access
from timestore_assets.querying.sql.sandbox import check
from timestore_assets.service.access.api_tokens import digest_of, new_secret
from timestore_assets.service.flight import calls, putting, statements
from timestore_assets.service.flight.flight_messages import make, packed, read
from timestore_assets_tests.support.flight_clients import RawFlight, action, adbc, ask, descriptor, readings, until
from timestore_assets_tests.support.http_service import WEATHER, HttpService, open_warehouse, service, serving

FOREVER = "SELECT count(*) FROM range(100000000) a, range(100000000) b WHERE a.range + b.range < 0"
LONG = "SELECT a.ts, a.station, b.station AS other FROM weather a, weather b, weather c"


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpService]:
    home = tmp_path_factory.mktemp("flight-limits") / "home"
    with service(home, flight_address="127.0.0.1:0", query_concurrency=4) as served:
        with adbc(served.flight) as cursor:
            cursor.adbc_ingest("weather", readings(400), mode="append")
        yield served


@pytest.fixture
def raw(ground: HttpService) -> Iterator[RawFlight]:
    opened = RawFlight(ground.flight)
    yield opened
    opened.close()


def running(ground: HttpService, number: int) -> Callable[[], bool]:
    return lambda: ground.service.gate.inside == number


def test_a_client_that_goes_leaves_nothing_running(ground: HttpService, raw: RawFlight) -> None:
    call = raw.answers("DoGet", raw.ticket(FOREVER))
    until(running(ground, 1))
    call.cancel()
    until(running(ground, 0))


def test_a_statement_ends_at_its_clients_deadline(ground: HttpService) -> None:
    options = {"adbc.flight.sql.rpc.timeout_seconds.fetch": "1.0"}
    with pytest.raises(adbc_driver_manager.Error, match=r"[Dd]eadline|time limit"):
        ask(ground.flight, FOREVER, **options)
    until(running(ground, 0))


def test_a_running_statement_is_cancelled_by_its_info(ground: HttpService, raw: RawFlight) -> None:
    info = raw.info(packed("CommandStatementQuery", query=FOREVER))
    body = make("CancelFlightInfoRequest", info=info).SerializeToString()
    with pytest.raises(grpc.RpcError, match="no statement of yours is running"):
        raw.act("CancelFlightInfo", body)
    call = raw.answers("DoGet", info.endpoint[0].ticket.SerializeToString())
    until(running(ground, 1))
    assert read("CancelFlightInfoResult", raw.act("CancelFlightInfo", body)).status == 1
    with pytest.raises(grpc.RpcError, match="cancelled by its client") as stopped:
        list(call)
    assert stopped.value.code() is grpc.StatusCode.CANCELLED
    until(running(ground, 0))


def test_stalled_readers_lose_their_places(ground: HttpService, raw: RawFlight, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "PATIENCE_SECONDS", 0.5)
    # one channel each, as a window is shared by what goes over one
    stalled = [RawFlight(ground.flight) for _ in range(4)]
    open_calls = [one.answers("DoGet", one.ticket(LONG)) for one in stalled]
    for call in open_calls:
        next(call)
    assert ask(ground.flight, "SELECT 1 AS one").to_pylist() == [{"one": 1}]
    until(running(ground, 0))
    for call, one in zip(open_calls, stalled, strict=True):
        call.cancel()
        one.close()


def test_a_stream_that_brings_nothing_is_ended(raw: RawFlight, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "PATIENCE_SECONDS", 0.3)
    silent = threading.Event()

    def nothing() -> Iterator[bytes]:
        silent.wait(20)
        yield b""

    with pytest.raises(grpc.RpcError, match="nothing was sent for") as ended:
        raw.call("DoPut", nothing())
    silent.set()
    assert ended.value.code() is grpc.StatusCode.CANCELLED


def never() -> Iterator[bytes]:
    """What a client sends that sends nothing, until its call ends."""
    threading.Event().wait(20)
    yield b""


@pytest.mark.parametrize("method", ["GetFlightInfo", "GetSchema", "DoGet", "DoAction", "ListActions"])
def test_a_call_that_never_says_what_it_wants_is_ended(raw: RawFlight, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "FIRST_SECONDS", 0.3)
    with pytest.raises(grpc.RpcError, match="nothing was sent for") as ended:
        list(raw.streamed(method, never()))
    assert ended.value.code() is grpc.StatusCode.CANCELLED


def test_a_question_larger_than_any_is_refused(raw: RawFlight) -> None:
    for command in (packed("CommandGetSqlInfo", info=[7] * calls.MESSAGE_BYTES), b" " * calls.MESSAGE_BYTES):
        with pytest.raises(grpc.RpcError, match="a question has at most 2,000,000 bytes") as refused:
            raw.call("GetFlightInfo", descriptor(command))
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_metadata_larger_than_any_is_refused(raw: RawFlight) -> None:
    first = make(
        "FlightData",
        flight_descriptor=make("FlightDescriptor", cmd=packed("CommandStatementIngest", table="weather")),
        data_header=bytes(putting.MOST_METADATA + 1),
    )
    with pytest.raises(grpc.RpcError, match="bytes of metadata") as refused:
        raw.call("DoPut", first.SerializeToString())
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_connections_are_bounded_and_room_comes_back(tmp_path: Any) -> None:
    begin = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
    with service(tmp_path / "home", flight_address="127.0.0.1:0", http_connections=6) as served, ExitStack() as stack:
        host, _, port = served.flight.removeprefix("grpc://").rpartition(":")

        def greeted(opened: ExitStack) -> bool:
            """Whether a new connection is answered, or closed."""
            made = opened.enter_context(socket.create_connection((host, int(port)), timeout=30))
            try:
                made.sendall(begin)
                return bool(made.recv(9))
            except ConnectionError:
                return False

        assert [greeted(stack) for _ in range(5)] == [True, True, True, False, False]
        stack.close()

        def is_answered() -> bool:
            with ExitStack() as alone:
                return greeted(alone)

        until(is_answered)


def test_more_questions_than_may_wait_are_told_when_to_come_again(tmp_path: Any) -> None:
    with service(tmp_path / "home", flight_address="127.0.0.1:0", query_concurrency=1, query_waiting=0) as served:
        raw = RawFlight(served.flight)
        ticket = raw.ticket(FOREVER)
        call = raw.answers("DoGet", ticket)
        until(running(served, 1))
        with pytest.raises(grpc.RpcError, match="ask again in a moment") as refused:
            raw.call("DoGet", ticket)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert dict(refused.value.trailing_metadata())["retry-after"].isdigit()
        call.cancel()
        raw.close()


def test_the_service_stops_while_it_streams(tmp_path: Any) -> None:
    with service(tmp_path / "home", flight_address="127.0.0.1:0") as served:
        raw = RawFlight(served.flight)
        call = raw.answers("DoGet", raw.ticket(FOREVER))
        until(running(served, 1))
    with pytest.raises(grpc.RpcError):
        list(call)
    raw.close()


def test_many_clients_at_once_are_all_answered(ground: HttpService, monkeypatch: pytest.MonkeyPatch) -> None:
    described: list[str] = []

    def counted(querier: Any, text: str, *given: Any, **more: Any) -> Any:
        described.append(text)
        return check(querier, text, *given, **more)

    monkeypatch.setattr(statements, "check", counted)

    def one(number: int) -> int:
        return int(ask(ground.flight, "SELECT ?::BIGINT AS n", [number]).to_pylist()[0]["n"])

    with ThreadPoolExecutor(12) as pool:
        assert list(pool.map(one, range(12))) == list(range(12))
    assert len(described) <= 8, "four at a time, before and after values are bound; whoever waited finds what they found"


def test_a_busy_port_is_said_before_anything_is_taken(ground: HttpService, tmp_path: Any) -> None:
    import asyncio

    from timestore_assets.model.errors import UnavailableError
    from timestore_assets.service.flight.flight_server import FlightServer

    async def start() -> None:
        await FlightServer(ground.service, ground.flight.removeprefix("grpc://")).start()

    with pytest.raises(UnavailableError, match="is the port busy"):
        asyncio.run(start())


# --- who is let in


@pytest.fixture(scope="module")
def tenants(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[HttpService, dict[str, str]]]:
    names = ("north", "south")
    declared = {
        name: replace(WEATHER, name=name, access=Access(read=(f"{name}:read",), write=(f"{name}:write",))) for name in names
    }
    with open_warehouse(tmp_path_factory.mktemp("tenants") / "home", declared, flight_address="127.0.0.1:0") as warehouse:
        secrets = {name: new_secret() for name in (*names, "revoked")}
        for name, secret in secrets.items():
            scopes = [f"{name}:read", f"{name}:write"]
            warehouse.catalog.tokens.add(name=name, digest=digest_of(secret), expires_at=None, actor="test", scopes=scopes)
        warehouse.catalog.tokens.revoke("revoked", actor="test")
        with serving(warehouse) as served:
            with adbc(served.flight, secrets["north"]) as cursor:
                cursor.adbc_ingest("north", readings(10), mode="append")
            yield served, secrets


def test_a_tenant_sees_its_own_alone(tenants: tuple[HttpService, dict[str, str]]) -> None:
    ground, secrets = tenants
    with adbc(ground.flight, secrets["south"]) as cursor:
        tables = cursor.connection.adbc_get_objects().read_all().to_pylist()[0]["catalog_db_schemas"][0]["db_schema_tables"]
        assert [one["table_name"] for one in tables] == ["south"]
        refusals = []
        for name in ("north", "xorth"):
            with pytest.raises(adbc_driver_manager.Error) as refused:
                cursor.execute(f"SELECT * FROM {name}")
            with pytest.raises(adbc_driver_manager.Error) as put:
                cursor.adbc_ingest(name, readings(1), mode="append")
            refusals.append(f"{refused.value} {put.value}".replace(name, "NAME"))
        assert refusals[0] == refusals[1], "the other's is told from nothing by no word"


def test_a_handle_of_another_opens_nothing(tenants: tuple[HttpService, dict[str, str]]) -> None:
    ground, secrets = tenants
    raw = RawFlight(ground.flight)
    headers = {name: {"authorization": f"Bearer {secret}"} for name, secret in secrets.items()}
    command = descriptor(packed("CommandStatementQuery", query="SELECT count(*) FROM north"))
    info = read("FlightInfo", raw.call("GetFlightInfo", command, headers["north"])[0])
    ticket = info.endpoint[0].ticket.SerializeToString()
    assert len(raw.call("DoGet", ticket, headers["north"])) == 2
    for method, sent in (("DoGet", ticket), ("GetFlightInfo", command)):
        with pytest.raises(grpc.RpcError, match="there is no dataset 'north'"):
            raw.call(method, sent, headers["south"])
    with pytest.raises(grpc.RpcError, match="no statement of yours"):
        body = make("CancelFlightInfoRequest", info=info).SerializeToString()
        raw.call("DoAction", action("CancelFlightInfo", body), headers["south"])
    raw.close()


@pytest.mark.parametrize("credentials", [{}, {"authorization": "Bearer nonsense"}, {"authorization": "Basic !!"}, "revoked"])
def test_nobody_unknown_is_answered(tenants: tuple[HttpService, dict[str, str]], credentials: Any) -> None:
    ground, secrets = tenants
    headers = {"authorization": f"Bearer {secrets['revoked']}"} if credentials == "revoked" else credentials
    raw = RawFlight(ground.flight)
    for method in ("DoGet", "DoPut", "DoAction", "GetFlightInfo", "GetSchema", "Handshake", "ListActions"):
        with pytest.raises(grpc.RpcError) as refused:
            raw.call(method, b"", headers)
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED, method
    raw.close()


def test_nobody_unknown_is_listened_to(tenants: tuple[HttpService, dict[str, str]]) -> None:
    """Else calls of strangers that never say what they want would take all there are."""
    raw = RawFlight(tenants[0].flight)
    for method in ("DoGet", "DoPut", "DoAction", "GetFlightInfo", "GetSchema", "ListActions"):
        with pytest.raises(grpc.RpcError) as refused:
            list(raw.streamed(method, never()))
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED, method
    raw.close()


def test_one_caller_leaves_room_for_others(tenants: tuple[HttpService, dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "SHARE", 2)
    ground, secrets = tenants
    headers = {name: {"authorization": f"Bearer {secret}"} for name, secret in secrets.items()}
    raw = RawFlight(ground.flight)
    held = [raw.streamed("DoPut", never(), headers["north"]) for _ in range(2)]

    def is_refused() -> bool:
        try:
            raw.call("ListActions", b"", headers["north"])
        except grpc.RpcError as refused:
            assert refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "2 of your calls are under way" in (refused.details() or "")
            return True
        return False

    until(is_refused)
    assert raw.call("ListActions", b"", headers["south"])
    for call in held:
        call.cancel()
    until(lambda: not is_refused())
    raw.close()


def test_a_password_is_the_token(tenants: tuple[HttpService, dict[str, str]]) -> None:
    ground, secrets = tenants
    options = {"username": "anybody", "password": secrets["north"]}
    with flight_sql.connect(ground.flight, db_kwargs=options, autocommit=True) as db, db.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM north")
        assert cursor.fetchone() == (10,)


# --- bytes that nobody sends


def begun(command: bytes) -> bytes:
    """The first message of a `DoPut`."""
    made: bytes = make("FlightData", flight_descriptor=make("FlightDescriptor", cmd=command)).SerializeToString()
    return made


SEEDS = [
    descriptor(packed("CommandStatementQuery", query="SELECT * FROM weather WHERE temp > ?")),
    descriptor(packed("CommandGetTables", include_schema=True)),
    make("Ticket", ticket=packed("TicketStatementQuery", statement_handle=b"\x01" * 30)).SerializeToString(),
    action("CreatePreparedStatement", packed("ActionCreatePreparedStatementRequest", query="SELECT 1")),
    action("CancelFlightInfo", make("CancelFlightInfoRequest").SerializeToString()),
    action("SetSessionOptions", b"\x0a\x02\x0a\x00"),
    begun(packed("CommandStatementIngest", table="weather")),
    begun(packed("CommandPreparedStatementQuery")),
]


def test_random_bytes_are_refused_in_words_and_harm_nobody(ground: HttpService, raw: RawFlight) -> None:
    chance = random.Random(7)
    known = ("INVALID_ARGUMENT", "UNIMPLEMENTED", "NOT_FOUND", "PERMISSION_DENIED", "ALREADY_EXISTS")
    for _ in range(150):
        sent = bytearray(chance.choice(SEEDS) if chance.random() < 0.7 else chance.randbytes(chance.randrange(80)))
        for _ in range(chance.randrange(4)):
            if sent:
                sent[chance.randrange(len(sent))] = chance.randrange(256)
        for method in ("GetFlightInfo", "GetSchema", "DoGet", "DoPut", "DoAction"):
            try:
                raw.call(method, bytes(sent))
            except grpc.RpcError as refused:
                said = refused.details() or ""
                assert refused.code().name in known, (method, said)
                assert said and "Traceback" not in said and "site-packages" not in said
    assert ask(ground.flight, "SELECT 1 AS one").num_rows == 1
