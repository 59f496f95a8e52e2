"""Before there are tokens: only the user who runs the service is answered, not another user of the machine, nor a proxy on it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from timestore_assets.service.access.local_callers import owner_in_tables, owner_of
from timestore_assets_tests.support.http_service import HttpService, service
from timestore_assets_tests.support.service_callers import ADMINISTRATION, READING, Door, bearer, door

NOBODY = 65_534
TIMEOUT = 30
ASKING = """
import encodings.idna, os, socket, struct, sys
port, how = int(sys.argv[1]), sys.argv[2]
os.setuid(int(sys.argv[3]))
body = b'{"maxAge": "3y"}'
head = f"PUT /admin/datasets/weather/retention HTTP/1.1\\r\\nHost: 127.0.0.1:{port}\\r\\nContent-Type: application/json\\r\\n"
for _ in range(1 if how == "answer" else 50):
    s = socket.create_connection(("127.0.0.1", port), timeout=20)
    s.sendall(f"{head}Content-Length: {len(body)}\\r\\nConnection: close\\r\\n\\r\\n".encode() + body)
    if how == "reset":
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if how == "answer":
        print(s.makefile("rb").read().decode())
    s.close()
"""
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
needs_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="sockets show their users on Linux only")


@pytest.fixture
def http(tmp_path: Path) -> Iterator[HttpService]:
    with service(tmp_path / "home") as running:
        yield running


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Door]:
    with door(tmp_path / "home") as opened:
        yield opened


def ask_as(http: HttpService, user: int, how: str = "answer") -> str:
    """The answer to a change of the retention that a process of that user asks for."""
    port = http.url.rpartition(":")[2]
    # plain Python without site packages: the other user may not read this environment
    command = [sys.executable, "-I", "-S", "-c", ASKING, port, how, str(user)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=True)
    return done.stdout


@needs_linux
@needs_root
def test_another_user_of_this_machine_is_not_answered(http: HttpService) -> None:
    refused = ask_as(http, NOBODY)
    assert refused.startswith("HTTP/1.1 403 ") and "only the user who runs this service" in refused
    assert ask_as(http, os.geteuid()).startswith("HTTP/1.1 200 ")


@needs_linux
@needs_root
@pytest.mark.parametrize("how", ["close", "reset"])
def test_nor_changes_anything_by_going_before_the_answer(http: HttpService, how: str) -> None:
    ask_as(http, NOBODY, how)
    assert http.client.get(READING).status_code == 200
    assert http.client.get(f"{ADMINISTRATION}/weather/retention").json()["effective"] is None


@needs_linux
def test_the_connection_of_this_process_is_its_users(http: HttpService) -> None:
    for _ in range(3):
        assert http.client.get(READING).status_code == 200


@needs_linux
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("look", [owner_of, owner_in_tables])
def test_a_connection_shows_its_user_and_a_closed_or_other_one_nobody(look: Any, host: str) -> None:
    with socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as server:
        with socket.create_connection(server.getsockname()[:2]) as client:
            there, here = place(server.getsockname()), place(client.getsockname())
            assert look(here, there) == os.geteuid()
            assert look(here, (there[0], there[1] ^ 1)) is look((here[0], here[1] ^ 1), there) is None
        assert look(here, there) is None
        assert look(there, here) is None, "the listening socket is not a connection"


@needs_linux
@pytest.mark.parametrize("look", [owner_of, owner_in_tables])
def test_ipv4_over_a_socket_for_ipv6_as_java_opens_it_shows_its_user_too(look: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_INET6) as client:
        client.connect(("::ffff:127.0.0.1", server.getsockname()[1]))
        here = ip_address("127.0.0.1"), client.getsockname()[1]
        assert look(here, place(server.getsockname())) == os.geteuid()


def place(address: Any) -> Any:
    return ip_address(address[0]), address[1]


@pytest.mark.parametrize(
    "name",
    [
        "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Server", "Forwarded", "Via", "X-Real-IP",
        "CF-Connecting-IP", "True-Client-IP", "X-Client-IP", "X-Envoy-External-Address", "X-Amzn-Trace-Id", "Fly-Client-IP",
        "Remote-User", "X-Auth-Request-User", "X-Original-URL", "X-IAM-User", "CDN-Loop", "Tailscale-User-Login",
    ],
)  # fmt: skip
def test_what_a_proxy_on_this_machine_passes_on_is_refused(local: Door, name: str) -> None:
    for method, path in (("GET", READING), ("PUT", f"{ADMINISTRATION}/power")):
        refused = local.send(method, path, {name: "127.0.0.1", "Content-Type": "application/json"}, content=b"{}")
        assert refused.status_code == 403 and "timestore tokens create" in refused.json()["detail"]


def test_with_a_token_a_proxy_may_pass_on_what_it_likes(local: Door) -> None:
    reader = bearer(local.token("reader", "timestore:read"))
    assert local.get(headers={**reader, "X-Forwarded-For": "203.0.113.7", "Via": "1.1 front"}).status_code == 200


def test_a_proxy_that_says_nothing_of_itself_speaks_http_1_0(http: HttpService) -> None:
    host, _, port = http.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=TIMEOUT) as plain:
        plain.sendall(f"GET {READING} HTTP/1.0\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
        assert plain.makefile("rb").readline().split()[1] == b"403"


def test_nothing_is_redirected_to_the_host_that_was_sent(local: Door) -> None:
    for path in ("/datasets/weather/", "/admin/datasets/", "/datasets//weather", "/health/"):
        answer = local.get(path, {"Host": "evil.example"})
        assert answer.status_code == 404 and "location" not in answer.headers and "evil" not in answer.text
