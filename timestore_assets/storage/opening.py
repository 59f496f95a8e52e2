"""From settings to the storage: which targets there are, and what opens each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from timestore_assets.model.objects import DEFAULT_TARGET
from timestore_assets.storage.targets import Storage

if TYPE_CHECKING:
    from timestore_assets.settings import Settings
    from timestore_assets.storage.port import ObjectStore


def open_storage(settings: Settings) -> Storage:
    """The storage that the settings describe; nothing is reached before a target is used.

    Raises:
        InputError: a setting of a target is missing or makes no sense.
    """
    return Storage({DEFAULT_TARGET: lambda: _local(settings.data_folder)})


def _local(root: Path) -> ObjectStore:
    from timestore_assets.storage.local import LocalStore

    return LocalStore(root, staging_root=root / ".staging")
