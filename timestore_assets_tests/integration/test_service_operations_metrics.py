"""`/metrics`: the accounting adds up in one scrape, strangers see nothing, and the dashboard asks only for what there is."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Mapping
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from timestore_assets.landing.topics.session_options import SessionLimits
from timestore_assets.model.dataset import KafkaSource
from timestore_assets.service.observing.live_figures import Lags
from timestore_assets_tests.support.flight_clients import ask
from timestore_assets_tests.support.http_service import WEATHER, HttpService, open_warehouse, service, serving
from timestore_assets_tests.support.kafka_brokers import EmbeddedKafka, produce
from timestore_assets_tests.support.landing_warehouse import dataset
from timestore_assets_tests.support.topic_warehouse import new_topic, value

DASHBOARD = Path(__file__).parents[2] / "docs" / "grafana" / "timestore.json"
WAIT_SECONDS = 60.0
Samples = Mapping[str, list[tuple[dict[str, str], float]]]

GOOD = {"ts": "2013-01-01T00:00:00Z", "station": "JFK", "temp": 39.5}
BAD = {"ts": "2013-01-01T00:00:00Z", "station": "JFK", "temp": 4000.0}


def scrape(http: HttpService) -> Samples:
    answer = http.client.get("/metrics")
    assert answer.status_code == 200, answer.text
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((dict(sample.labels), sample.value))
    return found


def at(samples: Samples, name: str, **labels: str) -> float:
    """The one value of a metric with (at least) these labels."""
    (found,) = [number for has, number in samples[name] if labels.items() <= has.items()]
    return found


def scrape_until(http: HttpService, name: str, wanted: float, **labels: str) -> Samples:
    """Scrape until a figure is as wanted: those of the catalog are up to a second old."""
    for _ in range(100):
        samples = scrape(http)
        if name in samples and at(samples, name, **labels) == wanted:
            return samples
        threading.Event().wait(0.1)
    raise AssertionError(f"{name} {labels} never was {wanted}: {samples.get(name)}")


def ingest(http: HttpService, *records: Mapping[str, Any], **headers: str) -> None:
    answer = http.client.post("/datasets/weather/ingest", json={"records": records}, headers=headers)
    assert answer.status_code == 200, answer.text


def test_what_was_read_is_accounted_for(tmp_path: Path) -> None:
    with service(tmp_path / "home") as http:
        ingest(http, GOOD, GOOD, BAD)
        ingest(http, GOOD, **{"Idempotency-Key": "one"})
        samples = scrape_until(http, "timestore_records_read_total", 4, dataset="weather")
    records = {has["disposition"]: number for has, number in samples["timestore_records"]}
    assert records == {"landed": 3, "duplicates": 0, "late_dropped": 0, "held": 0, "dead_letters": 1}
    assert at(samples, "timestore_dead_letters", dataset="weather", kind="refused") == 1
    assert at(samples, "timestore_rows", dataset="weather") == 3
    assert at(samples, "timestore_partitions", dataset="weather", state="open") == 1
    assert at(samples, "timestore_unbuilt_deltas", dataset="weather") == 2
    assert at(samples, "timestore_ingest_commit_requests_count", dataset="weather") == 2
    assert at(samples, "timestore_ingest_commit_rows_sum", dataset="weather") == 4
    assert at(samples, "timestore_catalog_up") == 1


def test_every_scrape_adds_up_while_records_come_in(tmp_path: Path) -> None:
    with service(tmp_path / "home") as http:
        done = threading.Event()

        def send() -> None:
            for _ in range(20):
                ingest(http, GOOD, BAD, GOOD)
            done.set()

        sending = threading.Thread(target=send)
        sending.start()
        scrapes = []
        while not done.is_set():
            scrapes.append(scrape(http))
        sending.join(WAIT_SECONDS)
        scrapes.append(scrape_until(http, "timestore_records_read_total", 60, dataset="weather"))
    for samples in scrapes:
        read = sum(number for _, number in samples.get("timestore_records_read_total", ()))
        assert read == sum(number for _, number in samples.get("timestore_records", ()))


def test_requests_are_counted_by_template_and_by_nothing_a_client_makes_up(tmp_path: Path) -> None:
    with service(tmp_path / "home") as http:
        for path in ("/health", "/datasets/weather", "/datasets/made-up", "/made-up"):
            http.client.get(path)
        http.client.request("PROPFIND", "/health")
        samples = scrape(http)
    assert "made-up" not in str(samples).lower()
    assert "PROPFIND" not in str(samples)
    assert at(samples, "timestore_http_requests_total", route="/health", method="GET", status="200") == 1
    assert at(samples, "timestore_http_requests_total", route="/datasets/{name}", status="404") == 1
    assert at(samples, "timestore_http_requests_total", route="unmatched") == 1
    assert at(samples, "timestore_http_requests_total", method="other") == 1


def test_a_catalog_that_is_gone_is_said_and_the_rest_still_shown(tmp_path: Path) -> None:
    with service(tmp_path / "home", trusted_proxies="127.0.0.1") as http:
        catalog = tmp_path / "home" / "catalog.sqlite"
        http.warehouse.catalog.close()  # connections that are open would still find it
        for path in catalog.parent.glob("catalog.sqlite*"):
            path.rename(path.with_name(f"moved-{path.name}"))
        catalog.mkdir()
        operator = {"x-iam-user": "operator", "x-iam-scopes": "timestore:admin"}
        http.client.headers.update(operator)
        samples = scrape(http)
        ready = http.client.get("/ready")
        catalog.rmdir()
    assert at(samples, "timestore_catalog_up") == 0
    assert at(samples, "process_resident_memory_bytes") > 0
    assert ready.status_code == 503
    assert [part["name"] for part in ready.json()["parts"] if part["state"] == "not_ready"] == ["catalog"]
    assert str(tmp_path) not in ready.text


def test_tenants_see_no_figures(tmp_path: Path) -> None:
    with open_warehouse(tmp_path / "home") as warehouse:
        for name, scope in (("tenant", "timestore:read"), ("scraper", "timestore:metrics"), ("chief", "timestore:admin")):
            digest = sha256(f"tst_{name}".encode()).hexdigest()
            warehouse.catalog.tokens.add(name=name, digest=digest, scopes=(scope,), expires_at=None, actor="test")
        with serving(warehouse) as http:
            asked = {
                name: http.client.get("/metrics", headers={"Authorization": f"Bearer tst_{name}"}).status_code
                for name in ("tenant", "scraper", "chief", "nobody")
            }
            assert asked == {"tenant": 403, "scraper": 200, "chief": 200, "nobody": 401}
            assert http.client.get("/metrics").status_code == 401
            assert "weather" not in http.client.get("/metrics", headers={"Authorization": "Bearer tst_tenant"}).text


def test_brokers_that_are_away_hold_up_no_scrape(tmp_path: Path) -> None:
    source = KafkaSource(topics=("gone",), bootstrap_servers="127.0.0.1:1")
    with open_warehouse(tmp_path / "home", {"weather": dataset(sources=(source,))}) as warehouse:
        lags = Lags(warehouse)
        for _ in range(100):
            found = lags.current()
            if found:
                break
        assert found == {("weather", "gone"): None}


# --- the dashboard


def expressions(dashboard: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Title and query of every panel and variable."""
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["query"]["query"]


