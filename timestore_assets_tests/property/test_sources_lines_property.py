"""JSON lines and documents, envelopes, Parquet: any chunking and any kill point give the same records at the same positions."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from timestore_assets.model.dataset import FileSource
from timestore_assets.model.position import START, Position
from timestore_assets.sources.batches import FileBatch
from timestore_assets.sources.files import blocks, envelopes
from timestore_assets.sources.files.envelopes import EnvelopesReader
from timestore_assets.sources.files.input_file import LocalFile
from timestore_assets.sources.files.json_elements import JsonElementsReader
from timestore_assets.sources.files.json_lines import JsonLinesReader
from timestore_assets.sources.files.parquet.parquet_reader import ParquetReader
from timestore_assets_tests.support.examples import examples

PROPERTY = settings(deadline=None, max_examples=examples(80), suppress_health_check=[HealthCheck.function_scoped_fixture])
LIMIT = 40

Record = tuple[int, int, bytes, str]
"""Position, line, original bytes, and code when it was refused."""


class Reader(Protocol):
    def batches(self, start: Position = START) -> Iterator[FileBatch]: ...


def records_of(batches: list[FileBatch]) -> list[Record]:
    found: list[Record] = []
    for batch in batches:
        lines = batch.lines.to_pylist() if batch.lines is not None else [0] * batch.records.num_rows
        for i, (position, line) in enumerate(zip(batch.positions.to_pylist(), lines, strict=True)):
            assert batch.start.offset <= position < batch.end.offset
            if "value" in batch.records.column_names:
                assert batch.records["value"][i].as_py().strip() == batch.raw(i).strip()
            found.append((position, line, batch.raw(i), ""))
        found += [(bad.position, bad.line, bad.raw, bad.code) for bad in batch.bad]
    return sorted(found)


def checked(batches: list[FileBatch]) -> list[FileBatch]:
    assert [batch.last for batch in batches] == [False] * (len(batches) - 1) + [True]
    assert all(before.end == after.start for before, after in pairwise(batches))
    return batches


def resumes(make: Callable[[int | None, int], Reader], data: st.DataObject) -> list[Record]:
    """Read whole, then kill after some batch and go on with other sizes; returns the records."""
    chunk, other = data.draw(st.none() | st.integers(1, 4)), data.draw(st.none() | st.integers(1, 4))
    whole = checked(list(make(chunk, 1).batches()))
    killed = data.draw(st.integers(0, len(whole) - 1))
    rest = checked(list(make(other, data.draw(st.integers(1, 300))).batches(whole[killed].end)))
    records = records_of(whole)
    assert records_of(whole[: killed + 1]) + records_of(rest) == records
    assert rest[-1].end == whole[-1].end
    return records


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(blocks, "_PIECE_BYTES", 1)
    monkeypatch.setattr(envelopes, "MIN_LINE_LIMIT", 1)
    return tmp_path / "data"


pieces = st.sampled_from([b"{}", b'{"a":1}', b"\n", b"\n", b"\r\n", b"\r", b" ", b"nonsense", b"\xff", b"\0", b"x" * 50])


@PROPERTY
@given(body=st.lists(pieces, max_size=50).map(b"".join), marked=st.booleans(), data=st.data())
def test_json_lines_are_the_lines_that_are_not_empty(path: Path, body: bytes, marked: bool, data: st.DataObject) -> None:
    content = b"\xef\xbb\xbf" * marked + body
    path.write_bytes(content)
    source = FileSource(prefix="p", max_record_bytes=LIMIT)
    found = resumes(
        lambda chunk, block: JsonLinesReader(file=LocalFile(path), source=source, block_bytes=block, chunk_rows=chunk), data
    )
    expected, at = [], 3 * marked
    for number, line in enumerate(body.split(b"\n"), 1):
        text = line.removesuffix(b"\r")
        if text:
            expected.append((at, number, text, "too_long" if len(text) > LIMIT else ""))
        at += len(line) + 1
    assert found == expected


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
rows = st.dictionaries(st.text("abc", max_size=2), values, max_size=3)
spacing = st.sampled_from([(",", ":"), (" , ", " : "), (", ", ": ")])


blanks = st.sampled_from(["", " ", "\n", "\r\n  ", "\t"])
odd_texts = st.text('"\\\n,]}[{ aé', max_size=60)
elements = rows | values | odd_texts | st.dictionaries(odd_texts, odd_texts, max_size=2)
others = st.sampled_from(['"meta":{"a":[1,"]"]},', '"n":-1.5e3 ,', '"t":"x\\\\\\"}",', '"l":[[],{}],', ""])


@PROPERTY
@given(
    found=st.lists(st.tuples(elements, blanks, blanks), max_size=12),
    path_names=st.lists(st.text('a"\\.é', max_size=3), max_size=2),
    before=others,
    closing=st.sampled_from(["", "\n", ' , "more": [1]', ',"x":"}"']),
    marked=st.booleans(),
    data=st.data(),
)
def test_json_documents_give_the_elements_of_their_array(
    path: Path,
    found: list[tuple[object, str, str]],
    path_names: list[str],
    before: str,
    closing: str,
    marked: bool,
    data: st.DataObject,
) -> None:
    texts = [json.dumps(value, ensure_ascii=data.draw(st.booleans())) for value, _, _ in found]
    array = ",".join(f"{left}{text}{right}" for text, (_, left, right) in zip(texts, found, strict=True))
    opening = "".join(f"{{{before}{json.dumps(name)}:" for name in path_names)
    document = f"{opening}[{array}]{(closing if path_names else '').rstrip()}{'}' * len(path_names)}"
    path.write_bytes(b"\xef\xbb\xbf" * marked + document.encode())
    source = FileSource(prefix="p", format="json", path=tuple(path_names), max_record_bytes=LIMIT)
    records = resumes(
        lambda chunk, block: JsonElementsReader(file=LocalFile(path), source=source, block_bytes=block, chunk_rows=chunk), data
    )
    at, expected = len(f"{opening}[".encode()) + 3 * marked, []
    for text, (_, left, right) in zip(texts, found, strict=True):
        begin = at + len(left.encode())
        line = document.encode()[: begin - 3 * marked].count(b"\n") + 1
        expected.append((begin, line, text.encode(), "too_long" if len(text.encode()) > LIMIT else ""))
        at = begin + len(f"{text}{right},".encode())
    assert records == expected


@PROPERTY
@given(found=st.lists(rows, max_size=8), between=st.sampled_from(["\n", "", " ,\n"]), data=st.data())
def test_objects_over_several_lines_are_records(
    path: Path, found: list[dict[str, object]], between: str, data: st.DataObject
) -> None:
    texts = [json.dumps(row, indent=data.draw(st.none() | st.integers(0, 2))) for row in found]
    path.write_text(between.join(texts))
    source = FileSource(prefix="p", format="json", max_record_bytes=1000)
    records = resumes(
        lambda chunk, block: JsonElementsReader(file=LocalFile(path), source=source, block_bytes=block, chunk_rows=chunk), data
    )
    assert [(raw, code) for _, _, raw, code in records] == [(text.encode(), "") for text in texts]


@st.composite
def envelope_lines(draw: st.DrawFn) -> tuple[bytes, list[tuple[int, bytes]] | None]:
    """A line and its records with their indices, None when it is malformed."""
    if draw(st.integers(0, 5)) == 0:
        return draw(
            st.sampled_from([b"{}", b"[]", b'{"ingestion":1}', b'{"ingestion":{}', b'{"ingestion":{"rows":[1,]}}', b"x"])
        ), None
    texts = [
        json.dumps(row, separators=draw(spacing), ensure_ascii=draw(st.booleans())) for row in draw(st.lists(rows, max_size=4))
    ]
    name = draw(st.sampled_from(["records", "rows"]))
    comma = draw(st.sampled_from([",", " , "]))
    line = f'{{"offset": 7, "idempotencyKey": "k", "ingestion": {{"{name}": [{comma.join(texts)}]}}}}'
    return line.encode("utf-8", "surrogatepass"), [(i, text.encode("utf-8", "surrogatepass")) for i, text in enumerate(texts)]


@PROPERTY
@given(lines=st.lists(envelope_lines(), max_size=8), data=st.data())
def test_envelopes_give_their_records_unchanged(
    path: Path, lines: list[tuple[bytes, list[tuple[int, bytes]] | None]], data: st.DataObject
) -> None:
    path.write_bytes(b"".join(line + b"\n" for line, _ in lines))
    source = FileSource(prefix="p", max_record_bytes=1000)
    found = resumes(
        lambda chunk, block: EnvelopesReader(file=LocalFile(path), source=source, block_bytes=block, chunk_rows=chunk), data
    )
    expected: list[Record] = []
    at = 0
    for number, (line, records) in enumerate(lines, 1):
        if records is None:
            expected.append((at, number, line, "bad_envelope"))
        expected += [(at + index, number, text, "") for index, text in records or ()]
        at += len(line) + 1
    assert found == expected


@PROPERTY
@given(
    groups=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    memory=st.integers(1, 3000),
    data=st.data(),
)
def test_parquet_resumes_in_the_middle_of_row_groups(path: Path, groups: list[int], memory: int, data: st.DataObject) -> None:
    total = sum(groups)
    table = pa.table({"n": range(total), "text": ["x" * (i % 7 * 10) for i in range(total)]})
    with pq.ParquetWriter(path, table.schema) as writer:
        at = 0
        for size in groups:
            writer.write_table(table.slice(at, size))
            at += size
    found = resumes(lambda chunk, block: ParquetReader(file=LocalFile(path), memory_bytes=memory * block, chunk_rows=chunk), data)
    assert [(position, json.loads(raw)["n"]) for position, _, raw, _ in found] == [(i, i) for i in range(total)]
    start = data.draw(st.integers(0, total))
    rest = list(ParquetReader(file=LocalFile(path), memory_bytes=memory).batches(Position(offset=start)))
    assert pa.concat_tables([batch.records for batch in rest]).equals(table.slice(start))
