"""A drop far larger than memory, not ordered by time: landed by `timestore land` under a cap, killed three times, then built.

    python benchmarks/drop.py --gb 50 --folder /somewhere/with/60/GB

`--gb` counts Arrow data, the rows as they are in memory; the Parquet files hold about half of it. They are made a few at a time
and deleted once they have landed (`after: delete`), so that the disk holds a part of the drop, its segments, and what a build
makes of them. Every file spans all days in random order: its rows come from one set of random numbers, shifted in time and
value, so that no two files, and no two rows of a file, are alike. Making files is not part of the times.

The landing process may use `--cap` bytes of data (RLIMIT_DATA, which counts what is private to it), and is killed by SIGKILL
three times on its way. In the end the accounting of the catalog is compared with the rows that were made.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

DAYS = 60
FIRST_DAY = np.datetime64("2024-01-01T00:00:00", "us").astype(np.int64)
DAY_MICROS = 86_400_000_000
ROW_BYTES = 97
"""Arrow data of a row: a time, three doubles, two integers, a flag and a text of 48 bytes."""
PIECE_ROWS = 1 << 20
KILLS = 3
SAMPLE_SECONDS = 0.2

DEFINITION = f"""\
type: timestore_assets.Dataset
attributes:
  name: drop
  columns:
    ts: {{type: timestamp}}
    device: {{type: string}}
    temp: {{type: double, nullable: true, ge: -60, le: 140}}
    pressure: {{type: double}}
    power: {{type: double}}
    counter: {{type: int64, ge: 0}}
    code: {{type: int32}}
    ok: {{type: bool}}
  time: ts
  window: day
  start: 2024-01-01
  end: {np.datetime64("2024-01-01") + DAYS}
  sources:
    - files: {{prefix: inbox, after: delete}}
