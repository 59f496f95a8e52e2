"""A process that replays dead letters and is killed at a chosen point, forked from one that has everything imported.

Each line of its input is a JSON object: `root` (of the warehouse) and `calls`, the number of function calls after which it kills
itself the hard way; 0 means never. It answers with the number of calls that the replay made, or `killed`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from timestore_assets_tests.landing_ground import Ground
from timestore_assets_tests.replay_ground import mended, replay

TTL = timedelta(seconds=1)


def replay_and_die(order: dict[str, Any]) -> int:
    """Replay, killing this process after so many calls; returns the number of calls."""
    calls = 0

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        if event in ("call", "c_call"):
            calls += 1
            if calls == order["calls"]:
                os.kill(os.getpid(), signal.SIGKILL)

    ground = Ground.at(Path(order["root"]), mended(), ttl=TTL)
    sys.setprofile(count)
    replay(ground)
    sys.setprofile(None)
    return calls


def main() -> None:
    for line in sys.stdin:
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(write, str(replay_and_die(json.loads(line))).encode())
            os._exit(0)
        os.close(write)
        _, status = os.waitpid(child, 0)
        answer = os.read(read, 100).decode()
        os.close(read)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        print("killed" if killed else answer or f"failed with status {status}", flush=True)


if __name__ == "__main__":
    main()
