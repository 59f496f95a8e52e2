"""What goes on beside the requests: rounds of work in a thread of its own, until the service ends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from timestore_assets.model.errors import InputError, TimestoreError

if TYPE_CHECKING:
    from timestore_assets.service.service_log import Log


class BackgroundLoop:
    """Does a round of work every so often; a round that fails is said in the log, and the next one comes all the same.

    Args:
        name: of the thread, and of the lines in the log: `NAME_wait` for an error of ours, once however long it goes on for
            the same reason, and `NAME_failed` for any other.
        every: seconds between two rounds. patience: seconds that closing waits for the round that is under way.
    """

    def __init__(self, work: Callable[[], None], *, name: str, every: float, patience: float, log: Log) -> None:
        self._work, self._name, self._every, self._patience, self._log = work, name, every, patience, log
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._said = ""
        self.rounds = 0
        """How many are over, whatever came of them."""

    @property
    def is_stopping(self) -> bool:
        """Whether no more work should be begun."""
        return self._stopped.is_set()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def start(self) -> None:
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Begin no other round."""
        self._stopped.set()

    def close(self) -> None:
        """Stop; a round that takes longer than that is left behind, and ends with the process."""
        self.ask_to_stop()
        self.wait(self._patience)

    def wait(self, seconds: float) -> None:
        """Until the last round is over, so long at most; at once if it was never started."""
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _run(self) -> None:
        while not self._stopped.wait(self._every):
            try:
                self._work()
                self._said = ""
            except TimestoreError as error:
                # what is wrong in a setting or a file says how to mend it; other sentences may have addresses in them
                reason = str(error) if isinstance(error, InputError) else type(error).__name__
                if reason != self._said:
                    self._log.warn(f"{self._name}_wait", reason=reason)
                self._said = reason
            except Exception as error:  # the service lives on without this, and says so
                self._log.failure(f"{self._name}_failed", error)
            self.rounds += 1
