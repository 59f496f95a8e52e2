"""A backlog of a topic, taken in by one session: a bare loop that only counts, this project, and QuixStreams into files.

The topic, the records and the first two are those of `benchmarks/streaming.py`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.suite.environments import Environment
from benchmarks.suite.figures import Budget, median
from benchmarks.suite.workers import ROOT

TOPIC, PARTITIONS = "metrics", 12


def streamed(
    peer: Environment, *, records: int, rounds: int, budget: Budget, missing: dict[str, str], within: Path
) -> dict[str, Any]:
    """Medians by contender; nothing where a broker can't be had."""
    sys.path.insert(0, str(ROOT))  # the tests' broker
    from benchmarks.streaming_ground import fill
    from timestore_assets_tests.support.kafka_brokers import KafkaCluster

    names = ["bare", "timestore", "quixstreams"]
    if peer.missing:
        missing["stream/quixstreams"] = peer.missing
        names.remove("quixstreams")
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory(dir=within) as temporary, KafkaCluster(1, folder=Path(temporary), heap="512m") as cluster:
        cluster.create_topic(TOPIC, PARTITIONS)
        fill(cluster.bootstrap, TOPIC, records, PARTITIONS)
        for number in range(rounds):
            for name in list(found):
                if budget.left <= 0 and number:
                    break
                folder = Path(temporary) / f"{name}_{number}"  # QuixStreams writes into no folder with a dash
                try:
                    found[name].append(_run(name, peer, cluster.bootstrap, records, folder))
                    print(f"  {name}: {found[name][-1]['seconds']:.1f} s, {found[name][-1]['cpu']:.1f} CPU", flush=True)
                except (subprocess.SubprocessError, ValueError) as error:
                    missing[f"stream/{name}"] = f"failed: {_last_line(error)}"
                    print(f"  {name} {missing[f'stream/{name}']}", flush=True)
                    del found[name]
    return {name: _summed(results, records) for name, results in found.items() if results}


def _run(name: str, peer: Environment, servers: str, records: int, folder: Path) -> dict[str, float]:
    if name == "quixstreams":
        script = Path(__file__).parent / "engines" / "quix_session.py"
        command = [peer.python, str(script), servers, TOPIC, str(records), str(folder)]
    else:
        script = ROOT / "benchmarks" / "streaming.py"
        contender = {"bare": "bare", "timestore": "land"}[name]
        command = [sys.executable, str(script), "--worker", contender, "--servers", servers, "--records", str(records)]
        command += ["--partitions", str(PARTITIONS), "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def _summed(results: list[dict[str, float]], records: int) -> dict[str, Any]:
    seconds, cpu = (median(one[what] for one in results) for what in ("seconds", "cpu"))
    return {
        "seconds": round(seconds, 3),
        "cpu": round(cpu, 3),
        "records_a_second": round(records / seconds),
        "cpu_us_a_record": round(cpu / records * 1e6, 2),
        "rounds": len(results),
    }


def _last_line(error: Exception) -> str:
    text = error.stderr if isinstance(error, subprocess.CalledProcessError) and error.stderr else str(error)
    return text.strip().splitlines()[-1][:200] if text.strip() else type(error).__name__
