"""CSV files: headers, the dispositions of broken records, dialects, and sizes."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pyarrow as pa
import pytest

from timestore_assets.model.dataset import CsvDialect, FileSource
from timestore_assets.model.errors import BadFileError
from timestore_assets.model.position import Position
from timestore_assets.sources.batches import FileBatch
from timestore_assets.sources.files.csv.csv_reader import CsvReader
from timestore_assets.sources.files.input_file import LocalFile

SOURCE = FileSource(prefix="p")


def read(
    path: Path, content: bytes, *, source: FileSource = SOURCE, block: int = 1 << 20, chunk: int | None = None
) -> list[FileBatch]:
    (path / "data.csv").write_bytes(content)
    return list(CsvReader(file=LocalFile(path / "data.csv"), source=source, block_bytes=block, chunk_rows=chunk).batches())


def only(path: Path, content: bytes, **options: object) -> FileBatch:
    (batch,) = read(path, content, **options)
    assert batch.last
    return batch


def rows(batch: FileBatch) -> list[tuple[str | None, ...]]:
    return [tuple(row.values()) for row in batch.records.to_pylist()]


def bad(batch: FileBatch) -> list[tuple[str, bytes, int, int]]:
    return [(record.code, record.raw, record.position, record.line) for record in batch.bad]


def test_fields_positions_lines_and_bytes(tmp_path: Path) -> None:
    batch = only(tmp_path, b'a,b\n1,"x\ny"\n\n2,\n')
    assert rows(batch) == [("1", "x\ny"), ("2", None)]
    assert batch.positions.to_pylist() == [4, 13]
    assert batch.lines is not None
    assert batch.lines.to_pylist() == [2, 5]
    assert [batch.raw(i) for i in range(2)] == [b'1,"x\ny"', b"2,"]
    assert (batch.start, batch.end) == (Position(), Position(offset=16, line=5))
    assert batch.encoding == "text"


def test_null_is_empty_and_unquoted_or_a_null_text(tmp_path: Path) -> None:
    source = FileSource(prefix="p", csv=CsvDialect(nulls=("NA", "-")))
    batch = only(tmp_path, b'a,b,c\n,"",NA\n"NA",-,"-"\n', source=source)
    assert rows(batch) == [(None, "", None), ("NA", None, "-")]


@pytest.mark.parametrize("content", [b"a,b", b"a,b\n", b"a,b\r\n", b"\xef\xbb\xbfa,b\n\n\n", b"\n\na,b\n"])
def test_a_header_alone_is_no_records(tmp_path: Path, content: bytes) -> None:
    batch = only(tmp_path, content)
    assert batch.records.schema == pa.schema([("a", pa.string()), ("b", pa.string())])
    assert (batch.records.num_rows, batch.bad, batch.end.offset) == (0, (), len(content))


def test_header_names_may_be_quoted_and_long(tmp_path: Path) -> None:
    name = "n" * 100_000
    batch = only(tmp_path, f'"a ""b""","c\nd",{name}\n1,2,3\n'.encode())
    assert batch.records.column_names == ['a "b"', "c\nd", name]
    assert batch.lines is not None
    assert batch.lines.to_pylist() == [3]


@pytest.mark.parametrize("header", [b",a,b", b'"",a,b', b" ,a,b,"])
def test_a_first_column_without_a_name_is_an_index(tmp_path: Path, header: bytes) -> None:
    batch = only(tmp_path, header + b"\n0,1,2\n,3,4\n")
    assert batch.records.column_names == ["__index_level_0__", "a", "b"]
    assert rows(batch) == [("0", "1", "2"), (None, "3", "4")]


@pytest.mark.parametrize(
    ("header", "code", "words"),
    [
        (b",a,,c", "empty_column_name", "column 3"),
        (b",a,__index_level_0__", "duplicate_columns", "'__index_level_0__'"),
        (b"a,b,a", "duplicate_columns", "'a'"),
        (b"time,Temp,temp", "ambiguous_columns", "'Temp', 'temp'"),
        (b"a,,c", "empty_column_name", "column 2"),
        (b"a, ,c", "empty_column_name", "column 2"),
        (b'a,"b', "bad_header", "quoted"),
        (b'a,"b"c', "bad_header", "quoted"),
        (b"a,\xff", "not_utf8", "UTF-8"),
        (b",".join(b"x" for _ in range(50)), "duplicate_columns", "'x'"),
    ],
)
def test_unusable_headers(tmp_path: Path, header: bytes, code: str, words: str) -> None:
    with pytest.raises(BadFileError, match=words) as error:
        read(tmp_path, header + b"\n1,2,3\n")
    assert error.value.code == code


def test_broken_records_keep_their_bytes_and_the_others_their_values(tmp_path: Path) -> None:
    content = b'a,b\n1,2\n3\n4,5,6\n7,\xff\n8,"open\n9,10\n11,"x"y\n12,5" pipe\n13,14'
    batch = only(tmp_path, content)
    assert rows(batch) == [("1", "2"), ("9", "10"), ("12", '5" pipe'), ("13", "14")]
    assert bad(batch) == [
        ("ragged", b"3", 8, 3),
        ("ragged", b"4,5,6", 10, 4),
        ("invalid_utf8", b"7,\xff", 16, 5),
        ("unclosed_quote", b'8,"open', 20, 6),
        ("text_after_quote", b'11,"x"y', 33, 8),
    ]
    assert "1 field, but the header has 2" in batch.bad[0].reason


