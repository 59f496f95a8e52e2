"""Where an object is: a name in a storage target."""

from __future__ import annotations

from typing import NamedTuple, Protocol

DEFAULT_TARGET = "default"
"""The storage target that `TIMESTORE_STORAGE_DRIVER` and its neighbours describe."""


class ObjectName(NamedTuple):
    """An object that the catalog knows, or knew. `storage`: name of its target. `name`: path inside it, `/`-separated."""

    storage: str
    name: str


class Placed(Protocol):
    """Whatever is stored as one object: a segment, a file of dead letters."""

    @property
    def storage(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def bytes(self) -> int: ...
