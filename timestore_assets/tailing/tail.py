"""Tails one source in a thread of its own: for as long as somebody asks, and again whenever it was broken off."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.records import SourceRecord
from timestore_assets.model.dataset import Dataset, KafkaSource
from timestore_assets.model.errors import MissingExtraError, TimestoreError
from timestore_assets.querying.answer import BufferState
from timestore_assets.tailing.following import BufferLimits, Following, TailProgress
from timestore_assets.tailing.judge import Judge

if TYPE_CHECKING:
    from timestore_assets.sources.kafka.kafka_topics import KafkaTopics

START_SECONDS = 1.0
"""How long the first questions wait until what there was at the start has been read."""
BEHIND_SECONDS = 1.0
"""How long there may be more to read until what is held no longer counts as all there is."""
STUCK_SECONDS = 5.0
"""How long a step of the thread may take until it counts as stuck."""
LOG = logging.getLogger(__name__)

TROUBLE = "its topics can't be read now"
_RETRY_SECONDS = 1.0
_PASS_SECONDS = 0.2
"""How long a question waits at most for what has been read and not judged yet."""
_ASKED_SECONDS = 5.0
_STEP_SECONDS, _UNASKED_STEP_SECONDS = 0.005, 0.05
_JOIN_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class TailView:
    """What a tail has at a moment. `source_id`: the catalog's. `reason`: why it is not `ready`, without names of hosts."""

    source_id: int
    source: KafkaSource
    progress: TailProgress
    state: BufferState
    seconds_behind: float
    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class TailMeans:
    """What a tail reads and judges with, and for how long."""

    connect: Callable[[], KafkaTopics]
    """The topics by the settings of the moment, since brokers may come back at another address."""
    make_judge: Callable[[], Judge]
    bounds: BufferLimits
    idle_seconds: float
    """It ends when nobody has asked for so long."""


class Tail:
    """Begins at once; a thread follows the topics until it is stopped or nobody has asked for long. `known`: the source."""

    def __init__(
        self,
        catalog: Catalog,
        dataset: Dataset,
        source: KafkaSource,
        known: SourceRecord,
        means: TailMeans,
    ) -> None:
        self.dataset, self.source = dataset, source
        self._catalog, self._known, self._connect, self._make_judge = catalog, known, means.connect, means.make_judge
        self._bounds, self._idle_seconds = means.bounds, means.idle_seconds
        self._progress = TailProgress(watermark=known.watermark)
        self._following: Following | None = None
        self._reached = False
        self._asked = time.monotonic()
        self._settled, self._stopped = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._passed = threading.Condition()
        self._wanted = False
        self._begun = self._done = 0
        self._ended = False
        self._wait_until = time.monotonic() + START_SECONDS
        self._thread = threading.Thread(target=self._run, name=f"tail-{dataset.name}", daemon=True)
        self._thread.start()

    # --- by those who ask

    @property
    def dataset_id(self) -> int:
        """Of the dataset in the catalog, whose checkpoints these are."""
        return self._known.dataset_id

    def keep(self) -> bool:
        """Keep it going; False when it has ended."""
        with self._lock:
            if not self._ended:
                self._asked = time.monotonic()
            return not self._ended

    def settle(self) -> None:
        """Wait shortly: for a tail that has just begun, and until what it has read by now is judged."""
        self._settled.wait(max(0.0, self._wait_until - time.monotonic()))
        following = self._following
        if following is not None and following.has_news():
            with self._passed:
                self._wanted, after = True, self._begun
                self._passed.wait_for(lambda: self._done > after, _PASS_SECONDS)

    @property
    def has_ended(self) -> bool:
        return self._ended

    def view(self) -> TailView:
        """What it has now."""
        progress, now = self._progress, time.monotonic()
        behind = max((now - since for since in progress.behind_since.values()), default=0.0)
        state, reason = self._judged(progress, behind, now - progress.seen)
        return TailView(
            source_id=self._known.id,
            source=self.source,
            progress=progress,
            state=state,
            seconds_behind=behind,
            reason=reason,
        )

    def stop(self) -> None:
        """Ask it to end; `join` waits for that."""
        self._stopped.set()

    def join(self) -> None:
        self._thread.join(_JOIN_SECONDS)

    def _judged(self, progress: TailProgress, behind: float, unseen: float) -> tuple[BufferState, str]:
        if progress.trouble or self._ended:
            return "unavailable", progress.trouble or "tailing its topics has ended; the next question begins it again"
        if not progress.going:
            silent = not self._reached and time.monotonic() >= self._wait_until
            return ("unavailable", "its brokers have not answered yet") if silent else ("starting", "tailing has just begun")
        if progress.full:
            return "full", "more waits to be landed than may be held"
        if not self._settled.is_set() or behind > BEHIND_SECONDS or unseen > STUCK_SECONDS:
            return "starting", f"tailing is {max(behind, unseen):.1f} s behind"
        return "ready", ""

    # --- the thread

    def _run(self) -> None:
        try:
            while not self._is_over():
                try:
                    self._follow()
                except TimestoreError:
                    self._stopped.wait(_RETRY_SECONDS)
                except Exception:  # the thread is what queries wait for; what broke it once may be gone when it reads again
                    LOG.exception("reading the topics of %r ahead of landing broke off", self.dataset.name)
                    self._stopped.wait(_RETRY_SECONDS)
        finally:
            with self._lock:
                self._ended = True
            self._settled.set()

    def _follow(self) -> None:
        """One stretch of following; how it ended is told before the brokers are let go, which takes a while."""
        judge = self._make_judge()
        trouble = ""
        try:
            following = Following(self._catalog, self.dataset.name, self._known, self._connect(), judge, self._bounds)
            self._following, self._reached = following, True
            while not self._is_over() and self._pass(following):
                if not self._progress.behind_since or self._progress.full:
                    self._settled.set()
        except Exception as error:
            trouble = str(error) if isinstance(error, MissingExtraError) else TROUBLE
            raise
        finally:
            # what was held is from before the break; checkpoints may have gone anywhere since
            self._progress = TailProgress(watermark=self._progress.watermark, trouble=trouble)
            ended, self._following = self._following, None
            if trouble:
                self._settled.set()
            if ended is not None:
                ended.close()
            judge.close()

    def _pass(self, following: Following) -> bool:
        """A step, which those who wait for one that began after them are told of."""
        with self._passed:
            self._begun += 1
            wanted, self._wanted = self._wanted, False
        asked = time.monotonic() - self._asked < _ASKED_SECONDS
        goes_on = following.step(wanted=wanted, seconds=_STEP_SECONDS if asked else _UNASKED_STEP_SECONDS)
        self._progress = following.progress
        with self._passed:
            self._done = self._begun
            self._passed.notify_all()
        return goes_on

    def _is_over(self) -> bool:
        if self._stopped.is_set():
            return True
        with self._lock:
            if time.monotonic() - self._asked > self._idle_seconds:
                self._ended = True
        return self._ended
