"""An engine in a process of its own: reads commands, JSON in lines, and answers each with what it took.

python -m benchmarks.suite.engines.worker ENGINE FOLDER
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa

from benchmarks.suite.cpu_queries import CpuQuery
from benchmarks.suite.engines.engine import Engine, NotOfferedError

MODULES: dict[str, tuple[str, ...]] = {
    "timestore": ("own", "auto"),
    "timestore-parquet": ("own", "parquet"),
    "duckdb": ("duckdb_table",),
    "duckdb-parquet": ("duckdb_parquet",),
    "chdb": ("clickhouse",),
    "delta-rs": ("delta",),
    "polars": ("frames",),
    "dlt": ("pipeline",),
    "influxdb": ("influx",),
    "victoriametrics": ("victoria",),
}


def main() -> None:
    name, folder = sys.argv[1], Path(sys.argv[2])
    # what libraries print is no answer
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)
        module, *rest = MODULES[name]
        engine: Engine = importlib.import_module(f"benchmarks.suite.engines.{module}").made(folder, *rest)
        _tell(answers, {"version": engine.version()})
        try:
            for line in sys.stdin:
                _tell(answers, _answered(engine, json.loads(line)))
        finally:
            engine.close()


def _answered(engine: Engine, command: dict[str, Any]) -> dict[str, Any]:
    try:
        if command["do"] == "load":
            return _timed(engine, lambda: engine.load(Path(command["file"]), command["kind"], command["window"]))
        if command["do"] == "settle":
            return _timed(engine, engine.settle)
        return _asked(engine, command)
    except NotOfferedError as error:
        return {"missing": str(error)}
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {error}"}


def _asked(engine: Engine, command: dict[str, Any]) -> dict[str, Any]:
    query = CpuQuery.of(command["query"])
    found: list[pa.Table] = []
    told = _timed(engine, lambda: found.append(engine.ask(query, note=command["note"])))
    with pa.OSFile(command["answer"], "wb") as file, pa.ipc.new_file(file, found[0].schema) as writer:
        writer.write_table(found[0])
    return told


def _timed(engine: Engine, work: Callable[[], object]) -> dict[str, Any]:
    began, spent = time.perf_counter(), engine.cpu()
    gave = work()
    seconds, cpu = time.perf_counter() - began, engine.cpu() - spent
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    return {"seconds": seconds, "cpu": cpu, "gave": gave, "peak_mb": peak}


def _tell(answers: TextIO, what: dict[str, Any]) -> None:
    answers.write(json.dumps(what) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
