"""The fifteen queries, asked of every engine in turns. Answers are compared before a query is timed, and the timed ones too."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks.suite.answers import difference
from benchmarks.suite.cpu_data import START, CpuData
from benchmarks.suite.cpu_queries import SHAPES, CpuQuery, drawn
from benchmarks.suite.environments import Environment
from benchmarks.suite.figures import Budget, median
from benchmarks.suite.loading import Load, load_into
from benchmarks.suite.workers import MissingError, Worker, worker

ENGINES = (
    "timestore",
    "timestore-parquet",
    "duckdb",
    "duckdb-parquet",
    "chdb",
    "delta-rs",
    "polars",
    "influxdb",
    "victoriametrics",
)
REFERENCE = "duckdb"
"""Whose answers the others' are compared with, and whose times they are divided by."""
TEXTS = ("new", "known")
_SLOW_SECONDS = 20.0
"""A query whose round takes longer is asked in three rounds."""


def asked(
    engines: dict[str, Environment],
    data: CpuData,
    file: Path,
    *,
    rounds: int,
    seed: int,
    budget: Budget,
    missing: dict[str, str],
) -> tuple[dict[str, Any], list[Load], dict[str, str]]:
    """Times by engine, query and text; what loading took; versions."""
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        loads: list[Load] = []
        for name, environment in engines.items():
            try:
                workers[name] = stack.enter_context(worker(name, environment, within=file.parent))
                loads.append(load_into(workers[name], file, rows=data.rows))
                print(f"  {name} is ready: {loads[-1].seconds:.1f} s, settled {loads[-1].settled or 0:.1f} s", flush=True)
            except MissingError as error:
                workers.pop(name, None)
                missing[f"queries/{name}"] = str(error)
                print(f"  {name}: {error}", flush=True)
        times: dict[str, Any] = {name: {} for name in workers}
        for number, name in enumerate(SHAPES):
            share = budget.part(1 / (len(SHAPES) - number))
            queries = [drawn(name, draw, hosts=data.hosts, start=START, end=data.end, seed=seed) for draw in range(rounds + 1)]
            for engine, found in _rounds(workers, queries, share, missing).items():
                times[engine][name] = found
            _tell(name, times)
        return times, loads, {name: one.version for name, one in workers.items()}


def _rounds(
    workers: dict[str, Worker], queries: list[CpuQuery], budget: Budget, missing: dict[str, str]
) -> dict[str, dict[str, Any]]:
    """A query's medians by engine. Draw 0 is compared and not timed: the first answer of a process costs more than others."""
    name = queries[0].name
    going = [engine for engine in workers if _compared(workers, engine, queries[0], missing)]
    measured: dict[str, dict[str, list[dict[str, Any]]]] = {engine: {text: [] for text in TEXTS} for engine in going}
    for number, query in enumerate(queries[1:]):
        began = budget.left
        answers: dict[str, pa.Table] = {}
        order = going[number % len(going) :] + going[: number % len(going)]
        for engine in order:
            for text in TEXTS:
                told, answers[engine] = workers[engine].ask(query, f"{name} {number}")
                measured[engine][text].append(told)
        _same(answers, query)
        if number >= 2 and (budget.left <= 0 or began - budget.left > _SLOW_SECONDS):
            break
    return {
        engine: {
            text: {"ms": _of(told, "seconds"), "cpu_ms": _of(told, "cpu"), "rounds": len(told)} for text, told in texts.items()
        }
        for engine, texts in measured.items()
    }


def _same(answers: dict[str, pa.Table], query: CpuQuery) -> None:
    """Figures of different answers are worth nothing: such a run ends here."""
    for engine, answer in answers.items():
        unlike = difference(answers[REFERENCE], answer)
        if unlike:
            raise SystemExit(f"{engine} answers {query.sql()} otherwise than {REFERENCE}: {unlike}")


def _compared(workers: dict[str, Worker], engine: str, query: CpuQuery, missing: dict[str, str]) -> bool:
    try:
        _, answer = workers[engine].ask(query, "first")
        if engine == REFERENCE:
            return True
        _, expected = workers[REFERENCE].ask(query, "first")
    except MissingError as error:
        missing[f"{query.name}/{engine}"] = str(error)
        return False
    unlike = difference(expected, answer)
    if unlike:
        missing[f"{query.name}/{engine}"] = f"another answer than {REFERENCE}'s: {unlike}"
        print(f"  {query.name}: {engine} gives another answer than {REFERENCE}: {unlike}", flush=True)
    return unlike is None


def _of(told: list[dict[str, Any]], what: str) -> float:
    return round(median(one[what] for one in told) * 1000, 3)


def _tell(name: str, times: dict[str, Any]) -> None:
    shown = ", ".join(f"{engine} {found[name]['new']['ms']:.1f}" for engine, found in times.items() if name in found)
    print(f"  {name}, ms: {shown}", flush=True)
