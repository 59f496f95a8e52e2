"""What comes before there is a request: headers, addresses and bodies without end or too slow, and connections by the hundred."""

from __future__ import annotations

import json
import os
import select
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from timestore_assets.service.front.http_protocol import MOST_PIPELINED
from timestore_assets_tests.support.http_service import HttpService, service

PATIENCE = 60.0
CONNECTIONS = 24
HOST = b"Host: 127.0.0.1\r\n"


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpService]:
    home = tmp_path_factory.mktemp("front") / "home"
    with service(home, http_head_seconds=1, http_body_seconds=1, http_body_rate=2_000, http_connections=CONNECTIONS) as made:
        yield made


@contextmanager
def connected(http: HttpService, first: bytes = b"") -> Iterator[socket.socket]:
    where = urlsplit(http.url)
    with closing(socket.create_connection((where.hostname or "", where.port or 0), timeout=PATIENCE)) as made:
        made.sendall(first)
        yield made


def flood(http: HttpService, first: bytes, piece: bytes, *, most: int = 20_000_000) -> tuple[int, bytes]:
    """Bytes that the service took until it closed the connection, and what it answered."""
    taken = 0
    with connected(http, first) as made:
        try:
            while taken < most:
                made.sendall(piece)
                taken += len(piece)
        except OSError:
            pass
        return taken, answer(made)


def answer(made: socket.socket) -> bytes:
    """All that comes until the service closes the connection."""
    found = b""
    try:
        while piece := made.recv(65_536):
            found += piece
    except ConnectionError:
        pass
    return found


def problem(found: bytes) -> tuple[int, str]:
    head, _, body = found.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head and b"connection: close" in head.lower()
    said = json.loads(body)
    assert int(head.split()[1]) == said["status"] and said["detail"]
    return said["status"], said["code"]


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    ("first", "piece"),
    [
        (b"GET /health HTTP/1.1\r\n" + HOST, b"X-Long: " + b"a" * 60_000),
        (b"GET /health HTTP/1.1\r\n" + HOST + b"X-Long: ", b"a" * 60_000),
        (b"GET /health HTTP/1.1\r\n" + HOST, b"".join(b"X-%d: a\r\n" % i for i in range(5_000))),
        (b"GET /", b"a" * 60_000),
        (b"", b"A" * 60_000),
        (b"", b"\r\n" * 30_000),
        (b"POST /sql HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X-Trailer: a\r\n" * 5_000),
        (b"POST /sql HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX-Trailer: ", b"a" * 60_000),
        (b"POST /sql HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n5;x=", b"a" * 60_000),
    ],
    ids=["header", "value", "headers", "url", "method", "blank-lines", "trailers", "trailer", "extension"],
)
def test_what_has_no_end_is_cut_off(http: HttpService, first: bytes, piece: bytes) -> None:
    before = resident()
    taken, _ = flood(http, first, piece)
    # what lies in the buffers of two sockets is not seen by the service
    assert taken < 12_000_000 and resident() - before < 60_000_000
    assert http.client.get("/health").status_code == 200


@pytest.mark.parametrize(
    ("head", "status", "code"),
    [
        (b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414, "uri_too_long"),
        (b"GET /health?" + b"a=1&" * 3_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414, "uri_too_long"),
        (b"GET /health HTTP/1.1\r\n" + HOST + b"X-A: a\r\n" * 200 + b"\r\n", 431, "headers_too_large"),
        (b"GET /health HTTP/1.1\r\n" + HOST + b"X-A: " + b"a" * 40_000 + b"\r\n\r\n", 431, "headers_too_large"),
        (b"GET /health HTTP/1.1\r\n" + HOST + b"A b: c\r\n\r\n", 400, "bad_request"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "bad_request"),
    ],
    ids=["url", "query", "headers", "header", "name", "tls"],
)
def test_what_is_too_large_is_answered_in_the_form_of_all_errors(http: HttpService, head: bytes, status: int, code: str) -> None:
    with connected(http, head) as made:
        assert problem(answer(made)) == (status, code)