METRIC = re.compile(r"\b((?:timestore|process)_[a-z_]+)\b(?:\{([^}]*)\})?")
MATCHER = re.compile(r'\s*([a-z_]+)\s*(?:=~|!~|!=|=)\s*"[^"]*"\s*')
GROUPING = re.compile(r"\bby \(([^)]*)\)")
LEGEND = re.compile(r"\{\{\s*([a-z_]+)\s*\}\}")


def used(expression: str) -> tuple[dict[str, set[str]], set[str]]:
    """Metrics of a query with the labels that select among them, and the labels it groups by."""
    metrics: dict[str, set[str]] = {}
    for name, matchers in METRIC.findall(expression):
        parts = [part for part in matchers.split(",") if part.strip()]
        assert all(MATCHER.fullmatch(part) for part in parts), expression
        metrics.setdefault(name, set()).update(part.split("=")[0].strip(" !~") for part in parts)
    grouped = {label.strip() for group in GROUPING.findall(expression) for label in group.split(",")}
    return metrics, grouped


def test_queries_of_the_dashboard_are_taken_apart() -> None:
    """The test below is worth as much as this."""
    metrics, grouped = used('sum by (le, a) (rate(timestore_x_bucket{b=~"$c", d!="e"}[5m])) / timestore_y')
    assert metrics == {"timestore_x_bucket": {"b", "d"}, "timestore_y": set()}
    assert grouped == {"le", "a"}


