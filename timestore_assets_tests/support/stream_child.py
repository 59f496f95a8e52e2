"""Processes that land a topic until somebody kills them: a forker that has everything imported makes them, and says so.

Each line of the forker's input is a JSON object: `root` (of the warehouse), `servers`, `topics`, and `in_order` for
`order: strict`. A line is answered with the process id of the session that was started. `{"reap": pid}` waits for that one
and is answered with its status.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from timestore_assets.landing.topics.session_options import SessionLimits, SessionOptions
from timestore_assets.landing.topics.streamer import Streamer
from timestore_assets.model.dataset import Dataset, FlushPolicy, KafkaSource
from timestore_assets.model.errors import TimestoreError
from timestore_assets.segments.publishing import utc_now
from timestore_assets.sources.kafka.kafka_client import KafkaConnection
from timestore_assets.sources.kafka.kafka_topics import KafkaTopics
from timestore_assets_tests.support.landing_warehouse import LandingWarehouse, columns, dataset
from timestore_assets_tests.support.order_model import IN_ORDER

TTL = timedelta(milliseconds=700)
DATASET = dataset(*columns(n="int64?"))
# longer than the leases of a session that was just killed
PATIENCE = timedelta(seconds=20)
FLUSH = FlushPolicy(rows=60, age=timedelta(milliseconds=20))


def source(topics: list[str]) -> KafkaSource:
    return KafkaSource(topics=tuple(topics), flush=FLUSH, idle=timedelta(milliseconds=200))


def land(root: Path, servers: str, topics: list[str], *, limits: SessionLimits, declared: Dataset = DATASET) -> str:
    """Run one session; how it ended."""
    ground = LandingWarehouse.at(root, declared)
    topic = source(topics)
    found = KafkaTopics(KafkaConnection(servers=servers), topic, group="crash")
    streamer = Streamer(replace(ground.context, holder=str(os.getpid()), ttl=TTL, clock=utc_now))
    return streamer.stream(declared, topic, found, SessionOptions(limits=limits, patience=PATIENCE)).ending


def main() -> None:
    for line in sys.stdin:
        order: dict[str, Any] = json.loads(line)
        if "reap" in order:
            _, status = os.waitpid(order["reap"], 0)
            print(os.waitstatus_to_exitcode(status), flush=True)
            continue
        child = os.fork()
        if child == 0:
            os._exit(_session(order))
        print(child, flush=True)


def _session(order: dict[str, Any]) -> int:
    try:
        limits = SessionLimits(until_caught_up=False, longest=timedelta(seconds=60))
        declared = IN_ORDER if order.get("in_order") else DATASET
        land(Path(order["root"]), order["servers"], order["topics"], limits=limits, declared=declared)
    except TimestoreError as error:
        # brokers that are away and a catalog that is locked are no fault of the session's
        print(error, file=sys.stderr, flush=True)
        return 3
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    main()