def test_what_is_within_the_bounds_is_answered(http: HttpService) -> None:
    head = b"GET /health?" + b"a" * 8_000 + b" HTTP/1.1\r\n" + HOST + b"X-A: " + b"a" * 30_000 + b"\r\n" + b"X-B: b\r\n" * 90
    with connected(http, head + b"Connection: close\r\n\r\n") as made:
        assert answer(made).startswith(b"HTTP/1.1 200 ")


def test_requests_that_never_come_are_given_up(http: HttpService) -> None:
    """All at once, because each of them is waited for."""
    body = HOST + b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n[{"
    heads = (b"GET /health HTTP/1.1\r\nHost: ", b"G", b"\r\n", b"POST /sql HTTP/1.1\r\n" + HOST)
    paths = (b"/sql", b"/datasets/weather/ingest", b"/datasets/weather/query")
    with ExitStack() as stack:
        half = [stack.enter_context(connected(http, first)) for first in heads]
        bodiless = [stack.enter_context(connected(http, b"POST " + path + b" HTTP/1.1\r\n" + body)) for path in paths]
        silent = stack.enter_context(connected(http))
        assert {answer(made) for made in half} == {b""}, "who never says what is wanted waits for no answer"
        assert {problem(answer(made)) for made in bodiless} == {(408, "body_timeout")}
        assert answer(silent) == b""


def test_headers_and_bodies_that_drip_are_given_up(http: HttpService) -> None:
    body = b"POST /datasets/weather/ingest HTTP/1.1\r\n" + HOST + b"Content-Length: 9000\r\n\r\n"
    with connected(http, b"GET /health HTTP/1.1\r\n") as slow_head, connected(http, body) as slow_body:
        left = {slow_head: b"X-A: a\r\n", slow_body: b" "}
        deadline = time.monotonic() + PATIENCE
        while left and time.monotonic() < deadline:
            readable, _, _ = select.select(list(left), [], [], 0.1)
            for made in readable:
                said = answer(made)
                assert said == b"" if made is slow_head else said.startswith(b"HTTP/1.1 408 ")
                del left[made]
            for made, drop in left.items():
                # a drop that meets the end resets the connection: what was answered before it is still to be read
                with suppress(ConnectionError):
                    made.sendall(drop)
        assert not left


def test_a_refusal_does_not_break_into_the_answer_before_it(http: HttpService) -> None:
    good = b"GET /health HTTP/1.1\r\n" + HOST + b"\r\n"
    with connected(http, good * 3 + b"GET /" + b"a" * 9_000) as made:
        found = answer(made)
    assert found.count(b'"alive"') == 3 and found.startswith(b"HTTP/1.1 200 ")


def test_pipelined_requests_are_all_answered(http: HttpService) -> None:
    good = b"GET /health HTTP/1.1\r\n" + HOST + b"\r\n"
    with connected(http, good * 300 + good.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")) as made:
        assert answer(made).count(b'"alive"') == 301


def test_requests_far_ahead_of_their_turn_are_not_taken(http: HttpService) -> None:
    """Those that wait are held as objects, each a hundred times as large as what was sent."""
    good = b"GET /health HTTP/1.1\r\n" + HOST + b"\r\n"
    number = MOST_PIPELINED + 1_000
    with connected(http, good * number) as made:
        found = answer(made)
    assert MOST_PIPELINED <= found.count(b'"alive"') < number
    assert http.client.get("/health").status_code == 200


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"GET /health HTTP/1.1\r\n",
        b"POST /datasets/weather/ingest HTTP/1.1\r\n" + HOST + b"Content-Length: 1000\r\n\r\n[",
        b"GET /health HTTP/1.1\r\n" + HOST + b"\r\n",
    ],
    ids=["silent", "half-a-head", "half-a-body", "idle"],
)
def test_others_are_answered_whatever_number_of_connections_waits(http: HttpService, first: bytes) -> None:
    with ExitStack() as stack:
        opened: Sequence[socket.socket] = [stack.enter_context(connected(http, first)) for _ in range(3 * CONNECTIONS)]
        for _ in range(3):
            with connected(http, b"GET /health HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n") as made:
                assert answer(made).startswith(b"HTTP/1.1 200 ")
        assert len(opened) == 3 * CONNECTIONS
