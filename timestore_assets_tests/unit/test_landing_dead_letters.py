"""The dead-letter store by itself: which files a batch makes, in which order, with which bytes."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from timestore_assets.catalog.commit_values import Span
from timestore_assets.decoding.rejections import RowMask
from timestore_assets.landing.committing.staged_dead_letters import (
    ENCODING_KEY,
    FIELDS_KEY,
    SCHEMA,
    StagedDeadLetters,
    write_dead_letters,
)
from timestore_assets.landing.committing.staged_segments import Provenance
from timestore_assets.landing.preparing.row_checks import LATE
from timestore_assets.model.dataset import Late
from timestore_assets.model.position import Position
from timestore_assets.sources.batches import BadRecord, Batch
from timestore_assets.sources.files.text_records import MAX_RAW_BYTES
from timestore_assets_tests.support.dead_letter_replays import Message, topic_batch
from timestore_assets_tests.support.landing_warehouse import NOW, dataset

SPAN = Span(source_partition_id=7, start=Position(), end=Position(offset=1000))
PROVENANCE = Provenance(source_id=3, session_id=5, spans=(SPAN,), attempt="a")


def lines(values: Sequence[bytes], *, bad: tuple[BadRecord, ...] = (), **changes: Any) -> Batch:
    basic: dict[str, Any] = {
        "encoding": "json",
        "records": pa.table({"value": pa.array(values, pa.binary())}),
        "positions": pa.array([10 * at for at in range(len(values))], pa.int64()),
        "lines": pa.array(range(1, len(values) + 1), pa.int64()),
        "bad": bad,
        "raw": lambda index: values[index],
    }
    return Batch(**(basic | changes))


def refusing(rows: Sequence[int], of: int, code: str = "bad_value") -> RowMask:
    row_mask = RowMask(of)
    row_mask.refuse(np.array(rows, np.int64), code=code, column="n", reason="why")
    return row_mask


def written(batch: Batch, row_mask: RowMask, folder: Path, **options: Any) -> list[StagedDeadLetters]:
    declared = options.pop("dataset", dataset())
    return write_dead_letters(
        batch, row_mask, dataset=declared, source="a", provenance=PROVENANCE, folder=folder, now=NOW, **options
    )


def read(staged: StagedDeadLetters) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(staged.upload.staged).to_pylist()
    return rows


def test_nothing_refused_makes_no_file(tmp_path: Path) -> None:
    assert written(lines([b"1"]), RowMask(1), tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_all_columns_of_a_line_and_of_what_the_source_refused(tmp_path: Path) -> None:
    bad = BadRecord(code="too_long", reason="long", raw=b"x" * 9, position=15, line=9)
    (staged,) = written(lines([b"a", b"\xff\x00", b"c"], bad=(bad,)), refusing([1, 2], 3), tmp_path)
    common = {"source_id": 3, "source": "a", "source_partition": 7, "session": 5, "recorded_at": NOW, "is_prefix": False}
    none = {"key": None, "headers": None, "timestamp": None}
    row = {**common, **none, "code": "bad_value", "column": "n", "reason": "why"}
    assert read(staged) == [
        {**row, "position": 10, "line": 2, "raw": b"\xff\x00"},
        {**row, "position": 15, "line": 9, "raw": b"x" * 9, "code": "too_long", "column": "", "reason": "long"},
        {**row, "position": 20, "line": 3, "raw": b"c"},
    ]
    assert staged.file.reasons == {"bad_value": 2, "too_long": 1}
    assert (staged.file.rows, staged.file.kind, staged.file.bytes) == (3, "refused", staged.upload.staged.stat().st_size)
    assert pq.read_schema(staged.upload.staged).remove_metadata().equals(SCHEMA)


def test_a_batch_of_which_the_source_refused_everything(tmp_path: Path) -> None:
    bad = BadRecord(code="too_long", reason="long", raw=b"x", position=5, line=2)
    (staged,) = written(lines([], bad=(bad,)), RowMask(0), tmp_path)
    assert [(row["position"], row["line"], row["raw"]) for row in read(staged)] == [(5, 2, b"x")]


def test_a_beginning_is_told_from_the_whole(tmp_path: Path) -> None:
    bad = BadRecord(code="too_long", reason="long", raw=b"x" * MAX_RAW_BYTES, position=5, line=1)
    (staged,) = written(lines([b"y" * MAX_RAW_BYTES], bad=(bad,)), refusing([0], 1), tmp_path)
    assert [(row["is_prefix"], row["raw"][:1]) for row in read(staged)] == [(False, b"y"), (True, b"x")]


def test_records_of_a_topic_go_by_partition_and_offset_with_their_envelopes(tmp_path: Path) -> None:
    at = datetime(2013, 5, 1, 1, 2, 3, 456000, tzinfo=UTC)
    messages = [
        Message(value=b"late in 1", partition=1, offset=8, key=b"\xfe", headers=(("h", b"1"), ("h", None)), timestamp=at),
        Message(value=None, partition=0, offset=3),
        Message(value=b"", partition=1, offset=2, key=b""),
        Message(value=b"fine", partition=0, offset=9),
    ]
    batch = topic_batch(messages, {0: 20, 1: 10})
    (staged,) = written(batch, refusing([0, 1, 2], 4), tmp_path, forward=True)
    found = [(row["source_partition"], row["position"], row["raw"], row["key"], row["timestamp"]) for row in read(staged)]
    assert found == [(10, 2, b"", b"", None), (10, 8, b"late in 1", b"\xfe", at), (20, 3, None, None, None)]
    assert read(staged)[1]["headers"] == [{"name": "h", "value": b"1"}, {"name": "h", "value": None}]
    assert read(staged)[0]["line"] == 0
    assert staged.file.forward


@pytest.mark.parametrize(("policy", "kind"), [("drop", "late_dropped"), ("hold", "held")])
def test_late_records_have_a_file_of_their_kind_which_is_not_forwarded(tmp_path: Path, policy: Any, kind: str) -> None:
    row_mask = refusing([0], 3)
    row_mask.refuse(np.array([2]), code=LATE, reason="late")
    declared = dataset(late=Late(policy=policy, allowed=timedelta(0)))
    refused, late = written(lines([b"a", b"b", b"c"]), row_mask, tmp_path, dataset=declared, forward=True)
    assert (refused.file.kind, refused.file.forward, [row["raw"] for row in read(refused)]) == ("refused", True, [b"a"])
    assert (late.file.kind, late.file.forward, [row["raw"] for row in read(late)]) == (kind, False, [b"c"])
    assert refused.file.name != late.file.name


def test_a_text_batch_says_which_fields_it_has(tmp_path: Path) -> None:
    batch = lines([b"1,2"], encoding="text", records=pa.table({"ü": ["1"], "n": ["2"]}))
    (staged,) = written(batch, refusing([0], 1), tmp_path)
    metadata = pq.read_schema(staged.upload.staged).metadata
    assert metadata[ENCODING_KEY.encode()] == b"text"
    assert json.loads(metadata[FIELDS_KEY.encode()]) == ["ü", "n"]


@dataclass(frozen=True)
class MadeRows:
    """Raw rows that are made on demand; `most`: how many at once at most."""

    seen: list[int]

    def __call__(self, index: int) -> bytes:
        return f"{index}".encode() * 1000

    def many(self, indices: Sequence[int]) -> list[bytes]:
        self.seen.append(len(indices))
        return [self(index) for index in indices]


def test_made_rows_are_made_once_and_few_at_a_time(tmp_path: Path) -> None:
    rows = 20_000
    made = MadeRows([])
    batch = replace(lines([b""] * rows), raw=made)
    (staged,) = written(batch, refusing(range(0, rows, 2), rows), tmp_path)
    assert sum(made.seen) == rows // 2
    assert max(made.seen) <= 500
    table = pq.read_table(staged.upload.staged)
    assert table.column("raw")[4321].as_py() == made(8642)
    opened = pq.ParquetFile(staged.upload.staged)
    assert opened.num_row_groups == -(-sum(len(made(index)) for index in range(0, rows, 2)) // 32_000_000)


def test_tens_of_thousands_take_a_moment(tmp_path: Path) -> None:
    rows = 50_000
    messages = [Message(value=b"{}", partition=at % 3, offset=at, key=b"k", headers=(("h", b"v"),)) for at in range(rows)]
    batch = topic_batch(messages, {0: 1, 1: 2, 2: 3})
    began = time.process_time()
    (staged,) = written(batch, refusing(range(rows), rows), tmp_path)
    # about 0.3 s of our own processor time, whatever else runs
    assert time.process_time() - began < 5
    table = pq.read_table(staged.upload.staged)
    places = list(zip(table.column("source_partition").to_pylist(), table.column("position").to_pylist(), strict=True))
    assert places == sorted(places)
    assert len(set(places)) == rows
