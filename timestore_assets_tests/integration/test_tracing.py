"""Traces reach a collector over OTLP, from a request down to the names of the segments; without one nothing is imported."""

from __future__ import annotations

import gzip
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from timestore_assets.tracing import TraceContext, here, span, tracing
from timestore_assets_tests.support.http_service import open_warehouse, serving

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
RECORDS = [{"ts": "2013-01-01T00:00:00Z", "station": "JFK", "temp": 39.5}]


class Collector:
    """An OTLP collector on a loopback port. `spans`: what it was sent; `paths`: where to."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.paths: set[str] = set()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def named(self, name: str) -> Any:
        (found,) = [one for one in self.spans if one.name == name]
        return found

    def path_to(self, one: Any) -> list[str]:
        """Names from the outermost span down to this one, as far as they were sent."""
        by_id = {found.span_id: found for found in self.spans}
        names = [one.name]
        while one.parent_span_id in by_id:
            one = by_id[one.parent_span_id]
            names.insert(0, one.name)
        return names

    def _handler(collector) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                request = ExportTraceServiceRequest.FromString(body)
                collector.paths.add(self.path)
                collector.spans += [one for r in request.resource_spans for s in r.scope_spans for one in s.spans]
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing on stderr."""

        return Handler


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join(10)


def attributes(one: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in one.attributes}


def test_an_ingest_request_is_traced_down_to_its_segment(tmp_path: Path, collector: Collector) -> None:
    with open_warehouse(tmp_path / "home") as warehouse:
        with tracing(collector.url), serving(warehouse) as ground:
            headers = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
            answer = ground.client.post("/datasets/weather/ingest", json={"records": RECORDS}, headers=headers)
            assert answer.status_code == 200, answer.text
            assert answer.headers["traceresponse"].split("-")[1] == TRACE
        _, record = warehouse.resolve("weather")
        (segment,) = warehouse.catalog.manifest.segments(record.id)
    assert collector.paths == {"/v1/traces"}
    request = collector.named("POST /datasets/{name}/ingest")
    assert (request.trace_id.hex(), request.parent_span_id.hex()) == (TRACE, PARENT)
    assert attributes(request)["http.response.status.code"] == 200
    promote = collector.named("promote")
    assert promote.trace_id.hex() == TRACE
    assert attributes(promote)["objects"] == segment.name
    assert collector.path_to(promote) == ["POST /datasets/{name}/ingest", "group commit", "promote"]
    assert {"prepare", "stage", "promote", "catalog commit"} <= {one.name for one in collector.spans}


def test_a_query_is_traced_to_its_execution(tmp_path: Path, collector: Collector) -> None:
    with open_warehouse(tmp_path / "home") as warehouse, tracing(collector.url), serving(warehouse) as ground:
        assert ground.client.post("/datasets/weather/ingest", json={"records": RECORDS}).status_code == 200
        answer = ground.client.post("/datasets/weather/query", json={})
        assert answer.status_code == 200, answer.text
    steps = [one for one in collector.spans if collector.path_to(one)[0] == "POST /datasets/{name}/query"]
    assert {"plan", "execute"} <= {one.name for one in steps}


def test_nothing_that_was_sent_is_in_a_span(tmp_path: Path, collector: Collector) -> None:
    with open_warehouse(tmp_path / "home") as warehouse, tracing(collector.url), serving(warehouse) as ground:
        bad = [{"ts": "hidden", "station": "hidden"}]
        ground.client.post("/datasets/weather/ingest?hidden=1", json={"records": bad}, headers={"Authorization": "Bearer hidden"})
        ground.client.post("/sql", json={"sql": "SELECT 'hidden' FROM weather"})
        ground.client.get("/hidden")
    assert len(collector.spans) >= 3
    assert not [one for one in collector.spans if "hidden" in str(one)]


def test_a_trace_goes_on_in_other_threads_and_serves_others_too(collector: Collector) -> None:
    other = TraceContext(trace_id="1" * 32, span_id="2" * 16)
    places: list[TraceContext | None] = []
    with tracing(collector.url):
        with span("request", dataset="weather", rows=3) as noting:
            noting.note(more_rows=1)
            places.append(here())

        def work() -> None:
            with span("group", parent=places[0], links=[other]), span("inner"):
                places.append(here())

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert collector.path_to(collector.named("inner")) == ["request", "group", "inner"]
    assert attributes(collector.named("request")) == {"dataset": "weather", "rows": 3, "more.rows": 1}
    assert [link.trace_id.hex() for link in collector.named("group").links] == [other.trace_id]
    assert places[1] is not None
    assert places[0] is not None
    assert places[1].trace_id == places[0].trace_id


def test_a_failed_step_says_so_without_the_message(collector: Collector) -> None:
    with tracing(collector.url), pytest.raises(ValueError, match="hidden"), span("step"):
        raise ValueError("hidden")
    step = collector.named("step")
    assert (step.status.code, step.status.message) == (2, "ValueError")
    assert "hidden" not in str(step)


def test_a_trace_that_is_not_kept_stays_so(collector: Collector) -> None:
    with tracing(collector.url):
        with span("unkept", parent=TraceContext(trace_id=TRACE, span_id=PARENT, sampled=False)) as noting:
            place = noting.place
        with span("kept"):
            pass
    assert place is not None
    assert (place.trace_id, place.sampled) == (TRACE, False)
    assert [one.name for one in collector.spans] == ["kept"]


def test_a_collector_that_is_away_holds_up_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with stopwatch_of(20.0), tracing("http://127.0.0.1:1"), span("step"):
        assert here() is not None
    assert here() is None


@contextmanager
def stopwatch_of(seconds: float) -> Iterator[None]:
    """Fails when the block does not end: a hang, not a matter of speed."""
    over = threading.Event()
    timer = threading.Timer(seconds, over.set)
    timer.start()
    yield
    timer.cancel()
    assert not over.is_set()


def test_without_a_collector_nothing_is_imported() -> None:
    script = """
import sys
from timestore_assets.tracing import here, span, tracing
with tracing(None), span("step", rows=1) as noting:
    noting.note(more=2)
    noting.rename("other")
    noting.fail("no")
    assert noting.place is None and here() is None
sys.exit(any(name.partition(".")[0] == "opentelemetry" for name in sys.modules))
"""
    assert subprocess.run([sys.executable, "-c", script], timeout=60, check=False).returncode == 0


def test_a_missing_extra_is_named() -> None:
    script = """
import sys
sys.modules["opentelemetry.sdk"] = None
from timestore_assets.model.errors import InputError
from timestore_assets.tracing import tracing
try:
    with tracing("http://127.0.0.1:1"):
        pass
except InputError as error:
    sys.exit("timestore-assets[tracing]" not in str(error))
sys.exit("it did not fail")
"""
    assert subprocess.run([sys.executable, "-c", script], timeout=60, check=False).returncode == 0
