"""Arrow IPC, ORC, Avro and spreadsheets: rows from any place on, odd values, damage."""

from __future__ import annotations

import datetime as dt
import io
import json
import zipfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.feather as feather
import pytest

from timestore_assets.model.dataset import CsvDialect, FileSource
from timestore_assets.model.errors import BadFileError
from timestore_assets.model.position import START, Position
from timestore_assets.sources.batches import FileBatch
from timestore_assets.sources.files import spreadsheet
from timestore_assets.sources.files.columnar import avro_tables
from timestore_assets.sources.files.input_file import LocalFile
from timestore_assets.sources.files.open_reader import FileReader, open_reader
from timestore_assets_tests.support import shaped_files as shaped

MAKERS = {
    "a.arrow": shaped.arrow_file,
    "a.arrows": shaped.arrow_stream,
    "a.orc": shaped.orc_file,
    "a.avro": shaped.avro_file,
    "a.xlsx": shaped.excel_file,
}
SHEET = FileSource(prefix="p", csv=CsvDialect(skip=2))


def opened(path: Path, source: FileSource = SHEET, **options: Any) -> FileReader:
    return open_reader(LocalFile(path), source, **options)


def rows(batches: list[FileBatch]) -> list[tuple[int, bytes]]:
    return [(position, batch.raw(row) or b"") for batch in batches for row, position in enumerate(batch.positions.to_pylist())]


@pytest.mark.parametrize("name", MAKERS)
def test_reading_goes_on_at_any_position_with_batches_of_any_size(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    MAKERS[name](path)
    whole = list(opened(path).batches())
    assert len(rows(whole)) == len(shaped.HOURS)
    small = list(opened(path, chunk_rows=3, memory_bytes=200).batches())
    assert [batch.last for batch in small] == [False] * (len(small) - 1) + [True]
    assert rows(small) == rows(whole)
    for batch in small:
        rest = list(opened(path, chunk_rows=11).batches(batch.end))
        assert rows(rest) == [row for row in rows(whole) if row[0] >= batch.end.offset]
        assert rest[-1].end == whole[-1].end


def test_a_file_that_has_become_shorter_is_refused(tmp_path: Path) -> None:
    shaped.orc_file(tmp_path / "a.orc")
    with pytest.raises(BadFileError, match="fewer than the 999 already read"):
        list(opened(tmp_path / "a.orc").batches(Position(offset=999)))


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("kept", [12, 0.5, 0.99])
def test_a_file_that_is_cut_off_is_refused(tmp_path: Path, name: str, kept: float) -> None:
    path = tmp_path / name
    MAKERS[name](path)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept if kept > 1 else len(content) * kept)])
    with pytest.raises(BadFileError) as refused:
        list(opened(path).batches())
    assert refused.value.code in ("corrupt", "truncated", f"not_{name[2:]}")
    assert path.name in str(refused.value)


@pytest.mark.parametrize("make", [pa.ipc.new_file, pa.ipc.new_stream])
@pytest.mark.parametrize("nested", [False, True])
def test_offsets_that_point_outside_their_buffer_refuse_the_file(tmp_path: Path, make: Any, nested: bool) -> None:
    texts = pa.array(["abcdefgh"] * 100)
    table = pa.table({"s": pa.StructArray.from_arrays([texts], names=["inner"]) if nested else texts})
    with make(tmp_path / "a.arrow", table.schema) as out:
        out.write_table(table)
    content = (tmp_path / "a.arrow").read_bytes()
    offset = (8 * 50).to_bytes(4, "little") + (8 * 51).to_bytes(4, "little")
    assert content.count(offset) == 1
    (tmp_path / "a.arrow").write_bytes(content.replace(offset, (2**31 - 256).to_bytes(4, "little") + offset[4:]))
    with pytest.raises(BadFileError, match="is damaged") as refused:
        rows(list(opened(tmp_path / "a.arrow").batches()))
    assert refused.value.code == "corrupt"


