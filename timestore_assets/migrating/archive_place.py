"""Where archives of dropped columns go, and as what: said by the manifest, or by whoever carries it out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from timestore_assets.migrating.migration_manifest import ArchiveFormat, MigrationManifest
from timestore_assets.model.errors import InputError


@dataclass(frozen=True, kw_only=True, slots=True)
class InFolder:
    """A folder of this machine, outside of what the warehouse looks after."""

    folder: Path
    format: ArchiveFormat = "jsonl"


@dataclass(frozen=True, kw_only=True, slots=True)
class InTarget:
    """A storage target, by its name."""

    target: str
    format: ArchiveFormat = "jsonl"


ArchivePlace = InFolder | InTarget


def place_of(
    manifest: MigrationManifest,
    *,
    folder: Path | None = None,
    target: str | None = None,
    format: ArchiveFormat | None = None,
) -> ArchivePlace | None:
    """Where a migration's archives go: what is said here stands in for what the manifest says; None where nothing is said.

    Raises:
        InputError: both a folder and a target are named.
    """
    if folder is not None and target is not None:
        raise InputError("archives go into a folder or into a storage target: name one of them")
    if folder is None and target is None:
        folder = Path(manifest.archive_directory) if manifest.archive_directory is not None else None
        target = manifest.archive_target
    as_what = format or manifest.archive_format
    if target is not None:
        return InTarget(target=target, format=as_what)
    return None if folder is None else InFolder(folder=folder, format=as_what)
