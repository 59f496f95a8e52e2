"""Dead letters made into batches again: which may be tried, and how lines are cut anew."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from timestore_assets.landing.committing.staged_dead_letters import SCHEMA
from timestore_assets.landing.dead_letters.replay_batch import Again, batch_again, can_be_tried
from timestore_assets.model.dataset import CsvDialect, FileSource, KafkaSource, Source


def letters(raws: Sequence[bytes | None], **columns: Any) -> pa.Table:
    rows = [{"position": 10 * at, "source_partition": 3, "code": "bad_value", "raw": raw} for at, raw in enumerate(raws)]
    table = pa.Table.from_pylist(rows, SCHEMA)
    for name, values in columns.items():
        table = table.set_column(SCHEMA.names.index(name), SCHEMA.field(name), pa.array(values, SCHEMA.field(name).type))
    return table


def again(table: pa.Table, rows: Sequence[int], encoding: str, source: Source | None = None, **options: Any) -> Again:
    return batch_again(
        table,
        np.array(rows, np.int64),
        encoding=encoding,
        fields=options.get("fields", ("a", "b")),
        source=source or FileSource(prefix="in"),
    )


def test_what_a_declaration_cant_mend_is_not_tried() -> None:
    codes = ["bad_value", "key_reused", "bad_envelope", "too_long", "too_long", "invalid_utf8"]
    table = letters([b"{}"] * 6, code=codes, is_prefix=[False, False, False, True, False, None])
    assert can_be_tried(table, typed=False).tolist() == [True, False, False, False, True, True]


def test_typed_rows_whose_bytes_are_not_kept_are_not_tried() -> None:
    table = letters([b'{"a": "\\\\xff"}', b'{"a": "\\n"}', b'{"a": 1}'], code=["bad_value", "bad_value", "invalid_utf8"])
    assert can_be_tried(table, typed=True).tolist() == [False, True, False]


def test_documents_keep_their_bytes_and_places() -> None:
    made = again(letters([b"x", None, b"\xff"]), [0, 1, 2], "json").batch
    assert made.records.column("value").to_pylist() == [b"x", None, b"\xff"]
    assert made.positions.to_pylist() == [0, 10, 20]
    assert made.source_partitions is not None
    assert made.source_partitions.to_pylist() == [3, 3, 3]
    assert [made.raw(index) for index in range(3)] == [b"x", None, b"\xff"]


def test_typed_rows_lose_pandas_index() -> None:
    rows = [b'{"a": 1, "__index_level_0__": 5}', b'{"a": 2}']
    made = again(letters(rows), [0, 1], "typed").batch
    assert [json.loads(value) for value in made.records.column("value").to_pylist()] == [{"a": 1}, {"a": 2}]


LINES = [b"1,2", b'"x,y",2', b'"open,2', b"1,2,3", b'"two\nlines",', b"\xff,2", b'lit"eral,2', b"a\rb,2", b'"q""q",2', b'"a"b,2']


def test_lines_are_cut_one_by_one() -> None:
    made = again(letters(LINES), range(len(LINES)), "text")
    cut = dict(zip(made.rows.tolist(), made.batch.records.to_pylist(), strict=True))
    assert cut == {
        0: {"a": "1", "b": "2"},
        1: {"a": "x,y", "b": "2"},
        4: {"a": "two\nlines", "b": None},
        6: {"a": 'lit"eral', "b": "2"},
        7: {"a": "a\rb", "b": "2"},
        8: {"a": 'q"q', "b": "2"},
    }
    refused = {one.record: one.code for one in made.refused}
    assert refused == {2: "unclosed_quote", 3: "ragged", 5: "invalid_utf8", 9: "text_after_quote"}
    assert made.batch.positions.to_pylist() == [10 * row for row in made.rows.tolist()]


def test_an_open_quote_does_not_reach_into_the_next_line() -> None:
    made = again(letters([b'"x,1', b'2",y']), [0, 1], "text")
    assert made.rows.tolist() == [1]
    assert made.batch.records.to_pylist() == [{"a": '2"', "b": "y"}]


def test_only_the_chosen_lines_are_cut() -> None:
    made = again(letters(LINES), [2, 8, 3], "text")
    assert made.rows.tolist() == [8]
    assert {one.record for one in made.refused} == {2, 3}


def test_lines_none_of_which_can_be_cut() -> None:
    made = again(letters([b"1,2,3", b'"x']), [0, 1], "text")
    assert (len(made.rows), made.batch.records.num_rows, len(made.refused)) == (0, 0, 2)
    assert made.batch.records.column_names == ["a", "b"]


@pytest.mark.parametrize(
    ("dialect", "raw", "expected"),
    [
        (CsvDialect(delimiter=";"), b"1;2", {"a": "1", "b": "2"}),
        (CsvDialect(quote=""), b'"1,2', {"a": '"1', "b": "2"}),
        (CsvDialect(nulls=("NA",)), b"NA,2", {"a": None, "b": "2"}),
    ],
)
def test_the_dialect_is_that_of_today(dialect: CsvDialect, raw: bytes, expected: dict[str, Any]) -> None:
    made = again(letters([raw]), [0], "text", FileSource(prefix="in", csv=dialect))
    assert made.batch.records.to_pylist() == [expected]


def test_several_lines_that_were_one_are_not_made_two_records() -> None:
    made = again(letters([b'"1\n2",3']), [0], "text", FileSource(prefix="in", csv=CsvDialect(quote="")))
    assert (made.rows.tolist(), [one.code for one in made.refused]) == ([], ["ragged"])


def test_the_limit_of_bytes_is_that_of_today() -> None:
    table = letters([b"a" * 50 + b",2"], code=["too_long"])
    assert [one.code for one in again(table, [0], "text", FileSource(prefix="in", max_record_bytes=20)).refused] == ["too_long"]
    assert again(table, [0], "text").rows.tolist() == [0]


def test_topics_hold_no_lines() -> None:
    with pytest.raises(TypeError):
        again(letters([b"1,2"]), [0], "text", KafkaSource(topics=("t",)))
