"""Landing one file and building what it held, beside peers: each engine in a fresh process and folder, in turns."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.suite.environments import Environment
from benchmarks.suite.figures import Budget, median
from benchmarks.suite.workers import MissingError, Worker, worker

ENGINES = ("timestore", "duckdb", "duckdb-parquet", "chdb", "delta-rs", "polars", "dlt")


@dataclass(frozen=True, kw_only=True)
class Load:
    """One file taken in (`seconds`, `cpu`), and then sorted or sealed (`settled`, `settled_cpu`; None where nothing is)."""

    engine: str
    rows: int
    kind: str
    window: str
    seconds: float
    cpu: float
    settled: float | None
    settled_cpu: float | None
    peak_mb: float


def load_into(engine: Worker, file: Path, *, rows: int, kind: str = "parquet", window: str = "day", settle: bool = True) -> Load:
    """One load of all rows.

    Raises:
        MissingError: the engine failed, or holds another number of rows.
    """
    told = engine.load(file, kind, window)
    if told["gave"] != rows:
        raise MissingError(f"failed: it holds {told['gave']} rows of {rows}")
    settled = engine.settle() if settle else {}
    return Load(
        engine=engine.name,
        rows=rows,
        kind=kind,
        window=window,
        seconds=told["seconds"],
        cpu=told["cpu"],
        settled=settled.get("seconds"),
        settled_cpu=settled.get("cpu"),
        peak_mb=max(told["peak_mb"], settled.get("peak_mb", 0.0)),
    )


def rounds_of(
    engines: dict[str, Environment],
    file: Path,
    *,
    rows: int,
    rounds: int,
    budget: Budget,
    missing: dict[str, str],
    versions: dict[str, str],
    kind: str = "parquet",
    window: str = "day",
) -> list[Load]:
    """Every engine once in each round. What an engine can't do is noted, and it is left out from then on."""
    loads: list[Load] = []
    names = list(engines)
    for number in range(rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            if f"{kind} by {window}/{name}" in missing or budget.left <= 0:
                continue
            try:
                with worker(name, engines[name], within=file.parent) as engine:
                    versions[name] = engine.version
                    loads.append(load_into(engine, file, rows=rows, kind=kind, window=window))
                    print(_line(loads[-1]), flush=True)
            except MissingError as error:
                missing[f"{kind} by {window}/{name}"] = str(error)
                print(f"  {name}: {error}", flush=True)
    measured = {load.engine for load in loads}
    for name in names:
        if name not in measured:
            missing.setdefault(f"{kind} by {window}/{name}", "the time was up before its first round")
    return loads


def summed(loads: list[Load]) -> list[dict[str, Any]]:
    """Medians for each engine, file, window and size."""
    groups: dict[tuple[Any, ...], list[Load]] = {}
    for load in loads:
        groups.setdefault((load.engine, load.rows, load.kind, load.window), []).append(load)
    found = []
    for group in groups.values():
        values = asdict(group[0]) | {"rounds": len(group)}
        for name in ("seconds", "cpu", "settled", "settled_cpu", "peak_mb"):
            measured = [getattr(load, name) for load in group if getattr(load, name) is not None]
            values[name] = round(median(measured), 4) if measured else None
        found.append(values)
    return found


def _line(load: Load) -> str:
    settled = f", settled {load.settled:.2f} s ({load.settled_cpu:.2f} CPU)" if load.settled is not None else ""
    what = f"{load.rows:,} rows of {load.kind} by {load.window}"
    return f"  {load.engine:18} {what}: {load.seconds:.2f} s ({load.cpu:.2f} CPU){settled}"
