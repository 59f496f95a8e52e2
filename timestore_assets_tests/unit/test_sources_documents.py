"""JSON documents that are odd or damaged: what is a record, what a refused one, and what makes the file unreadable."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from timestore_assets.declaration.from_yaml import parse_declaration
from timestore_assets.model.dataset import FileSource
from timestore_assets.model.errors import BadFileError, DeclarationError
from timestore_assets.sources.batches import FileBatch
from timestore_assets.sources.files.input_file import LocalFile
from timestore_assets.sources.files.open_reader import open_reader


def read(path: Path, content: bytes, *names: str, limit: int = 1 << 20) -> list[FileBatch]:
    path.write_bytes(content)
    source = FileSource(prefix="p", format="json", path=names, max_record_bytes=limit)
    return list(open_reader(LocalFile(path), source).batches())


def raws(batches: list[FileBatch]) -> list[bytes | None]:
    return [batch.raw(row) for batch in batches for row in range(batch.records.num_rows)]


@pytest.mark.parametrize("name", ["a.json", "a.json.gz", "a"])
def test_an_array_is_found_by_its_bracket(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text('\ufeff [{"a": 1}]')
    assert open_reader(LocalFile(path), FileSource(prefix="p")).format == "json"


def test_elements_that_are_no_objects_are_records_too(tmp_path: Path) -> None:
    content = b'[1, "x, ]", [2, 3], null,\n {"a": [}]}, {"b": nonsense} , ]'
    with pytest.raises(BadFileError, match="closes nothing"):
        read(tmp_path / "a.json", content)
    found = read(tmp_path / "a.json", content.replace(b"[}]", b"[{}]"))
    assert raws(found) == [b"1", b'"x, ]"', b"[2, 3]", b"null", b'{"a": [{}]}', b'{"b": nonsense}']
    assert found[0].lines is not None
    assert found[0].lines.to_pylist() == [1, 1, 1, 1, 2, 2]


def test_a_record_that_is_too_long_is_refused_at_its_place(tmp_path: Path) -> None:
    long = json.dumps({"a": "x" * 300_000, "b": ['"]}'] * 9})
    (batch,) = read(tmp_path / "a.json", f'{{"rows": [{{"n": 1}},\n{long},\n{{"n": 2}}]}}'.encode(), "rows", limit=1000)
    assert raws([batch]) == [b'{"n": 1}', b'{"n": 2}']
    (bad,) = batch.bad
    assert (bad.code, bad.line, bad.raw) == ("too_long", 2, long.encode())


@pytest.mark.parametrize(
    ("content", "path", "says"),
    [
        (b'[{"a": 1}, {"a": 2}', (), "it ends before its array does"),
        (b'[{"a": "1}, {"a": 2}]', (), "it ends before its array does"),
        (b'[{"a": 1}] {"b": 2}', (), "byte 11, line 1: something follows the array"),
        (b'{"r": [{"a": 1}]}, {"a": 2}]}', ("r", "s"), "no object at r"),
        (b'{"r": [{"a": 1}], {"a": 2}]}', ("r",), "no member follows the array"),
        (b'{"r": {"a": 1}}', ("r",), "no array at r"),
        (b'{"q": 1, "t": [1, {"r": []}]}', ("r",), "has no 'r' at its beginning (path); there are 'q', 't'"),
        (b'{"q": {"x": 1}}', ("q", "r"), "has no 'r' at q (path); there are 'x'"),
        (b'{"q" 1}', ("r",), ": is missing"),
        (b'{"q": "unended', ("r",), "it ends too early"),
        (b'{"a": 1}}', (), "closes nothing"),
    ],
)
def test_what_can_not_be_cut_is_refused_with_its_place(tmp_path: Path, content: bytes, path: tuple[str, ...], says: str) -> None:
    with pytest.raises(BadFileError) as refused:
        read(tmp_path / "a.json", content, *path)
    assert says in str(refused.value)


def test_members_before_the_array_are_passed_over_whatever_they_hold(tmp_path: Path) -> None:
    before = {"x": ["]", {"rows": [1]}] * 40_000, 'y\\"': "\\", "z": -1.5e3}
    content = json.dumps({**before, "rows": [{"a": 1}], "after": "]"}).encode()
    assert raws(read(tmp_path / "a.json", content, "rows")) == [b'{"a": 1}']


def declared(path: str, **more: str) -> FileSource:
    lines = "".join(f"\n        {name}: {value}" for name, value in more.items())
    dataset = parse_declaration(
        f"""
type: timestore_assets.Dataset
attributes:
  name: readings
  columns: {{at: timestamp}}
  time: at
  start: 2024-01-01
  sources:
    - files:
        prefix: inbox/
        path: {json.dumps(path)}{lines}
"""
    )
    return dataset.file_sources[0]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("data.readings[*]", ("data", "readings")),
        ("$.data.readings", ("data", "readings")),
        ("rows", ("rows",)),
        ("['a.b'][\"c d\"][*]", ("a.b", "c d")),
        ("$", ()),
        ("[*]", ()),
    ],
)
def test_a_path_names_members(text: str, names: tuple[str, ...]) -> None:
    source = declared(text)
    assert (source.path, source.format) == (names, "json")


@pytest.mark.parametrize("text", ["a[*].b", "a[0]", "a..b", "a.b[*][*]", "a.[*]"])
def test_a_path_that_leads_into_elements_is_refused(text: str) -> None:
    with pytest.raises(DeclarationError, match="names with points between them"):
        declared(text)
    with pytest.raises(DeclarationError, match="the format is csv"):
        declared("a", format="csv")
