"""From settings to the storage: which targets there are, and what opens each."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from timestore_assets.model.target import StorageTarget
from timestore_assets.storage.target_settings import configured_targets
from timestore_assets.storage.targets import Storage

if TYPE_CHECKING:
    from timestore_assets.settings import Settings
    from timestore_assets.storage.cache.read_cache import ReadCache
    from timestore_assets.storage.port import ObjectStore


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
