"""A process that lands files and is killed at a chosen point, forked from one that has everything imported.

Each line of its input is a JSON object: `root` (of the warehouse), `file`, `chunk_rows`, and `calls`, the number of
function calls, of all threads, after which it kills itself the hard way; 0 means never. `bulk`: fields of `BulkLimits`;
`share`: of a list that others land too. It answers with the number of calls that the landing made, or `killed`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

from timestore_assets.landing.bulk_limits import BulkLimits
from timestore_assets.landing.sharing import Share
from timestore_assets_tests.landing_ground import Ground, columns, dataset

TTL = timedelta(seconds=1)
DATASET = dataset(*columns(n="int64?"))


def land(order: dict[str, Any]) -> int:
    """Land the file, killing this process after so many calls; returns the number of calls."""
    calls = 0

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        if event in ("call", "c_call"):
            calls += 1
            if calls == order["calls"]:
                os.kill(os.getpid(), signal.SIGKILL)

    bulk = BulkLimits(**order["bulk"]) if "bulk" in order else None
    share = Share(**order["share"]) if "share" in order else None
    ground = Ground.at(Path(order["root"]), DATASET, ttl=TTL, bulk=bulk)
    threading.setprofile(count)
    sys.setprofile(count)
    ground.land(Path(order["file"]), chunk_rows=order.get("chunk_rows"), share=share)
    sys.setprofile(None)
    threading.setprofile(None)
    return calls


def main() -> None:
    for line in sys.stdin:
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(write, str(land(json.loads(line))).encode())
            os._exit(0)
        os.close(write)
        _, status = os.waitpid(child, 0)
        answer = os.read(read, 100).decode()
        os.close(read)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        print("killed" if killed else answer or f"failed with status {status}", flush=True)


if __name__ == "__main__":
    main()
