"""What is kept of the value that changed a schema: its beginning in one line, and nothing where it may be a secret."""

from __future__ import annotations

import pytest

from timestore_assets.catalog.schema_events import cause_sentence, change_sentence, place_sentence
from timestore_assets.landing.preparing.evidence import SAMPLE_CHARACTERS, sample_of


@pytest.mark.parametrize(
    "name", ["password", "userPwd", "api_key", "apiKey", "AccessToken", "client-secret", "Authorization", "iban", "user_pin"]
)
def test_a_name_that_says_secret_has_no_sample(name: str) -> None:
    assert sample_of(name, "hunter2") is None


def test_a_sample_is_short_and_in_one_line() -> None:
    assert sample_of("gust", "7.5") == "7.5"
    assert sample_of("author", "ada") == "ada"
    assert sample_of("spin", "up") == "up"
    assert sample_of("note", "a\nb\x1b[31mc") == "a b [31mc"
    assert sample_of("note", "x" * 60) == "x" * 60
    long = sample_of("note", "x" * 61)
    assert long is not None
    assert (len(long), long[-1]) == (SAMPLE_CHARACTERS, "…")


def test_causes_and_changes_in_words() -> None:
    cause = {
        "kind": "data",
        "source_kind": "kafka",
        "source": "readings",
        "session": 3,
        "columns": {
            "a": {"topic": "readings", "partition": 1, "offset": 7},
            "b": {"file": "x.csv", "line": 2},
            "c": {"position": 9},
        },
    }
    assert cause_sentence(cause) == "kafka:readings in session 3"
    assert [place_sentence(cause, name) for name in ("a", "b", "c", "d")] == [
        "readings/1 at offset 7",
        "x.csv, line 2",
        "position 9",
        "",
    ]
    assert cause_sentence({"kind": "migration", "ticket": "OPS-7"}) == "migration (OPS-7)"
    assert cause_sentence({"kind": "data"}) == "data"
    assert change_sentence({"kind": "nullability_relaxed", "column": "a"}) == "a may be missing now"
    assert (
        change_sentence({"kind": "column_dropped", "column": "a", "before": "int64", "after": None})
        == "a dropped, which was int64"
    )
    assert change_sentence({"kind": "column_renamed", "column": "b", "before": "a", "after": "b"}) == "a renamed to b"
