"""What the benchmarks make of their measurements: ratios, growth, tables and pictures, and what became worse."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from benchmarks.suite.answers import difference
from benchmarks.suite.bars import bars
from benchmarks.suite.check import against_peers, worse
from benchmarks.suite.cpu_queries import SHAPES
from benchmarks.suite.figures import exponent, geometric_mean
from benchmarks.suite.page import tables, write

ROOT = Path(__file__).parents[2]


def times(ms: float) -> dict[str, Any]:
    return {name: {text: {"ms": ms, "cpu_ms": ms, "rounds": 5} for text in ("new", "known")} for name in SHAPES}


def load(engine: str, rows: int, seconds: float) -> dict[str, Any]:
    measured = {"seconds": seconds, "cpu": seconds, "settled": seconds, "settled_cpu": seconds, "peak_mb": 100.0, "rounds": 5}
    return {"engine": engine, "rows": rows, "kind": "parquet", "window": "day"} | measured


def figures(*, ours: float, peer: float) -> dict[str, Any]:
    machine = {"processor": "p", "cores": 2, "memory_gb": 8, "kernel": "Linux", "python": "3", "commit": "abc", "began": "now"}
    asked = {"timestore": times(ours), "duckdb": times(peer)}
    sizes = {f"{scale}m": {"rows": scale * 1_000_000, "rounds": 5, "times": asked} for scale in (1, 10)}
    loads = [load(engine, scale * 1_000_000, scale * 2.0) for engine in ("timestore", "duckdb-parquet") for scale in (1, 10)]
    return {
        "machine": machine | {"load": [1.0, 1.0]},
        "ended": {"load": [2.0, 2.0]},
        "versions": {"duckdb": "2"},
        "queries": sizes,
        "loads": loads,
        "missing": {"stream/quixstreams": "it is not installed"},
    }


def test_growth_is_the_slope_of_log_time_over_log_rows() -> None:
    assert exponent([(1e6, 1.0), (1e7, 10.0), (1e8, 100.0)]) == pytest.approx(1.0)
    assert exponent([(1e6, 3.0), (1e7, 3.0)]) == pytest.approx(0.0)
    assert exponent([(1e6, 3.0), (1e6, 4.0)]) is None


def test_a_geometric_mean_of_ratios_is_turned_round_with_them() -> None:
    assert geometric_mean([2.0, 8.0]) == pytest.approx(4.0)
    assert geometric_mean([1 / 2.0, 1 / 8.0]) == pytest.approx(1 / 4.0)


def test_answers_are_the_same_in_any_order_and_type_and_differ_by_one_value() -> None:
    one = pa.table({"hostname": ["a", "b"], "mean_usage_user": [1.0, 2.0]})
    other = pa.table({"mean_usage_user": pa.array([2, 1], pa.int32()), "hostname": pa.array(["b", "a"]).dictionary_encode()})
    assert difference(one, other) is None
    assert difference(one, one.slice(1)) == "2 rows and 1"
    wrong = pa.table({"hostname": ["a", "b"], "mean_usage_user": [1.0, 2.1]})
    assert difference(one, wrong) == "1 of 2 values of mean_usage_user"
    missing = pa.table({"hostname": ["a", "b"], "mean_usage_user": [1.0, None]})
    assert difference(one, missing) == "0 of 2 values of mean_usage_user"


def test_what_grew_by_more_than_a_quarter_is_told_and_nothing_else() -> None:
    before = against_peers(figures(ours=10.0, peer=5.0))
    slower = worse(before, against_peers(figures(ours=13.0, peer=5.0)))
    assert slower["timestore, lastpoint, new text, 1m"] == (2.0, 2.6)
    assert not any("landing" in name for name in slower)
    assert worse(before, against_peers(figures(ours=24.0, peer=10.0))) == {}


def test_tables_name_what_was_not_run_and_how_times_grow() -> None:
    made = tables(figures(ours=10.0, peer=5.0))
    assert "| **processor, of DuckDB's table** | **2.00** | **1.00** |" in made["queries"]
    assert "| timestore_assets | 1.00 | 1.00 | 0.00 |" in made["growth"]
    assert made["not run"] == "- stream/quixstreams: it is not installed"
    assert made["stream"] == "Not measured."


def test_a_page_takes_tables_between_its_marks_and_keeps_its_words(tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    page.write_text((ROOT / "docs" / "benchmarks.md").read_text().replace("# Benchmarks", "# Ours", 1))
    write(page, figures(ours=10.0, peer=5.0))
    once = page.read_text()
    assert "# Ours" in once
    assert "**2.00**" in once
    write(page, figures(ours=10.0, peer=5.0))
    assert page.read_text() == once
    assert ET.parse(tmp_path / "benchmarks" / "queries-1m.svg").getroot().tag.endswith("svg")


def test_a_page_without_a_place_for_a_table_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    page.write_text("# Nothing\n")
    with pytest.raises(SystemExit, match="has no place for machine"):
        write(page, figures(ours=1.0, peer=1.0))


def test_the_longest_bar_is_the_largest_value() -> None:
    root = ET.fromstring(bars("<&>", [("a", 1.0), ("b", 4.0), ("c", 2.0)], unit=" s", marked="a"))
    wide = [float(bar.attrib["width"]) for bar in root.iter("{http://www.w3.org/2000/svg}rect")][1:]
    assert wide[1] == max(wide)
    assert wide[1] == pytest.approx(4 * wide[0], rel=0.01)
