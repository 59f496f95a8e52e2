"""Pages from the latest row on are the whole answer the other way round: no row is missing, twice or in another place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from timestore_assets_tests.support.examples import examples
from timestore_assets_tests.support.http_service import service
from timestore_assets_tests.support.query_warehouse import METER, PLAIN, QueryWarehouse, row

VALUES = [None, 0.0, -1.5, float("inf"), float("nan"), 7.25]
COLUMNS = ("device", "ts", "value", "n", "note")
ROWS = st.builds(
    row,
    st.sampled_from("ab"),
    st.sampled_from([0, 0.5, 1, 700, 1439]),
    day=st.integers(1, 3),
    value=st.sampled_from(VALUES),
    n=st.sampled_from([None, 1, 2]),
    note=st.sampled_from([None, "", "x"]),
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="module")
def asked(home: Path) -> Iterator[Any]:
    with service(home, {METER.name: METER, PLAIN.name: PLAIN}) as running:
        yield running


def pages(asked: Any, path: str, body: dict[str, Any]) -> Iterator[list[dict[str, Any]]]:
    cursor: str | None = None
    while True:
        response = asked.client.post(path, json=body if cursor is None else {**body, "cursor": cursor})
        assert response.status_code == 200, response.text
        yield response.json()["rows"]
        if (cursor := response.json()["nextCursor"]) is None:
            return


@settings(
    max_examples=examples(12),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
@given(
    dataset=st.sampled_from([METER, PLAIN]),
    landed=st.lists(st.lists(ROWS, min_size=1, max_size=12), min_size=1, max_size=3),
    built=st.sets(st.integers(1, 3), max_size=2),
    columns=st.none() | st.lists(st.sampled_from(COLUMNS), min_size=1, max_size=4, unique=True),
    size=st.integers(1, 9),
    limit=st.none() | st.integers(1, 30),
)
def test_pages_from_the_latest_row_on_are_the_answer_the_other_way_round(
    asked: Any, home: Path, dataset: Any, landed: Any, built: Any, columns: Any, size: int, limit: int | None
) -> None:
    """The rows of all examples so far are asked for: segments of all kinds, many of them of the same times."""
    warehouse = asked.warehouse
    ground = QueryWarehouse(
        folder=home,
        catalog=warehouse.catalog,
        store=warehouse.storage.target("default"),
        limits=warehouse.limits,
        dataset=dataset,
        querier=warehouse.querier,
    )
    for part in landed:
        ground.land(part)
    ground.build(*built)
    path, body = f"/datasets/{dataset.name}/query", {"columns": columns}
    # a limit puts rows of one time into an order
    whole = asked.client.post(path, json={**body, "limit": 100_000}).json()["rows"]
    backwards = {**body, "descending": True, "limit": limit, "pageSize": max(size, len(whole) // 20)}
    found = list(pages(asked, path, backwards))
    assert [one for page in found for one in page] == whole[::-1][:limit]
    assert all(len(page) == backwards["pageSize"] for page in found[:-1])
