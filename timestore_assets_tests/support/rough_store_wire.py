"""One exchange between a client and an object store, by way of the proxy of `rough_store`."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterable
from contextlib import closing
from http.client import HTTPConnection, HTTPException, HTTPResponse
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from timestore_assets_tests.support.rough_store_listing import is_listing

if TYPE_CHECKING:
    from timestore_assets_tests.support.rough_store import Cut, Refusal, RoughStore

PIECE_BYTES = 1 << 16
PATIENCE_SECONDS = 30.0
# of one connection only (RFC 9110, 7.6.1); what we say about the length is ours
_HOP = {"connection", "keep-alive", "transfer-encoding", "expect", "content-length"}


class Exchange(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = PATIENCE_SECONDS
    store: RoughStore

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        fault = self.store.befalls(self.command, self.path)
        time.sleep(self.store.delay_seconds)
        try:
            self._exchange(fault)
        except (OSError, HTTPException):
            self._reset()

    do_PUT = do_POST = do_HEAD = do_DELETE = do_PATCH = do_GET

    def _exchange(self, fault: Refusal | Cut | None) -> None:
        from timestore_assets_tests.support.rough_store import Cut, Refusal

        length = int(self.headers.get("Content-Length", 0))
        if isinstance(fault, Refusal):
            self._upload(length, None)
            return self._refuse(fault)
        cut_at = fault.after if isinstance(fault, Cut) else None
        upload_cut_at = cut_at if isinstance(fault, Cut) and fault.upload else None
        parts = urlsplit(self.store.behind)
        with closing(HTTPConnection(parts.hostname or "", parts.port, timeout=PATIENCE_SECONDS)) as behind:
            self._send_request(behind, length)
            if upload_cut_at is not None and upload_cut_at < length:
                self._upload(upload_cut_at, behind)
                return self._reset()
            self._upload(length, behind)
            return self._answer(behind.getresponse(), None if upload_cut_at is not None else cut_at)

    def _send_request(self, behind: HTTPConnection, length: int) -> None:
        behind.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in _HOP:
                behind.putheader(name, value)
        if "Content-Length" in self.headers:
            behind.putheader("Content-Length", str(length))
        behind.endheaders()

    def _upload(self, length: int, behind: HTTPConnection | None) -> None:
        left = length
        while left and (piece := self.rfile.read(min(left, PIECE_BYTES))):
            left -= len(piece)
            self.store.count(self.store.received, self.command, len(piece))
            if behind is not None:
                behind.send(piece)

    def _answer(self, answer: HTTPResponse, cut_at: int | None) -> None:
        if answer.status < 300 and self.command in ("PUT", "POST"):
            self.store.lagging.written(self.store.key_of(self.path))
        if cut_at == 0:
            return self._reset()
        listed = is_listing(self.command, self.path)
        whole = answer.length is None or listed
        body = answer.read() if whole and self.command != "HEAD" else b""
        if listed and answer.status == 200:
            body = self.store.lagging.filtered(self.path, body)
        self._send_head(answer, len(body) if whole else None)
        return self._send_body([body] if whole else iter(lambda: answer.read(PIECE_BYTES), b""), cut_at)

    def _send_body(self, pieces: Iterable[bytes], cut_at: int | None) -> None:
        for piece in pieces:
            self._send_piece(piece[:cut_at])
            if cut_at is not None and len(piece) >= cut_at:
                return self._reset()
            cut_at = None if cut_at is None else cut_at - len(piece)
        return None

    def _send_head(self, answer: HTTPResponse, length: int | None) -> None:
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in _HOP:
                self.send_header(name, value)
        said = answer.getheader("Content-Length") if length is None or self.command == "HEAD" else str(length)
        if said is not None:
            self.send_header("Content-Length", said)
        self.end_headers()

    def _send_piece(self, piece: bytes) -> None:
        # first, since the client that has it all may look at once
        self.store.count(self.store.sent, self.command, len(piece))
        self.wfile.write(piece)

    def _refuse(self, refusal: Refusal) -> None:
        body = refusal.body()
        self.send_response_only(refusal.status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self._send_piece(body)

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
