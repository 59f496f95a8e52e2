"""What the service counts as it works, and everything `/metrics` shows (https://prometheus.io/docs/instrumenting/exposition_formats)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.registry import Collector

from timestore_assets import __version__
from timestore_assets.landing.requests.ingest import GroupCommit

REQUEST_SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
COMMIT_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
BUILD_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
COUNTS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
ROWS = (1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000)


class Metrics:
    """The service's own figures, in a registry of their own. Threads may share it.

    A dataset's name is a label: what is shown here is for operators, see `operations_routes`.
    """

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # a third more series, which nobody asks for
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        Info("timestore", "Version of timestore.", registry=registry).info({"version": __version__})
        self._datasets: set[str] = set()
        self._requests = Counter(
            "timestore_http_requests_total",
            "Requests answered, by template of their route; status 499: the client left first.",
            ("route", "method", "status"),
            registry=registry,
        )
        self._in_flight = Gauge("timestore_http_requests_in_flight", "Requests being answered now.", registry=registry)
        self._request_seconds = self._histogram(
            "timestore_http_request_seconds", "Seconds from a request's head to its answer's end.", "route", "method"
        )
        self._calls = Counter(
            "timestore_flight_calls_total",
            "Flight calls answered, by gRPC status.",
            ("method", "command", "code"),
            registry=registry,
        )
        self._calls_in_flight = Gauge("timestore_flight_calls_in_flight", "Flight calls being answered now.", registry=registry)
        self._call_seconds = self._histogram(
            "timestore_flight_call_seconds", "Seconds from a Flight call's head to its answer's end.", "method", "command"
        )
        self._commit_requests = self._histogram(
            "timestore_ingest_commit_requests", "Requests that shared a commit.", "dataset", buckets=COUNTS
        )
        self._commit_rows = self._histogram(
            "timestore_ingest_commit_rows", "Rows of a commit of HTTP requests.", "dataset", buckets=ROWS
        )
        self._commit_seconds = self._histogram(
            "timestore_ingest_commit_seconds", "Seconds a commit of HTTP requests took.", "dataset", buckets=COMMIT_SECONDS
        )
        self._query_seconds = self._histogram(
            "timestore_query_seconds", "Seconds from question to the last row of its answer.", "dataset", "kind"
        )
        self._query_rows = self._histogram("timestore_query_rows", "Rows of an answer.", "dataset", "kind", buckets=(0, *ROWS))
        self._kept_answers = Counter(
            "timestore_sql_kept_answers_total", "Answers of SQL that had been computed before.", registry=registry
        )
        self._build_seconds = self._histogram(
            "timestore_build_seconds", "Seconds the service took to merge a partition's deltas.", "dataset", buckets=BUILD_SECONDS
        )

    def _histogram(self, name: str, text: str, *labels: str, buckets: Sequence[float] = REQUEST_SECONDS) -> Histogram:
        return Histogram(name, text, labels, buckets=buckets, registry=self.registry)

    def in_flight(self) -> AbstractContextManager[None]:
        """Counts a request as long as it is entered."""
        return self._in_flight.track_inprogress()

    def observe_request(self, *, route: str, method: str, status: int, seconds: float) -> None:
        self._requests.labels(route, method, str(status)).inc()
        self._request_seconds.labels(route, method).observe(seconds)

    def call_in_flight(self) -> AbstractContextManager[None]:
        """Counts a Flight call as long as it is entered."""
        return self._calls_in_flight.track_inprogress()

    def observe_call(self, *, method: str, command: str, code: str, seconds: float) -> None:
        """A Flight call has been answered. `command`: empty where it has none. `code`: a gRPC status by its name."""
        self._calls.labels(method, command, code).inc()
        self._call_seconds.labels(method, command).observe(seconds)

    def observe_commit(self, commit: GroupCommit) -> None:
        """A commit of HTTP requests is done."""
        self._datasets.add(commit.dataset)
        self._commit_requests.labels(commit.dataset).observe(commit.requests)
        self._commit_rows.labels(commit.dataset).observe(commit.rows)
        self._commit_seconds.labels(commit.dataset).observe(commit.seconds)

    def observe_query(self, *, dataset: str, kind: str, seconds: float, rows: int) -> None:
        """An answer has been given. `kind`: `query`, `sql`, `saved_query`, `flight`. `dataset`: empty for what reads several."""
        if dataset:
            self._datasets.add(dataset)
        self._query_seconds.labels(dataset, kind).observe(seconds)
        self._query_rows.labels(dataset, kind).observe(rows)

    def observe_kept_answer(self) -> None:
        """SQL has been answered by what was computed before."""
        self._kept_answers.inc()

    def observe_build(self, *, dataset: str, seconds: float) -> None:
        self._datasets.add(dataset)
        self._build_seconds.labels(dataset).observe(seconds)

    def datasets(self) -> set[str]:
        """Those that there are figures of."""
        return set(self._datasets)

    def forget(self, dataset: str) -> None:
        """End the series of a dataset that is no longer served."""
        self._datasets.discard(dataset)
        for figure in (
            self._commit_requests,
            self._commit_rows,
            self._commit_seconds,
            self._query_seconds,
            self._query_rows,
            self._build_seconds,
        ):
            figure.remove_by_labels({"dataset": dataset})

    def add(self, collectors: Iterable[Collector]) -> None:
        """Show these figures too, which are looked up when somebody asks."""
        for collector in collectors:
            self.registry.register(collector)

    def render(self) -> bytes:
        """All figures in Prometheus' text format; reads the catalog, so not for the event loop."""
        return generate_latest(self.registry)
