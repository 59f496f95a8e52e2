"""What format a file has: by its name, checked against its content, so that a wrong file is refused with one clear reason."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path
from typing import Literal

from timestore_assets.model.dataset import FileFormat
from timestore_assets.model.errors import BadFileError
from timestore_assets.model.text_encoding import UTF_8
from timestore_assets.sources.files.compression import DecodedStream
from timestore_assets.sources.files.input_file import InputFile
from timestore_assets.sources.files.wide_text import open_text

KnownFormat = Literal["csv", "jsonl", "json", "envelopes", "parquet", "arrow", "orc", "avro", "spreadsheet"]

HEAD_BYTES = 1 << 16
BOM = b"\xef\xbb\xbf"
_BINARY: dict[bytes, KnownFormat] = {
    b"PAR1": "parquet",
    b"PARE": "parquet",
    b"ARROW1": "arrow",
    b"\xff\xff\xff\xff": "arrow",
    b"ORC": "orc",
    b"Obj\x01": "avro",
    b"\xd0\xcf\x11\xe0": "spreadsheet",
}
"""Formats that are no text, by the bytes they begin with."""
_NAMES: dict[str, str] = {
    "parquet": "a Parquet file",
    "arrow": "an Arrow IPC file",
    "orc": "an ORC file",
    "avro": "an Avro file",
    "spreadsheet": "a spreadsheet",
}
_SIGNATURES = {
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"%PDF": "a PDF document",
    b"\x7fELF": "a program",
    b"SQLite format 3\0": "an SQLite database",
    b"\x89HDF": "an HDF5 file",
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
    ".arrow": "arrow",
    ".arrows": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
    ".orc": "orc",
    ".avro": "avro",
    **dict.fromkeys((".xlsx", ".xlsm", ".xlsb", ".xls", ".ods"), "spreadsheet"),
}
_EXPECTED = "expected CSV, JSON, Parquet, Arrow, ORC, Avro or a spreadsheet"


def sniff(file: InputFile, declared: FileFormat = "auto", *, encoding: str = UTF_8) -> KnownFormat:
    """The format to read a file as, after checking that its content can be that.

    Raises:
        BadFileError: it is empty, of an unknown binary format, HTML, UTF-16, in old-Mac line ends, …; or it isn't `declared`.
    """
    if file.status().size == 0:
        raise BadFileError("empty_file", f"{file.name} is empty")
    binary, compressed = binary_format(file)
    if binary is not None:
        return _checked_binary(file.name, binary, declared, compressed=compressed)
    with open_text(file, encoding) as stream:
        buffer = bytearray(HEAD_BYTES)
        head = bytes(buffer[: stream.fill(memoryview(buffer))])
        whole = stream.at_end()
    wanted = declared if declared != "auto" else _by_name(file.name)
    if wanted in _NAMES:
        raise BadFileError(f"not_{wanted}", f"{file.name} is not {_NAMES[wanted]}: it does not begin with its magic bytes")
    _check_text(file.name, head, whole=whole)
    if declared != "auto":
        return wanted or "csv"
    return _text_format(file.name, head, wanted)


def _by_name(name: str) -> KnownFormat | None:
    suffixes = [
        suffix.lower() for suffix in Path(name).suffixes if suffix.lower() not in (".gz", ".gzip", ".zst", ".zstd", ".zip")
    ]
    return _SUFFIXES.get(suffixes[-1]) if suffixes else None


def binary_format(file: InputFile) -> tuple[KnownFormat | None, bool]:
    """The format of a file that is no text, None for one that may be, and whether it lies inside another compression."""
    try:
        with DecodedStream(file) as stored:
            head, compressed = stored.peek(8), stored.compression != "plain"
    except BadFileError as error:
        if error.code == "archive" and _is_spreadsheet_archive(file):
            return "spreadsheet", False
        raise
    return next((known for magic, known in _BINARY.items() if head.startswith(magic)), None), compressed


def _is_spreadsheet_archive(file: InputFile) -> bool:
    with file.open() as stored:
        names = zipfile.ZipFile(stored).namelist()
    # other Office documents have a list of contents as well
    return "content.xml" in names or ("[Content_Types].xml" in names and any(name.startswith("xl/") for name in names))


def _checked_binary(name: str, known: KnownFormat, declared: FileFormat, *, compressed: bool) -> KnownFormat:
    if compressed:
        raise BadFileError(f"compressed_{known}", f"{name} is {_NAMES[known]} inside another compression; store it as it is")
    if declared not in ("auto", known):
        raise BadFileError("wrong_format", f"{name} is {_NAMES[known]}, but its source says format: {declared}")
    return known


def _check_text(name: str, head: bytes, *, whole: bool) -> None:
    """Refuse what can't be UTF-8 text in lines."""
    for bom, encoding in _WIDE_BOMS.items():
        if head.startswith(bom):
            raise BadFileError(
                "not_utf8", f"{name} is {encoding} text; save it as UTF-8, or write `encoding: {encoding.lower()}`"
            )
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
        raise BadFileError("not_utf8", f"{name} looks like UTF-16 text; save it as UTF-8, or write its `encoding:` at the source")
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
    lines = sample.splitlines()
    if sample.startswith(b"[") or _is_spread(lines):
        return "json"
    if wanted == "jsonl" and lines and not any(line.lstrip().startswith(b"{") for line in lines):
        raise BadFileError("wrong_format", f"{name} holds no JSON objects; {_EXPECTED}")
    return "envelopes" if _first_object_is_envelope(lines) else "jsonl"


def _is_spread(lines: list[bytes]) -> bool:
    """Whether an object goes on behind the first line."""
    if not lines or not lines[0].startswith(b"{") or len(lines) < 2:
        return False
    try:
        json.loads(lines[0])
    except (ValueError, RecursionError):
        return not lines[1].lstrip().startswith(b"{") or lines[0].strip() == b"{"
    return False


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
