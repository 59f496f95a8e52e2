"""Over HTTP an answer that is kept is given to who may read the same, and to nobody else; it is counted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from timestore_assets.model.dataset import Access
from timestore_assets.service.access.api_tokens import digest_of, new_secret
from timestore_assets_tests.support.http_service import HttpService, service
from timestore_assets_tests.support.query_warehouse import METER, QueryWarehouse, row

HIDDEN = replace(METER, name="hidden", access=Access(read=("hidden:read",), write=("hidden:write",)))


@pytest.fixture
def running(tmp_path: Path) -> Iterator[HttpService]:
    with service(tmp_path, {METER.name: METER, HIDDEN.name: HIDDEN}) as made:
        for dataset in (METER, HIDDEN):
            _ground(made, tmp_path, dataset).land([row("a", minute) for minute in range(5)])
        yield made


def _ground(made: HttpService, folder: Path, dataset: Any) -> QueryWarehouse:
    warehouse = made.warehouse
    return QueryWarehouse(
        folder=folder,
        catalog=warehouse.catalog,
        store=warehouse.storage.target("default"),
        limits=warehouse.limits,
        dataset=dataset,
        querier=warehouse.querier,
    )


def token(made: HttpService, name: str, *scopes: str) -> dict[str, str]:
    secret = new_secret()
    made.warehouse.catalog.tokens.add(name=name, digest=digest_of(secret), scopes=scopes, expires_at=None, actor="test")
    return {"Authorization": f"Bearer {secret}"}


def ask(made: HttpService, headers: dict[str, str], sql: str, accept: str = "application/json") -> Any:
    return made.client.post("/sql", json={"sql": sql}, headers=headers | {"Accept": accept})


COUNT = "SELECT count(*) AS n FROM meter"


def test_readers_of_the_same_datasets_share_an_answer_until_rows_land(running: HttpService, tmp_path: Path) -> None:
    one, two = (token(running, name, "timestore:read") for name in ("one", "two"))
    first = ask(running, one, COUNT).json()
    assert (first["cached"], first["rows"]) == (False, [{"n": 5}])
    again = ask(running, two, COUNT).json()
    assert again == first | {"cached": True}
    assert b"timestore_sql_kept_answers_total 1.0" in running.service.metrics.render()
    found = ask(running, two, COUNT, "text/csv")
    assert (found.headers["X-Timestore-Cached"], found.text.split()) == ("True", ["n", "5"])
    _ground(running, tmp_path, METER).land([row("b", 0)])
    newer = ask(running, one, COUNT).json()
    assert (newer["cached"], newer["rows"]) == (False, [{"n": 6}])


def test_who_may_read_less_does_not_get_what_others_were_answered(running: HttpService) -> None:
    reader, keeper = token(running, "reader", "timestore:read"), token(running, "keeper", "timestore:read", "hidden:read")
    secret = "SELECT count(*) AS n FROM hidden"
    assert [ask(running, keeper, secret).json()["cached"] for _ in range(2)] == [False, True]
    refused = ask(running, reader, secret)
    assert refused.status_code == 422 and "no dataset 'hidden'" in refused.json()["detail"]
    ask(running, keeper, COUNT)
    assert not ask(running, reader, COUNT).json()["cached"]
