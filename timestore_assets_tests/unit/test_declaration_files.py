"""Declaration files are read again when they change, and a wrong one takes nothing away from a process that runs."""

from __future__ import annotations

import logging
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from timestore_assets.catalog.records import FormerName
from timestore_assets.catalog.service_records import StoredDeclaration
from timestore_assets.declaration_files import DeclarationFiles, DeclaredFile
from timestore_assets.declarations import DeclaredDatasets
from timestore_assets.model.errors import DeclarationError, RefusedError

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def declare(folder: Path, name: str, *, columns: str = "at: timestamp", where: str = "") -> Path:
    path = folder / (where or name) / "defs.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    attributes = f"  name: {name}\n  columns: {{{columns}}}\n  time: at\n  start: 2026-01-01\n"
    path.write_text(f"type: timestore_assets.Dataset\nattributes:\n{attributes}")
    return path


def take_all(_file: DeclaredFile) -> None:
    """Nothing is refused."""


def columns_of(files: DeclarationFiles, name: str) -> tuple[str, ...]:
    dataset = files.by_name[name].dataset
    assert dataset is not None
    return dataset.schema.names


def test_what_comes_changes_and_goes(tmp_path: Path) -> None:
    declare(tmp_path, "power")
    files = DeclarationFiles([tmp_path])
    assert not files.look(take_all)
    held = files.by_name
    water = declare(tmp_path, "water")
    assert files.look(take_all) and list(files.by_name) == ["power", "water"]
    assert list(held) == ["power"], "who has the mapping keeps it as it was"
    declare(tmp_path, "water", columns="at: timestamp, level: double")
    assert files.look(take_all) and columns_of(files, "water") == ("at", "level")
    water.unlink()
    assert files.look(take_all) and list(files.by_name) == ["power"]
    assert not files.look(take_all)


