"""The first bytes of objects that were looked at lately: to find its format, header and records a file is opened thrice."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer

MOST = 16
"""Beginnings that are kept; each is a megabyte at most."""


class Beginnings:
    """Remembers the last few, by whatever tells objects and their contents apart. Thread-safe."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._found: OrderedDict[Hashable, Buffer] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, content: Hashable) -> Buffer | None:
        """None when it is not remembered."""
        with self._lock:
            if content in self._found:
                self._found.move_to_end(content)
            return self._found.get(content)

    def keep(self, content: Hashable, beginning: Buffer) -> None:
        """Remember it, in place of the one that was asked for least lately."""
        with self._lock:
            self._found[content] = beginning
            self._found.move_to_end(content)
            while len(self._found) > self._most:
                self._found.popitem(last=False)
