"""Recipes that feed datasets: the very bodies, events and programs of the pages, against the service, a queue and a broker."""

from __future__ import annotations

import gzip
import json
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import boto3
import obstore
import pytest
from moto.server import ThreadedMotoServer

from timestore_assets.settings import Settings
from timestore_assets.warehouse import Warehouse
from timestore_assets_tests.support.bucket_source import reaching
from timestore_assets_tests.support.command_line import CommandLine
from timestore_assets_tests.support.doc_pages import DocPage
from timestore_assets_tests.support.http_service import serving
from timestore_assets_tests.support.kafka_brokers import EmbeddedKafka
from timestore_assets_tests.support.object_servers import S3Server
from timestore_assets_tests.support.readings_service import ADDRESS


@pytest.fixture
def line(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path)


def test_what_telegraf_sends_lands_once_each(line: CommandLine) -> None:
    page = DocPage("recipes/telegraf.md")
    page.write_files(line)
    (output,) = tomllib.loads(page.file("telegraf.conf"))["outputs"]["http"]
    (batch,) = page.of("json")
    token = page.type_commands(line, skip="timestore query").strip()
    headers = {
        **{name: value.replace("${TIMESTORE_TOKEN}", token) for name, value in output["headers"].items()},
        "Content-Encoding": output["content_encoding"],
    }
    assert headers["Content-Encoding"] == "gzip"
    with Warehouse.open(Settings(home=line.home)) as warehouse, serving(warehouse) as http:

        def post(body: bytes) -> tuple[int, Any]:
            answer = http.client.post(output["url"].removeprefix(ADDRESS), content=gzip.compress(body), headers=headers)
            return answer.status_code, answer.json()

        for _ in range(2):
            status, told = post(batch.encode())
            assert (status, told["landed"], told["deadLetters"]["count"]) == (200, 2, 0)
        status, told = post(b'{"records": [{"cpu": "cpu2", "host": "web-1", "ts": 1709251200000, "usage_idle": "much"}]}')
        assert (status, told["landed"], told["deadLetters"]["count"]) == (200, 0, 1), "one bad metric blocks nothing"
        status, told = post(b'{"metrics": [')
        assert status in output["non_retryable_statuscodes"], told
    rows = line.inside("query", "cpu", "--json").json
    assert [(row["cpu"], row["ts"], row["usage_user"], row["usage_iowait"]) for row in rows] == [
        ("cpu0", "2024-03-01T00:00:00Z", 4.0, None),
        ("cpu1", "2024-03-01T00:00:00Z", 8.5, 0.5),
    ], "the repeated batch is seen once"


@pytest.fixture(scope="module")
def aws() -> Iterator[str]:
    """Where moto's S3 and SQS answer."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def test_objects_that_events_announce_land_and_their_messages_go(
    line: CommandLine, aws: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = DocPage("recipes/s3-events.md")
    page.write_files(line)
    server = S3Server(endpoint=aws, bucket="incoming", product="moto", access_key="key", secret_key="secret")
    server.make_bucket()
    line.environment |= reaching(server)
    for name, value in {**line.environment, **server.environment()}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(line.folder)
    names: dict[str, Any] = {"__name__": "s3_events"}
    exec(page.file("s3_events.py"), names)
    sqs = boto3.client("sqs", endpoint_url=aws)
    url = sqs.create_queue(QueueName="meters", Attributes={"VisibilityTimeout": "0"})["QueueUrl"]
    wanted = json.loads(page.file("notification.json"))
    boto3.client("s3", endpoint_url=aws).put_bucket_notification_configuration(
        Bucket="incoming", NotificationConfiguration=wanted
    )

    def drop(key: str, day: int) -> None:
        obstore.put(server.store(), key, f"at,meter,kwh\n2024-03-{day:02d}T00:00:00Z,m1,{day}\n".encode())

    def told(key: str) -> str:
        record = {
            "eventName": "ObjectCreated:Put",
            "s3": {"bucket": {"name": "incoming"}, "object": {"key": quote_plus(key, safe="/")}},
        }
        sqs.send_message(QueueUrl=url, MessageBody=json.dumps({"Records": [record]}))
        return key

    def waiting() -> int:
        found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
        return int(found["Attributes"]["ApproximateNumberOfMessages"])

    assert waiting() == 1, "the test event of S3"
    drop("meters/a.csv", 1)
    drop("elsewhere/b.csv", 2)
    awkward = "meters/c+d [1] #2?.csv"
    assert waiting() == 2, "of the two, the one that the filter of the page lets through"
    drop(awkward, 3)
    told("meters/a.csv")
    told("meters/gone.csv")
    told(awkward)
    while waiting() > 1:
        assert names["receive"](sqs, url, "meters", wait=0) > 1
    rows = line.inside("query", "meters", "--json").json
    assert [(row["at"][:10], row["kwh"]) for row in rows] == [("2024-03-01", 1.0), ("2024-03-03", 3.0)]
    (left,) = sqs.receive_message(QueueUrl=url)["Messages"]
    assert "gone.csv" in left["Body"], "only what can't be done stays"


def test_a_topic_becomes_minutes(line: CommandLine) -> None:
    page = DocPage("recipes/kafka.md")
    page.write_files(line)
    with EmbeddedKafka() as kafka:
        servers = kafka.bootstrap
        path = f"{Path(sys.executable).parent}:{line.environment['PATH']}"
        shown = page.type_commands(line, BROKER=servers, TIMESTORE_KAFKA_BOOTSTRAP_SERVERS=servers, PATH=path)
    assert "1,800" in shown
    rows = (line.folder / "minutes.csv").read_text().splitlines()
    assert len(rows) == 1 + 3 * 10
    counts = line.inside(
        "sql", "SELECT machine, count(*) AS n, max(pieces) AS pieces FROM machines GROUP BY 1 ORDER BY 1", "--json"
    )
    assert [list(row.values()) for row in counts.json] == [["oven", 600, 85], ["press-1", 600, 85], ["press-2", 600, 85]]
