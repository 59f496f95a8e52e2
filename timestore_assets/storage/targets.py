"""All storage targets of a deployment: objects are written to one of them and read from wherever they are.

Which there are, and what opens each, say the settings.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from timestore_assets.model.errors import InputError
from timestore_assets.model.segment import DEFAULT_TARGET, ObjectName, Placed, object_size
from timestore_assets.model.target import StorageTarget
from timestore_assets.storage.object_store import ObjectRequest, ObjectStore
from timestore_assets.storage.target_settings import configured_targets

if TYPE_CHECKING:
    from timestore_assets.settings import Settings
    from timestore_assets.storage.cache.read_cache import ReadCache
    from timestore_assets.storage.object_store import ObjectStore


class Storage:
    """The storage targets by name. Each is opened when it is first used, so one that is away disturbs only what is there.

    Thread-safe. `openers`: makes a target's store; it is called once.
    """

    def __init__(self, openers: Mapping[str, Callable[[], ObjectStore]]) -> None:
        self._openers = dict(openers)
        self._opened: dict[str, ObjectStore] = {}
        self.claimed: dict[tuple[str, str], float] = {}
        """When this process last made sure of a target, by the warehouse's catalog and the target's name; see `ownership`."""
        self._lock = threading.Lock()

    @classmethod
    def of(cls, store: ObjectStore) -> Storage:
        """One store as the only target."""
        return cls({DEFAULT_TARGET: lambda: store})

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the targets, the default one first."""
        return tuple(sorted(self._openers, key=lambda name: (name != DEFAULT_TARGET, name)))

    def target(self, name: str) -> ObjectStore:
        """The store of a target.

        Raises:
            InputError: no target of that name is set up, or its settings are wrong.
            UnavailableError: it can't be reached.
        """
        with self._lock:
            if name not in self._opened:
                opener = self._openers.get(name)
                if opener is None:
                    known = ", ".join(self.names)
                    raise InputError(
                        f"no storage target is named {name!r}; TIMESTORE_STORAGE_TARGETS sets them up, there are: {known}"
                    )
                self._opened[name] = opener()
            return self._opened[name]

    @contextmanager
    def reading(self, objects: Sequence[Placed], *, columns: Sequence[str] | None = None) -> Iterator[list[Path]]:
        """See `object_store.ObjectReader`."""
        wanted = None if columns is None else frozenset(columns)
        # several segments may lie in one object, which is asked for once
        places: dict[str, dict[str, Placed]] = defaultdict(dict)
        for one in objects:
            places[one.storage].setdefault(one.name, one)
        paths: dict[ObjectName, Path] = {}
        with ExitStack() as stack:
            for target, named in places.items():
                asked = [ObjectRequest(name=name, bytes=object_size(one), columns=wanted) for name, one in named.items()]
                found = stack.enter_context(self.target(target).reading(asked))
                paths |= {ObjectName(target, name): path for name, path in zip(named, found, strict=True)}
            yield [paths[ObjectName(one.storage, one.name)] for one in objects]

    def address(self, placed: Placed) -> str:
        """The URI of an object."""
        return self.target(placed.storage).address(placed.name)

    def path(self, placed: Placed) -> Path | None:
        """The object's own file, for as long as the object is there; None when it is not on this machine."""
        return self.target(placed.storage).path(placed.name)

    def delete(self, objects: Iterable[ObjectName]) -> None:
        """Delete objects wherever they are; a missing one is no error."""
        by_target: dict[str, list[str]] = defaultdict(list)
        for one in objects:
            by_target[one.storage].append(one.name)
        for name, names in by_target.items():
            self.target(name).delete(names)

    def sweep_staging(self, older_than_seconds: float) -> int:
        """Remove staging folders left by dead processes, of all targets; returns how many."""
        return sum(self.target(name).sweep_staging(older_than_seconds) for name in self.names)


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalObjects:
    """Objects that somebody else holds as local files: for a process that must not know how to reach their targets."""

    paths: Mapping[ObjectName, Path]

    @contextmanager
    def reading(self, objects: Sequence[Placed], *, columns: Sequence[str] | None = None) -> Iterator[list[Path]]:  # noqa: ARG002 - they lie here whole
        """See `object_store.ObjectReader`."""
        yield [self.paths[ObjectName(one.storage, one.name)] for one in objects]


def open_storage(settings: Settings) -> Storage:
    """The storage that the settings describe; nothing is reached before a target is used.

    Raises:
        InputError: a setting of a target is missing or makes no sense.
    """
    opening = _Opening(settings)
    return Storage({name: partial(opening.open, target) for name, target in configured_targets(settings).items()})


class _Opening:
    """Opens targets. Those in buckets share one read cache, which is made with the first of them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._cache: ReadCache | None = None

    def open(self, target: StorageTarget) -> ObjectStore:
        if target.driver == "local":
            return _local(Path(target.root))
        from timestore_assets.storage.remote.remote_store import RemoteStore

        staging = self._settings.home_folder / "staging" / target.name
        return RemoteStore(target, self._settings, staging_root=staging, cache=self._shared_cache())

    def _shared_cache(self) -> ReadCache:
        # `Storage` opens one target at a time
        if self._cache is None:
            from timestore_assets.storage.cache.read_cache import ReadCache

            settings = self._settings
            self._cache = ReadCache(settings.cache_folder, settings.query_cache_max_bytes, range_bytes=settings.query_range_bytes)
        return self._cache


def _local(root: Path) -> ObjectStore:
    from timestore_assets.storage.local import LocalStore

    return LocalStore(root, staging_root=root / ".staging")
