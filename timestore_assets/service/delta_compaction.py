"""Beside the requests: small deltas of open partitions are merged, and answers that nobody asks for again are forgotten."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import duckdb

from timestore_assets.building.builder import Builder
from timestore_assets.model.errors import ConflictError, TimestoreError
from timestore_assets.service.background_loop import BackgroundLoop

if TYPE_CHECKING:
    from timestore_assets.catalog.records import PartitionRecord
    from timestore_assets.service.observing.metrics import Metrics
    from timestore_assets.service.service_log import Log
    from timestore_assets.warehouse import Warehouse

EVERY_SECONDS = 2.0
FORGET_SECONDS = 3600.0
LONGEST_PAUSE_SECONDS = 300.0
STOP_SECONDS = 1.0
BREAK_OFF_SECONDS = 10.0
_AGAIN_SECONDS = 0.05
"""An interrupt ends the statement that runs, and a merge has several."""
MEMORY_SHARE = 4
"""A merge gets this part of the memory of a build, and one thread: requests come first."""


class Merging:
    """A thread that builds open partitions as the build sensor would, only sooner, so that queries meet few files.

    Builds are fenced by their own claims: whoever else builds the partition wins, and so does a landing.
    """

    def __init__(self, warehouse: Warehouse, metrics: Metrics, log: Log) -> None:
        self._warehouse, self._metrics, self._log = warehouse, metrics, log
        self._deltas = warehouse.settings.serve_merge_deltas
        self._limits = replace(
            warehouse.limits, threads=1, memory_bytes=max(64_000_000, warehouse.limits.memory_bytes // MEMORY_SHARE)
        )
        self._loop = BackgroundLoop(self._round, name="merging", every=EVERY_SECONDS, patience=STOP_SECONDS, log=log)
        self._builder: Builder | None = None
        self._seen: dict[str, int] = {}
        self._pauses: dict[str, tuple[float, float]] = {}
        self._forgot = float("-inf")

    @property
    def rounds(self) -> int:
        """How often it has looked at all datasets."""
        return self._loop.rounds

    @property
    def is_merging(self) -> bool:
        """Whether a partition is being merged now."""
        return self._builder is not None

    def start(self) -> None:
        self._loop.start()

    def ask_to_stop(self) -> None:
        """Begin nothing more."""
        self._loop.ask_to_stop()

    def close(self) -> None:
        """Stop; what is being merged then is given a moment, then broken off: somebody else does it later.

        A thread that still computed while the interpreter ends would take the process down with it.
        """
        self._loop.close()
        deadline = time.monotonic() + BREAK_OFF_SECONDS
        while self._loop.is_alive and time.monotonic() < deadline:
            if self._builder is not None:
                self._builder.interrupt()
            self._loop.wait(_AGAIN_SECONDS)

    def _round(self) -> None:
        self._forget()
        for name, partition in self._due():
            self._merge(name, partition)

    def _forget(self) -> None:
        if time.monotonic() - self._forgot > FORGET_SECONDS:
            kept = timedelta(seconds=self._warehouse.settings.ingest_keep_seconds)
            self._warehouse.catalog.ingestions.forget(older_than=kept)
            self._forgot = time.monotonic()

    def _due(self) -> Iterator[tuple[str, PartitionRecord]]:
        """Open partitions with many small deltas, the fullest of each dataset first."""
        if not self._deltas:
            return
        catalog = self._warehouse.catalog
        for record in catalog.datasets.all():
            if record.name not in self._warehouse.datasets or self.is_waiting_with(record.name):
                continue
            if self._seen.get(record.name) == record.manifest_version:
                continue
            self._seen[record.name] = record.manifest_version
            full = [one for one in catalog.partitions.of(record.id) if one.state == "open" and one.fresh_deltas > self._deltas]
            for partition in sorted(full, key=lambda one: one.fresh_deltas, reverse=True):
                if self._loop.is_stopping:
                    return
                yield record.name, partition

    def _merge(self, name: str, found: PartitionRecord) -> None:
        warehouse = self._warehouse
        began = time.monotonic()
        dataset = warehouse.datasets.get(name)
        if dataset is None:  # dropped or renamed just now
            return
        try:
            with self._building() as builder:
                builder.build(dataset, found.partition, close=False, actor="service")
        except duckdb.InterruptException:
            self._log.note("merge_broken_off", dataset=name, partition=found.partition.key)
        except ConflictError:
            self._pause(name)  # somebody else builds it, which is as good
        except TimestoreError as error:
            self._pause(name)
            self._log.warn("merge_failed", dataset=name, partition=found.partition.key, reason=type(error).__name__)
        else:
            self._pauses.pop(name, None)
            seconds = time.monotonic() - began
            self._metrics.observe_build(dataset=name, seconds=seconds)
            self._log.note(
                "merged", dataset=name, partition=found.partition.key, deltas=found.fresh_deltas, seconds=round(seconds, 3)
            )

    @contextmanager
    def _building(self) -> Iterator[Builder]:
        """A builder that another thread can interrupt."""
        warehouse = self._warehouse
        with Builder(replace(warehouse.writing, limits=self._limits)) as builder:
            self._builder = builder
            try:
                yield builder
            finally:
                self._builder = None

    def is_waiting_with(self, name: str) -> bool:
        """Whether a dataset is left alone for a while, because it could not be built."""
        return time.monotonic() < self._pauses.get(name, (0.0, 0.0))[0]

    def _pause(self, name: str) -> None:
        """Leave a dataset alone, twice as long each time, and then look at it again."""
        self._seen.pop(name, None)
        seconds = min(LONGEST_PAUSE_SECONDS, 2 * self._pauses.get(name, (0.0, EVERY_SECONDS))[1])
        self._pauses[name] = (time.monotonic() + seconds, seconds)
