"""A Kafka-protocol broker inside this process: librdkafka's own mock cluster, with the real protocol on loopback.

It keeps about the newest 5 MB of each topic partition, makes topics on first use with 4 partitions, and ends with the process.
Where one runs is published in a file of the home folder, so that other commands with the same home find it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from timestore_assets.extras import extra
from timestore_assets.file_access import make_folder
from timestore_assets.model.errors import RefusedError, UnavailableError

PARTITIONS = 4
"""Partitions of a topic made on first use; the mock cluster has no others."""
KEPT_BYTES = 5 * 1024 * 1024
"""What it keeps of a topic partition, about; older records are gone."""
START_SECONDS = 10.0
_CLUSTER = "mockCluster"
_FILE, _LOCK = "broker.json", "broker.lock"
# a reader holds the lock for an instant while it looks; a broker holds it for its whole life
_LOCK_SECONDS = 1.0


class EmbeddedBroker:
    """A broker while entered; `bootstrap_servers` and `cluster_id` are empty otherwise. Each start is a new cluster."""

    def __init__(self, *, brokers: int = 1) -> None:
        self._brokers = brokers
        self._host: Any = None
        self.bootstrap_servers = ""
        self.cluster_id = ""

    def __enter__(self) -> Self:
        """Start it.

        Raises:
            UnavailableError: it did not come up.
        """
        with extra("kafka"):
            from confluent_kafka import KafkaException, Producer

        # the address is a placeholder, replaced by the cluster's own; below level 4 librdkafka doesn't comment on that
        host = Producer({"bootstrap.servers": "embedded:1", "test.mock.num.brokers": self._brokers, "log_level": 3})
        try:
            found = host.list_topics(timeout=START_SECONDS)
        except KafkaException as error:
            raise UnavailableError(f"the embedded broker did not come up: {error.args[0].str()}") from None
        self._host = host
        self.bootstrap_servers = ",".join(f"{one.host}:{one.port}" for one in found.brokers.values())
        self.cluster_id = str(found.cluster_id)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        # the cluster lives as long as the client that hosts it
        self._host = None
        self.bootstrap_servers = self.cluster_id = ""

    def make_topic(self, name: str) -> None:
        """Make a topic; being asked for it is how the mock cluster makes one."""
        self._host.list_topics(name, timeout=START_SECONDS)


def is_embedded(cluster_id: str) -> bool:
    """Whether a cluster is such a broker, here or in another process, and so keeps only the newest records."""
    return cluster_id.startswith(_CLUSTER)


@contextlib.contextmanager
def publish(home: Path, broker: EmbeddedBroker) -> Iterator[None]:
    """While entered, commands with this home find the broker by themselves.

    Raises:
        RefusedError: another living broker is published there.
        UnavailableError: the home can't be written.
    """
    file = home / _FILE
    told = {"bootstrap_servers": broker.bootstrap_servers, "cluster_id": broker.cluster_id, "pid": os.getpid()}
    with contextlib.ExitStack() as stack:
        try:
            make_folder(home)
            lock = stack.enter_context((home / _LOCK).open("a"))
            _hold(lock.fileno(), home)
            staged = file.with_name(f".{_FILE}.{os.getpid()}.tmp")
            staged.write_text(json.dumps(told) + "\n", encoding="utf-8")
            staged.replace(file)
        except OSError as error:
            raise UnavailableError(f"{file} can't be written ({error.strerror}); set TIMESTORE_HOME to another folder") from None
        stack.callback(file.unlink, missing_ok=True)
        yield


def published_servers(home: Path) -> str | None:
    """Bootstrap servers of the broker that runs for this home; None when there is none, or only the file of a dead one."""
    try:
        # a lock is dropped by the kernel when its process dies, while a process id may by then be somebody else's
        if not _held(home / _LOCK):
            return None
        told = json.loads((home / _FILE).read_text(encoding="utf-8"))
        return str(told["bootstrap_servers"])
    except (OSError, ValueError, TypeError, KeyError):  # just starting, just ending, or not ours
        return None


def _hold(handle: int, home: Path) -> None:
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                where = published_servers(home)
                at = f" at {where}" if where else ""
                raise RefusedError(f"a broker for {home} is already running{at}; use that one or stop it first") from None
            time.sleep(0.02)
        else:
            return


def _held(lock: Path) -> bool:
    with lock.open("rb") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False
