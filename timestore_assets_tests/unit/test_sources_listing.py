"""Listing a watched prefix, and knowing files by their content."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from timestore_assets.model.errors import BadFileError, InputError
from timestore_assets.sources.files import input_file
from timestore_assets.sources.files.file_listing import address_of, glob_pattern, list_files
from timestore_assets.sources.files.input_file import LocalFile, etag_of, path_at


def put(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def addresses(root: Path, glob: str = "**/*") -> list[str]:
    return [file.address for file in list_files(root, glob).files]


def test_files_are_listed_in_order_with_size_and_looks(tmp_path: Path) -> None:
    put(tmp_path, "b.csv", "a/x.csv", "a.csv")
    files = list_files(tmp_path).files
    assert [file.address for file in files] == ["a.csv", "a/x.csv", "b.csv"]
    assert [file.size for file in files] == [5, 7, 5]
    assert files[0].etag == etag_of((tmp_path / "a.csv").stat())


def test_addresses_are_relative_to_the_base(tmp_path: Path) -> None:
    put(tmp_path, "inbox/weather/a.csv")
    assert [f.address for f in list_files(tmp_path / "inbox", base=tmp_path).files] == ["inbox/weather/a.csv"]
    assert address_of(tmp_path / "x" / ".." / "a.csv", tmp_path) == "a.csv"
    assert address_of(Path("/elsewhere/a.csv"), tmp_path) == "/elsewhere/a.csv"


def test_hidden_unfinished_and_finished_names_are_not_looked_at(tmp_path: Path) -> None:
    put(
        tmp_path,
        ".hidden.csv",
        "a.csv.tmp",
        "a.csv.part",
        "_SUCCESS",
        "a.csv.processed",
        "_temporary/a.csv",
        ".git/a.csv",
        "ok.csv",
    )
    assert addresses(tmp_path) == ["ok.csv"]


@pytest.mark.parametrize(
    ("glob", "expected"),
    [
        ("*.csv", ["a.csv"]),
        ("**/*.csv", ["2013/01/c.csv", "2013/b.csv", "a.csv"]),
        ("2013/**", ["2013/01/c.csv", "2013/b.csv", "2013/d.json"]),
        ("2013/*/c.csv", ["2013/01/c.csv"]),
        ("**/?.{csv,json}", ["2013/01/c.csv", "2013/b.csv", "2013/d.json", "a.csv"]),
        ("**/[!ab].*", ["2013/01/c.csv", "2013/d.json"]),
        ("**/[a-b].csv", ["2013/b.csv", "a.csv"]),
        ("none/*", []),
    ],
)
def test_globs(tmp_path: Path, glob: str, expected: list[str]) -> None:
    put(tmp_path, "a.csv", "2013/b.csv", "2013/01/c.csv", "2013/d.json")
    assert addresses(tmp_path, glob) == expected


@pytest.mark.parametrize("glob", ["/etc/*", "../*.csv", "[ab", "{a,b"])
def test_globs_that_make_no_sense_are_refused(glob: str) -> None:
    with pytest.raises(InputError, match="glob"):
        glob_pattern(glob)


def test_a_missing_prefix_is_an_empty_listing(tmp_path: Path) -> None:
    assert list_files(tmp_path / "nothing").files == ()


def test_what_is_no_file_is_reported_and_nothing_else_is_lost(tmp_path: Path) -> None:
    put(tmp_path, "in/ok.csv", "outside.csv", "in/folder.parquet/part-0.parquet")
    (tmp_path / "in/empty.csv").mkdir()
    (tmp_path / "in/broken.csv").symlink_to(tmp_path / "nowhere")
    (tmp_path / "in/escape.csv").symlink_to(tmp_path / "outside.csv")
    (tmp_path / "in/inner.csv").symlink_to(tmp_path / "in/ok.csv")
    os.mkfifo(tmp_path / "in/pipe.csv")
    listing = list_files(tmp_path / "in")
    assert [file.address for file in listing.files] == ["folder.parquet/part-0.parquet", "inner.csv", "ok.csv"]
    assert [(problem.address, problem.code) for problem in listing.problems] == [
        ("broken.csv", "broken_link"),
        ("empty.csv", "directory"),
        ("escape.csv", "outside_prefix"),
        ("pipe.csv", "not_a_file"),
    ]


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    put(tmp_path, "a/ok.csv")
    (tmp_path / "a/loop").symlink_to(tmp_path / "a", target_is_directory=True)
    (tmp_path / "a/self.csv").symlink_to(tmp_path / "a/self.csv")
    listing = list_files(tmp_path)
    assert [file.address for file in listing.files] == ["a/ok.csv"]
    assert [problem.address for problem in listing.problems] == ["a/self.csv"]


def test_files_one_may_not_read_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # the tests may run as root, who may read everything: ask the question as another would be answered
    put(tmp_path, "a.csv", "b.csv")
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "a.csv")
    listing = list_files(tmp_path)
    assert [file.address for file in listing.files] == ["b.csv"]
    assert [(problem.address, problem.code) for problem in listing.problems] == [("a.csv", "unreadable")]


def test_identity_is_the_content(tmp_path: Path) -> None:
    put(tmp_path, "a")
    (tmp_path / "b").write_bytes(b"a")
    first, second = LocalFile(tmp_path / "a").identify(), LocalFile(tmp_path / "b").identify()
    assert first.sha256 == second.sha256 == "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
    assert first.etag != second.etag
    assert first.size == 1


def test_touching_changes_the_etag_only(tmp_path: Path) -> None:
    put(tmp_path, "a")
    before = LocalFile(tmp_path / "a").identify()
    os.utime(tmp_path / "a", ns=(1, 1))
    after = LocalFile(tmp_path / "a").identify()
    assert before.etag != after.etag
    assert before.sha256 == after.sha256


def test_a_file_that_grows_while_it_is_hashed_has_no_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "a")
    looks = iter(["before", "after"])
    monkeypatch.setattr(input_file, "etag_of", lambda status: next(looks))
    with pytest.raises(BadFileError) as error:
        LocalFile(tmp_path / "a").identify()
    assert error.value.code == "changed_while_reading"


def test_what_is_no_file_has_no_identity(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe")
    codes = {}
    for name in ("missing", "link", "pipe", "."):
        with pytest.raises(BadFileError) as error:
            LocalFile(tmp_path / name).identify()
        codes[name] = error.value.code
        assert str(tmp_path.parent) not in error.value.reason
    assert codes == {"missing": "missing", "link": "broken_link", "pipe": "not_a_file", ".": "not_a_file"}


def test_a_name_that_is_no_text_is_known_by_its_escapes_and_found_by_them(tmp_path: Path) -> None:
    put(tmp_path, "a.csv")
    for name in (b"caf\xe9.csv", b"fold\xffer/b.csv"):
        path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"t\n")
    assert addresses(tmp_path) == ["a.csv", "caf\\xe9.csv", "fold\\xffer/b.csv"]
    for address in addresses(tmp_path):
        file = LocalFile(path_at(tmp_path, address), address)
        assert file.status().size > 0
        (file.name + file.address).encode()


def test_a_name_that_holds_such_an_escape_itself_is_that_file(tmp_path: Path) -> None:
    put(tmp_path, "caf\\xe9.csv")
    assert path_at(tmp_path, "caf\\xe9.csv").read_bytes() == b"caf\\xe9.csv"
