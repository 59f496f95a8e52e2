"""I4: the same records give the same rows and the same refusals, whatever the format and however they are split."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from timestore_assets.model.dataset import Evolution
from timestore_assets_tests.support.landing_warehouse import LandingWarehouse, columns, dataset

DATASET = dataset(
    *columns(n="int64?", flag="bool?", day="date?"),
    evolution=Evolution(max_new_columns=2),
    start=datetime.fromisoformat("2013-01-01T00:00Z"),
)
KINDS = {
    "ts": pa.timestamp("us"),
    "station": pa.string(),
    "temp": pa.float64(),
    "n": pa.int64(),
    "flag": pa.bool_(),
    "day": pa.date32(),
}
Record = dict[str, Any]

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\x00\r", exclude_categories=["Cs"]), min_size=1, max_size=8)
EXTRA = st.one_of(st.none(), st.integers(-9, 9).map(str), st.sampled_from(["2.5", "x", "true", "9223372036854775808"]))


def mostly(good: st.SearchStrategy[Any], *bad: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(*[good] * 8, *bad)


RECORDS = st.lists(
    st.fixed_dictionaries(
        {
            "ts": mostly(st.integers(-4, 160).map(lambda days: datetime(2013, 1, 1) + timedelta(days=days)), st.none()),
            "station": mostly(TEXTS, st.none()),
            "temp": mostly(st.floats(-70, 150), st.none(), st.sampled_from([math.nan, math.inf, -0.0])),
            "n": st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)),
            "flag": st.one_of(st.none(), st.booleans()),
            "day": st.one_of(st.none(), st.dates()),
            "extra": EXTRA,
            "other": EXTRA,
            "third": mostly(st.none(), EXTRA),
        }
    ),
    min_size=1,
    max_size=40,
)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a landing left, with records named by their number."""

    content: str
    landed: list[int]
    refused: list[tuple[int, str, str]]
    types: dict[str, str]


def as_csv(records: Sequence[Record]) -> str:
    """Nulls empty, everything else quoted, so that an empty text would not be a null."""
    names = list(records[0])
    rows: list[list[str | None]] = [[*names], *([_plain(record[name]) for name in names] for record in records)]
    return "".join(",".join("" if field is None else _quoted(field) for field in row) + "\n" for row in rows)


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def as_json(records: Sequence[Record]) -> str:
    return "".join(json.dumps({name: _json(value) for name, value in record.items()}) + "\n" for record in records)


def as_table(records: Sequence[Record]) -> pa.Table:
    kinds = {name: KINDS.get(name, pa.string()) for name in records[0]}
    return pa.table({name: pa.array([record[name] for record in records], kind) for name, kind in kinds.items()})


def _plain(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _json(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value


def outcome(contents: Mapping[str, Any], records: Sequence[Record], **options: Any) -> Outcome:
    """Land files into a warehouse of its own; positions become numbers of records in order."""
    with tempfile.TemporaryDirectory() as folder:
        ground = LandingWarehouse.at(Path(folder), DATASET)
        report = ground.land(*(ground.drop(name, content) for name, content in contents.items()), **options)
        assert {file.state for file in report.files} == {"landed"}, report
        counters = ground.counters()
        assert counters.balanced
        assert counters == report.counters
        assert counters.read == len(records)
        names = {file.address: number for number, file in enumerate(report.files)}
        refused = sorted((names[one.source], one.position, one.code, one.column) for one in ground.letters())
        landed = sorted(ground.rows("n", "temp"), key=repr)
        schema = {column.name: str(column.type) for column in ground.record.schema}
        found = Outcome(
            content=ground.content_hash(),
            landed=[len(landed)],
            refused=[(0, code, column) for _, _, code, column in refused],
            types=schema,
        )
        ground.catalog.close()
        return found


# each example lands several times, so that shrinking one would take longer than it is worth
SLOW = settings(
    max_examples=int(os.environ.get("TIMESTORE_LANDING_EXAMPLES", "5")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)


@SLOW
@given(records=RECORDS, chunks=st.lists(st.integers(1, 50), min_size=2, max_size=2))
def test_any_chunks_of_a_file_give_the_same(records: list[Record], chunks: list[int]) -> None:
    text = as_csv(records)
    whole = outcome({"a.csv": text}, records)
    for chunk in chunks:
        assert outcome({"a.csv": text}, records, chunk_rows=chunk) == whole
    lines = as_json(records)
    assert outcome({"a.jsonl": lines}, records, chunk_rows=chunks[0]) == outcome({"a.jsonl": lines}, records)


@SLOW
@given(records=RECORDS, cut=st.integers(1, 39))
def test_any_split_into_files_gives_the_same(records: list[Record], cut: int) -> None:
    whole = outcome({"a.csv": as_csv(records)}, records)
    parts = [part for part in (records[:cut], records[cut:]) if part]
    # equal parts would be one content, which lands once
    contents = {f"{number}.csv": as_csv(part) for number, part in enumerate(parts)}
    if len(set(contents.values())) == len(parts):
        assert outcome(contents, records) == whole


@SLOW
@given(records=RECORDS, chunk=st.integers(1, 50))
def test_formats_agree(records: list[Record], chunk: int) -> None:
    expected = outcome({"a.csv": as_csv(records)}, records)
    declared = [{name: value for name, value in record.items() if name in KINDS} for record in records]
    plain = outcome({"a.csv": as_csv(declared)}, declared)
    assert outcome({"a.parquet": as_table(declared)}, declared, chunk_rows=chunk) == plain
    assert outcome({"a.jsonl": as_json(declared)}, declared, chunk_rows=chunk) == plain
    # a text file does not say whether a value of an undeclared column is a string; its rows and texts are the same
    typed = outcome({"a.parquet": as_table(records)}, records)
    assert (typed.landed, typed.refused, typed.content) == (expected.landed, expected.refused, expected.content)


def test_the_pieces_add_up() -> None:
    record: Record = dict.fromkeys([*KINDS, "extra"]) | {"ts": datetime(2013, 1, 5), "station": "a"}
    assert outcome({"a.csv": as_csv([record])}, [record]).landed == [1]
