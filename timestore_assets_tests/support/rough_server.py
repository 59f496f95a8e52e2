"""A small HTTP server that lands and answers like the service, over a network that is as rough as a test wants it."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

import pyarrow as pa

PATIENCE_SECONDS = 5.0
Mishap = Literal["drop before", "drop after", "drop inside", "429", "502", "503", "html", "date"]
"""drop: the connection is reset before the rows land, after they did, or inside the answer. date: 503 with a date to wait for."""


@dataclass
class RoughServer:
    """`mishaps`: what befalls the next requests, one each. `landed`: rows by idempotency key, of keys that landed.
    `second_half`: what the second half of an answer to a question waits for.
    """

    url: str = ""
    mishaps: deque[Mishap] = field(default_factory=deque)
    landed: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    answered: list[str] = field(default_factory=list)
    answer_rows: int = 0
    second_half: threading.Event | None = None

    def rows(self) -> list[dict[str, Any]]:
        return [row for rows in self.landed.values() for row in rows]

    def keys(self) -> list[str]:
        return [headers["idempotency-key"] for _, headers, _ in self.requests if "idempotency-key" in headers]


@contextmanager
def rough_server() -> Iterator[RoughServer]:
    state = RoughServer()
    handler = type("Handler", (_Handler,), {"state": state})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: RoughServer

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.state.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
        mishap = self.state.mishaps.popleft() if self.state.mishaps else None
        if mishap == "drop before":
            return self._reset()
        if mishap == "html":
            return self._send(200, b"<html>log in first</html>", {"Content-Type": "text/html"})
        if mishap in ("429", "502", "503", "date"):
            after = {"429": "1", "503": "0", "date": "Thu, 01 Jan 1970 00:00:00 GMT"}.get(mishap)
            status = 503 if mishap == "date" else int(mishap)
            problem = {"status": status, "code": "later", "detail": "come back later"}
            return self._send(status, json.dumps(problem).encode(), {"Retry-After": after} if after else {})
        if self.path.endswith("/ingest"):
            return self._ingest(body, mishap)
        return self._arrow(mishap)

    def _ingest(self, body: bytes, mishap: Mishap | None) -> None:
        key = self.headers["Idempotency-Key"]
        repeated = key in self.state.landed
        rows = _rows(self.headers["Content-Type"], body)
        self.state.landed.setdefault(key, rows)
        bad = [{"row": i, "code": "bad", "column": "n", "reason": "no"} for i, row in enumerate(rows) if row["n"] == 13]
        answer = {
            "ingestionId": key,
            "dataset": "weather",
            "manifestVersion": len(self.state.landed),
            "read": len(rows),
            "landed": len(rows) - len(bad),
            "duplicates": 0,
            "deadLetters": {"count": len(bad), "rows": bad, "truncated": False},
            "repeated": repeated,
        }
        if mishap == "drop after":
            return self._reset()
        return self._send(200, json.dumps(answer).encode(), {}, cut=mishap == "drop inside")

    def _arrow(self, mishap: Mishap | None) -> None:
        sink = pa.BufferOutputStream()
        schema = pa.schema({"n": pa.int64()})
        with pa.ipc.new_stream(sink, schema) as writer:
            for start in range(0, self.state.answer_rows, 1000):
                writer.write_batch(pa.record_batch([list(range(start, start + 1000))], schema=schema))
        headers = {
            "X-Timestore-Manifest-Version": "7",
            "X-Timestore-Completeness": '{"completeThrough": "2024-01-02T00:00:00Z", "sources": []}',
            "X-Timestore-Streaming": '{"bufferState": "ready", "mergedRows": 2}',
        }
        return self._send(200, sink.getvalue().to_pybytes(), headers, cut=mishap == "drop inside")

    def _send(self, status: int, body: bytes, headers: dict[str, str], *, cut: bool = False) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        half = len(body) // 2
        self.wfile.write(body[:half])
        if self.state.second_half is not None:
            self.state.second_half.wait(PATIENCE_SECONDS)
        if not cut:
            self.state.answered.append(self.path)
            self.wfile.write(body[half:])
        self.close_connection = cut

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True


def _rows(media_type: str, body: bytes) -> list[dict[str, Any]]:
    if media_type == "application/x-ndjson":
        return [json.loads(line) for line in body.splitlines()]
    rows: list[dict[str, Any]] = pa.ipc.open_stream(body).read_all().to_pylist()
    return rows
