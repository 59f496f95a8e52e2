"""What `init` makes of columns, times, windows and names."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from timestore_assets.cli.proposal.column_guesses import Guess, guess_text_columns
from timestore_assets.cli.proposal.extent import Extent, suggest_end, suggest_window
from timestore_assets.cli.proposal.propose import name_of
from timestore_assets.cli.proposal.time_columns import candidates, choose
from timestore_assets.cli.proposal.typed_columns import declarable, guess_members
from timestore_assets.model.errors import InputError
from timestore_assets.model.types import parse_type
from timestore_assets.model.window import Window


def guess_texts(values: list[str | None]) -> Guess:
    with duckdb.connect() as con:
        con.execute("SET TimeZone='UTC'")
        con.register("texts", pa.table({"c": pa.array(values, pa.string())}))
        return guess_text_columns(con, "texts", ["c"])[0]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "-2", "+3"], "int64"),
        (["1", "2.5", "1e3"], "double"),
        (["9223372036854775808", "1"], "double"),
        (["true", "False", "TRUE"], "bool"),
        (["0", "1"], "int64"),
        (["01234", "90210"], "string"),
        (["1,5", "2,5"], "string"),
        (["2013-01-31", "2013-02-01"], "date"),
        (["2013-01-31T06:00:00Z", "2013-01-31 06:00"], "timestamp"),
        (["2013-01-31T06:00:00+05:30", "2013-01-31"], "timestamp"),
        (["2013-02-30", "2013-02-31"], "string"),
        (["a", "1"], "string"),
        ([None, None], "string"),
    ],
)
def test_texts_get_the_narrowest_type_that_loses_nothing(values: list[str | None], kind: str) -> None:
    assert guess_texts(values).kind == kind


def test_tokens_for_null_do_not_make_numbers_text() -> None:
    guess = guess_texts(["1.5", "NA", None, "NA", "n/a"])
    assert (guess.kind, guess.missing, guess.tokens, guess.null_tokens) == ("double", 1, 3, ("NA", "n/a"))


def test_a_column_of_tokens_only_stays_text() -> None:
    assert guess_texts(["NA", "NA"]).kind == "string"


def test_one_typing_error_in_many_values_is_named_not_followed() -> None:
    guess = guess_texts([*map(str, range(200)), "12O"])
    assert (guess.kind, guess.misfits, guess.misfit) == ("int64", 1, "12O")


def test_a_tenth_of_other_values_makes_text() -> None:
    assert guess_texts([*map(str, range(9)), "x"]).kind == "string"


def test_members_of_documents() -> None:
    documents = [
        {"i": 1, "f": 1, "s": "x", "l": [1], "o": {"a": 1, "b": "x"}, "mixed": 1, "n": None},
        {"i": 2, "f": 1.5, "s": "y", "l": [], "o": {"a": 2, "b": None}, "mixed": "x", "n": None, "late": True},
    ]
    kinds = {guess.name: (guess.kind, guess.missing) for guess in guess_members(documents)}
    assert kinds == {
        "i": ("int64", 0),
        "f": ("double", 0),
        "s": ("string", 0),
        "l": ("list<int64>", 0),
        "o": ("struct<a: int64, b: string>", 0),
        "mixed": ("mixed", 0),
        "n": ("mixed", 2),
        "late": ("bool", 1),
    }


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (pa.int8(), "int32"),
        (pa.uint32(), "int64"),
        (pa.float16(), "float"),
        (pa.decimal128(10, 2), "decimal(10,2)"),
        (pa.dictionary(pa.int8(), pa.string()), "string"),
        (pa.timestamp("ns", tz="Europe/Berlin"), "timestamp"),
        (pa.list_(pa.float64()), "list<double>"),
        (pa.struct([("a", pa.date32())]), "struct<a: date>"),
        (pa.time64("us"), None),
        (pa.decimal256(60, 2), None),
        (pa.list_(pa.time32("s")), None),
    ],
)
def test_arrow_types(kind: pa.DataType, expected: str | None) -> None:
    found = declarable(kind)
    assert (None if found is None else str(found)) == expected


def column(name: str, kind: str, *, missing: int = 0, example: str = "") -> Guess:
    return Guess(name=name, type=parse_type(kind), missing=missing, example=example)


def test_the_likeliest_time_comes_first() -> None:
    guesses = [
        column("updated_at", "timestamp"),
        column("birthday", "date"),
        column("id", "int64"),
        column("ts", "timestamp"),
        column("seen", "timestamp", missing=3),
    ]
    assert [guess.name for guess in candidates(guesses)] == ["ts", "updated_at", "seen", "birthday"]


def test_without_a_time_the_message_says_what_was_looked_at_and_what_to_add() -> None:
    with pytest.raises(
        InputError, match=r"a\.csv has no time column: looked at x \(double\), y \(string\); add a column with times"
    ):
        choose([column("x", "double"), column("y", "string")], wanted=None, path=Path("a.csv"))


@pytest.mark.parametrize(
    ("guess", "part"),
    [
        (column("ts", "int64", example="1356998400"), "seconds since 1970"),
        (column("event_time", "int64", example="1356998400000"), "milliseconds since 1970"),
        (column("when", "string", example="31/12/2013 10:00"), "day and month with slashes"),
        (column("Datum", "string", example="31.12.2013"), "day.month.year"),
        (column("d", "string", example="4 Jul 2013"), "month names"),
    ],
)
def test_times_in_another_form_are_recognised(guess: Guess, part: str) -> None:
    with pytest.raises(InputError, match=part):
        choose([guess], wanted=None, path=Path("a.csv"))


def test_a_plain_number_is_not_taken_for_seconds() -> None:
    with pytest.raises(InputError) as caught:
        choose([column("price", "int64", example="1356998400"), column("x", "double")], wanted=None, path=Path("a.csv"))
    assert "1970" not in str(caught.value)


def test_a_wanted_time_has_to_be_one() -> None:
    guesses = [column("ts", "timestamp"), column("x", "double", example="1.5")]
    assert choose(guesses, wanted="ts", path=Path("a.csv")).name == "ts"
    with pytest.raises(InputError, match=r"'x' of a\.csv holds double, for instance '1.5', no times"):
        choose(guesses, wanted="x", path=Path("a.csv"))
    with pytest.raises(InputError, match="no column 'y'; it has ts, x"):
        choose(guesses, wanted="y", path=Path("a.csv"))


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("weather.csv", "weather"),
        ("Weather 2013-01.csv.gz", "weather"),
        ("sensor-data_20130131.jsonl.zst", "sensor_data"),
        ("2013.parquet", "data_2013"),
        ("flights.csv.zip", "flights"),
        ("Größe (m).csv", "gr_e_m"),
        ("日本.csv", "data"),
        ("noending", "noending"),
    ],
)
def test_a_dataset_is_named_after_its_file(file: str, name: str) -> None:
    assert name_of(Path(file)) == name


@pytest.mark.parametrize(
    ("days", "rows", "window"),
    [
        (1, 50, Window.YEAR),
        (1, 5, Window.ALL),
        (30, 100_000, Window.DAY),
        (30, 10_000, Window.MONTH),
        (365, 26_115, Window.MONTH),
        (365, 8_760, Window.YEAR),
        (62 * 365, 741, Window.ALL),
        (365, 5_000_000, Window.DAY),
        (2, 60_000_000, Window.HOUR),
        (0, 10, Window.DAY),
    ],
)
def test_windows_hold_thousands_of_rows(days: int, rows: int, window: Window) -> None:
    first = datetime(2013, 1, 1, tzinfo=UTC)
    assert suggest_window(Extent(first=first, last=first + timedelta(days=days), rows=rows)) is window


@pytest.mark.parametrize(
    ("last", "window", "whole", "end"),
    [
        (datetime(2015, 12, 31, tzinfo=UTC), Window.DAY, True, datetime(2016, 1, 1, tzinfo=UTC)),
        (datetime(2015, 2, 28, 5, tzinfo=UTC), Window.MONTH, True, datetime(2015, 3, 1, tzinfo=UTC)),
        (datetime(2015, 2, 28, tzinfo=UTC), Window.ALL, True, datetime(2016, 1, 1, tzinfo=UTC)),
        (datetime(2015, 12, 31, tzinfo=UTC), Window.DAY, False, None),
        (datetime(2023, 9, 1, tzinfo=UTC), Window.DAY, True, None),
    ],
)
def test_only_what_has_long_been_finished_ends(last: datetime, window: Window, whole: bool, end: datetime | None) -> None:
    extent = Extent(first=datetime(2010, 1, 1, tzinfo=UTC), last=last, rows=100, whole=whole)
    assert suggest_end(extent, window, datetime(2024, 1, 1, tzinfo=UTC)) == end
