"""Google's XML API in front of fake-gcs-server, which speaks the JSON API alone; obstore speaks the XML API.

`python gcs_xml_front.py PORT PORT_BEHIND` answers until it is ended. Where the server behind ignores conditions (If-Match,
copies that must not replace), they are kept here. https://cloud.google.com/storage/docs/xml-api/reference-methods
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import uuid
from contextlib import closing
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit
from xml.sax.saxutils import escape

HOST = "127.0.0.1"
PATIENCE_SECONDS = 30.0
PIECE_BYTES = 1 << 16
PAGE_KEYS = "1000"
_JSON_API = ("/storage/", "/upload/", "/download/", "/batch/", "/_internal/")
_DESCRIBING = ("content-type", "cache-control", "content-disposition", "content-language")
_OF_THE_CONNECTION = ("host", "connection", "transfer-encoding", "content-length", "expect")


class XmlFront(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    behind = 0
    uploads: dict[str, dict[int, bytes]]
    described: dict[str, dict[str, str]]

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if parts.path == "/" or parts.path.startswith(_JSON_API):
            return self._pass_on(body)
        bucket, _, key = parts.path[1:].partition("/")
        self.bucket, self.key = unquote(bucket), unquote(key)
        self.query = dict(parse_qsl(parts.query, keep_blank_values=True))
        if not key:
            return self._list()
        if self.command in ("GET", "HEAD"):
            return self._pass_on(body)
        if "uploads" in self.query or "uploadId" in self.query:
            return self._multipart(body)
        return self._write(body)

    do_PUT = do_POST = do_HEAD = do_DELETE = do_PATCH = do_GET

    def _write(self, body: bytes) -> None:
        if self.command == "DELETE":
            with closing(self._behind()) as server:
                return self._say(self._ask(server, "DELETE", f"/storage/v1/b/{self.bucket}/o/{quote(self.key, safe='')}").status)
        source = self.headers.get("x-goog-copy-source")
        if source is None:
            return self._store(body)
        with closing(self._behind()) as server:
            found = self._ask(server, "GET", f"/{source.lstrip('/')}")
            copied = found.read()
            return self._store(copied) if found.status == 200 else self._say(found.status)

    def _multipart(self, body: bytes) -> None:
        upload = self.query.get("uploadId", "")
        if "uploads" in self.query:
            upload = uuid.uuid4().hex
            self.uploads[upload], self.described[upload] = {}, self._description()
            text = f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>"
            return self._say(200, text.encode())
        if upload not in self.uploads:
            return self._say(404)
        if self.command == "PUT":
            self.uploads[upload][int(self.query["partNumber"])] = body
            return self._say(200, headers={"ETag": f'"{hashlib.md5(body).hexdigest()}"'})
        parts = self.uploads.pop(upload)
        if self.command == "DELETE":
            return self._say(204)
        described = self.described.pop(upload)
        numbers = [int(number) for number in re.findall(rb"<PartNumber>(\d+)</PartNumber>", body)]
        whole = b"".join(parts[number] for number in numbers)
        return self._store(whole, described, answer="CompleteMultipartUploadResult")

    def _description(self) -> dict[str, str]:
        """What the request says about the object that it makes."""
        names = [name for name in self.headers if name.lower() in _DESCRIBING or name.lower().startswith("x-goog-meta-")]
        return {name: self.headers[name] for name in names}

    def _store(self, content: bytes, described: dict[str, str] | None = None, *, answer: str = "") -> None:
        query = {"uploadType": "media", "name": self.key}
        if condition := self.headers.get("x-goog-if-generation-match"):
            query["ifGenerationMatch"] = condition
        headers = self._description() if described is None else described
        with closing(self._behind()) as server:
            target = f"/upload/storage/v1/b/{self.bucket}/o?{urlencode(query)}"
            stored = self._ask(server, "POST", target, content, headers)
            said = json.load(stored)
        if stored.status != 200:
            return self._say(stored.status)
        etag = f'"{said["etag"]}"'
        text = f"<{answer}><ETag>{escape(etag)}</ETag></{answer}>" if answer else ""
        return self._say(200, text.encode(), {"ETag": etag, "x-goog-generation": said["generation"]})

    def _list(self) -> None:
        after = self.query.get("start-after", "")
        asked = {
            "prefix": self.query.get("prefix"),
            "delimiter": self.query.get("delimiter"),
            "pageToken": self.query.get("continuation-token"),
            "startOffset": after,
            "maxResults": self.query.get("max-keys", PAGE_KEYS),
        }
        with closing(self._behind()) as server:
            target = f"/storage/v1/b/{self.bucket}/o?{urlencode({name: value for name, value in asked.items() if value})}"
            listed = self._ask(server, "GET", target)
            page = json.load(listed)
        if listed.status != 200:
            return self._say(listed.status)
        found = "".join(_entry(item) for item in page.get("items", ()) if item["name"] != after)
        found += "".join(f"<CommonPrefixes><Prefix>{escape(one)}</Prefix></CommonPrefixes>" for one in page.get("prefixes", ()))
        if token := page.get("nextPageToken"):
            found += f"<NextContinuationToken>{escape(token)}</NextContinuationToken>"
        return self._say(200, f"<ListBucketResult>{found}</ListBucketResult>".encode())

    def _pass_on(self, body: bytes) -> None:
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _OF_THE_CONNECTION}
        with closing(self._behind()) as server:
            answer = self._ask(server, self.command, self.path, body or None, headers)
            etag = answer.getheader("ETag")
            if etag and self.headers.get("If-Match", etag) not in (etag, "*"):
                return self._say(412)
            if etag and self.headers.get("If-None-Match") in (etag, "*"):
                return self._say(304)
            return self._hand_back(answer)

    def _hand_back(self, answer: HTTPResponse) -> None:
        self.send_response_only(answer.status)
        kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in _OF_THE_CONNECTION]
        body = answer.read() if answer.length is None else None
        length = answer.getheader("Content-Length") if body is None else str(len(body))
        for name, value in [*kept, ("Content-Length", length or "0")]:
            self.send_header(name, value)
        self.end_headers()
        while piece := body or answer.read(PIECE_BYTES):
            self.wfile.write(piece)
            body = None

    def _behind(self) -> HTTPConnection:
        return HTTPConnection(HOST, self.behind, timeout=PATIENCE_SECONDS)

    def _ask(
        self, server: HTTPConnection, method: str, target: str, body: bytes | None = None, headers: Any = None
    ) -> HTTPResponse:
        server.request(method, target, body=body, headers={"Accept-Encoding": "identity", **(headers or {})})
        return server.getresponse()

    def _say(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response_only(status)
        if status not in (204, 304):
            self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _entry(item: dict[str, str]) -> str:
    facts = {"Key": item["name"], "Size": item["size"], "LastModified": item["updated"], "ETag": f'"{item["etag"]}"'}
    return "<Contents>" + "".join(f"<{name}>{escape(value)}</{name}>" for name, value in facts.items()) + "</Contents>"


def serve(port: int, behind: int) -> None:
    handler = type("Front", (XmlFront,), {"behind": behind, "uploads": {}, "described": {}})
    ThreadingHTTPServer.request_queue_size = 128
    ThreadingHTTPServer((HOST, port), handler).serve_forever()


if __name__ == "__main__":
    serve(int(sys.argv[1]), int(sys.argv[2]))
