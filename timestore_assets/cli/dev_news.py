"""What happens while `dev` runs and a person should know: Dagster's errors, and declarations that come, change or are wrong."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

from timestore_assets.cli.dagster_output import LogFollower, errors_in
from timestore_assets.model.errors import TimestoreError

if TYPE_CHECKING:
    from timestore_assets.model.dataset import Dataset
    from timestore_assets.settings import Settings


class DevNews:
    """Asked again and again; each call gives the lines that are new.

    Args:
        log: Dagster's, None when it is shown anyway.
        reload: has Dagster load what is declared now, and raises what it could not; None where a sensor does so.
    """

    def __init__(self, log: Path | None, settings: Settings, *, reload: Callable[[], None] | None = None) -> None:
        from timestore_assets.orchestration.declared_state import declared_state

        self._follower = LogFollower(log) if log is not None else None
        self._settings, self._reload, self._shown = settings, reload, ""
        self._state = self._told = declared_state(settings)
        self._known = self._read()
        self._answers = SimpleQueue[str]()

    def lines(self) -> Iterator[str]:
        yield from self._of_dagster()
        yield from self._of_declarations()
        while not self._answers.empty():
            yield self._answers.get()

    def _of_dagster(self) -> Iterator[str]:
        for error in errors_in(self._follower.lines()) if self._follower is not None else ():
            # what fails every few seconds is said once; what is wrong with a declaration is said below
            if error != self._shown and not error.startswith("sensor timestore_reload:"):
                self._shown = error
                yield error

    def _of_declarations(self) -> Iterator[str]:
        """Said when two looks agree, so not of a half-written file. Of what comes over HTTP nothing: it is answered there."""
        from timestore_assets.orchestration.declared_state import declared_state

        before, self._state = self._state, declared_state(self._settings)
        if self._state.differs(before) or not self._state.differs(self._told):
            return
        self._told = self._state
        known = self._read()
        if isinstance(known, TimestoreError):
            yield f"{known}; Dagster goes on with what it had, until that is mended"
            return
        words = _changes({} if isinstance(self._known, TimestoreError) else self._known, known)
        self._known = known
        if words:
            yield f"declarations: {words}; Dagster loads them in some seconds"
        if self._reload is not None:
            threading.Thread(target=self._load, args=(self._reload,), name="reload", daemon=True).start()

    def _load(self, reload: Callable[[], None]) -> None:
        try:
            reload()
        except TimestoreError as error:
            self._answers.put(str(error))

    def _read(self) -> dict[str, Dataset] | TimestoreError:
        from timestore_assets.declarations import read_declarations

        try:
            return read_declarations(self._settings.declaration_folders, project=self._settings.project_defs)
        except TimestoreError as error:
            return error


def _changes(before: dict[str, Dataset], after: dict[str, Dataset]) -> str:
    kinds = {
        "new": after.keys() - before.keys(),
        "gone": before.keys() - after.keys(),
        "changed": {name for name in after.keys() & before.keys() if after[name] != before[name]},
    }
    return "; ".join(
        f"{', '.join(sorted(names))} {'is' if len(names) == 1 else 'are'} {kind}" for kind, names in kinds.items() if names
    )
