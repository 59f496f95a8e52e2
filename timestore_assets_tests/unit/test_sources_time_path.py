"""Time in a prefix: which folder holds which time, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from timestore_assets.declaration.from_yaml import parse_declaration
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.errors import DeclarationError
from timestore_assets.model.time_path import TimePath, parse_time_path
from timestore_assets.sources.objects.bucket_listing import key_ranges
from timestore_assets_tests.support.dagster_deployment import DECLARATION


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def parsed(prefix: str) -> TimePath:
    found = parse_time_path(prefix)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("prefix", "base", "folder", "step"),
    [
        ("s3://b/raw/{window:%Y/%m/%d}/", "s3://b/raw/", "2024/02/03/", "day"),
        ("s3://b/{window:%Y-%m-%d}", "s3://b/", "2024-02-03/", "day"),
        ("in/year={window:%Y}/month={window:%m}/", "in/", "year=2024/month=02/", "month"),
        ("in/a{window:%Y}/x/{window:%Y%m%d}T{window:%H}/", "in/", "a2024/x/20240203T04/", "hour"),
        ("{window:%Y/%j}/100%/", "", "2024/034/100%/", "day"),
        ("in/{window:%Y}/", "in/", "2024/", "year"),
    ],
)
def test_the_folder_of_a_time(prefix: str, base: str, folder: str, step: str) -> None:
    found = parsed(prefix)
    assert (found.base, found.folder(at("2024-02-03T04:05")), found.step) == (base, folder, step)


def test_a_prefix_without_a_time() -> None:
    assert parse_time_path("s3://b/raw/{a}/") is None


@pytest.mark.parametrize(
    ("step", "start", "end", "folders"),
    [
        ("%Y/%m/%d", "2024-02-28T12:00", "2024-03-01", ["2024/02/28/", "2024/02/29/"]),
        ("%Y/%m/%d", "2024-02-28T12:00", "2024-02-29T00:01", ["2024/02/28/", "2024/02/29/"]),
        ("%Y-%m", "2023-12-31", "2024-02-01", ["2023-12/", "2024-01/"]),
        ("%Y%m%d%H", "2024-01-01T23:30", "2024-01-02T01:00", ["2024010123/", "2024010200/"]),
        ("%Y", "2024-05-01", "2024-05-01", []),
    ],
)
def test_the_folders_of_a_range_and_nothing_else_lie_between_its_bounds(
    step: str, start: str, end: str, folders: list[str]
) -> None:
    found = parsed(f"in/{{window:{step}}}/")
    assert list(found.folders(at(start), at(end))) == folders
    first, last = found.bounds(at(start), at(end))
    around = found.folders(at(start) - timedelta(days=800), at(end) + timedelta(days=800))
    if folders:
        assert [name for name in around if first <= name < last] == folders


def test_what_lies_below_the_folder_of_a_time() -> None:
    found = parsed("in/{window:%Y/%m/%d}/")
    assert found.below("2024/01/02/sub/x.csv") == "sub/x.csv"
    assert found.below("2024/01/x.csv") is None
    assert found.below("old/2024/01/02/x.csv") is None


@pytest.mark.parametrize(
    ("prefix", "problem"),
    [
        ("in/{window:%d/%m/%Y}/", "name the year, then"),
        ("in/{window:%Y/%d}/", "name the year, then"),
        ("in/{window:}/", "has no codes"),
        ("in/{window:%Y/%b}/", "has the code %b"),
        ("in/{window:%Y/%m/", "not closed"),
        ("in/{window}/", "not closed"),
        ("s3://{window:%Y}/", "is no prefix"),
        ("ftp://host/in/", "is no prefix"),
        ("s3://user:secret@bucket/in/", "is no prefix"),
        ("s3:///in/", "is no prefix"),
    ],
)
def test_a_prefix_that_cannot_be_meant_is_refused_in_one_sentence(prefix: str, problem: str) -> None:
    with pytest.raises(DeclarationError, match=problem) as error:
        parse_declaration(DECLARATION.replace("inbox/readings/", f'"{prefix}"'))
    assert error.value.key == "sources.0.files.prefix"
    assert "\n" not in error.value.problem
    assert "secret" not in str(error.value)


def declared(**changes: str) -> Dataset:
    lines = "".join(f"  {key}: {value}\n" for key, value in changes.items())
    return parse_declaration(DECLARATION + lines)


def test_the_newest_windows_and_the_older_ones_are_stretches_that_touch() -> None:
    times = parsed("in/{window:%Y/%m/%d}/")
    newest, older = key_ranges(declared(late="{allowed: 2d}"), times, at("2024-03-10T12:00"))
    assert (newest.after, newest.before) == ("2024/03/07/", "2024/03/12/")
    assert (older.after, older.before) == ("2024/01/01/", "2024/03/07/")


def test_nothing_before_the_start_or_after_the_end_is_listed() -> None:
    times = parsed("in/{window:%Y/%m/%d}/")
    (only,) = key_ranges(declared(), times, at("2024-01-01T12:00"))
    assert (only.after, only.before) == ("2024/01/01/", "2024/01/03/")
    (done,) = key_ranges(declared(end="2024-02-01"), times, at("2024-03-10T12:00"))
    assert (done.after, done.before) == ("2024/01/01/", "2024/02/01/")
    (without,) = key_ranges(declared(), None, at("2024-03-10T12:00"))
    assert (without.after, without.before) == ("", None)
