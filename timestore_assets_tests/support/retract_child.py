"""A retraction, its undoing, or a reload of a topic, for crash tests: kills itself after the n-th statement of the catalog.

Arguments: home, brokers, topic, action (`retract`, `undo` or `reload`), n.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from datetime import timedelta
from pathlib import Path

from sqlalchemy import event

from timestore_assets.model.dataset import Dataset, FlushPolicy, KafkaSource
from timestore_assets.model.row_selector import TopicRows
from timestore_assets.settings import Settings
from timestore_assets.warehouse import Warehouse
from timestore_assets_tests.support.landing_warehouse import dataset

FLUSH = FlushPolicy(rows=2, age=timedelta(milliseconds=20))


def declared(topic: str) -> Dataset:
    return dataset(sources=(KafkaSource(topics=(topic,), flush=FLUSH),))


def opened(home: Path, servers: str, topic: str) -> Warehouse:
    settings = Settings(home=home, kafka_bootstrap_servers=servers)
    return Warehouse.open(settings, datasets={"weather": declared(topic)})


def window(topic: str) -> TopicRows:
    return TopicRows(topic=topic, number=0, start=5, end=12)


def act(warehouse: Warehouse, topic: str, action: str) -> None:
    if action == "retract":
        warehouse.retract("weather", window(topic), actor="child")
    elif action == "reload":
        warehouse.reload_topic("weather", window(topic), actor="child")
    else:
        (last, *_) = warehouse.retractions("weather")
        warehouse.undo_retraction("weather", last.id, actor="child")


def main(home: Path, servers: str, topic: str, action: str, last: int) -> None:
    calls = itertools.count(1)

    def called(*_: object) -> None:
        if next(calls) == last:
            os.kill(os.getpid(), signal.SIGKILL)

    with opened(home, servers, topic) as warehouse:
        event.listen(warehouse.catalog.database.engine, "after_cursor_execute", called)
        act(warehouse, topic, action)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5]))