def test_the_dashboard_is_whole() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    assert {panel["datasource"]["uid"] for panel in panels} == {"${datasource}"}
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        assert panel["description"]
    for title, expression in expressions(dashboard):
        assert expression.count("(") == expression.count(")"), title


def test_every_query_of_the_dashboard_finds_its_metrics_and_labels(tmp_path: Path) -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    samples = scrape_of_a_busy_service(tmp_path)
    labels: dict[str, set[str]] = {
        name: set().union(*(has for has, _ in found)) | {"instance"} for name, found in samples.items()
    }
    for title, expression in expressions(dashboard):
        metrics, grouped = used(expression)
        assert metrics, title
        for name, selected in metrics.items():
            assert name in labels, f"{title}: {name} is nowhere in /metrics"
            assert selected | grouped <= labels[name], f"{title}: {name} has no label {(selected | grouped) - labels[name]}"
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            metrics, _ = used(target["expr"])
            known = set.intersection(*(labels[name] for name in metrics))
            assert set(LEGEND.findall(target["legendFormat"])) <= known, panel["title"]


def test_every_figure_of_the_service_is_on_the_dashboard() -> None:
    """Those that are not are named here, with what they are good for elsewhere."""
    elsewhere = {"timestore_catalog_read_seconds", "timestore_manifest_version", "timestore_unbuilt_rows", "timestore_info"}
    elsewhere.add("timestore_dataset_retired")  # leaves those out of rules about what does not come any more
    elsewhere.add("timestore_sql_kept_answers_total")  # whether keeping them is worth its memory
    text = DASHBOARD.read_text()
    source = "".join(
        path.read_text() for path in (Path(__file__).parents[2] / "timestore_assets" / "service" / "observing").glob("*.py")
    )
    declared = set(re.findall(r'"(timestore_[a-z_]+)"', source))
    assert len(declared) > 30
    assert {name for name in declared - elsewhere if name.removesuffix("_total") not in text} == {"timestore_records_landed"}


def scrape_of_a_busy_service(tmp_path: Path) -> Samples:
    """Everything has happened once: landed over HTTP and from a topic, queried, streamed, merged, asked over Flight."""
    with EmbeddedKafka() as broker:
        topic = new_topic(broker)
        produce(broker.bootstrap, topic, [(number % 4, None, value(number), None, None) for number in range(20)])
        streamed = dataset(name="streamed", sources=(KafkaSource(topics=(topic,), bootstrap_servers=broker.bootstrap),))
        datasets = {WEATHER.name: WEATHER, "streamed": streamed}
        with service(tmp_path / "home", datasets, serve_merge_deltas=1, flight_address="127.0.0.1:0") as http:
            ask(http.flight, "SELECT 1")
            for _ in range(4):
                ingest(http, GOOD, BAD)
            land_some(http, streamed)
            for name in datasets:
                answer = http.client.post(f"/datasets/{name}/query", json={})
                assert answer.status_code == 200, answer.text
            ingest(http, GOOD)
            scrape_until_there(http, "timestore_build_seconds_count")
            scrape_until_there(http, "timestore_source_lag")
            return scrape_until_there(http, "timestore_watermark_age_seconds")


def land_some(http: HttpService, streamed: Any) -> None:
    """Land what the topic holds, so that it has a watermark."""
    limits = SessionLimits(longest=timedelta(seconds=WAIT_SECONDS))
    http.warehouse.stream("streamed", streamed.kafka_sources[0], limits=limits)


def scrape_until_there(http: HttpService, name: str) -> Samples:
    for _ in range(200):
        samples = scrape(http)
        if name in samples:
            return samples
        threading.Event().wait(0.1)
    raise AssertionError(f"{name} never came")
