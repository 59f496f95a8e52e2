"""What `land` takes: paths, globs, folders, file URIs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from timestore_assets.cli import land_paths
from timestore_assets.model.errors import InputError
from timestore_assets.settings import Settings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.csv", "a.csv", "sub/c.csv", ".hidden.csv", "d.csv.tmp", "_e.csv", "with space.csv"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("t\n")
    return tmp_path


def expand(texts: list[str]) -> tuple[list[Path], list[str]]:
    """None of these reaches a store."""
    found, problems = land_paths.expand(texts, Settings())
    return [path for path in found if isinstance(path, Path)], problems


def names(found: list[Path], folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in found]


def test_a_folder_means_its_files_but_not_the_unfinished_ones(folder: Path) -> None:
    found, problems = expand([str(folder)])
    assert names(found, folder) == ["a.csv", "b.csv", "sub/c.csv", "with space.csv"]
    assert problems == []


def test_a_glob_goes_down_with_two_stars(folder: Path) -> None:
    assert names(expand([str(folder / "**" / "c*.csv")])[0], folder) == ["sub/c.csv"]


def test_order_is_kept_and_repetitions_go(folder: Path) -> None:
    found, _ = expand([str(folder / "b.csv"), str(folder / "[ab].csv"), str(folder / "b.csv")])
    assert names(found, folder) == ["b.csv", "a.csv"]


def test_a_file_uri_is_its_path(folder: Path) -> None:
    assert names(expand([f"file://{folder}/with%20space.csv"])[0], folder) == ["with space.csv"]


def test_a_file_whose_name_looks_like_a_glob_is_that_file(folder: Path) -> None:
    (folder / "x[1].csv").write_text("t\n")
    assert names(expand([str(folder / "x[1].csv")])[0], folder) == ["x[1].csv"]


@pytest.mark.parametrize(
    ("uri", "part"),
    [
        ("nowhere.csv", "there is no file"),
        ("nowhere/*.csv", "no file matches"),
        ("https://user:secret@host/x.csv", "^https:// can't be read"),
    ],
)
def test_what_names_nothing_is_refused(uri: str, part: str) -> None:
    with pytest.raises(InputError, match=part) as error:
        expand([uri])
    assert "secret" not in str(error.value)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file to land"):
        expand([str(tmp_path)])


def test_a_broken_link_in_a_folder_is_told_not_skipped(folder: Path) -> None:
    (folder / "gone.csv").symlink_to(folder / "nowhere.csv")
    found, problems = expand([str(folder)])
    assert len(found) == 4
    assert len(problems) == 1
    assert "gone.csv" in problems[0]


@pytest.mark.parametrize("empty", ["", "  "])
def test_an_empty_path_is_not_the_current_folder(folder: Path, monkeypatch: pytest.MonkeyPatch, empty: str) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(InputError, match="a path is empty"):
        expand(["a.csv", empty])


def test_a_folder_with_a_name_that_is_no_text_gives_all_its_files(folder: Path) -> None:
    odd = os.fsencode(folder) + b"/caf\xe9.csv"
    Path(os.fsdecode(odd)).write_text("t\n")
    assert len(expand([str(folder)])[0]) == 5