def test_only_what_changed_is_read_again(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        declare(tmp_path, name)
    files, read = DeclarationFiles([tmp_path]), list[str]()
    declare(tmp_path, "b", columns="at: timestamp, level: double")
    files.look(lambda file: read.append(file.dataset.name if file.dataset else ""))
    assert read == ["b"]


def test_a_wrong_file_leaves_what_it_declared_and_says_where(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = declare(tmp_path, "power")
    files = DeclarationFiles([tmp_path])
    path.write_text(path.read_text().replace("timestamp", "timestmp"))
    assert files.look(take_all) and columns_of(files, "power") == ("at",)
    (problem,) = files.problems
    assert problem.startswith(f"{path}:4: columns.at") and problem.endswith("until then its last good declaration counts")
    declare(tmp_path, "water")
    files.look(take_all)
    assert [one.levelno for one in caplog.records] == [logging.WARNING], "it is said once"
    declare(tmp_path, "power", columns="at: timestamp, level: double")
    assert files.look(take_all) and columns_of(files, "power") == ("at", "level") and files.problems == ()


@pytest.mark.parametrize(
    ("start", "line", "reason"),
    [
        ("2026-02-30", 6, "'2026-02-30' is no value of the kind that it looks like"),
        ("2026-01-01T00:00:00+99:99", 6, "offset must be a timedelta"),
        ("!!int x", 6, "'x' is no value of the kind that it looks like"),
        ("&itself [*itself]", None, "an alias leads into itself"),
        ("[" * 5_000 + "]" * 5_000, None, "nested"),
        ("\n".join(["", *(f"  a{i}: &a{i} [{f'*a{i - 1},' * 9 if i else 1}]" for i in range(9))]), None, "aliases are followed"),
    ],
)
def test_a_value_that_python_refuses_is_a_wrong_file_like_any_other(
    tmp_path: Path, start: str, line: int | None, reason: str
) -> None:
    path = declare(tmp_path, "power")
    files = DeclarationFiles([tmp_path])
    path.write_text(path.read_text().replace("2026-01-01", start))
    assert files.look(take_all) and columns_of(files, "power") == ("at",)
    (problem,) = files.problems
    assert problem.startswith(f"{path}:{line}: " if line else f"{path}: ") and reason in problem and "\n" not in problem


def test_a_new_file_that_is_wrong_hides_no_other(tmp_path: Path) -> None:
    declare(tmp_path, "power")
    files = DeclarationFiles([tmp_path])
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "defs.yaml").write_text("type: [")
    files.look(take_all)
    assert list(files.by_name) == ["power"]
    assert len(files.problems) == 1 and "last good" not in files.problems[0]


def test_what_the_rows_do_not_allow_is_not_taken_up(tmp_path: Path) -> None:
    declare(tmp_path, "power")
    files = DeclarationFiles([tmp_path])
    path = declare(tmp_path, "power", columns="at: timestamp, level: double")

    def refuse(_file: DeclaredFile) -> None:
        raise RefusedError("its rows forbid it")

    files.look(refuse)
    assert columns_of(files, "power") == ("at",)
    assert files.problems == (f"{path}: its rows forbid it; until then its last good declaration counts",)


def test_of_two_of_a_name_the_first_goes_on_and_the_other_follows_it(tmp_path: Path) -> None:
    first = declare(tmp_path, "power", where="z")
    files = DeclarationFiles([tmp_path])
    second = declare(tmp_path, "power", columns="at: timestamp, level: double", where="a")
    files.look(take_all)
    assert files.by_name["power"].path == first
    assert files.problems == (f"{second}: name: 'power' is already declared in {first}; rename one",)
    first.unlink()
    files.look(take_all)
    assert files.by_name["power"].path == second and files.problems == ()


def test_a_process_begins_with_right_files_only(tmp_path: Path) -> None:
    declare(tmp_path, "power", where="a")
    declare(tmp_path, "power", where="b")
    with pytest.raises(DeclarationError, match="already declared"):
        DeclarationFiles([tmp_path])


def test_folders_that_are_not_there_yet(tmp_path: Path) -> None:
    files = DeclarationFiles([tmp_path / "later"])
    assert not files.look(take_all)
    declare(tmp_path / "later", "power")
    assert files.look(take_all) and list(files.by_name) == ["power"]


def test_the_time_of_a_file_is_when_it_was_changed(tmp_path: Path) -> None:
    path = declare(tmp_path, "power")
    os.utime(path, (NOON.timestamp(), NOON.timestamp()))
    assert DeclarationFiles([tmp_path]).by_name["power"].written == NOON


def former(name: str, *, now_named: str | None = None) -> FormerName:
    return FormerName(name=name, now_named=now_named, at=NOON)


def declared(folder: Path, name: str, written: datetime | None) -> DeclaredDatasets:
    declare(folder, name)
    dataset = DeclarationFiles([folder]).by_name[name].dataset
    assert dataset is not None
    return DeclaredDatasets({name: dataset}, {} if written is None else {name: written})


@pytest.mark.parametrize(("written", "there"), [(NOON + HOUR, True), (NOON, False), (NOON - HOUR, False), (None, False)])
def test_a_file_of_before_the_drop_declares_nothing(tmp_path: Path, written: datetime | None, there: bool) -> None:
    datasets = declared(tmp_path, "power", written)
    assert ("power" in datasets.merged((), [former("power")])) == there == datasets.is_in_file("power")
    assert ("is ignored until it is written again" in datasets.missing("power")) != there


def test_a_file_of_before_a_renaming_declares_what_there_is_now(tmp_path: Path) -> None:
    datasets = declared(tmp_path, "power", NOON - HOUR)
    changed = [former("power", now_named="watts"), former("watts", now_named="energy")]
    (found,) = datasets.merged((), changed).values()
    assert found.name == "energy" and datasets.is_in_file("energy") and not datasets.is_in_file("power")
    assert datasets.name_in_file("energy") == "power" and datasets.written("energy") == NOON - HOUR
    assert datasets.merged((), [changed[0], former("watts")]) == {}


def test_a_file_counts_as_long_as_it_is_there(tmp_path: Path) -> None:
    datasets = declared(tmp_path, "power", NOON)
    attributes = {"name": "power", "columns": {"at": "timestamp", "of_http": "string"}, "time": "at", "start": "2026-01-01"}
    stored = StoredDeclaration(name="power", attributes=attributes, actor="me", version=1, created_at=NOON, updated_at=NOON)
    assert "of_http" not in datasets.merged([stored])["power"].schema.names and not datasets.is_over_http("power")
    datasets.replace_files({}, {})
    assert "of_http" in datasets.merged([stored])["power"].schema.names and datasets.is_over_http("power")
