"""What became worse: ratios of a new run beside those that are committed, by hand and never in a test.

python -m benchmarks.suite.check docs/benchmarks/figures.json .bench/figures.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.suite.figures import geometric_mean
from benchmarks.suite.page import ratios

OURS = ("timestore", "timestore-parquet")
FELL = 1.25
"""A ratio that is so many times what it was is told."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    options = parser.parse_args()
    before, after = (against_peers(json.loads(path.read_text())) for path in (options.before, options.after))
    found = worse(before, after)
    shared = before.keys() & after.keys()
    print(f"{len(shared)} ratios are in both runs, {len(before.keys() - shared)} only in {options.before}")
    for name, (was, now) in sorted(found.items(), key=lambda item: -item[1][1] / item[1][0]):
        print(f"  fell: {name} took {was:.2f} times the peer's processor time and takes {now:.2f} times")
    if not found:
        print("  none is worse by more than a quarter")


def against_peers(figures: dict[str, Any]) -> dict[str, float]:
    """Our times divided by a peer's of the same run, by what was measured: more is worse."""
    found: dict[str, float] = {}
    for size, part in figures.get("queries", {}).items():
        for own in OURS:
            for text in ("new", "known"):
                by_query = ratios(part["times"], own, "duckdb", text, "cpu_ms")
                found |= {f"{own}, {name}, {text} text, {size}": ratio for name, ratio in by_query.items()}
                if by_query:
                    found[f"{own}, all queries, {text} text, {size}"] = geometric_mean(list(by_query.values()))
    loads = {(one["engine"], one["rows"], one["kind"], one["window"]): one for one in figures.get("loads", [])}
    for (engine, rows, kind, window), one in loads.items():
        peer = loads.get(("duckdb-parquet", rows, kind, window))
        if engine in OURS and peer:
            found[f"{engine}, landing {rows:,} rows of {kind} by {window}"] = one["cpu"] / peer["cpu"]
            if one["settled_cpu"] and peer["settled_cpu"]:
                found[f"{engine}, building {rows:,} rows of {kind} by {window}"] = one["settled_cpu"] / peer["settled_cpu"]
    stream = figures.get("stream", {})
    if "timestore" in stream and "bare" in stream:
        found["stream, of a bare loop"] = stream["timestore"]["cpu"] / stream["bare"]["cpu"]
    ingest = figures.get("ingest", {})
    if "timestore" in ingest and "influxdb" in ingest:
        found["ingest, InfluxDB's rate of ours"] = ingest["influxdb"]["rows_a_second"] / ingest["timestore"]["rows_a_second"]
    return found


def worse(before: dict[str, float], after: dict[str, float]) -> dict[str, tuple[float, float]]:
    """What is in both and grew by more than a quarter, with the ratio of before and the one of now."""
    return {name: (before[name], after[name]) for name in before.keys() & after.keys() if after[name] > before[name] * FELL}


if __name__ == "__main__":
    main()