def test_nested_text_of_an_arrow_file_that_is_not_utf8_refuses_its_row_alone(tmp_path: Path) -> None:
    table = pa.table({"s": pa.array([["abcdefgh"], ["12345678"]])})
    with pa.ipc.new_file(tmp_path / "a.arrow", table.schema) as out:
        out.write_table(table)
    content = (tmp_path / "a.arrow").read_bytes()
    (tmp_path / "a.arrow").write_bytes(content.replace(b"12345678", b"1234567\xff"))
    (batch,) = opened(tmp_path / "a.arrow").batches()
    assert batch.positions.to_pylist() == [0]
    assert [(one.code, one.position) for one in batch.bad] == [("invalid_utf8", 1)]


FAR_AWAY = ("XFD1048576", "A4294967295", "ZZZZZZZZZZ99999999999999999999")


@pytest.mark.parametrize("place", FAR_AWAY)
def test_a_cell_far_away_from_the_others_refuses_a_sheet_and_takes_no_memory_here(tmp_path: Path, place: str) -> None:
    shaped.excel_file(tmp_path / "plain.xlsx")
    far_away = f'<row r="{place.lstrip("XFDAZ")}"><c r="{place}"><v>1</v></c></row></sheetData>'
    with zipfile.ZipFile(tmp_path / "plain.xlsx") as plain, zipfile.ZipFile(tmp_path / "far.xlsx", "w") as far:
        for name in plain.namelist():
            far.writestr(name, plain.read(name).replace(b"</sheetData>", far_away.encode()))
    with pytest.raises(BadFileError, match="takes more than the memory") as refused:
        opened(tmp_path / "far.xlsx", whole_bytes=10_000_000)
    assert refused.value.code == "too_large"


def test_batches_of_a_sheet_with_long_texts_are_bounded_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spreadsheet, "_BATCH_BYTES", 100)
    shaped.excel_file(tmp_path / "a.xlsx")
    batches = list(opened(tmp_path / "a.xlsx").batches())
    assert len(batches) > 5
    assert sum(len(batch.positions) for batch in batches) == len(shaped.HOURS)


def test_feather_with_compression_and_dictionaries(tmp_path: Path) -> None:
    table = pa.table({"s": pa.array(["a", None, "b"] * 50).dictionary_encode(), "v": pa.array(range(150))})
    feather.write_feather(table, tmp_path / "a.feather", compression="zstd", chunksize=20)
    reader = opened(tmp_path / "a.feather")
    assert reader.arrow_schema == pa.schema([("s", pa.string()), ("v", pa.int64())])
    found = pa.concat_tables([batch.records for batch in reader.batches()])
    assert found.to_pylist() == table.to_pylist()


ODD = {
    "type": "record",
    "name": "ns.Row",
    "fields": [
        {"name": "local", "type": ["null", {"type": "long", "logicalType": "local-timestamp-micros"}]},
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
        {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2}},
        {"name": "either", "type": ["null", "long", "string"]},
        {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["A", "B"]}},
        {"name": "again", "type": ["null", "Kind"]},
        {"name": "times", "type": {"type": "array", "items": {"type": "long", "logicalType": "timestamp-micros"}}},
        {"name": "map", "type": {"type": "map", "values": "double"}},
        {"name": "inner", "type": {"type": "record", "name": "Inner", "fields": [{"name": "x", "type": "float"}]}},
    ],
}


def test_avro_types_are_arrows(tmp_path: Path) -> None:
    day = dt.datetime(2024, 1, 2, tzinfo=dt.UTC)
    record = {
        "local": day.replace(tzinfo=None),
        "day": day.date(),
        "price": Decimal("-12.34"),
        "either": 5,
        "kind": "A",
        "again": "B",
        "times": [day],
        "map": {"k": 1.5},
        "inner": {"x": 0.5},
    }
    with (tmp_path / "a.avro").open("wb") as stored:
        fastavro.writer(stored, ODD, [record, {**record, "local": None, "either": "x", "again": None}], codec="snappy")
    (batch,) = opened(tmp_path / "a.avro").batches()
    first, second = batch.records.to_pylist()
    assert first == {**record, "either": "5", "map": [("k", 1.5)]}
    assert (second["local"], second["either"], second["again"]) == (None, "x", None)


