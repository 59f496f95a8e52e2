"""CSV as its source says it is written: what is no record, what is no column, blanks, encodings; places stay the file's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from timestore_assets.model.dataset import CsvDialect, FileSource
from timestore_assets.model.errors import BadFileError
from timestore_assets.sources.files.input_file import LocalFile
from timestore_assets.sources.files.open_reader import FileReader, open_reader, part_ends

LOGGER = b"""# Logger 7, firmware 2.1
# Start: 2024-03-01, "roof, UTC

time,temp,hum
,degC,"%"
2024-03-01 00:00:00,19.5,40
2024-03-01 00:10:00,"19.7",41
# battery, "changed

2024-03-01 00:20:00,"a
# no remark",42
# end"""


def opened(path: Path, content: bytes, *, chunk: int | None = None, **dialect: object) -> FileReader:
    (path / "data.csv").write_bytes(content)
    source = FileSource(prefix="p", csv=CsvDialect(**dialect))
    return open_reader(LocalFile(path / "data.csv"), source, chunk_rows=chunk)


def rows(reader: FileReader) -> list[tuple[str | None, ...]]:
    return [tuple(row.values()) for batch in reader.batches() for row in batch.records.to_pylist()]


def bad(reader: FileReader) -> list[tuple[str, bytes, int]]:
    return [(record.code, record.raw, record.line) for batch in reader.batches() for record in batch.bad]


@pytest.mark.parametrize("chunk", [None, 1])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_comments_and_units_are_left_out_and_every_place_is_true(tmp_path: Path, chunk: int | None, end: bytes) -> None:
    content = LOGGER.replace(b"\n", end)
    reader = opened(tmp_path, content, chunk=chunk, comment="#", units_row=True)
    text = f"a{end.decode()}# no remark"
    assert rows(reader) == [
        ("2024-03-01 00:00:00", "19.5", "40"),
        ("2024-03-01 00:10:00", "19.7", "41"),
        ("2024-03-01 00:20:00", text, "42"),
    ]
    for batch in reader.batches():
        for index, position in enumerate(batch.positions.to_pylist()):
            raw = batch.raw(index)
            assert raw is not None
            assert content[position : position + len(raw)] == raw
            assert batch.lines is not None
            assert content[:position].count(b"\n") + 1 == batch.lines[index].as_py()
    assert reader.header == ("time", "temp", "hum")


def test_a_file_with_remarks_is_cut_at_its_records(tmp_path: Path) -> None:
    lines = [f'{number},"x"\n# remark "{number}\n'.encode() for number in range(200)]
    reader = opened(tmp_path, b"a,b\n" + b"".join(lines), comment="#")
    ends = part_ends(reader, chunk_bytes=500)
    assert len(ends) > 5
    found, start = [], None
    for end in ends:
        batches = reader.batches(start, end) if start else reader.batches(until=end)
        found += [int(row["a"]) for batch in batches for row in batch.records.to_pylist()]
        start = end
    assert found == list(range(200))


def test_lines_before_the_header_are_skipped_whatever_they_hold(tmp_path: Path) -> None:
    reader = opened(tmp_path, b'700100,"HARBOUR\n\nstamp,ghi\n1,2\n', skip=2)
    assert rows(reader) == [("1", "2")]
    with pytest.raises(BadFileError, match="skipped or comments"):
        opened(tmp_path, b"# a\n", comment="#", skip=1)


def test_a_refused_header_is_named_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(BadFileError, match="line 2 was taken for the header"):
        opened(tmp_path, b"\na,,b\n1,2,3\n")


def test_a_delimiter_at_the_end_of_a_line_is_no_column(tmp_path: Path) -> None:
    both = opened(tmp_path, b"a,b,\n1,2,\n3,,\n4,\n5,6\n")
    assert (both.header, rows(both)) == (("a", "b"), [("1", "2"), ("3", None), ("4", None), ("5", "6")])
    mixed = opened(tmp_path, b'a,b\n1,2,\n"x\ny",2,\n3,4\n5,6,7\n8,9,""\n10,11,,\n')
    assert rows(mixed) == [("1", "2"), ("x\ny", "2"), ("3", "4")]
    assert bad(mixed) == [("ragged", b"5,6,7", 6), ("ragged", b'8,9,""', 7), ("ragged", b"10,11,,", 8)]


def test_blanks_around_unquoted_fields_are_kept_unless_trimmed(tmp_path: Path) -> None:
    content = b'a , "b"\n 1 ,"x , y" \n "q, r" , z z\t\n" s ", NA \n,   \n'
    reader = opened(tmp_path, content, trim=True, nulls=("NA",))
    assert reader.header == ("a", "b")
    assert rows(reader) == [("1", "x , y"), ("q, r", "z z"), (" s ", None), (None, None)]
    assert bad(reader) == []
    assert rows(opened(tmp_path, b"a, b\n1, 2\n")) == [("1", " 2")]


@pytest.mark.parametrize("encoding", ["iso8859-1", "cp1252", "iso8859-15", "utf-16", "utf-16-le", "utf-32"])
def test_text_of_other_encodings(tmp_path: Path, encoding: str) -> None:
    text = 'größe,b\n"ä;\nö",1\nü,2\n'
    assert rows(opened(tmp_path, text.encode(encoding), chunk=1, encoding=encoding)) == [("ä;\nö", "1"), ("ü", "2")]


def test_what_is_no_text_of_the_encoding_is_refused_with_its_own_bytes(tmp_path: Path) -> None:
    reader = opened(tmp_path, b"a,b\n\xe4,1\n\x81,2\n", encoding="cp1252")
    assert rows(reader) == [("ä", "1")]
    assert bad(reader) == [("invalid_text", b"\x81,2", 3)]
    with pytest.raises(BadFileError, match="encoding"):
        opened(tmp_path, b"\xe4,b\n1,2\n")
    with pytest.raises(BadFileError, match="encoding: utf-16"):
        opened(tmp_path, "a,b\n1,2\n".encode("utf-16"))
