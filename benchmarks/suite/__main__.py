"""All of it in one command: `make bench`, or

    python -m benchmarks.suite [--scale 1 10] [--parts queries loading …] [--minutes 20] [--page docs/benchmarks.md]

Peers are installed on first use, each into an environment of its own below `--cache`; what can't be had is named in the figures,
with the reason. Engines take turns round by round, so that what else the machine does meets all of them alike.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks.suite import asking, loading, page, planning, requests, streams
from benchmarks.suite.cpu_data import CpuData
from benchmarks.suite.environments import Environment, environment
from benchmarks.suite.figures import Budget
from benchmarks.suite.machine import load, machine
from benchmarks.suite.workers import ROOT

PARTS = ("queries", "loading", "stream", "ingest", "windows", "planning")
SHARES = {"queries": 0.5, "loading": 0.6, "stream": 0.4, "ingest": 0.5, "windows": 0.7, "planning": 1.0}
GROWING = ("timestore", "duckdb", "duckdb-parquet", "chdb", "delta-rs", "polars")
"""Who is asked over more than the least rows too."""
"""Of the time that is left, what a part may take."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, nargs="+", default=[1.0], help="millions of rows; more than one to see growth")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--engines", nargs="+", help="only these; all by default")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--load-rows", type=int, help="of the files that are landed in rounds; the least of --scale by default")
    parser.add_argument("--records", type=int, default=500_000, help="of the stream")
    parser.add_argument("--seconds", type=float, default=6.0, help="how long requests are sent to a server in a round")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=20.0, help="after which no round begins any more")
    parser.add_argument("--cache", type=Path, default=ROOT / ".bench", help="where peers are, or get, installed")
    parser.add_argument("--figures", type=Path, help="where figures go; figures.json in the cache by default")
    parser.add_argument("--page", type=Path, help="write tables and pictures into this page, and figures beside it")
    options = parser.parse_args()
    options.cache = options.cache.resolve()
    options.cache.mkdir(parents=True, exist_ok=True)
    # written out before the clock starts
    names = dict.fromkeys((*asking.ENGINES, *loading.ENGINES, "quixstreams"))
    peers = {name: environment(options.cache, name) for name in names if not options.engines or name in options.engines}
    target = options.figures or options.cache / "figures.json"
    figures = _measured(options, peers, target)
    print(f"figures are in {target}")
    if options.page:
        page.write(options.page, figures)
        shutil.copy(target, options.page.with_suffix("") / "figures.json")


def _measured(options: argparse.Namespace, peers: dict[str, Environment], target: Path) -> dict[str, Any]:
    """All parts; figures are written after each, so that a run that is ended leaves what it has."""
    budget = Budget(seconds=options.minutes * 60)
    figures: dict[str, Any] = {"machine": machine(), "versions": {}, "missing": {}, "queries": {}, "loads": []}
    loads: list[loading.Load] = []
    with tempfile.TemporaryDirectory(dir=options.cache) as temporary:
        folder = Path(temporary).resolve()
        for part in PARTS:
            if part not in options.parts:
                continue
            print(f"{part}, {budget.left / 60:.0f} minutes left", flush=True)
            share = budget.part(SHARES[part])
            if part == "queries":
                loads += _queries(options, peers, folder, share, figures)
            elif part == "loading":
                loads += _loading(options, peers, folder, share, figures)
            elif part == "windows":
                loads += _windows(options, peers, folder, share, figures)
            else:
                _other(part, options, peers, folder, share, figures)
            figures["loads"] = loading.summed(loads)
            figures["ended"] = {"load": load(), "minutes": round((budget.seconds - budget.left) / 60, 1)}
            target.write_text(json.dumps(figures, indent=1) + "\n")
    return figures


def _queries(
    options: argparse.Namespace, peers: dict[str, Environment], folder: Path, budget: Budget, figures: dict[str, Any]
) -> list[loading.Load]:
    loads: list[loading.Load] = []
    everyone = {name: peers[name] for name in asking.ENGINES if name in peers}
    for number, scale in enumerate(sorted(options.scale)):
        data, file = CpuData(rows=int(scale * 1e6), seed=options.seed), folder / f"cpu-{scale:g}m.parquet"
        data.write(file, "parquet")
        engines = {name: one for name, one in everyone.items() if number == 0 or name in GROWING}
        share = budget.part(1 / (len(options.scale) - number) if scale < max(options.scale) else 1.0)
        times, loaded, versions = asking.asked(
            engines, data, file, rounds=options.rounds, seed=options.seed, budget=share, missing=figures["missing"]
        )
        figures["versions"] |= versions
        figures["queries"][f"{scale:g}m"] = {"rows": data.rows, "rounds": options.rounds, "times": times}
        loads += loaded
    return loads


def _loading(
    options: argparse.Namespace, peers: dict[str, Environment], folder: Path, budget: Budget, figures: dict[str, Any]
) -> list[loading.Load]:
    """Rounds at the smallest size; larger ones were loaded once for their queries."""
    engines = {name: peers[name] for name in loading.ENGINES if name in peers}
    data = CpuData(rows=options.load_rows or int(min(options.scale) * 1e6), seed=options.seed)
    loads: list[loading.Load] = []
    for kind, share in (("parquet", 0.5), ("csv", 1.0)):
        file = folder / f"load.{kind}"
        data.write(file, "parquet" if kind == "parquet" else "csv")
        loads += loading.rounds_of(
            engines,
            file,
            rows=data.rows,
            rounds=options.rounds,
            budget=budget.part(share),
            missing=figures["missing"],
            versions=figures["versions"],
            kind=kind,
        )
    return loads


def _windows(
    options: argparse.Namespace, peers: dict[str, Environment], folder: Path, budget: Budget, figures: dict[str, Any]
) -> list[loading.Load]:
    """A hundred hosts that report once an hour, into 1,000 windows of an hour."""
    engines = {name: peers[name] for name in ("timestore", "duckdb-parquet", "delta-rs", "polars") if name in peers}
    data, file = CpuData(rows=100_000, interval=timedelta(hours=1), seed=options.seed), folder / "hours.parquet"
    data.write(file, "parquet")
    return loading.rounds_of(
        engines,
        file,
        rows=data.rows,
        rounds=min(3, options.rounds),
        budget=budget,
        missing=figures["missing"],
        versions=figures["versions"],
        window="hour",
    )


def _other(
    part: str, options: argparse.Namespace, peers: dict[str, Environment], folder: Path, budget: Budget, figures: dict[str, Any]
) -> None:
    missing = figures["missing"]
    if part == "stream":
        peer = peers.get("quixstreams", Environment(missing="it was not asked for"))
        figures[part] = streams.streamed(
            peer, records=options.records, rounds=min(3, options.rounds), budget=budget, missing=missing, within=folder
        )
    elif part == "ingest":
        servers = {name: peers[name] for name in ("influxdb", "victoriametrics") if name in peers}
        figures[part] = requests.sent(
            servers, seconds=options.seconds, rounds=min(3, options.rounds), missing=missing, within=folder
        )
    else:
        figures[part] = planning.planned(missing, seconds=max(60.0, budget.left))


if __name__ == "__main__":
    main()
