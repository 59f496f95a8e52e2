"""Compression told by content, damaged streams, and what format a file has."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from timestore_assets.model.errors import BadFileError
from timestore_assets.sources.files.compression import DecodedStream
from timestore_assets.sources.files.format_detection import sniff
from timestore_assets.sources.files.input_file import LocalFile

CONTENT = b"".join(b"%d,%d\n" % (i, i * 7919 % 1000) for i in range(50_000))


def zipped(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "zstd": zstandard.ZstdCompressor().compress,
    "zip": lambda content: zipped(data=content),
}


def read(path: Path, *, start: int = 0, size: int = 10_007) -> bytes:
    out, buffer = b"", memoryview(bytearray(size))
    with DecodedStream(LocalFile(path)) as stream:
        stream.skip_to(start)
        while count := stream.fill(buffer):
            out += buffer[:count]
            assert stream.offset == start + len(out)
    return out


def refusal(path: Path, content: bytes, *, name: str = "data.csv") -> BadFileError:
    (path / name).write_bytes(content)
    with pytest.raises(BadFileError) as error:
        sniff(LocalFile(path / name))
        read(path / name)
    assert name in error.value.reason
    assert str(path) not in error.value.reason
    return error.value


@pytest.mark.parametrize("kind", PACKERS)
@pytest.mark.parametrize("start", [0, 1, 65_536, len(CONTENT)])
def test_every_compression_reads_from_any_offset(tmp_path: Path, kind: str, start: int) -> None:
    path = tmp_path / "misleading.bz2"
    path.write_bytes(PACKERS[kind](CONTENT))
    assert read(path, start=start) == CONTENT[start:]


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_members_that_follow_each_other_are_one_content(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "data"
    path.write_bytes(PACKERS[kind](b"a\n") + PACKERS[kind](b"b\n"))
    assert read(path) == b"a\nb\n"


@pytest.mark.parametrize("kind", ["gzip", "zstd", "zip"])
@pytest.mark.parametrize("part", [0.3, 0.9])
def test_a_truncated_stream_is_refused(tmp_path: Path, kind: str, part: float) -> None:
    packed = PACKERS[kind](CONTENT)
    assert refusal(tmp_path, packed[: int(len(packed) * part)]).code == "truncated"


@pytest.mark.parametrize("kind", ["gzip", "zip"])
def test_a_damaged_stream_is_refused(tmp_path: Path, kind: str) -> None:
    packed = bytearray(PACKERS[kind](CONTENT))
    packed[len(packed) // 2] ^= 0xFF
    assert refusal(tmp_path, bytes(packed)).code == "corrupt"


def test_a_stream_ends_before_the_checkpoint(tmp_path: Path) -> None:
    for kind, pack in PACKERS.items():
        (tmp_path / kind).write_bytes(pack(b"short"))
        with pytest.raises(BadFileError) as error:
            read(tmp_path / kind, start=100)
        assert error.value.code == "truncated"


def test_peeking_consumes_nothing(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"abcdef")
    with DecodedStream(LocalFile(tmp_path / "data")) as stream:
        assert stream.peek(3) == b"abc"
        assert not stream.at_end()
        assert stream.offset == 0
        buffer = memoryview(bytearray(10))
        assert bytes(buffer[: stream.fill(buffer)]) == b"abcdef"
        assert stream.at_end()


def test_archives_and_other_compressions_are_named(tmp_path: Path) -> None:
    assert "2 files" in refusal(tmp_path, zipped(a=b"1", b=b"2")).reason
    assert refusal(tmp_path, zipped()).code == "archive"
    assert "bzip2" in refusal(tmp_path, bz2.compress(CONTENT)).reason
    assert "xz" in refusal(tmp_path, lzma.compress(CONTENT)).reason


def test_a_zip_as_macos_makes_it_holds_one_file(tmp_path: Path) -> None:
    (tmp_path / "data.zip").write_bytes(zipped(**{"a.csv": b"x\n1\n", "__MACOSX/._a.csv": b"\0"}))
    assert read(tmp_path / "data.zip") == b"x\n1\n"


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.csv", b"a,b\n1,2\n", "csv"),
        ("a", b"a,b\n1,2\n", "csv"),
        ("a.csv", b"{a},b\n1,2\n", "csv"),
        ("a.CSV.gz", gzip.compress(b"a,b\n1,2\n", mtime=0), "csv"),
        ("a.csv", b"\xef\xbb\xbfa,b\n", "csv"),
        ("a.json", b'\n{"a": 1}\n', "jsonl"),
        ("a.txt", b'{"a": 1}\n', "jsonl"),
        ("a.jsonl", b'nonsense\n{"a": 1}\n', "jsonl"),
        ("a.ndjson.zst", zstandard.ZstdCompressor().compress(b'{"ingestion": {"a": 1}}\n'), "envelopes"),
        ("a", b'{"offset": 1, "ingestion": {"records": []}}\n', "envelopes"),
        ("a.json", b'{"x": "ingestion"}\n', "jsonl"),
        ("a.json", b'{"ingestion": {"records": [' + b'{"a": 1},' * 20_000 + b'{"a": 1}]}}\n', "envelopes"),
    ],
)
def test_the_format_comes_from_name_and_content(tmp_path: Path, name: str, content: bytes, expected: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert sniff(LocalFile(tmp_path / name)) == expected


def test_parquet_is_known_whatever_its_name(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "a.csv")
    assert sniff(LocalFile(tmp_path / "a.csv")) == "parquet"
    with pytest.raises(BadFileError, match="format: csv"):
        sniff(LocalFile(tmp_path / "a.csv"), "csv")


@pytest.mark.parametrize(
    ("name", "content", "code", "word"),
    [
        ("a.csv", b"", "empty_file", "empty"),
        ("a.csv", b" \n\r\n\n", "empty_file", "blanks"),
        ("a.csv", b"\xef\xbb\xbf", "empty_file", "blanks"),
        ("a.csv", gzip.compress(b"", mtime=0), "empty_file", "blanks"),
        ("a.csv", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "wrong_format", "PNG"),
        ("a.csv", "a,b\n1,2\n".encode("utf-16"), "not_utf8", "UTF-16"),
        ("a.csv", "a,b\n1,2\nlonger,text\n".encode("utf-16-le"), "not_utf8", "UTF-16"),
        ("a.csv", "a,b\n".encode("utf-32"), "not_utf8", "UTF-32"),
        ("a.csv", b"\n<!DOCTYPE html><html><body>404</body></html>", "wrong_format", "HTML"),
        ("a.csv", b"<?xml version='1.0'?><rows/>", "wrong_format", "XML"),
        ("a.csv", bytes(range(1, 32)) * 100, "wrong_format", "binary"),
        ("a.csv", b"a,b\r1,2\r3,4\r", "carriage_returns", "line feeds"),
        ("a.csv", gzip.compress(gzip.compress(b"a\n", mtime=0), mtime=0), "wrong_format", "twice"),
        ("a.parquet", b"a,b\n1,2\n", "not_parquet", "magic"),
        ("a.jsonl", b"a,b\n1,2\n", "wrong_format", "no JSON objects"),
        ("a.parquet.gz", gzip.compress(b"PAR1....", mtime=0), "compressed_parquet", "store it as it is"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_reason(tmp_path: Path, name: str, content: bytes, code: str, word: str) -> None:
    error = refusal(tmp_path, content, name=name)
    assert (error.code, word in error.reason) == (code, True)


def test_a_declared_format_is_checked_too(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"a,b\n1,2\n")
    assert sniff(LocalFile(tmp_path / "a.csv"), "csv") == "csv"
    assert sniff(LocalFile(tmp_path / "a.csv"), "jsonl") == "jsonl"
    with pytest.raises(BadFileError, match="magic"):
        sniff(LocalFile(tmp_path / "a.csv"), "parquet")