def test_one_unclosed_quote_costs_one_line_of_a_large_file(tmp_path: Path) -> None:
    lines = [b"%d,x" % i for i in range(200_000)]
    lines[1000] = b'1000,"x'
    batches = read(tmp_path, b"a,b\n" + b"\n".join(lines) + b"\n", block=1 << 20)
    refused = [record for batch in batches for record in batch.bad]
    assert [(record.code, record.raw, record.line) for record in refused] == [("unclosed_quote", b'1000,"x', 1002)]
    assert sum(batch.records.num_rows for batch in batches) == 199_999


def test_over_long_records_are_refused_however_long(tmp_path: Path) -> None:
    source = FileSource(prefix="p", max_record_bytes=1000)
    long, quoted = b"x" * 5_000_000, b'"' + b"y\n" * 2000 + b'"'
    batches = read(tmp_path, b"a,b\n1,2\n" + long + b"\n3,4\n" + quoted + b",5\n6,7\n", source=source)
    refused = [record for batch in batches for record in batch.bad]
    assert [row for batch in batches for row in rows(batch)] == [("1", "2"), ("3", "4"), ("6", "7")]
    # of a quoted text that is too long its first line is refused as never closed, and its others are lines like any other
    assert [record.code for record in refused[:3]] == ["too_long", "unclosed_quote", "ragged"]
    assert refused[0].raw == long[: 1 << 20]
    assert refused[0].line == 3


def test_carriage_returns_inside_records_are_text(tmp_path: Path) -> None:
    assert rows(only(tmp_path, b'a,b\r\n1\r,2\r\n"x\ry",3\r\n\r\n4,5\r')) == [("1\r", "2"), ("x\ry", "3"), ("4", "5")]


def test_zero_bytes_are_text(tmp_path: Path) -> None:
    assert rows(only(tmp_path, b'a,b\n\0,"x\0"\n')) == [("\0", "x\0")]


@pytest.mark.parametrize(
    ("delimiter", "quote", "content", "expected"),
    [
        (";", '"', b'a;b\n"x;y";,\n', ("x;y", ",")),
        ("\t", "'", b"a\tb\n'x\ty'\t\"\n", ("x\ty", '"')),
        ("|", "", b'a|b\n"x|"\n', ('"x', '"')),
    ],
)
def test_dialects(tmp_path: Path, delimiter: str, quote: str, content: bytes, expected: tuple[str, str]) -> None:
    source = FileSource(prefix="p", csv=CsvDialect(delimiter=delimiter, quote=quote))
    batch = only(tmp_path, content + delimiter.encode() * 3 + b"\n", source=source)
    assert rows(batch) == [expected]
    assert bad(batch) == [("ragged", delimiter.encode() * 3, len(content), 3)]


def test_one_column_has_no_null_records(tmp_path: Path) -> None:
    assert rows(only(tmp_path, b'a\n1\n\n""\n2\n')) == [("1",), ("",), ("2",)]


def test_chunks_end_where_they_are_told_to(tmp_path: Path) -> None:
    batches = read(tmp_path, b"a\n" + b"x\n" * 10, chunk=4)
    assert [batch.records.num_rows for batch in batches] == [4, 4, 2]
    assert [batch.end.offset for batch in batches] == [10, 18, 22]


def test_very_many_broken_records_do_not_pile_up(tmp_path: Path) -> None:
    batches = read(tmp_path, b"a,b\n" + b"x\n" * 200_000)
    assert sum(len(batch.bad) for batch in batches) == 200_000
    assert max(len(batch.bad) for batch in batches) < 100_000
    assert [batch.last for batch in batches][-2:] == [False, True]


def test_ten_thousand_columns(tmp_path: Path) -> None:
    header = ",".join(f"c{i}" for i in range(10_000))
    line = ",".join("1" for _ in range(10_000))
    batches = read(tmp_path, f"{header}\n{line}\n{line}\n1,2\n{line}\n".encode())
    (batch,) = batches
    assert (batch.records.num_rows, batch.records.num_columns, len(batch.bad)) == (3, 10_000, 1)


def test_strings_of_a_megabyte_in_bounded_memory(tmp_path: Path) -> None:
    value = "é" * 500_000
    path = tmp_path / "data.csv"
    with path.open("w", encoding="utf-8") as file:
        file.write("a,b\n")
        for i in range(40):
            file.write(f'{i},"{value}"\n')
    next(iter(CsvReader(file=LocalFile(path), source=SOURCE, block_bytes=1 << 20).batches()))  # what is imported on first use
    tracemalloc.start()
    before = pa.total_allocated_bytes()
    largest = 0
    for i, batch in enumerate(CsvReader(file=LocalFile(path), source=SOURCE, block_bytes=1 << 20).batches()):
        largest = max(largest, pa.total_allocated_bytes() - before)
        assert len(batch.records["b"][0].as_py()) == 500_000, i
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert largest < 16 << 20
    assert peak < 24 << 20
