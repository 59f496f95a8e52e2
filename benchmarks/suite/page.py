"""Figures → the tables of `docs/benchmarks.md` and its pictures. The words of that page are written by hand and stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.suite.bars import bars
from benchmarks.suite.cpu_queries import SHAPES
from benchmarks.suite.figures import exponent, geometric_mean

NAMES = {
    "timestore": "timestore_assets",
    "timestore-parquet": "timestore_assets, Parquet",
    "duckdb": "DuckDB, one table",
    "duckdb-parquet": "DuckDB, its own Parquet",
    "chdb": "ClickHouse (chdb)",
    "delta-rs": "delta-rs",
    "polars": "Polars, Parquet",
    "dlt": "dlt into DuckDB",
    "influxdb": "InfluxDB",
    "victoriametrics": "VictoriaMetrics",
    "quixstreams": "QuixStreams",
    "bare": "a loop that only counts",
}
SIZED = ("timestore", "timestore-parquet", "duckdb", "duckdb-parquet", "chdb", "delta-rs", "polars", "dlt", "influxdb")


def write(page: Path, figures: dict[str, Any]) -> None:
    """Put tables between the page's markers, and pictures beside it."""
    text = page.read_text()
    for name, made in tables(figures).items():
        began, ended = f"<!-- {name} -->", f"<!-- end of {name} -->"
        before, _, rest = text.partition(began)
        _, _, after = rest.partition(ended)
        if not rest or ended not in text:
            raise SystemExit(f"{page} has no place for {name}: put {began} and {ended} where the table belongs")
        text = f"{before}{began}\n{made}\n{ended}{after}"
    page.write_text(text)
    folder = page.with_suffix("")
    folder.mkdir(exist_ok=True)
    for name, picture in pictures(figures).items():
        (folder / f"{name}.svg").write_text(picture)


def tables(figures: dict[str, Any]) -> dict[str, str]:
    return {
        "machine": _machine(figures),
        "queries": _queries(figures),
        "loading": _loading(figures),
        "windows": _windows(figures),
        "stream": _stream(figures),
        "ingest": _ingest(figures),
        "planning": _planning(figures),
        "growth": _growth(figures),
        "not run": _not_run(figures),
    }


def ratios(times: dict[str, Any], of: str, by: str, text: str, what: str) -> dict[str, float]:
    """How many times as long an engine takes as another, by query, where both answer."""
    return {
        name: times[of][name][text][what] / max(times[by][name][text][what], 0.01)
        for name in SHAPES
        if name in times.get(of, {}) and name in times.get(by, {})
    }


def pictures(figures: dict[str, Any]) -> dict[str, str]:
    made = {}
    for size, part in figures.get("queries", {}).items():
        times = part["times"]
        shown = {engine: ratios(times, engine, "duckdb", "new", "cpu_ms") for engine in times}
        values = [
            (NAMES[engine] + _among(found), geometric_mean(list(found.values()))) for engine, found in shown.items() if found
        ]
        made[f"queries-{size}"] = bars(
            "Processor time of the queries, of DuckDB's table", values, unit="×", marked=NAMES["timestore"]
        )
    for size, loads in _by_size(figures).items():
        values = [
            (NAMES[load["engine"]], load["rows"] / load["seconds"] / 1e6)
            for load in loads
            if load["kind"] == "parquet" and load["window"] == "day"
        ]
        made[f"loading-{size}"] = bars("Parquet taken in, M rows a second", values, unit=" M/s", marked=NAMES["timestore"])
    return made


def _machine(figures: dict[str, Any]) -> str:
    where = figures["machine"]
    versions = ", ".join(
        f"{NAMES[name].partition(',')[0]} {version}" for name, version in figures["versions"].items() if "-parquet" not in name
    )
    ended = figures.get("ended", {})
    return (
        f"{where['processor']}, {where['cores']} cores, {where['memory_gb']} GB, {where['kernel']}, Python {where['python']}, "
        f"commit {where['commit']}. Begun {where['began']}, with {where['load'][0]} processes that wanted a core "
        f"and {ended.get('load', ['?'])[0]} in the last one. {versions}."
    )


def _queries(figures: dict[str, Any]) -> str:
    blocks = []
    for part in figures.get("queries", {}).values():
        times = part["times"]
        engines = [engine for engine in times if times[engine]]
        head = ["query, ms of the processor", *(NAMES[engine] for engine in engines)]
        rows = [
            [name, *(f"{times[engine][name]['new']['cpu_ms']:.1f}" if name in times[engine] else "–" for engine in engines)]
            for name in SHAPES
        ]
        for text, what, label in (
            ("new", "cpu_ms", "processor, of DuckDB's table"),
            ("new", "ms", "wall clock"),
            ("known", "cpu_ms", "processor, a text asked before"),
            ("known", "ms", "wall clock, a text asked before"),
        ):
            means = []
            for engine in engines:
                found = ratios(times, engine, "duckdb", text, what)
                means.append(f"**{geometric_mean(list(found.values())):.2f}**{_among(found)}" if found else "–")
            rows.append([f"**{label}**", *means])
        least, most = _rounds(times)
        rounds = f"{least} to {most}" if least < most else f"{most}"
        blocks.append(f"{part['rows'] / 1e6:g} M rows, medians of {rounds} rounds:\n\n{_table(head, rows)}")
    return "\n\n".join(blocks) or "Not measured."


