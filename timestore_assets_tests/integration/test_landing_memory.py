"""Whatever a small file becomes once it is decoded, landing, building and asking stay within a set memory (I9)."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

MEMORY = 200_000_000
ALLOWED = 1.5
"""Times the setting: DuckDB's own limit, and what the process keeps of freed memory."""
LARGE = 400_000_000
"""What each of the files becomes, at least."""

DECLARATION = """
type: timestore_assets.Dataset
attributes:
  name: d
  columns: {at: timestamp, c: {type: string, nullable: true}}
  time: at
  start: 1970-01-01
  evolution: {new_columns: ignore}
  sources: [{files: {prefix: inbox/d/}}]
"""


def parquet(path: Path, *, rows: int, day: int = 0, **options: Any) -> Callable[..., None]:
    """Writes columns beside times of a day."""
    times = pa.array(np.arange(rows) * 1000 + day * 86_400_000_000, pa.timestamp("us"))
    return lambda **columns: pq.write_table(pa.table({"at": times, **columns}), path, row_group_size=rows, **options)


def categories(path: Path) -> int:
    """What pandas writes for categories: a dictionary that the reader gives back as one."""
    rows = LARGE // 1000
    codes = pa.array(np.arange(rows) % 20, pa.int32())
    parquet(path, rows=rows)(c=pa.DictionaryArray.from_arrays(codes, pa.array([f"{i:01000d}" for i in range(20)])))
    return rows


def late_long_texts(path: Path) -> int:
    """Short texts first, so that no sample of the beginning tells what is behind them."""
    rows, long = LARGE // 20_000 * 2, "x" * 20_000
    texts = pa.array(["short"] * (rows // 2) + [long] * (rows - rows // 2), pa.large_string())
    parquet(path, rows=rows, day=1, store_schema=False, write_batch_size=64)(c=texts)
    return rows


def lists_of_repeated_texts(path: Path) -> int:
    rows, each = 20_000, LARGE // 20_000 // 500
    words = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows * each), pa.int32()), pa.array(["w" * 500]))
    lists = pa.ListArray.from_arrays(pa.array(np.arange(rows + 1) * each, pa.int32()), words.cast(pa.string()))
    parquet(path, rows=rows, day=2, store_schema=False)(c=pa.nulls(rows, pa.string()), words=lists)
    return rows


def one_endless_list(path: Path) -> int:
    count = LARGE // 8
    numbers = pa.ListArray.from_arrays(pa.array([0, 1, count], pa.int32()), pa.array(np.zeros(count, np.int64)))
    parquet(path, rows=2)(c=pa.nulls(2, pa.string()), numbers=numbers)
    return 0  # the row can only be read whole


def one_page_for_all(path: Path) -> int:
    rows = LARGE // 1_000_000
    texts = pa.array(["z" * 1_000_000 for _ in range(rows)])
    parquet(path, rows=rows, use_dictionary=False, compression="zstd", data_page_size=2**31 - 1)(c=texts)
    return 0  # the page can only be unpacked whole


def zipped_lines(path: Path) -> int:
    rows = LARGE // 100_000
    with gzip.open(path, "wb", 1) as file:
        for number in range(rows):
            file.write(json.dumps({"at": f"1970-01-04T00:00:{number % 60:02}", "c": "j" * 100_000}).encode())
            file.write(b"\n")
    return rows


FILES = {
    "categories.parquet": categories,
    "late.parquet": late_long_texts,
    "lists.parquet": lists_of_repeated_texts,
    "endless.parquet": one_endless_list,
    "page.parquet": one_page_for_all,
    "lines.jsonl.gz": zipped_lines,
}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the kernel tells no peak of a step")
def test_small_files_that_become_large_stay_within_the_memory(tmp_path: Path) -> None:
    (tmp_path / "defs" / "d").mkdir(parents=True)
    (tmp_path / "defs" / "d" / "defs.yaml").write_text(DECLARATION)
    rows = {name: make(tmp_path / name) for name, make in FILES.items()}
    assert sum((tmp_path / name).stat().st_size for name in FILES) < LARGE // 10
    found = run(tmp_path, [str(tmp_path / name) for name in FILES])
    assert {step: answer["result"] for step, answer in found.items() if step.startswith("land")} == {
        f"land {name}": [count, 0] for name, count in rows.items()
    }
    built = [answer["result"] for step, answer in found.items() if step.startswith("build")]
    assert built[0] == [rows["categories.parquet"]]
    assert all(isinstance(result, list) or "raise TIMESTORE_MEMORY" in result for result in built)
    assert found["query"]["result"] == [{"n": sum(rows.values()), "longest": 100_000}]
    over = {step: answer["peak"] // 1_000_000 for step, answer in found.items() if answer["peak"] > ALLOWED * MEMORY}
    assert not over, f"MB above {ALLOWED} times {MEMORY // 1_000_000}"


def run(root: Path, files: list[str]) -> dict[str, dict[str, Any]]:
    """What `memory_child` says of each step."""
    environment = {
        **os.environ,
        "TIMESTORE_HOME": str(root / "home"),
        "TIMESTORE_DEFS": str(root / "defs"),
        "TIMESTORE_MEMORY": str(MEMORY),
    }
    command = [sys.executable, "-m", "timestore_assets_tests.support.memory_child", "d", *files]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return {answer["step"]: answer for answer in map(json.loads, done.stdout.splitlines())}