"""


@dataclass(kw_only=True)
class Run:
    """One `timestore` process. `peak`: most resident bytes that were its own, `peak_all`: with mapped files."""

    seconds: float
    killed: bool
    peak: int = 0
    peak_all: int = 0


@dataclass(kw_only=True)
class Figures:
    rows: int = 0
    refused: int = 0
    stored: int = 0
    landing: list[Run] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gb", type=float, default=1.0, help="Arrow data of the whole drop")
    parser.add_argument("--file-gb", type=float, default=10.0, help="Arrow data of one file")
    parser.add_argument("--at-a-time", type=int, default=2, help="files on disk at a time")
    parser.add_argument("--cap", type=float, default=4.0, help="GB that the landing process may use")
    parser.add_argument("--chunk-mb", type=int, default=1500, help="TIMESTORE_BULK_CHUNK_BYTES in MB")
    parser.add_argument("--commit-gb", type=float, default=4.0, help="TIMESTORE_BULK_COMMIT_BYTES in GB")
    parser.add_argument("--parallel", type=int, default=2, help="TIMESTORE_BULK_PARALLEL")
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder by default")
    parser.add_argument("--no-kills", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        _run(options, Path(folder))


def _run(options: argparse.Namespace, folder: Path) -> None:
    environment = _home(folder, options)
    sizes = _sizes(options)
    kills = _kill_points(options, sum(sizes))
    random = np.random.default_rng(7)
    figures, template = Figures(), _template(random)
    number = 0
    while number < len(sizes):
        some = range(number, min(number + options.at_a_time, len(sizes)))
        paths = [_make_file(folder / "home" / "inbox" / f"{at}.parquet", template, at, sizes[at], figures) for at in some]
        print(f"{figures.rows:,} rows made, {sum(path.stat().st_size for path in paths) / 1e9:.1f} GB of Parquet", flush=True)
        _land(paths, environment, options, figures, kills)
        number = some.stop
    landing = sum(run.seconds for run in figures.landing)
    _report_landing(options, figures, landing, environment)
    built = _timestore(["build", "drop", "--json"], environment, cap=None)
    print(f"built in {built.seconds:,.0f} s, peak {built.peak / 1e9:.2f} GB, {figures.rows / built.seconds / 1e6:.2f} M rows/s")
    _report_segments(environment)
    _check(environment, figures)


def _home(folder: Path, options: argparse.Namespace) -> dict[str, str]:
    home = folder / "home"
    (home / "defs" / "drop").mkdir(parents=True)
    (home / "inbox").mkdir()
    (home / "defs" / "drop" / "defs.yaml").write_text(DEFINITION)
    return os.environ | {
        "TIMESTORE_HOME": str(home),
        "TIMESTORE_BULK_CHUNK_BYTES": str(options.chunk_mb * 1_000_000),
        "TIMESTORE_BULK_COMMIT_BYTES": str(int(options.commit_gb * 1e9)),
        "TIMESTORE_BULK_PARALLEL": str(options.parallel),
        "TIMESTORE_KEEP_VERSIONS_SECONDS": "0",
        "TIMESTORE_GC_GRACE_SECONDS": "0",
    }


def _sizes(options: argparse.Namespace) -> list[int]:
    """Rows of each file, all alike."""
    count = max(1, round(options.gb / options.file_gb))
    return [int(options.gb * 1e9 / ROW_BYTES / count)] * count


def _kill_points(options: argparse.Namespace, rows: int) -> list[int]:
    """How many rows must be landed when the process is killed, for each kill."""
    return [] if options.no_kills else [rows * (2 * number + 1) // (2 * KILLS) for number in range(KILLS)]


# --- making files


def _template(random: np.random.Generator) -> dict[str, Any]:
    times = random.integers(0, DAYS * DAY_MICROS, PIECE_ROWS)
    return {
        "ts": times,
        "device": pa.array([_device(n) for n in random.integers(0, 20_000, PIECE_ROWS).tolist()]),
        "temp": np.round(random.normal(20, 8, PIECE_ROWS), 2),
        "pressure": np.round(random.normal(1013, 5, PIECE_ROWS), 2),
        "power": random.random(PIECE_ROWS),
        "counter": random.integers(0, 1 << 40, PIECE_ROWS),
        "code": random.integers(0, 1000, PIECE_ROWS).astype(np.int32),
        "ok": random.random(PIECE_ROWS) > 0.02,
    }


def _device(number: int) -> str:
    return f"plant-{number % 7:02}/line-{number % 31:03}/machine-{number:05}/sensor-unit"


def _make_file(path: Path, template: dict[str, Any], number: int, rows: int, figures: Figures) -> Path:
    """Rows over all days in no order, a few of them with a temperature that is refused."""
    part = path.with_name(f".{path.name}.part")
    with pq.ParquetWriter(part, _piece(template, 0, 1).schema, compression="snappy", use_dictionary=["device", "code"]) as writer:
        for first in range(0, rows, PIECE_ROWS):
            piece = _piece(template, number * 1000 + first // PIECE_ROWS, min(PIECE_ROWS, rows - first))
            writer.write_table(piece, row_group_size=PIECE_ROWS)
            figures.refused += int((piece.column("temp").to_numpy() > 140).sum())
    figures.rows += rows
    figures.stored += part.stat().st_size
    part.rename(path)
    return path


def _piece(template: dict[str, Any], number: int, rows: int) -> pa.Table:
    """The template, its times turned around the clock of all days and its values moved on."""
    times = (template["ts"][:rows] + number * 7_654_321_987) % (DAYS * DAY_MICROS) + FIRST_DAY
    temp = template["temp"][:rows].copy()
    temp[::50_000] = 200.0
    return pa.table(
        {
            "ts": pa.array(times, pa.timestamp("us")),
            "device": template["device"].slice(0, rows),
            "temp": temp,
            "pressure": template["pressure"][:rows] + number % 97,
            "power": template["power"][:rows] * (1 + number),
            "counter": template["counter"][:rows] + number,
            "code": template["code"][:rows],
            "ok": template["ok"][:rows],
        }
    )


# --- running


def _land(
    paths: Sequence[Path], environment: dict[str, str], options: argparse.Namespace, figures: Figures, kills: list[int]
) -> None:
    """Land the files, those that are left again after each kill that is due."""
    while left := [path for path in paths if path.exists()]:
        run = _timestore(
            ["land", "drop", *map(str, left)],
            environment,
            cap=int(options.cap * 1e9),
            kill_at=kills[0] if kills else None,
        )
        figures.landing.append(run)
        said = "killed" if run.killed else "done"
        print(f"  landing {said} after {run.seconds:,.0f} s, peak {run.peak / 1e9:.2f} GB of its own", flush=True)
        if run.killed:
            kills.pop(0)


def _timestore(arguments: Sequence[str], environment: dict[str, str], *, cap: int | None, kill_at: int | None = None) -> Run:
    """Run a command and measure it; kill it once so many rows are landed."""
    began = time.monotonic()
    child = subprocess.Popen(
        [sys.executable, "-m", "timestore_assets.cli", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=None if cap is None else lambda: resource.setrlimit(resource.RLIMIT_DATA, (cap, cap)),
    )
    run = Run(seconds=0, killed=False)
    watching = threading.Thread(target=_watch, args=(child, run, environment, kill_at))
    watching.start()
    child.communicate()
    watching.join()
    run.seconds = time.monotonic() - began
    run.killed = child.returncode == -signal.SIGKILL
    if child.returncode and not run.killed:
        raise SystemExit(f"timestore {arguments[0]} ended with {child.returncode}")
    return run


def _watch(child: subprocess.Popen[str], run: Run, environment: dict[str, str], kill_at: int | None) -> None:
    looks = 0
    while child.poll() is None:
        status = _status(child.pid)
        run.peak = max(run.peak, status.get("RssAnon", 0))
        run.peak_all = max(run.peak_all, status.get("VmRSS", 0))
        looks += 1
        if kill_at is not None and looks % 5 == 0 and _landed(environment) >= kill_at:
            child.send_signal(signal.SIGKILL)
        time.sleep(SAMPLE_SECONDS)


def _status(pid: int) -> dict[str, int]:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    return {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.endswith(" kB")}


def _landed(environment: dict[str, str]) -> int:
    with _catalog(environment) as catalog:
        record = catalog.datasets.find("drop")
        return 0 if record is None else sum(source.counters.read for source in catalog.sources.of(record.id))


def _catalog(environment: dict[str, str]) -> Any:
    from contextlib import closing

    from timestore_assets.catalog.catalog import Catalog

    return closing(Catalog.open(f"sqlite:///{environment['TIMESTORE_HOME']}/catalog.sqlite"))


# --- telling


def _report_landing(options: argparse.Namespace, figures: Figures, seconds: float, environment: dict[str, str]) -> None:
    peak, peak_all = (max(getattr(run, name) for run in figures.landing) for name in ("peak", "peak_all"))
    kills = sum(run.killed for run in figures.landing)
    print(
        f"landed {figures.rows:,} rows ({options.gb:g} GB in memory, {figures.stored / 1e9:.1f} GB of Parquet) "
        f"in {seconds:,.0f} s with {kills} kills: {figures.rows / seconds / 1e6:.2f} M rows/s, "
        f"peak {peak / 1e9:.2f} GB of its own, {peak_all / 1e9:.2f} GB with files"
    )
    _report_segments(environment)


def _report_segments(environment: dict[str, str]) -> None:
    with _catalog(environment) as catalog:
        record = catalog.datasets.find("drop")
        for kind, sizes in _by_kind(catalog.manifest.segments(record.id)):
            middle = statistics.median(sizes)
            print(
                f"  {len(sizes):,} {kind} segments, {sum(sizes) / 1e9:.1f} GB; "
                f"smallest {min(sizes) / 1e6:.1f}, median {middle / 1e6:.1f}, largest {max(sizes) / 1e6:.1f} MB"
            )


def _by_kind(segments: Sequence[Any]) -> Iterator[tuple[str, list[int]]]:
    for kind in sorted({segment.kind for segment in segments}):
        yield kind, [segment.bytes for segment in segments if segment.kind == kind]


def _check(environment: dict[str, str], figures: Figures) -> None:
    """Compare what the catalog counted and the segments hold with what was made."""
    with _catalog(environment) as catalog:
        record = catalog.datasets.find("drop")
        counters = [source.counters for source in catalog.sources.of(record.id)]
        held = sum(segment.rows for segment in catalog.manifest.segments(record.id))
        found = {name: sum(getattr(one, name) for one in counters) for name in ("read", "landed", "dead_letters", "duplicates")}
        states = {file.state for source in catalog.sources.of(record.id) for file in catalog.files.of(source.id)}
    landed = figures.rows - figures.refused
    expected = {"read": figures.rows, "landed": landed, "dead_letters": figures.refused, "duplicates": 0}
    exact = found == expected and held == landed and states == {"landed"}
    print(f"accounting {'exact' if exact else 'WRONG'}: {json.dumps(found)}, {held:,} rows in segments")
    if not exact:
        raise SystemExit(f"expected {expected}")


if __name__ == "__main__":
    main()
