"""Rows of the audit log name partitions alone, in lists, or with a number each."""

from __future__ import annotations

from typing import Any

import pytest

from timestore_assets.catalog.audit import partitions_of
from timestore_assets.catalog.audit_sentences import sentence


@pytest.mark.parametrize(
    ("details", "keys", "words"),
    [
        ({"partition": "a"}, ("a",), "retracted (a) by ann"),
        ({"partitions": ["a", "b"]}, ("a", "b"), "retracted (a, b) by ann"),
        ({"partitions": {"a": 2, "b": 1}}, ("a", "b"), "retracted (a, b) by ann"),
        ({}, (), "retracted by ann"),
    ],
)
def test_partitions_are_found_and_told_by_their_keys(details: dict[str, Any], keys: tuple[str, ...], words: str) -> None:
    assert partitions_of(details) == keys
    assert sentence({"action": "retracted", "actor": "ann", "details": details}) == words
