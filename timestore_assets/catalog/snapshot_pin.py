"""A manifest version pinned against collection for as long as somebody reads it.

Where the catalog takes no writes, a version is read without a pin, and the reader is told.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from datetime import timedelta

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.lease_keeper import Expiring
from timestore_assets.catalog.records import Lease, TopicPartition
from timestore_assets.model.errors import RefusedError, StorageFullError, TimestoreError, UnavailableError, UnwritableError

LOG = logging.getLogger(__name__)
PIN_TTL = timedelta(hours=1)
"""How long a version stays pinned when nothing renews it; an answer that is being read renews it."""
UNPINNED = (
    "the catalog can't be written, so the version that is read is not protected: "
    "should a collection remove it meanwhile, the answer breaks off and has to be asked again"
)


class SnapshotPin(Expiring):
    """A version that is held for as long as somebody reads it, by a shared lease or, where none can be written, only in memory.

    Who reads on calls `renew_if_due`, so that a version does not stay pinned by an answer that nobody reads any more.

    Attributes: `version`; `topics`, the checkpoints at that version, if asked for; `risk`, what may happen to a reader without a
    lease, empty when there is one.
    """

    def __init__(
        self,
        catalog: Catalog,
        dataset_id: int,
        *,
        version: int | None,
        holder: str,
        ttl: timedelta = PIN_TTL,
        with_topics: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Pin a version (None = newest, always so `with_topics`); RefusedError when it has been collected or never was."""
        super().__init__(ttl, clock=clock)
        self._catalog, self._dataset_id = catalog, dataset_id
        self.risk = ""
        self.topics: Sequence[TopicPartition] = ()
        self._lease: Lease | None = None
        self._lasts_from(clock())
        try:
            if with_topics:
                self.version, self._lease, self.topics = catalog.versions.pin_with_topics(dataset_id, holder=holder, ttl=ttl)
            else:
                self.version, self._lease = catalog.versions.pin(dataset_id, version=version, holder=holder, ttl=ttl)
        except (UnwritableError, StorageFullError) as error:
            LOG.debug("a version is read without a pin: %s", error)
            self.risk = UNPINNED
            self.version, self.topics = catalog.versions.look(dataset_id, version=None if with_topics else version)

    def __str__(self) -> str:
        return f"the pin on version {self.version} of dataset {self._dataset_id}"

    @property
    def warnings(self) -> tuple[str, ...]:
        """What may happen to the answer because the version could not be pinned."""
        return (self.risk,) if self.risk else ()

    def confirm(self) -> None:
        """See that a version read without a lease was still whole by now.

        Raises:
            UnavailableError: it was collected.
        """
        if not self.risk:
            return
        try:
            self._catalog.versions.look(self._dataset_id, version=self.version)
        except RefusedError:
            raise UnavailableError("what is read was collected meanwhile, since it couldn't be pinned; ask again") from None

    def _renewed(self) -> bool:
        if self._lease is None:
            self.confirm()
            return True
        try:
            renewed = self._catalog.leases.renew(self._lease, ttl=self._ttl)
        except (UnwritableError, StorageFullError) as error:
            LOG.debug("a pin can't be renewed: %s", error)
            self.risk = UNPINNED
            self.confirm()
            return True
        if renewed is None:
            return False
        self._lease = renewed
        return True

    def _give_back(self) -> None:
        if self._lease is not None:
            self._catalog.leases.release(self._lease)

    def _loss(self) -> TimestoreError:
        # no conflict with anybody: the same question can be asked again
        return UnavailableError("reading paused for so long that what is read may have been collected; ask again")
