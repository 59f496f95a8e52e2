"""The database's address out of AWS Secrets Manager, as a URL or as RDS keeps it; it is never shown."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import psycopg
import pytest
from moto.server import ThreadedMotoServer
from pydantic import SecretStr
from sqlalchemy import make_url

from timestore_assets.catalog.open_catalog import database_url, open_catalog, url_of_secret, with_login_of
from timestore_assets.model.errors import InputError, UnavailableError
from timestore_assets.settings import Settings
from timestore_assets_tests.support.catalogs import PostgresServer, fresh_database

Keep = Callable[[str, str], None]
RDS = {
    "engine": "postgres",
    "host": "db.internal",
    "port": 5433,
    "username": "ada",
    "password": "p@ss/word",
    "dbname": "warehouse",
}
PASSWORD = "p@ss/word"


@pytest.fixture(scope="module")
def secrets_manager() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def keep(secrets_manager: str, monkeypatch: pytest.MonkeyPatch) -> Keep:
    """Put an entry into Secrets Manager, or another value into it."""
    for name, value in {
        "AWS_ENDPOINT_URL_SECRETS_MANAGER": secrets_manager,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": "eu-central-1",
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("secretsmanager", region_name="eu-central-1")

    def put(name: str, text: str) -> None:
        try:
            client.create_secret(Name=name, SecretString=text)
        except client.exceptions.ResourceExistsException:
            client.put_secret_value(SecretId=name, SecretString=text)

    return put


def settings(**how: str | SecretStr) -> Settings:
    return Settings(**how)


def test_the_json_that_rds_keeps_and_a_plain_url(keep: Keep) -> None:
    keep("rds", json.dumps(RDS))
    keep("plain", "postgresql://ada:x@h/w\n")
    url = make_url(database_url(settings(database_url_secret="rds")))
    assert (url.host, url.port, url.username, url.password, url.database) == ("db.internal", 5433, "ada", PASSWORD, "warehouse")
    assert database_url(settings(database_url_secret="plain")) == "postgresql://ada:x@h/w"


def test_an_entry_that_rds_rotates_holds_the_login_only() -> None:
    login = json.dumps({"username": "ada", "password": PASSWORD})
    url = make_url(url_of_secret(login, name="rds!1", base="postgresql://db.internal:5433/warehouse?sslmode=verify-full"))
    assert (url.host, url.username, url.password, url.query["sslmode"]) == ("db.internal", "ada", PASSWORD, "verify-full")
    assert make_url(with_login_of(url.render_as_string(False), "postgresql://replica/warehouse")).password == PASSWORD
    assert make_url(with_login_of(url.render_as_string(False), "postgresql://eve@replica/warehouse")).password is None


@pytest.mark.parametrize(
    "text", ["{}", '{"host": "h"', '{"host": "h", "port": "x", "username": "u"}', '{"password": "p@ss/word"}']
)
def test_a_secret_that_holds_no_address(text: str) -> None:
    with pytest.raises(InputError, match="secret rds of AWS Secrets Manager holds no database address") as caught:
        url_of_secret(text, name="rds", base=None)
    assert PASSWORD not in str(caught.value)


def test_a_secret_that_is_not_there(keep: Keep) -> None:
    with pytest.raises(InputError, match="has no secret nowhere"):
        database_url(settings(database_url_secret="nowhere"))


def test_the_password_is_never_shown(keep: Keep) -> None:
    keep("away", json.dumps(RDS | {"host": "127.0.0.1", "port": 1}))
    with pytest.raises(UnavailableError, match=r"catalog warehouse on PostgreSQL at 127.0.0.1:1 can't be reached") as caught:
        open_catalog(settings(database_url_secret="away"))
    chain = [caught.value, caught.value.__cause__]
    assert not any(PASSWORD in f"{one!r}{one}" for one in chain)


def test_a_rotated_password_is_taken_up_by_new_connections(keep: Keep, postgres: PostgresServer, postgres_template: str) -> None:
    with fresh_database(postgres, template=postgres_template) as address:
        url = make_url(address)
        keep("rotated", url.set(password="old").render_as_string(False))
        catalog = open_catalog(settings(database_url_secret="rotated"))
        engine = catalog.database.engine
        connect, tried = engine.dialect.connect, []

        # the tests' server asks nobody for a password
        def checking(*args: object, **how: Any) -> object:
            tried.append(how["password"])
            if tried[-1] == "old":
                raise psycopg.OperationalError("password authentication failed")
            return connect(*args, **how)

        keep("rotated", url.set(password="new").render_as_string(False))
        engine.dialect.connect = checking  # type: ignore[assignment, method-assign] # the test listens in
        engine.dispose()
        assert catalog.datasets.all() == []
        assert tried == ["old", "new"]
        catalog.close()
