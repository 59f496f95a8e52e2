"""What format a file has: by its name, checked against its content, so that a wrong file is refused with one clear reason."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Literal

from timestore_assets.model.dataset import FileFormat
from timestore_assets.model.errors import BadFileError
from timestore_assets.sources.files.compression import DecodedStream
from timestore_assets.sources.files.input_file import InputFile

KnownFormat = Literal["csv", "jsonl", "envelopes", "parquet"]

HEAD_BYTES = 1 << 16
BOM = b"\xef\xbb\xbf"
_PARQUET = (b"PAR1", b"PARE")
_SIGNATURES = {
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"%PDF": "a PDF document",
    b"\x7fELF": "a program",
    b"SQLite format 3\0": "an SQLite database",
    b"ARROW1": "an Arrow IPC file",
    b"\xff\xff\xff\xff": "an Arrow IPC stream",
    b"ORC": "an ORC file",
    b"Obj\x01": "an Avro file",
    b"\x89HDF": "an HDF5 file",
    b"\xd0\xcf\x11\xe0": "an old Microsoft Office file",
    b"PK\x03\x04": "a zip archive inside another compression",
    b"\x1f\x8b": "compressed twice",
    b"\x28\xb5\x2f\xfd": "compressed twice",
}
_WIDE_BOMS = {b"\xff\xfe\0\0": "UTF-32", b"\0\0\xfe\xff": "UTF-32", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
_MARKUP = re.compile(rb"\s*<(!doctype\s+html|html|head|body|\?xml)\b", re.IGNORECASE)
_CONTROL = bytes(code for code in range(32) if code not in (0, 9, 10, 12, 13, 27))
_SUFFIXES: dict[str, KnownFormat] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "jsonl",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_EXPECTED = "expected CSV, JSON lines or Parquet"


def sniff(file: InputFile, declared: FileFormat = "auto") -> KnownFormat:
    """The format to read a file as, after checking that its content can be that.

    Raises:
        BadFileError: it is empty, binary, HTML, UTF-16, one JSON array, in old-Mac line ends, …; or it isn't `declared`.
    """
    if file.status().size == 0:
        raise BadFileError("empty_file", f"{file.name} is empty")
    with DecodedStream(file) as stream:
        buffer = bytearray(HEAD_BYTES)
        head = bytes(buffer[: stream.fill(memoryview(buffer))])
        whole, compressed = stream.at_end(), stream.compression != "plain"
    wanted = declared if declared != "auto" else _by_name(file.name)
    if head.startswith(_PARQUET):
        return _parquet(file.name, declared, compressed=compressed)
    if wanted == "parquet":
        raise BadFileError("not_parquet", f"{file.name} is not a Parquet file: it does not begin with its magic bytes")
    _check_text(file.name, head, whole=whole)
    if declared != "auto":
        return wanted or "csv"
    return _text_format(file.name, head, wanted)


def _by_name(name: str) -> KnownFormat | None:
    suffixes = [
        suffix.lower() for suffix in Path(name).suffixes if suffix.lower() not in (".gz", ".gzip", ".zst", ".zstd", ".zip")
    ]
    return _SUFFIXES.get(suffixes[-1]) if suffixes else None


def _parquet(name: str, declared: FileFormat, *, compressed: bool) -> KnownFormat:
    if compressed:
        raise BadFileError("compressed_parquet", f"{name} is a Parquet file inside another compression; store it as it is")
    if declared not in ("auto", "parquet"):
        raise BadFileError("wrong_format", f"{name} is a Parquet file, but its source says format: {declared}")
    return "parquet"


def _check_text(name: str, head: bytes, *, whole: bool) -> None:
    """Refuse what can't be UTF-8 text in lines."""
    for bom, encoding in _WIDE_BOMS.items():
        if head.startswith(bom):
            raise BadFileError("not_utf8", f"{name} is {encoding} text; save it as UTF-8")
    for magic, what in _SIGNATURES.items():
        if head.startswith(magic):
            raise BadFileError("wrong_format", f"{name} is {what}; {_EXPECTED}")
    sample = head.removeprefix(BOM)
    if not sample.strip():
        if whole:
            raise BadFileError("empty_file", f"{name} holds nothing but blanks")
        return
    if _MARKUP.match(sample):
        raise BadFileError("wrong_format", f"{name} is an HTML or XML page; {_EXPECTED}")
    if len(sample) >= 16 and min(_zeros(sample[::2]), _zeros(sample[1::2])) < 0.1 < 0.4 < max(
        _zeros(sample[::2]), _zeros(sample[1::2])
    ):
        raise BadFileError("not_utf8", f"{name} looks like UTF-16 text; save it as UTF-8")
    if len(sample) - len(sample.translate(None, _CONTROL)) > len(sample) / 10:
        raise BadFileError("wrong_format", f"{name} holds binary data; {_EXPECTED}")
    if b"\n" not in sample and b"\r" in sample.rstrip(b"\r"):
        raise BadFileError("carriage_returns", f"{name} ends its lines with carriage returns only; end them with line feeds")


def _zeros(sample: bytes) -> float:
    return sample.count(0) / len(sample)


def _text_format(name: str, head: bytes, wanted: KnownFormat | None) -> KnownFormat:
    sample = head.removeprefix(BOM).lstrip()
    if wanted == "csv" or (wanted is None and not sample.startswith((b"{", b"["))):
        return "csv"
    if sample.startswith(b"["):
        raise BadFileError("json_not_lines", f"{name} is one JSON array; write one JSON object a line")
    lines = sample.splitlines()
    if lines and lines[0].strip() == b"{":
        raise BadFileError("json_not_lines", f"{name} holds JSON spread over several lines; write one JSON object a line")
    if wanted == "jsonl" and lines and not any(line.lstrip().startswith(b"{") for line in lines):
        raise BadFileError("wrong_format", f"{name} holds no JSON objects; {_EXPECTED}")
    return "envelopes" if _first_object_is_envelope(lines) else "jsonl"


def _first_object_is_envelope(lines: list[bytes]) -> bool:
    for line in lines[:100]:
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            return "ingestion" in value
    # a first line longer than the sample: its beginning must do
    return bool(lines) and re.search(rb'"ingestion"\s*:\s*[{\[]', lines[0]) is not None
