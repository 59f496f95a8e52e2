"""DuckDB's messages become one sentence that says what to do and shows nothing of where files lie."""

from __future__ import annotations

import pytest

from timestore_assets.model.errors import InputError, TimeLimitError, TimestoreError, UnavailableError
from timestore_assets.querying.reading.query_errors import explain, explained


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        (
            'Binder Error: Referenced column "x" not found in FROM clause!\nCandidate bindings: "a", "b"\n\nLINE 1: SELECT x',
            InputError,
            'Referenced column "x" not found in FROM clause; Candidate bindings: "a", "b"',
        ),
        (
            "Conversion Error: Could not convert string 'y' to INT32\n\nLINE 1: …",
            InputError,
            "Could not convert string 'y' to INT32",
        ),
        (
            'Catalog Error: Table with name x does not exist!\nDid you mean "pg_class"?',
            InputError,
            "Table with name x does not exist!",
        ),
        ("Invalid Input Error: could not parse /srv/data/a/b.parquet here", InputError, "could not parse <file> here"),
        ("Binder Error: segment_12.segment has no column __source", InputError, "segment has no column"),
        ("INTERRUPT Error: Interrupted!", TimeLimitError, "the time limit was reached"),
        (
            "Out of Memory Error: failed to allocate 1.0 GiB (/srv/spill)",
            UnavailableError,
            "the memory limit is too small for answering",
        ),
        ('IO Error: No files found that match the pattern "/srv/x.parquet"', UnavailableError, "a segment file can't be read"),
        (
            'IO Error: Could not write file "/srv/x": No space left on device',
            UnavailableError,
            "no room is left for temporary files",
        ),
        ("Serialization Error: oops in /srv/data/x.parquet", UnavailableError, "answering failed: oops in <file>"),
        ("something without a kind", UnavailableError, "answering failed: something without a kind"),
    ],
)
def test_messages(text: str, kind: type[TimestoreError], said: str) -> None:
    error = explain(text, "answering")
    assert type(error) is kind
    assert said in str(error)
    assert "/srv" not in str(error) and "\n" not in str(error)


def test_what_arrow_wraps_is_explained_and_other_errors_pass() -> None:
    with pytest.raises(InputError, match="boom"), explained("answering"):
        raise OSError("Invalid Input Error: boom")
    with pytest.raises(KeyError), explained("answering"):
        raise KeyError("x")


def test_names_of_columns_that_are_no_text_are_a_failed_read() -> None:
    with pytest.raises(UnavailableError, match="answering failed: 'utf-8' codec can't decode"), explained("answering"):
        b"\xf3(".decode()