def avro_with(path: Path, schema: dict[str, Any], stored_as: dict[str, Any], records: list[dict[str, Any]]) -> None:
    """A file whose values were written by one schema and are declared by another of the same form."""
    written = io.BytesIO()
    fastavro.writer(written, stored_as, records)
    written.seek(0)
    header = avro_tables._header(written)
    header["meta"]["avro.schema"] = json.dumps(schema).encode()
    changed = io.BytesIO()
    fastavro.schemaless_writer(changed, avro_tables._HEADER, header)
    path.write_bytes(changed.getvalue() + written.read())


def row_of(time: Any, text: str) -> dict[str, Any]:
    return {"type": "record", "name": "Row", "fields": [{"name": "at", "type": time}, {"name": "s", "type": text}]}


def test_avro_times_without_a_calendar_and_invalid_texts_spoil_only_their_row(tmp_path: Path) -> None:
    declared = row_of({"type": "long", "logicalType": "timestamp-millis"}, "string")
    records = [{"at": 1 << 60, "s": b"far"}, {"at": 0, "s": b"\xff"}, {"at": 1, "s": b"fine"}]
    avro_with(tmp_path / "a.avro", declared, row_of("long", "bytes"), records)
    (batch,) = opened(tmp_path / "a.avro").batches()
    assert batch.records["s"].to_pylist() == ["far", "fine"]
    assert batch.records["at"].cast(pa.int64()).to_pylist() == [1 << 60, 1]
    (bad,) = batch.bad
    assert (bad.code, bad.position) == ("invalid_utf8", 1)


def test_an_avro_type_that_holds_itself_is_refused(tmp_path: Path) -> None:
    schema = row_of(["null", "Row"], "string")
    with (tmp_path / "a.avro").open("wb") as stored:
        fastavro.writer(stored, schema, [{"at": None, "s": ""}])
    with pytest.raises(BadFileError, match="Row holds itself"):
        opened(tmp_path / "a.avro")


def test_a_part_that_is_larger_than_the_memory_is_refused(tmp_path: Path) -> None:
    shaped.arrow_file(tmp_path / "a.arrow")
    with pytest.raises(BadFileError, match="only read whole"):
        list(opened(tmp_path / "a.arrow", whole_bytes=50).batches())
    shaped.excel_file(tmp_path / "a.xlsx")
    with pytest.raises(BadFileError, match="only read whole"):
        opened(tmp_path / "a.xlsx", whole_bytes=500)


def test_cells_of_a_sheet_are_json_and_lines_its_rows(tmp_path: Path) -> None:
    shaped.excel_file(tmp_path / "a.xlsx")
    reader = opened(tmp_path / "a.xlsx")
    (batch,) = reader.batches(START)
    assert (reader.header, batch.encoding) == (("when", "v"), "json")
    assert batch.lines is not None
    assert batch.lines.to_pylist()[:2] == [4, 5]
    assert [json.loads(batch.raw(row) or b"") for row in (0, 9)] == [
        {"when": "2024-03-20", "v": 0},
        {"when": "2024-03-20T09:00:00", "v": 1.125},
    ]
    with pytest.raises(BadFileError, match=r"has no sheet 'other' \(sheet\); there are 'data'"):
        opened(tmp_path / "a.xlsx", FileSource(prefix="p", sheet="other"))
    (tmp_path / "b.csv").write_bytes((tmp_path / "a.xlsx").read_bytes())
    with pytest.raises(BadFileError, match="is a spreadsheet, but its source says format: csv"):
        opened(tmp_path / "b.csv", FileSource(prefix="p", format="csv"))
