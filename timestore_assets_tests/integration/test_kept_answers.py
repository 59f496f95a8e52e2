"""Answers of SQL are kept for the same text, values, rights and versions, within bounds, where they always come out so."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from timestore_assets.model.as_of import parse_as_of_each
from timestore_assets.model.errors import RefusedError
from timestore_assets.querying.answer import Answer
from timestore_assets.querying.planning import sql_words
from timestore_assets.querying.sql import kept_answers
from timestore_assets.querying.sql.datasets_as_of import DatasetsAsOf
from timestore_assets.querying.sql.kept_answers import KeptAnswers
from timestore_assets.querying.sql.sandbox import run_sql
from timestore_assets.upkeep.collect import collect
from timestore_assets_tests.support.query_warehouse import QueryWarehouse, query_warehouse_in, row


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[QueryWarehouse]:
    made = query_warehouse_in(tmp_path)
    made.land([row("a", minute, n=minute) for minute in range(100)])
    yield made
    made.close()


@pytest.fixture
def answers() -> KeptAnswers:
    return KeptAnswers(16_000_000)


def asked(warehouse: QueryWarehouse, answers: KeptAnswers, text: str, *, names: tuple[str, ...] = (), **values: Any) -> Answer:
    """`names`: of more datasets that may be read."""
    datasets = {name: (replace(warehouse.dataset, name=name), warehouse.record) for name in ("meter", *names)}
    return run_sql(warehouse.querier, text, datasets, parameters=values, answers=answers)


def is_cached(warehouse: QueryWarehouse, answers: KeptAnswers, text: str, **more: Any) -> bool:
    with asked(warehouse, answers, text, **more) as answer:
        answer.table()
        return answer.cached


COUNT = "SELECT count(*) AS n FROM meter"


def test_the_same_text_over_the_same_version_is_answered_by_what_is_kept(warehouse: QueryWarehouse, answers: KeptAnswers) -> None:
    first = asked(warehouse, answers, COUNT)
    assert (first.cached, first.table().to_pylist()) == (False, [{"n": 100}])
    again = asked(warehouse, answers, COUNT)
    assert (again.cached, again.schema, again.table().to_pylist()) == (True, first.schema, [{"n": 100}])
    assert (again.manifest_versions, again.scanned, again.pruned) == (first.manifest_versions, first.scanned, first.pruned)
    warehouse.land([row("b", 0)])
    newer = asked(warehouse, answers, COUNT)
    assert (newer.cached, newer.table().to_pylist()) == (False, [{"n": 101}])


def test_other_values_are_another_question(warehouse: QueryWarehouse, answers: KeptAnswers) -> None:
    """1, 1.0 and true are equal in Python and not in SQL."""
    text = "SELECT typeof($x) AS kind, count(*) AS n FROM meter WHERE n >= 0"
    kinds = {asked(warehouse, answers, text, x=value).table().to_pylist()[0]["kind"] for value in (1, 1.0, True, "1")}
    assert len(kinds) == 4
    assert is_cached(warehouse, answers, text, x=1.0)


def test_who_may_read_other_datasets_gets_an_answer_of_his_own(warehouse: QueryWarehouse, answers: KeptAnswers) -> None:
    asked(warehouse, answers, "SELECT count(*) AS n FROM meter, other", names=("other",)).table()
    with pytest.raises(Exception, match="no dataset 'other'"):
        asked(warehouse, answers, "SELECT count(*) AS n FROM meter, other")
    asked(warehouse, answers, COUNT, names=("other",)).table()
    assert not is_cached(warehouse, answers, COUNT)
    assert is_cached(warehouse, answers, COUNT, names=("other",))


@pytest.mark.parametrize(
    "text",
    [
        "SELECT now() AS t, count(*) FROM meter",
        "SELECT count(*) FROM meter WHERE ts < current_timestamp",
        "SELECT count(*) FROM meter WHERE ts < CURRENT_DATE",
        "SELECT random() < 2 AS r FROM meter",
        "SELECT uuid() AS u FROM meter",
        "SELECT age(ts) AS a FROM meter",
        "SELECT count(*) FROM (SELECT * FROM meter WHERE today() > DATE '2000-01-01')",
        "SELECT n FROM meter USING SAMPLE 5 ROWS",
        "SELECT n FROM meter TABLESAMPLE 50%",
        "WITH t AS (SELECT get_current_time() AS x) SELECT count(*) FROM meter, t",
        "DESCRIBE meter",
        "EXPLAIN SELECT * FROM meter",
        "SELECT 1",
    ],
)
def test_what_may_come_out_otherwise_is_not_kept(warehouse: QueryWarehouse, answers: KeptAnswers, text: str) -> None:
    assert not is_cached(warehouse, answers, text)
    assert not is_cached(warehouse, answers, text)


def test_every_function_that_duckdb_says_is_not_consistent_is_known_as_such() -> None:
    """Macros have no stability of their own: what they are made of decides."""
    con = duckdb.connect()
    found = con.sql("SELECT lower(function_name), stability, macro_definition FROM duckdb_functions()").fetchall()
    unstable = {name for name, stability, _ in found if stability not in (None, "CONSISTENT")}
    assert {"now", "random", "uuid"} <= unstable
    words = (unstable | sql_words.KEYWORDS) - {"error"}  # which is called so that it is not computed ahead
    macros = {name for name, _, body in found if body and words & set(re.findall(r"\w+", body.lower()))}
    allowed = sql_words.SCALARS | sql_words.AGGREGATES | sql_words.WINDOWS | sql_words.TABLES
    assert "ago" in macros
    assert (unstable | macros) & allowed <= sql_words.UNREPEATABLE


def test_an_answer_that_was_not_read_to_its_end_is_not_kept(warehouse: QueryWarehouse, answers: KeptAnswers) -> None:
    warehouse.land([row("b", minute / 1000, n=1) for minute in range(40_000)])
    text = "SELECT n FROM meter"
    with asked(warehouse, answers, text) as answer:
        next(answer.batches())
    assert not is_cached(warehouse, answers, text)
    assert is_cached(warehouse, answers, text)


def test_large_answers_are_not_kept_and_the_oldest_make_room(warehouse: QueryWarehouse) -> None:
    answers = KeptAnswers(64_000)
    whole = "SELECT * FROM meter"
    assert not is_cached(warehouse, answers, whole) and not is_cached(warehouse, answers, whole), "over a share of the bytes"
    for number in range(100):
        is_cached(warehouse, answers, f"SELECT n + {number} AS n FROM meter")
    assert 0 < answers._bytes <= 64_000
    assert answers._bytes == sum(one.bytes for one in answers._kept.values())
    assert is_cached(warehouse, answers, "SELECT n + 99 AS n FROM meter")
    assert not is_cached(warehouse, answers, "SELECT n + 0 AS n FROM meter")


def test_nothing_is_kept_where_that_is_switched_off(warehouse: QueryWarehouse) -> None:
    answers = KeptAnswers(0)
    assert not is_cached(warehouse, answers, COUNT) and not is_cached(warehouse, answers, COUNT)


def test_an_answer_is_forgotten_after_a_while(warehouse: QueryWarehouse) -> None:
    now = [0.0]
    answers = KeptAnswers(16_000_000, clock=lambda: now[0])
    is_cached(warehouse, answers, COUNT)
    now[0] = kept_answers.KEPT_SECONDS - 1
    assert is_cached(warehouse, answers, COUNT)
    now[0] = kept_answers.KEPT_SECONDS + 1
    answers.tidy()
    assert not answers._kept and answers._bytes == 0


def test_an_older_version_is_kept_and_refused_once_it_was_collected(warehouse: QueryWarehouse, answers: KeptAnswers) -> None:
    version = warehouse.record.manifest_version
    warehouse.land([row("b", 0)])

    def as_of() -> Answer:
        datasets = DatasetsAsOf(
            warehouse.querier, {"meter": (warehouse.dataset, warehouse.record)}, parse_as_of_each({"meter": version})
        )
        return run_sql(warehouse.querier, COUNT, datasets, answers=answers)

    assert as_of().table().to_pylist() == [{"n": 100}]
    again = as_of()
    assert again.cached and again.table().to_pylist() == [{"n": 100}]
    warehouse.build(1)
    warehouse.querier.let_go()
    collect(warehouse.catalog, warehouse.storage, intent_grace=timedelta(0), keep_versions=timedelta(0))
    with pytest.raises(RefusedError, match="collected"):
        as_of()
