"""Whatever is asked: rows that are merged in before they land give the answer that they give once they have landed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from timestore_assets.catalog.records import TopicPartition
from timestore_assets.model.arrow_schema import stored_arrow_schema
from timestore_assets.model.dataset import Dedupe, KafkaSource
from timestore_assets.model.question import Question
from timestore_assets.model.schema import Schema
from timestore_assets.tailing.buffer_snapshot import BufferSnapshot
from timestore_assets.tailing.buffered_rows import BufferedRows, OffsetRun, RowBlock
from timestore_assets.tailing.following import TailProgress
from timestore_assets.tailing.judge import LATEST_SESSION
from timestore_assets.tailing.tail import TailView
from timestore_assets_tests.property.test_querying_equal_to_duckdb import DEDUPES, ROWS, STEPS, asked, exact, questions, same
from timestore_assets_tests.support.examples import examples
from timestore_assets_tests.support.query_warehouse import METER, QueryWarehouse, Row, query_warehouse_in

PART = 1_000_000
"""A source partition above any that the catalog has made."""
_numbers = count()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QueryWarehouse]:
    """One catalog and store for all examples; each uses a dataset of its own in it."""
    made = query_warehouse_in(tmp_path_factory.mktemp("tailed"))
    yield made
    made.close()


def piece(rows: Sequence[Row], first: int, schema: Schema) -> RowBlock:
    """Rows as a tail holds them, at the offsets from `first` on."""
    kinds = stored_arrow_schema(schema)
    hidden = {"__source": PART, "__session": LATEST_SESSION}
    columns = {name: [hidden.get(name, one.get(name)) for one in rows] for name in kinds.names}
    columns["__position"] = list(range(first, first + len(rows)))
    table = pa.table([pa.array(columns[kind.name], kind.type) for kind in kinds], schema=kinds)
    return RowBlock(rows=table, written=schema, times=np.asarray(table.column("ts").cast(pa.int64()).to_numpy(), np.int64))


def moment(warehouse: QueryWarehouse, batches: Sequence[Sequence[Row]]) -> BufferSnapshot:
    """What is held when these were read, one batch after the other."""
    held, end = BufferedRows().with_runs({PART: OffsetRun(start=0, end=0)}), 0
    for rows in batches:
        held = held.with_more(piece(rows, end, warehouse.dataset.schema), {PART: end + len(rows)}, {})
        end += len(rows)
    progress = TailProgress(rows=held, known=frozenset({PART}), going=True)
    view = TailView(source_id=1, source=KafkaSource(topics=("t",)), progress=progress, state="ready", seconds_behind=0)
    return BufferSnapshot(
        dataset=warehouse.dataset, dataset_id=warehouse.record.id, views=(view,), now=datetime(2024, 2, 1, tzinfo=UTC)
    )


class Landed:
    """A moment, cut where a landing that the catalog of these tests knows nothing of has come to."""

    def __init__(self, whole: BufferSnapshot, checkpoint: int) -> None:
        self._whole = whole
        self._topic = TopicPartition(
            id=PART, source_id=1, cluster_id="c", topic="t", epoch=1, topic_id=None, number=0, position=checkpoint
        )

    def beyond(self, _topics: Any, *, start: datetime | None, end: datetime | None) -> Any:
        return self._whole.beyond([self._topic], start=start, end=end)


# no shrinking: an example takes a good part of a second, and its parts are small and readable as they are
@settings(
    max_examples=examples(15),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
@given(
    dedupe=DEDUPES,
    steps=STEPS,
    batches=st.lists(st.lists(ROWS, min_size=1, max_size=8), min_size=1, max_size=3),
    cut=st.integers(0, 24),
    asking=st.lists(questions(), min_size=3, max_size=6),
)
def test_answers_are_the_same_before_and_after_landing(
    shared: QueryWarehouse,
    dedupe: Dedupe | None,
    steps: Sequence[Any],
    batches: Sequence[Sequence[Row]],
    cut: int,
    asking: Sequence[dict[str, Any]],
) -> None:
    dataset = replace(METER, name=f"meter_{next(_numbers)}", dedupe=dedupe)
    warehouse = replace(shared, dataset=dataset, logical=[], sources={})
    for step in steps:
        if step[0] == "build":
            warehouse.build(step[1], close=step[2])
        else:
            warehouse.land(step[1])
    rows = [one for batch in batches for one in batch]
    checkpoint = min(cut, len(rows))
    if rows[:checkpoint]:
        warehouse.land(rows[:checkpoint])
    fresh = Landed(moment(warehouse, batches), checkpoint)
    before = []
    for question in asking:
        with warehouse.querier.ask(dataset, warehouse.record, Question(dataset=dataset.name, **question), fresh=fresh) as answer:
            before.append(exact(answer.table().to_pylist()))
    if rows[checkpoint:]:
        warehouse.land(rows[checkpoint:])
    for question, answer_before in zip(asking, before, strict=True):
        assert same(asked(warehouse, question), answer_before, question), question
