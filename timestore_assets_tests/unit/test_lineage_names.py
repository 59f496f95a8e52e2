"""Datasets are named by OpenLineage's conventions, without what an address may hold beside a name (I10)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from timestore_assets.lineage.dataset_names import LineageName, source_names, table_name, undeclared_names
from timestore_assets.model.dataset import FileSource, HttpSource, KafkaSource
from timestore_assets.settings import Settings


def settings(**more: Any) -> Settings:
    return Settings(home=Path("/srv/home"), **more)


def named(namespace: str, *names: str) -> list[LineageName]:
    return [LineageName(namespace=namespace, name=name) for name in names]


@pytest.mark.parametrize(
    ("prefix", "namespace", "name"),
    [
        ("inbox/weather/", "file", "/srv/home/inbox/weather"),
        ("/data/raw", "file", "/data/raw"),
        ("raw/{window:%Y/%m}/x/", "file", "/srv/home/raw"),
        ("s3://lake/raw/{window:%Y}/", "s3://lake", "raw"),
        ("s3://lake", "s3://lake", "/"),
        ("gs://lake/raw/", "gs://lake", "raw"),
        ("s3://key:hidden@lake/raw", "s3://lake", "raw"),
    ],
)
def test_a_watched_prefix_is_the_folder_below_which_all_its_files_are(prefix: str, namespace: str, name: str) -> None:
    assert list(source_names(settings(), "weather", FileSource(prefix=prefix))) == named(namespace, name)


def test_azure_is_named_by_container_and_account_where_that_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    source = FileSource(prefix="az://raw/in/")
    assert list(source_names(settings(), "weather", source)) == named("az://raw", "in")
    known = settings(azure_account="acme")
    assert list(source_names(known, "weather", source)) == named("abfss://raw@acme.dfs.core.windows.net", "in")


@pytest.mark.parametrize(
    ("servers", "namespace"),
    [
        ("b1:9094,b2:9094", "kafka://b1:9094"),
        ("b1", "kafka://b1:9092"),
        ("SASL_SSL://me:hidden@b1:9094", "kafka://b1:9094"),
    ],
)
def test_topics_are_named_by_the_first_broker(servers: str, namespace: str) -> None:
    source = KafkaSource(topics=("a", "b"), bootstrap_servers=servers)
    assert list(source_names(settings(), "weather", source)) == named(namespace, "a", "b")
    assert list(source_names(settings(kafka_bootstrap_servers=servers), "weather", KafkaSource(topics=("a",)))) == named(
        namespace, "a"
    )


def test_what_programs_send_and_our_own_tables_are_in_our_namespace() -> None:
    prod = settings(openlineage_namespace="prod")
    assert table_name(prod, "weather") == LineageName(namespace="prod", name="weather")
    assert list(source_names(prod, "weather", HttpSource())) == named("prod", "weather/ingest")


def test_a_source_that_is_declared_no_more_is_named_by_its_address() -> None:
    known = settings(kafka_bootstrap_servers="b1:9092")
    assert list(undeclared_names(known, "weather", "files", "inbox/old/**/*")) == named("file", "/srv/home/inbox/old")
    assert list(undeclared_names(known, "weather", "kafka", "a,b")) == named("kafka://b1:9092", "a", "b")
    assert list(undeclared_names(known, "weather", "", "")) == []
