"""Objects as their targets hold them now, past every cache: what a proof has to look at."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from timestore_assets.model.objects import ObjectName, Placed
from timestore_assets.storage.targets import Storage


class Afresh:
    """`port.Readable` that fetches each object from its target once, until it is told to forget; for one thread."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._fetched: dict[ObjectName, Path] = {}

    @contextmanager
    def reading(self, objects: Sequence[Placed], *, columns: Sequence[str] | None = None) -> Iterator[list[Path]]:
        """See `port.Readable`; whole objects, whatever the columns.

        Raises:
            BadFileError: an object is not what was written.
        """
        with ExitStack() as stack:
            yield [self._path(one, stack, columns) for one in objects]

    def forget(self) -> None:
        """Remove what was fetched."""
        for path in self._fetched.values():
            shutil.rmtree(path.parent, ignore_errors=True)
        self._fetched.clear()

    def _path(self, one: Placed, stack: ExitStack, columns: Sequence[str] | None) -> Path:
        if self._storage.path(one) is not None:
            return stack.enter_context(self._storage.reading([one], columns=columns))[0]
        name = ObjectName(one.storage, one.name)
        if name not in self._fetched:
            target = self._storage.target(one.storage)
            folder = target.staging("verify")
            try:
                target.fetch(one.name, folder / Path(one.name).name)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            self._fetched[name] = folder / Path(one.name).name
        return self._fetched[name]
