"""How results look: small tables and pictures, in which nothing that comes from data is taken for anything but text."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from datetime import UTC, datetime, timedelta
from typing import Any

from timestore_assets.client.result_display import Head, as_html, as_text

START = datetime(2024, 1, 1, tzinfo=UTC)


def head(rows: list[dict[str, Any]], *, total: int | None = None) -> Head:
    return Head.of(list(rows[0]), rows, total=len(rows) if total is None else total)


def test_nothing_of_the_data_becomes_markup() -> None:
    rows = [
        {"<script>alert(1)</script>": "<img src=x onerror=alert(1)>", "ts": START + timedelta(hours=n), "a&b": n}
        for n in range(3)
    ]
    shown = as_html(head(rows), rows=10)
    assert "<script" not in shown and "<img" not in shown and "&lt;img src=x" in shown
    tags = {node.tag.rpartition("}")[2] for node in ElementTree.fromstring(shown).iter()}
    assert tags == {"div", "table", "thead", "tbody", "tr", "th", "td", "svg", "polyline", "p", "span"}


def test_numbers_are_drawn_over_time_within_the_picture() -> None:
    values = [1.0, None, float("nan"), float("inf"), -5.0, 3.0]
    shown = as_html(
        head([{"ts": START + timedelta(minutes=n), "v": value, "flag": True} for n, value in enumerate(values)]), rows=3
    )
    (line,) = [node for node in ElementTree.fromstring(shown).iter() if node.tag.endswith("polyline")]
    points = [tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
    assert len(points) == 3 and all(0 <= x <= 420 and 0 <= y <= 120 for x, y in points)
    assert points[0][0] < points[1][0] < points[2][0] and points[1][1] == max(y for _, y in points)


def test_what_has_no_time_or_no_numbers_has_no_picture() -> None:
    assert "<svg" not in as_html(head([{"a": 1}, {"a": 2}]), rows=3)
    assert "<svg" not in as_html(head([{"ts": START, "s": "x"}] * 2), rows=3)


def test_a_table_is_small_and_says_what_it_leaves_out() -> None:
    rows = [{f"c{i}": "x" * 100 if i else "two\nlines" for i in range(20)}] * 3
    lines = as_text(head(rows, total=1_000)).splitlines()
    assert len(lines) == 6 and "c12" not in lines[0] and "…" in lines[2] and "two\N{REPLACEMENT CHARACTER}lines" in lines[2]
    assert lines[-1] == "1,000 rows, the first 3 shown, 20 columns, 8 of them not shown"
    unknown = Head.of(["a"], [{"a": None}], total=None)
    assert as_text(unknown).splitlines()[-1] == "the first 1 rows, 1 column; more are still to be read"


def test_no_rows_are_a_table_too() -> None:
    assert as_text(Head.of(["a", "b"], [], total=0)) == "a  b\n-  -\n0 rows, 2 columns"
    assert as_text(Head.of([], [], total=0)).splitlines()[-1] == "0 rows, 0 columns"
