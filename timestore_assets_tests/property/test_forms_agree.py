"""The same records give the same rows however they are written: CSV of any dialect, JSON, requests, Arrow, wrapped values."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import fastavro
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from timestore_assets.client.request_bodies import bodies
from timestore_assets.decoding.decode import decode
from timestore_assets.decoding.rejections import RowMask
from timestore_assets.model.arrow_schema import arrow_type
from timestore_assets.model.dataset import CsvDialect, FileSource, HttpSource
from timestore_assets.model.record_form import NumberMarks, RecordForm, TimeForm, Wrapper
from timestore_assets.model.schema import Column
from timestore_assets.sources.arrow_json import json_rows
from timestore_assets.sources.batches import Batch
from timestore_assets.sources.files.input_file import LocalFile
from timestore_assets.sources.files.open_reader import open_reader
from timestore_assets.sources.http.body_formats import BodyContext, MediaType, read_body
from timestore_assets.sources.http.request_body import BodyLimits, join
from timestore_assets_tests.support.examples import examples
from timestore_assets_tests.support.landing_warehouse import columns, dataset

COLUMNS = columns(at="timestamp", place="string?", level="double?", count="int64?", price="decimal(12,2)?")
NAMES = ("place", "level", "count", "price")
DATASET = dataset(*COLUMNS[1:], sources=(HttpSource(),))
EPOCH = datetime(1970, 1, 1)


@dataclass(frozen=True)
class Row:
    at: datetime
    place: str | None
    level: float | None
    count: int | None
    price: Decimal | None

    def plain(self) -> tuple[Any, ...]:
        return self.at, self.place, self.level, self.count, self.price


ROWS = st.lists(
    st.builds(
        Row,
        at=st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)).map(
            lambda at: at.replace(microsecond=at.microsecond // 1000 * 1000)
        ),
        place=st.none() | st.text("abcé ü;,#\"'", min_size=1, max_size=8).map(lambda text: f"x{text}x"),
        level=st.none() | st.integers(-(10**9), 10**9).map(lambda value: value / 1000),
        count=st.none() | st.integers(-(2**53), 2**53),
        price=st.none() | st.integers(-(10**9), 10**9).map(lambda value: Decimal(value) / 100),
    ),
    min_size=1,
    max_size=12,
)
MARKS = st.sampled_from(
    [NumberMarks(), *(NumberMarks(decimal=d, thousands=t) for d in ".," for t in (None, ".", ",", "'", " ", "_") if d != t)]
)
TIMES = st.sampled_from(
    [
        *("iso", "basic", "comma", "utc", "lower", "blank zone", "offset", "named zone", "zone column", "zone format"),
        *("format", "s", "ms", "us", "ns", "parts"),
    ]
)


def grouped(number: int | float | Decimal, marks: NumberMarks) -> str:
    text = f"{number:,f}" if isinstance(number, float) else f"{number:,}"
    if marks.thousands is None:
        text = text.replace(",", "")
    return text.translate(str.maketrans({",": marks.thousands or "", ".": marks.decimal}))


def time_form(way: str) -> TimeForm | None:
    match way:
        case "format":
            return TimeForm(column="at", format="%d.%m.%Y %H:%M:%S,%g")
        case "s" | "ms" | "us" | "ns":
            return TimeForm(column="at", unit=way)
        case "parts":
            return TimeForm(column="at", columns=("day", "clock"))
        case "zone column":
            return TimeForm(column="at", columns=("local", "zone"))
        case "zone format":
            return TimeForm(column="at", format="%d.%m.%Y %H:%M:%S.%g %Z")
    return None


def time_texts(at: datetime, way: str) -> dict[str, str]:
    iso, millis = at.isoformat(timespec="milliseconds"), (at - EPOCH) // timedelta(milliseconds=1)
    local = (at + timedelta(hours=5)).isoformat(timespec="milliseconds")
    match way:
        case "named zone":
            return {"at": f"{local}[Etc/GMT-5]"}
        case "zone column":
            return {"local": local, "zone": "Etc/GMT-5"}
        case "zone format":
            return {"at": f"{local[8:10]}.{local[5:7]}.{local[:4]} {local[11:]} Etc/GMT-5"}
        case "basic":
            text = at.strftime("%Y%m%dT%H%M%S") + f".{at.microsecond // 1000:03}Z"
            return {"at": text.rjust(20, "0")}
        case "comma":
            return {"at": iso.replace(".", ",")}
        case "utc":
            return {"at": iso.replace("T", " ") + " UTC"}
        case "lower":
            return {"at": iso.lower() + "z"}
        case "blank zone":
            return {"at": f" {iso} +00:00 "}
        case "offset":
            return {"at": (at + timedelta(hours=5, minutes=30)).isoformat(timespec="milliseconds") + "+0530"}
        case "format":
            return {"at": at.strftime("%d.%m.%Y %H:%M:%S") + f",{at.microsecond // 1000:03}"}
        case "s":
            return {"at": f"{Decimal(millis) / 1000:f}"}
        case "ms" | "us" | "ns":
            return {"at": str(millis * {"ms": 1, "us": 1000, "ns": 10**6}[way])}
        case "parts":
            return {"day": iso[:10], "clock": iso[11:]}
    return {"at": iso}


def as_text(row: Row, way: str, marks: NumberMarks) -> dict[str, str | None]:
    numbers = {name: getattr(row, name) for name in NAMES[1:]}
    texts = {name: None if value is None else grouped(value, marks) for name, value in numbers.items()}
    times = time_texts(row.at, way)
    if way == "s":  # seconds with a fraction are numbers in text like others
        times = {name: text.replace(".", marks.decimal) for name, text in times.items()}
    return {**times, "place": row.place, **texts}


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as opened:
        opened.execute("SET TimeZone='UTC'")
        yield opened


def decoded(
    con: duckdb.DuckDBPyConnection, batch: Batch, form: RecordForm, declared: Sequence[Column] = COLUMNS
) -> list[tuple[Any, ...]]:
    row_mask = RowMask(batch.records.num_rows)
    found = decode(con, batch, row_mask, declared=tuple(declared), form=form)
    assert not batch.bad
    assert row_mask.refused().to_pylist() == []
    assert found.extras.names() == ()
    return [tuple(row[column.name] for column in declared) for row in found.table.to_pylist()]


def csv_text(rows: Sequence[dict[str, str | None]], dialect: CsvDialect, *, trailing: bool, blanks: str) -> str:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=dialect.delimiter, quoting=csv.QUOTE_MINIMAL, lineterminator="\n")
    names = list(rows[0])
    lines = []
    for record in (
        names,
        *([f"unit of {name}" for name in names] for _ in range(dialect.units_row)),
        *(row.values() for row in rows),
    ):
        # a field of blanks or one that begins a comment is quoted by whoever writes such files
        out.seek(0)
        out.truncate()
        writer.writerow(record)
        text = out.getvalue()[:-1]
        mark = dialect.comment or "#"
        lines.append(
            text if '"' in text or not blanks else f"{blanks}{dialect.delimiter}{blanks}".join(text.split(dialect.delimiter))
        )
        lines.append(f'{mark} a remark, with "a quote')
    if not dialect.comment:
        lines = lines[::2]
    if trailing:
        lines = [line if line.startswith(dialect.comment or "\0") else line + dialect.delimiter for line in lines]
    return "\n".join([*('before"the header' for _ in range(dialect.skip)), *lines, ""])


DIALECTS = st.builds(
    CsvDialect,
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
    comment=st.sampled_from([None, "#", "//"]),
    skip=st.sampled_from([0, 0, 1, 3]),
    units_row=st.booleans(),
    trim=st.booleans(),
    encoding=st.sampled_from(["utf-8", "utf-8", "iso8859-1", "cp1252", "utf-16"]),
)
QUIET = settings(max_examples=examples(6), deadline=None, suppress_health_check=list(HealthCheck))


@QUIET
@given(rows=ROWS, marks=MARKS, way=TIMES, dialect=DIALECTS, trailing=st.booleans())
def test_csv_of_files_and_requests(
    con: duckdb.DuckDBPyConnection,
    tmp_path: Path,
    rows: list[Row],
    marks: NumberMarks,
    way: str,
    dialect: CsvDialect,
    trailing: bool,
) -> None:
    time = time_form(way)
    form = RecordForm(times=(time,) if time else (), marks=marks)
    blanks = " " if dialect.trim else ""
    text = csv_text([as_text(row, way, marks) for row in rows], dialect, trailing=trailing, blanks=blanks)
    stored = text.encode(dialect.encoding)
    (tmp_path / "a.csv").write_bytes(stored)
    source = FileSource(prefix="p", format="csv", csv=dialect, form=form)
    expected = [row.plain() for row in rows]
    for chunk in (None, 1):
        reader = open_reader(LocalFile(tmp_path / "a.csv"), source, chunk_rows=chunk)
        batches = list(reader.batches())
        assert [row for batch in batches for row in decoded(con, batch, form)] == expected
        # each batch begins where the one before ended, and a reader that begins there finds the rest
        again = [batch for place in batches[:3] for batch in reader.batches(place.start, place.end)]
        assert [row for batch in again for row in decoded(con, batch, form)] == expected[
            : sum(b.records.num_rows for b in batches[:3])
        ]
    http = HttpSource(csv=dialect, form=form)
    assert decoded(con, _body(stored, "text/csv", http), form) == expected


@QUIET
@given(rows=ROWS, marks=MARKS, way=TIMES, wrapper=st.sampled_from([None, "bom", "confluent", "connect", "debezium"]))
def test_json_of_files_requests_and_topics(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, rows: list[Row], marks: NumberMarks, way: str, wrapper: Wrapper | None
) -> None:
    time = time_form(way)
    form = RecordForm(times=(time,) if time else (), marks=marks)
    records = []
    for number, row in enumerate(rows):
        record: dict[str, Any] = as_text(row, way, marks)
        if number % 2:  # numbers as such, which have a point whatever texts have
            record |= {"level": row.level, "count": row.count, "price": None if row.price is None else float(row.price)}
            record |= {"at": int(record["at"])} if way in ("ms", "us", "ns") else {}
        records.append(json.dumps(record, ensure_ascii=False).encode())
    expected = [row.plain() for row in rows]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(records))
    source = FileSource(prefix="p", format="jsonl", form=form)
    (batch,) = open_reader(LocalFile(tmp_path / "a.jsonl"), source).batches()
    assert decoded(con, batch, form) == expected
    (tmp_path / "a.json").write_bytes(b'{"n": 1, "rows": [\n' + b" ,\n".join(records) + b'], "m": []}')
    document = FileSource(prefix="p", format="json", path=("rows",), form=form)
    (batch,) = open_reader(LocalFile(tmp_path / "a.json"), document).batches()
    assert decoded(con, batch, form) == expected
    http = HttpSource(form=form)
    assert decoded(con, _body(b"[" + b",".join(records) + b"]", "application/json", http), form) == expected
    assert decoded(con, _body(b"\n".join(records), "application/x-ndjson", http), form) == expected
    values = [_wrapped(record, wrapper, place) for place, record in enumerate(records)]
    topic = _batch("json", pa.table({"value": pa.array(values, pa.binary())}))
    assert decoded(con, topic, replace(form, wrapper=wrapper)) == expected


@QUIET
@given(rows=ROWS, way=st.sampled_from(["iso", "s", "ms", "us", "ns", "parts", "float"]))
def test_typed_columns(con: duckdb.DuckDBPyConnection, tmp_path: Path, rows: list[Row], way: str) -> None:
    times = [row.at for row in rows]
    millis = [(at - EPOCH) // timedelta(milliseconds=1) for at in times]
    made: dict[str, Any] = {"at": pa.array(times, pa.timestamp("ms"))}
    time = time_form(way)
    if way == "float":
        made, time = {"at": pa.array([value / 1000 for value in millis])}, TimeForm(column="at", unit="s")
    elif way == "parts":
        clocks = pa.array([at.time() for at in times], pa.time64("us"))
        made = {"day": pa.array([at.date() for at in times], pa.date32()), "clock": clocks}
    elif way != "iso":
        factor = {"ms": 1, "us": 1000, "ns": 10**6}.get(way)
        whole = [Decimal(value) / 1000 if factor is None else value * factor for value in millis]
        made = {"at": pa.array(whole, pa.decimal128(20, 3) if factor is None else pa.int64())}
    others = {name: pa.array([getattr(row, name) for row in rows], kind) for name, kind in _KINDS.items()}
    table, form = pa.table({**made, **others}), RecordForm(times=(time,) if time else ())
    expected = [row.plain() for row in rows]
    assert decoded(con, _batch("typed", table), form) == expected
    with pa.ipc.new_stream(tmp_path / "a.arrow", table.schema) as stream:
        stream.write_table(table, max_chunksize=5)
    batches = open_reader(LocalFile(tmp_path / "a.arrow"), FileSource(prefix="p")).batches()
    assert [row for batch in batches for row in decoded(con, batch, form)] == expected
    if way in ("iso", "ms", "us", "ns"):
        _write_avro(tmp_path / "a.avro", rows, made["at"], way)
        batches = open_reader(LocalFile(tmp_path / "a.avro"), FileSource(prefix="p")).batches()
        assert [row for batch in batches for row in decoded(con, batch, form)] == expected


def _write_avro(path: Path, rows: list[Row], times: pa.Array, way: str) -> None:
    kind = {"type": "long", "logicalType": "local-timestamp-millis"} if way == "iso" else "long"
    optional = {"place": "string", "level": "double", "count": "long"}
    price = {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}
    fields = [("at", kind), *((name, ["null", one]) for name, one in optional.items()), ("price", ["null", price])]
    schema = {"type": "record", "name": "Row", "fields": [{"name": name, "type": one} for name, one in fields]}
    records = [
        {"at": at, **{name: getattr(row, name) for name in NAMES}} for at, row in zip(times.to_pylist(), rows, strict=True)
    ]
    with path.open("wb") as stored:
        fastavro.writer(stored, schema, records)


BYTES = columns(at="timestamp", raw="binary?", parts="list<binary>?")


@QUIET
@given(raws=st.lists(st.none() | st.binary(max_size=12) | st.text(max_size=6).map(str.encode), min_size=1, max_size=8))
def test_bytes_of_files_requests_topics_and_typed_columns(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, raws: list[bytes | None]
) -> None:
    """I4."""
    rows = [{"at": EPOCH, "raw": raw, "parts": None if raw is None else [raw, b"\xff"]} for raw in raws]
    table = pa.Table.from_pylist(rows, pa.schema({column.name: arrow_type(column.type) for column in BYTES}))
    expected = [tuple(row.values()) for row in rows]
    (sent,) = bodies(rows)
    (tmp_path / "a.jsonl").write_bytes(sent.content)
    (batch,) = open_reader(LocalFile(tmp_path / "a.jsonl"), FileSource(prefix="p", format="jsonl")).batches()
    request = _body(sent.content, "application/x-ndjson", HttpSource())
    topic = _batch("json", pa.table({"value": pa.array(sent.content.splitlines(), pa.binary())}))
    # a refused row of a typed file is kept as JSON, from which it is replayed
    letters = _batch("json", pa.table({"value": pa.array([text.encode() for text in json_rows(table)], pa.binary())}))
    for one in (batch, request, topic, letters, _batch("typed", table)):
        assert decoded(con, one, RecordForm(), BYTES) == expected


_KINDS = {"place": pa.string(), "level": pa.float64(), "count": pa.int64(), "price": pa.decimal128(12, 2)}


def _wrapped(record: bytes, wrapper: Wrapper | None, place: int) -> bytes:
    match wrapper:
        case "confluent":
            return b"\0" + place.to_bytes(4, "big") + record
        case "connect":
            return b'{"schema": {"type": "struct"}, "payload": ' + record + b"}"
        case "debezium" if place % 2:
            return b'{"before": null, "after": ' + record + b', "op": "c"}'
        case "debezium":
            return b'{"schema": {}, "payload": {"before": null, "after": ' + record + b', "op": "u"}}'
        case "bom":
            return b"\xef\xbb\xbf" * (place % 2) + record
    return record


def _body(data: bytes, media_type: MediaType, source: HttpSource) -> Batch:
    limits = BodyLimits(bytes=1_000_000, rows=1000, record_bytes=10_000)
    return join([read_body(data, media_type, BodyContext(dataset=DATASET, source=source, limits=limits))], first=0)


def _batch(encoding: Any, records: pa.Table) -> Batch:
    places = pa.array(np.arange(records.num_rows))
    return Batch(encoding=encoding, records=records, positions=places, lines=None, bad=(), raw=lambda _: b"")
