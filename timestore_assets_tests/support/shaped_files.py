"""Files as people have them: those of vega-datasets that its wheel brings, and small ones of the shapes of others."""

from __future__ import annotations

import importlib.util
import io
import json
import shutil
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
from pyarrow import ipc, orc

HOURS = [datetime(2024, 3, 20, tzinfo=UTC) + timedelta(hours=i) for i in range(40)]
Make = Callable[[Path], None]


def of_vega(name: str) -> Make:
    """A file of the wheel, found without importing the package, which wants pandas."""

    def make(path: Path) -> None:
        spec = importlib.util.find_spec("vega_datasets")
        assert spec is not None and spec.submodule_search_locations is not None
        shutil.copyfile(Path(spec.submodule_search_locations[0], "_data", name), path)

    return make


def lines(header: str, form: str, value: str = "{i}") -> Make:
    """A text file with a time in `form` and values a line."""

    def make(path: Path) -> None:
        rows = [f"{time:{form}}{header[-1]}{value.format(i=i)}" for i, time in enumerate(HOURS)]
        path.write_text("\n".join([header[:-1], *rows]) + "\n")

    return make


def array(time: str, form: str, *, indent: int | None = None, inside: tuple[str, ...] = ()) -> Make:
    """A JSON array of objects, at a path of its document."""

    def make(path: Path) -> None:
        rows: Any = [
            {time: _as(at, form), "title": f'a "{i}", b]', "gross": None if i % 7 == 3 else i} for i, at in enumerate(HOURS)
        ]
        for name in reversed(inside):
            rows = {"meta": {"count": len(HOURS), "tags": ["x", "]"]}, name: rows, "next": None}
        path.write_text(json.dumps(rows, indent=indent))

    return make


def _as(time: datetime, form: str) -> object:
    if form == "ms":
        return int(time.timestamp()) * 1000
    return int(time.timestamp()) if form == "s" else time.year - 40 + time.hour if form == "year" else f"{time:{form}}"


def json_lines(form: str) -> Make:
    def make(path: Path) -> None:
        path.write_text("".join(json.dumps({"ts": _as(time, form), "value": i / 4}) + "\n" for i, time in enumerate(HOURS)))

    return make


def years(header: str, first: int, count: int) -> Make:
    def make(path: Path) -> None:
        path.write_text("\n".join([header, *(f"{first + i},{i / 10}" for i in range(count))]) + "\n")

    return make


def text(content: str) -> Make:
    def make(path: Path) -> None:
        path.write_text(content)

    return make


TABLE = pa.table({"time": pa.array(HOURS, pa.timestamp("us")), "v": [i / 8 for i in range(len(HOURS))]})


def arrow_file(path: Path) -> None:
    with ipc.new_file(path, TABLE.schema) as writer:
        writer.write_table(TABLE, max_chunksize=7)


def arrow_stream(path: Path) -> None:
    with ipc.new_stream(path, TABLE.schema) as writer:
        writer.write_table(TABLE, max_chunksize=7)


def orc_file(path: Path) -> None:
    orc.write_table(TABLE, path)


def avro_file(path: Path) -> None:
    schema = {
        "type": "record",
        "name": "Reading",
        "fields": [
            {"name": "time", "type": {"type": "long", "logicalType": "timestamp-millis"}},
            {"name": "v", "type": ["null", "double"]},
        ],
    }
    with path.open("wb") as stored:
        records = [{"time": time, "v": None if i % 5 == 2 else i / 8} for i, time in enumerate(HOURS)]
        fastavro.writer(stored, schema, records, codec="deflate")


def excel_file(path: Path) -> None:
    """A sheet with a title above the header; dates are numbers of days since 1899-12-30 in a style that shows them as such."""
    epoch = datetime(1899, 12, 30, tzinfo=UTC)
    rows = [["Station 7"], [], ["when", "v"], *([(time - epoch) / timedelta(days=1), i / 8] for i, time in enumerate(HOURS))]
    cells = "".join(f"<row>{''.join(_cell(value, dated=place == 0) for place, value in enumerate(row))}</row>" for row in rows)
    main = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    links = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{package}/content-types"/>',
        "_rels/.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="r1" Type="{links}/officeDocument" '
        'Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook {main} xmlns:r="{links}"><sheets><sheet name="data" sheetId="1" r:id="r1"/></sheets>'
        "</workbook>",
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="r1" '
        f'Type="{links}/worksheet" Target="worksheets/sheet1.xml"/><Relationship Id="r2" Type="{links}/styles" '
        'Target="styles.xml"/></Relationships>',
        "xl/styles.xml": f'<styleSheet {main}><cellXfs><xf numFmtId="0"/><xf numFmtId="22" applyNumberFormat="1"/></cellXfs>'
        "</styleSheet>",
        "xl/worksheets/sheet1.xml": f"<worksheet {main}><sheetData>{cells}</sheetData></worksheet>",
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, f'<?xml version="1.0" encoding="UTF-8"?>{content}')
    path.write_bytes(buffer.getvalue())


def _cell(value: object, *, dated: bool) -> str:
    if isinstance(value, str):
        return f'<c t="inlineStr"><is><t>{value}</t></is></c>'
    return f'<c s="{int(dated)}"><v>{value!r}</v></c>'
