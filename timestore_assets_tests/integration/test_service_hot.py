"""Records of topics in answers over HTTP before they land."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from timestore_assets.model.dataset import Dataset, KafkaSource
from timestore_assets_tests.support.http_service import HttpService, service
from timestore_assets_tests.support.kafka_brokers import REAL_KAFKA, EmbeddedKafka, KafkaCluster, produce
from timestore_assets_tests.support.landing_warehouse import dataset
from timestore_assets_tests.support.topic_warehouse import QUICK, new_topic, value, wait_until

pytestmark = REAL_KAFKA
AnyKafka = KafkaCluster | EmbeddedKafka


def declared(topic: str) -> Dataset:
    return dataset(sources=(KafkaSource(topics=(topic,), flush=QUICK),))


def asked(http: HttpService, **body: Any) -> dict[str, Any]:
    answer = http.client.post("/datasets/weather/query", json={"columns": ["station"], **body})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def send(kafka: AnyKafka, topic: str, count: int, start: int = 0) -> None:
    produce(kafka.bootstrap, topic, [(number % 4, None, value(number), None, None) for number in range(start, count)])


def stations(found: dict[str, Any]) -> list[str]:
    return [row["station"] for row in found["rows"]]


def names(count: int) -> list[str]:
    return [f"S{number}" for number in range(count)]


def test_an_answer_has_what_is_not_landed_and_says_so(any_kafka: AnyKafka, tmp_path: Path) -> None:
    topic = new_topic(any_kafka)
    source = declared(topic)
    send(any_kafka, topic, 20)
    with service(tmp_path, {"weather": source}, kafka_bootstrap_servers=any_kafka.bootstrap) as http:
        wait_until(lambda: stations(asked(http)) == names(20), "all are shown")
        streaming = asked(http)["streaming"]
        assert streaming == {
            "bufferState": "ready",
            "mergedRows": 20,
            "watermark": "2013-01-01T00:00:16Z",
            "fresh": True,
        }
        http.warehouse.stream("weather", source.kafka_sources[0])
        found = asked(http)
        assert (stations(found), found["streaming"]["mergedRows"]) == (names(20), 0)
        send(any_kafka, topic, 30, 20)
        wait_until(lambda: stations(asked(http)) == names(30), "the newest are shown")
        page = asked(http, pageSize=5)
        assert page["streaming"]["bufferState"] == "off"
        assert stations(asked(http, descending=True, limit=12)) == names(30)[:-13:-1]
        older = asked(http, asOf=found["manifestVersion"])
        assert stations(older) == names(20)


def test_brokers_that_are_away(tmp_path: Path) -> None:
    with EmbeddedKafka() as gone:
        servers = gone.bootstrap
    with service(tmp_path / "a", {"weather": declared("t")}, kafka_bootstrap_servers=servers) as http:
        wait_until(lambda: asked(http)["streaming"]["bufferState"] == "unavailable", "it is noticed")
        found = asked(http)
        assert (found["rows"], found["streaming"]["fresh"]) == ([], False)
        assert len(found["warnings"]) == 1
        assert servers not in found["warnings"][0]
        assert http.client.get("/ready").status_code in (200, 503)


def test_brokers_that_are_away_as_an_error(tmp_path: Path) -> None:
    with EmbeddedKafka() as gone:
        servers = gone.bootstrap
    with service(tmp_path, {"weather": declared("t")}, kafka_bootstrap_servers=servers, hot_fallback="error") as http:
        answer = http.client.post("/datasets/weather/query", json={})
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert "Retry-After" in answer.headers
        assert servers not in answer.text


@pytest.mark.parametrize("count", [1, 3])
def test_a_service_without_a_cluster_answers_what_is_landed(tmp_path: Path, count: int) -> None:
    with service(tmp_path, {"weather": declared("t")}) as http:
        found = [asked(http) for _ in range(count)][-1]
        assert (found["rows"], found["streaming"]["bufferState"]) == ([], "unavailable")
