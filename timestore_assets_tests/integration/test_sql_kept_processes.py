"""A process whose statement ended well waits for the next one; one that was stopped, failed or has grown does not."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from timestore_assets.model.errors import InputError, TimeLimitError, UnavailableError
from timestore_assets.querying.sql.sandbox import check, run_sql
from timestore_assets.querying.sql.sql_worker import Workers
from timestore_assets_tests.support.query_warehouse import METER, QueryWarehouse, query_warehouse_in, row

PATIENCE = 60.0
ENDLESS = "SELECT count(*) FROM range(100000000) a, range(100000000) b WHERE a.range + b.range = -1"


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[QueryWarehouse]:
    made = query_warehouse_in(tmp_path, memory_bytes=200_000_000)
    made.land([row("a", minute, n=minute, note="x") for minute in range(5)])
    yield made
    made.close()


@pytest.fixture
def workers() -> Iterator[Workers]:
    made = Workers()
    yield made
    made.close()


def living(workers: Workers) -> list[int]:
    assert workers._nursery is not None
    pid = workers._nursery._process.pid
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split() if is_alive(int(one))]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False


def eventually(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def asked(warehouse: QueryWarehouse, workers: Workers, text: str, **options: Any) -> list[dict[str, Any]]:
    datasets = options.pop("datasets", {"meter": (warehouse.dataset, warehouse.record)})
    with run_sql(warehouse.querier, text, datasets, room=workers.room, **options) as answer:
        rows: list[dict[str, Any]] = answer.table().to_pylist()
        return rows


def total(warehouse: QueryWarehouse, workers: Workers) -> Any:
    return asked(warehouse, workers, "SELECT sum(n)::INT AS n FROM meter")[0]["n"]


def test_statements_that_end_well_share_a_process_and_see_what_lands(warehouse: QueryWarehouse, workers: Workers) -> None:
    assert total(warehouse, workers) == 10
    (first,) = living(workers)
    assert total(warehouse, workers) == 10
    assert asked(warehouse, workers, "SELECT note, count(*) AS c FROM meter GROUP BY 1") == [{"note": "x", "c": 5}]
    warehouse.land([row("b", 0, n=100)])
    assert total(warehouse, workers) == 110
    warehouse.build(1)
    assert total(warehouse, workers) == 110
    assert living(workers) == [first]


def test_what_is_described_leaves_its_process_for_the_next(warehouse: QueryWarehouse, workers: Workers) -> None:
    datasets = {"meter": (warehouse.dataset, warehouse.record)}
    for _ in range(2):
        found = check(warehouse.querier, "SELECT n FROM meter", datasets, bound_only=True, room=workers.room)
        assert found.schema.names == ["n"]
        (process,) = living(workers)
    assert total(warehouse, workers) == 10 and living(workers) == [process]


def test_who_may_read_other_datasets_has_another_process(warehouse: QueryWarehouse, workers: Workers) -> None:
    """A text that was checked for one caller is checked anew for another, and what one may read no longer is refused at once."""
    mine = {"meter": (warehouse.dataset, warehouse.record)}
    other = replace(METER, name="other")
    both = {**mine, "other": (other, warehouse.catalog.datasets.register(other, actor="test"))}
    text = "SELECT count(*) AS c FROM other"
    assert asked(warehouse, workers, text, datasets=both) == [{"c": 0}]
    with pytest.raises(InputError, match="there is no dataset 'other'"):
        asked(warehouse, workers, text, datasets=mine)
    assert asked(warehouse, workers, "SELECT 1 AS a", datasets=mine) == [{"a": 1}]
    assert len(living(workers)) == 2


@pytest.mark.parametrize(
    ("text", "options", "error"),
    [
        (ENDLESS, {"timeout": 0.5}, TimeLimitError),
        ("SELECT note::INTEGER FROM meter", {}, InputError),
        ("SELECT nope FROM meter", {}, InputError),
        ("SELECT FROM WHERE", {}, InputError),
    ],
)
def test_a_process_is_not_used_again_after_an_interrupt_or_an_error(
    warehouse: QueryWarehouse, workers: Workers, text: str, options: dict[str, Any], error: type[Exception]
) -> None:
    assert total(warehouse, workers) == 10
    (first,) = living(workers)
    with pytest.raises(error):
        asked(warehouse, workers, text, **options)
    assert total(warehouse, workers) == 10
    eventually(lambda: not is_alive(first))


def test_a_process_that_can_not_hold_a_value_is_not_used_again(warehouse: QueryWarehouse, workers: Workers) -> None:
    assert total(warehouse, workers) == 10
    (first,) = living(workers)
    doubled = ", ".join(f"t{i} AS (SELECT s || s AS s FROM t{i - 1})" for i in range(1, 40))
    with pytest.raises(UnavailableError, match="the memory limit is too small"):
        asked(warehouse, workers, f"WITH t0 AS (SELECT 'xxxxxxxxxxxxxxxx' AS s), {doubled} SELECT length(s) AS n FROM t39")
    assert total(warehouse, workers) == 10
    eventually(lambda: not is_alive(first))


def test_a_process_that_died_while_it_waited_is_replaced(warehouse: QueryWarehouse, workers: Workers) -> None:
    assert total(warehouse, workers) == 10
    (first,) = living(workers)
    os.kill(first, signal.SIGKILL)
    eventually(lambda: not is_alive(first))
    assert total(warehouse, workers) == 10
    assert first not in living(workers)


def test_only_a_few_processes_wait(warehouse: QueryWarehouse, workers: Workers) -> None:
    text = "SELECT i FROM range(100000) t(i)"
    answers = [run_sql(warehouse.querier, text, {}, room=workers.room) for _ in range(4)]
    assert len(living(workers)) == 4
    for answer in answers:
        assert answer.table().num_rows == 100_000
    eventually(lambda: len(living(workers)) == 2)
    workers.close()


def test_no_process_is_left_when_the_workers_are_closed(warehouse: QueryWarehouse, workers: Workers) -> None:
    assert total(warehouse, workers) == 10
    (first,) = living(workers)
    workers.close()
    eventually(lambda: not is_alive(first))


def test_a_value_with_an_offset_is_refused_though_the_text_is_known(warehouse: QueryWarehouse, workers: Workers) -> None:
    """What a check decides by a value is not taken from a text that was checked with another one."""
    text = "SELECT count(*) AS c FROM meter WHERE ts >= $since"
    assert asked(warehouse, workers, text, parameters={"since": "2024-01-01T00:00:00"}) == [{"c": 5}]
    with pytest.raises(InputError, match="offset"):
        asked(warehouse, workers, text, parameters={"since": "2024-01-01T00:00:00+02:00"})
    with pytest.raises(InputError, match="has no value here"):
        asked(warehouse, workers, text)
    with pytest.raises(InputError, match="is not in the text"):
        asked(warehouse, workers, text, parameters={"since": "2024-01-01", "until": 1})
