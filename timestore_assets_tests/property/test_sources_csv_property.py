"""CSV reading against two oracles: Python's csv module on well-formed text, a slow and careful reader on any bytes."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from timestore_assets.model.dataset import CsvDialect, FileSource
from timestore_assets.model.position import START, Position
from timestore_assets.sources.batches import FileBatch
from timestore_assets.sources.files import blocks
from timestore_assets.sources.files.csv.csv_reader import CsvReader
from timestore_assets.sources.files.input_file import LocalFile
from timestore_assets_tests.support.examples import examples

LIMIT = 40
HEADER = b"a,b,c\n"
PROPERTY = settings(deadline=None, max_examples=examples(100), suppress_health_check=[HealthCheck.function_scoped_fixture])


@dataclass(frozen=True)
class Row:
    """A record as both sides describe it: a good one has fields, a refused one a code."""

    position: int
    line: int
    raw: bytes
    fields: tuple[str | None, ...] | None = None
    code: str = ""


def rows_of(batches: list[FileBatch]) -> list[Row]:
    """Everything the batches hold, in order of position."""
    rows = []
    for batch in batches:
        columns = [column.to_pylist() for column in batch.records.columns]
        fields = list(zip(*columns, strict=True))
        assert batch.lines is not None
        assert len(batch.positions) == len(batch.lines) == batch.records.num_rows
        for i, (position, line) in enumerate(zip(batch.positions.to_pylist(), batch.lines.to_pylist(), strict=True)):
            assert batch.start.offset <= position < batch.end.offset
            rows.append(Row(position, line, batch.raw(i), fields[i]))
        for bad in batch.bad:
            assert batch.start.offset <= bad.position < batch.end.offset
            rows.append(Row(bad.position, bad.line, bad.raw, code=bad.code))
    return sorted(rows, key=lambda row: row.position)


def read(path: Path, *, start: Position = START, chunk: int | None = None, limit: int = LIMIT, block: int = 1) -> list[FileBatch]:
    source = FileSource(prefix="p", max_record_bytes=limit, csv=CsvDialect(nulls=("NA",)))
    batches = list(CsvReader(file=LocalFile(path), source=source, block_bytes=block, chunk_rows=chunk).batches(start))
    assert [batch.last for batch in batches] == [False] * (len(batches) - 1) + [True]
    for before, after in pairwise(batches):
        assert before.end == after.start
    return batches


# --- the careful reader


def reference(data: bytes, start: int, columns: int, limit: int) -> list[Row]:
    rows, at = [], start
    while at < len(data):
        fields, end, after, trouble = one_record(data, at)
        line = data.count(b"\n", 0, at) + 1
        if trouble or end - at > limit:
            feed = data.find(b"\n", at)
            first_end = len(data) if feed < 0 else feed
            after = first_end + 1
            if data[at:first_end].endswith(b"\r"):
                first_end -= 1
            code = "too_long" if first_end - at > limit else trouble or "unclosed_quote"
            rows.append(Row(at, line, data[at:first_end], code=code))
        elif end > at:
            rows.append(judged(at, line, data[at:end], fields, columns))
        at = after
    return rows


def judged(at: int, line: int, raw: bytes, fields: list[tuple[bytes, bool]], columns: int) -> Row:
    if len(fields) == columns + 1 and fields[-1] == (b"", False):
        fields = fields[:-1]  # a delimiter at the end of a line is no column
    if len(fields) != columns:
        return Row(at, line, raw, code="ragged")
    try:
        raw.decode()
    except UnicodeDecodeError:
        return Row(at, line, raw, code="invalid_utf8")
    return Row(at, line, raw, tuple(None if not quoted and text in (b"", b"NA") else text.decode() for text, quoted in fields))


def one_record(data: bytes, at: int) -> tuple[list[tuple[bytes, bool]], int, int, str]:
    """Fields with whether they were quoted, end of the content, beginning of the next record, what is wrong."""
    start, fields = at, []
    while True:
        text, quoted = bytearray(), data[at : at + 1] == b'"'
        if quoted:
            at += 1
            while True:
                if at >= len(data):
                    return fields, at, at, "unclosed_quote"
                if data[at : at + 2] == b'""':
                    text += b'"'
                    at += 2
                elif data[at : at + 1] == b'"':
                    at += 1
                    break
                else:
                    text += data[at : at + 1]
                    at += 1
        else:
            while at < len(data) and data[at : at + 1] not in (b",", b"\n"):
                if data[at:] == b"\r" or data[at : at + 2] == b"\r\n":
                    break
                text += data[at : at + 1]
                at += 1
        fields.append((bytes(text), quoted))
        rest = data[at:]
        if rest.startswith(b","):
            at += 1
        elif rest.startswith(b"\n") or not rest:
            return fields, at, at + len(rest[:1]), ""
        elif rest.startswith(b"\r\n") or rest == b"\r":
            return fields, at, at + len(rest[:2]), ""
        else:
            return fields, at, at, "unclosed_quote" if b"\n" in data[start:at] else "text_after_quote"


# --- well-formed text

text = st.text(st.sampled_from("ab1 ,\"\n\r'é€\0"), max_size=6)
table = st.lists(st.lists(text, min_size=3, max_size=3), max_size=30)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(blocks, "_PIECE_BYTES", 1)
    return tmp_path / "data.csv"


@PROPERTY
@given(
    rows=table,
    newline=st.sampled_from(["\n", "\r\n"]),
    everything=st.booleans(),
    chunk=st.integers(1, 7),
    block=st.integers(1, 500),
)
def test_well_formed_text_reads_as_the_csv_module_reads_it(
    path: Path, rows: list[list[str]], newline: str, everything: bool, chunk: int, block: int
) -> None:
    if newline == "\n" and not everything:  # there the csv module leaves carriage returns bare, and can't read them back
        rows = [[field.replace("\r", "") for field in row] for row in rows]
    written = io.StringIO(newline="")
    writer = csv.writer(written, lineterminator=newline, quoting=csv.QUOTE_ALL if everything else csv.QUOTE_MINIMAL)
    writer.writerow(["a", "b", "c"])
    writer.writerows(rows)
    path.write_bytes(written.getvalue().encode())
    expected = list(csv.reader(io.StringIO(written.getvalue(), newline="")))[1:]
    found = rows_of(read(path, chunk=chunk, block=block, limit=10_000))
    assert [tuple(value or "" for value in row.fields or ()) for row in found] == [tuple(row) for row in expected]


# --- any bytes

lines = [b"1,2,3\n", b'"p","q\n","r"\n', b'5" pipe,b,c\n', b'"open,1,2\n', b'"x" y,"z\n']
pieces = st.sampled_from(
    [
        b'"',
        b'"',
        b",",
        b",",
        b"\n",
        b"\n",
        b"\r\n",
        b"\r",
        b"x",
        b"yz",
        b"NA",
        b'""',
        b"\xff",
        "é".encode(),
        b"\0",
        b"x" * 30,
        *lines,
    ]
)
soup = st.lists(pieces, max_size=60).map(b"".join)


@PROPERTY
@example(body=b",,\r,", chunk=None, block=1, limit=60).via(
    "a carriage return that is none of a line end, and a delimiter at the end"
)
@example(body=b"1,2,\r3,\n4,5,6,\n", chunk=None, block=400, limit=60)
@given(body=soup, chunk=st.none() | st.integers(1, 5), block=st.integers(1, 400), limit=st.integers(1, 60))
def test_any_bytes_read_as_the_careful_reader_reads_them(
    path: Path, body: bytes, chunk: int | None, block: int, limit: int
) -> None:
    path.write_bytes(HEADER + body)
    found = rows_of(read(path, chunk=chunk, block=block, limit=limit))
    assert found == reference(HEADER + body, len(HEADER), 3, limit)


@PROPERTY
@given(body=soup, chunks=st.tuples(*[st.none() | st.integers(1, 5)] * 2), block=st.integers(1, 400), data=st.data())
def test_a_reader_resumes_anywhere_with_the_same_records(
    path: Path, body: bytes, chunks: tuple[int | None, int | None], block: int, data: st.DataObject
) -> None:
    path.write_bytes(HEADER + body)
    whole = read(path, chunk=chunks[0])
    killed = data.draw(st.integers(0, len(whole) - 1))
    rest = read(path, start=whole[killed].end, chunk=chunks[1], block=block)
    assert rows_of(whole[: killed + 1]) + rows_of(rest) == rows_of(whole)
    assert rest[-1].end == whole[-1].end