def _among(ratios: dict[str, float]) -> str:
    """Of how many queries, where not all could be asked."""
    return "" if len(ratios) == len(SHAPES) else f" ({len(ratios)})"


def _rounds(times: dict[str, Any]) -> tuple[int, int]:
    """The fewest and the most rounds that a query was asked in: slow ones have fewer."""
    found = [asked["new"]["rounds"] for by_query in times.values() for asked in by_query.values()]
    return min(found), max(found)


def _loading(figures: dict[str, Any]) -> str:
    rows = []
    for load in figures.get("loads", []):
        if load["window"] == "day":
            rate = load["rows"] / load["seconds"] / 1e6
            settled = f"{load['settled']:.2f} s, {load['settled_cpu']:.2f}" if load["settled"] and load["settled"] > 0.01 else "–"
            what = f"{load['rows'] / 1e6:g} M, {load['kind']}"
            measured = f"{load['seconds']:.2f} s, {load['cpu']:.2f}"
            rows.append(
                [what, NAMES[load["engine"]], measured, f"{rate:.2f}", settled, f"{load['peak_mb']:.0f}", str(load["rounds"])]
            )
    rows.sort(key=lambda row: row[0])
    return _table(["rows", "engine", "landed: wall, CPU s", "M rows/s", "sealed or sorted", "peak MB", "rounds"], rows)


def _windows(figures: dict[str, Any]) -> str:
    rows = [
        [
            NAMES[load["engine"]],
            f"{load['seconds']:.2f} s",
            f"{load['cpu']:.2f}",
            f"{load['settled'] or 0:.2f} s",
            str(load["rounds"]),
        ]
        for load in figures.get("loads", [])
        if load["window"] == "hour"
    ]
    return _table(["engine", "landed", "CPU s", "sealed or sorted", "rounds"], rows)


def _stream(figures: dict[str, Any]) -> str:
    rows = [
        [NAMES[name], f"{one['records_a_second']:,}", f"{one['cpu_us_a_record']:.2f}", str(one["rounds"])]
        for name, one in figures.get("stream", {}).items()
    ]
    return _table(["contender", "records/s", "core-µs a record", "rounds"], rows)


def _ingest(figures: dict[str, Any]) -> str:
    rows = [
        [NAMES[name], f"{one['rows_a_second']:,.0f}", f"{one['p50_ms']:.0f}", f"{one['p99_ms']:.0f}", str(one["rounds"])]
        for name, one in figures.get("ingest", {}).items()
    ]
    return _table(["server", "rows/s", "p50 ms", "p99 ms", "rounds"], rows)


def _planning(figures: dict[str, Any]) -> str:
    told = figures.get("planning")
    return f"```\n{told}\n```" if told else "Not measured: see what was not run."


def _growth(figures: dict[str, Any]) -> str:
    rows = []
    for engine in SIZED:
        landed = [(load["rows"], load["cpu"]) for load in _loads_of(figures, engine)]
        settled = [
            (load["rows"], load["settled_cpu"]) for load in _loads_of(figures, engine) if (load["settled_cpu"] or 0) > 0.01
        ]
        asked = [
            (part["rows"], geometric_mean([found["new"]["cpu_ms"] for found in part["times"][engine].values()]))
            for part in figures.get("queries", {}).values()
            if part["times"].get(engine)
        ]
        shown = [exponent(points) for points in (landed, settled, asked)]
        if any(one is not None for one in shown):
            rows.append([NAMES[engine], *("–" if one is None else f"{one:.2f}" for one in shown)])
    return _table(["engine", "landing Parquet", "sealing or sorting", "queries"], rows)


def _not_run(figures: dict[str, Any]) -> str:
    found = figures.get("missing", {})
    groups: dict[str, list[str]] = {}
    for what, why in sorted(found.items()):
        groups.setdefault(why, []).append(what)
    return "\n".join(f"- {', '.join(what)}: {why}" for why, what in groups.items()) or "Everything ran."


def _loads_of(figures: dict[str, Any], engine: str) -> list[dict[str, Any]]:
    return [
        load
        for load in figures.get("loads", [])
        if load["engine"] == engine and load["kind"] == "parquet" and load["window"] == "day"
    ]


def _by_size(figures: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for load in figures.get("loads", []):
        if load["window"] == "day":
            found.setdefault(f"{load['rows'] / 1e6:g}m", []).append(load)
    return found


def _table(head: list[str], rows: list[list[str]]) -> str:
    if not rows:
        return "Not measured."
    lines = [head, ["---", *("---:" for _ in head[1:])], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
