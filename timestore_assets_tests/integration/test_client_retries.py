"""The client over a rough network: each row lands once, and what can't be done is said."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pyarrow as pa
import pytest

from timestore_assets import TimestoreClient
from timestore_assets.client import InterruptedIngestError, Retries, UnavailableError
from timestore_assets.client.transport import Transport
from timestore_assets_tests.support.rough_server import Mishap, RoughServer, rough_server

QUICK = Retries(attempts=4, seconds=20, base=0.001, most=0.01)
ROWS = [{"n": n} for n in range(10)]


@pytest.fixture
def server() -> Iterator[RoughServer]:
    with rough_server() as started:
        yield started


@pytest.fixture
def client(server: RoughServer) -> Iterator[TimestoreClient]:
    with TimestoreClient(server.url, "secret-token", retries=QUICK, timeout=10) as opened:
        yield opened


@pytest.mark.parametrize("mishap", ["drop before", "drop after", "drop inside", "429", "502", "503", "date"])
def test_a_mishap_lands_each_row_once(server: RoughServer, client: TimestoreClient, mishap: Mishap) -> None:
    server.mishaps.extend([mishap, mishap])
    report = client.ingest("weather", ROWS, chunk_rows=4)
    assert server.rows() == ROWS
    assert (report.sent, report.read, report.landed, report.pending) == (10, 10, 10, False)
    first, again, third, *rest = server.keys()
    assert first == again == third, "a request is sent again under its key"
    assert rest == [f"{first}#2", f"{first}#3"]


def test_the_answer_tells_which_requests_had_landed_before(server: RoughServer, client: TimestoreClient) -> None:
    server.mishaps.append("drop after")
    assert client.ingest("weather", ROWS, chunk_rows=5).repeated == 1
    assert client.ingest("weather", ROWS, chunk_rows=5, key="mine").repeated == 0
    assert client.ingest("weather", ROWS, chunk_rows=5, key="mine").repeated == 2
    assert len(server.rows()) == 20


def test_a_service_that_asks_to_wait_is_waited_for(server: RoughServer, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("timestore_assets.client.transport.time.sleep", pauses.append)
    server.mishaps.extend(["429", "503"])
    with TimestoreClient(server.url, retries=QUICK) as client:
        client.ingest("weather", ROWS)
    assert pauses[0] >= 1
    assert pauses[1] < 1


def test_an_ingest_that_ends_half_way_says_how_to_go_on(server: RoughServer, client: TimestoreClient) -> None:
    server.mishaps.extend(["502"] * 3)
    client.ingest("weather", ROWS[:4], key="k")
    server.mishaps.extend(["drop after", "drop before", "drop before", "drop before"])
    with pytest.raises(InterruptedIngestError, match=r"before any row was acknowledged.*key='half'") as caught:
        client.ingest("weather", ROWS, key="half", chunk_rows=5)
    assert caught.value.report.read == 0
    assert isinstance(caught.value.__cause__, UnavailableError)
    report = client.ingest("weather", ROWS, key=caught.value.key, chunk_rows=5)
    assert (report.landed, report.repeated) == (10, 1)
    assert server.rows() == [*ROWS[:4], *ROWS]


def test_no_service_is_an_error_with_its_address() -> None:
    with TimestoreClient("http://127.0.0.1:9", retries=0) as client, pytest.raises(UnavailableError, match=r"127\.0\.0\.1:9"):
        client.datasets()


def test_trying_ends_with_the_time_allowed(server: RoughServer) -> None:
    server.mishaps.extend(["429"] * 5)
    with (
        TimestoreClient(server.url, retries=Retries(attempts=100, seconds=0.5)) as client,
        pytest.raises(InterruptedIngestError, match="come back later") as caught,
    ):
        client.ingest("weather", ROWS)
    assert caught.value.status == 429
    assert len(server.requests) == 1, "a second's wait would have been over the half second"


def test_refused_rows_are_numbered_over_the_whole_input(server: RoughServer, client: TimestoreClient) -> None:
    report = client.ingest("weather", ({"n": 13 if n in (2, 7) else n} for n in range(10)), chunk_rows=4)
    assert [(one.row, one.code, one.column) for one in report.refused] == [(2, "bad", "n"), (7, "bad", "n")]
    assert (report.dead_letters, report.landed, report.truncated) == (2, 8, False)


def test_frames_and_records_may_be_mixed(server: RoughServer, client: TimestoreClient) -> None:
    table = pa.table({"n": list(range(5, 10))})
    assert client.ingest("weather", iter([*ROWS[:5], table])).landed == 10
    assert server.rows() == ROWS
    types = [headers["content-type"] for _, headers, _ in server.requests]
    assert types == ["application/x-ndjson", "application/vnd.apache.arrow.stream"]


def test_an_answer_is_read_batch_by_batch(server: RoughServer, client: TimestoreClient) -> None:
    server.answer_rows, server.second_half = 5000, threading.Event()
    with client.query("weather") as result:
        batches = iter(result)
        assert next(batches).column("n").to_pylist() == list(range(1000))
        assert not server.answered, "the second half is still to come"
        server.second_half.set()
        assert result.to_arrow().num_rows == 4000
    assert result.manifest_version == 7
    assert result.complete_through is not None
    assert result.streaming == {"bufferState": "ready", "mergedRows": 2}


def test_an_answer_that_breaks_off_is_an_error_and_not_a_short_answer(server: RoughServer, client: TimestoreClient) -> None:
    server.answer_rows = 100_000
    server.mishaps.append("drop inside")
    with pytest.raises(UnavailableError):
        client.query("weather").to_arrow()


def test_something_else_than_the_service_is_told_apart(server: RoughServer, client: TimestoreClient) -> None:
    server.mishaps.append("html")
    with pytest.raises(UnavailableError, match="no whole Arrow stream"):
        client.query("weather")
    server.mishaps.append("html")
    with pytest.raises(InterruptedIngestError, match="something else than JSON"):
        client.ingest("weather", ROWS)


def test_the_token_is_sent_and_never_shown(server: RoughServer, client: TimestoreClient) -> None:
    client.ingest("weather", ROWS)
    assert server.requests[0][1]["authorization"] == "Bearer secret-token"
    transport = client._transport
    assert isinstance(transport, Transport)
    assert "secret-token" not in repr(client) + repr(transport) + repr(vars(transport))
