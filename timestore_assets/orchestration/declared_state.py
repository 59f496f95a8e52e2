"""What is declared at a moment, as cheaply as can be told whether that has changed: no declaration is read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from timestore_assets.catalog.open_catalog import open_catalog
from timestore_assets.declarations import declaration_files
from timestore_assets.model.errors import TimestoreError
from timestore_assets.settings import Settings

_PATIENCE_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class DeclaredState:
    """Two of them are equal when nothing was declared, changed or withdrawn between them."""

    files: tuple[tuple[str, int, int], ...]
    """Path, time of the last change in nanoseconds, and size of each file."""
    over_http: tuple[tuple[str, int], ...] | None
    """Name and version of each declaration in the catalog, and each name that was given up, with the moment; None when it could
    not be asked."""

    def differs(self, before: DeclaredState) -> bool:
        """Whether something is declared otherwise than before, as far as is known now.

        What could not be asked before counts as nothing: what is declared there was missing then.
        """
        return self.files != before.files or (self.over_http is not None and self.over_http != (before.over_http or ()))


def declared_state(settings: Settings) -> DeclaredState:
    """Of the declaration folders, the project around this process, and the catalog."""
    return DeclaredState(files=tuple(sorted(_files(settings))), over_http=_over_http(settings))


def _files(settings: Settings) -> Iterator[tuple[str, int, int]]:
    in_project = settings.project_defs.rglob("defs.yaml") if settings.project_defs is not None else ()
    for path in {*_in_folders(settings), *in_project}:
        try:
            status = path.stat()
        except OSError:  # it goes while we look
            continue
        yield str(path), status.st_mtime_ns, status.st_size


def _in_folders(settings: Settings) -> Iterator[Path]:
    try:
        yield from declaration_files(settings.declaration_folders)
    except TimestoreError:  # a folder that is none is said by whoever reads it
        return


def _over_http(settings: Settings) -> tuple[tuple[str, int], ...] | None:
    if not settings.is_on_postgres and not (settings.home_folder / "catalog.sqlite").exists():
        return ()
    try:
        catalog = open_catalog(settings, patience=_PATIENCE_SECONDS)
        try:
            declared = [(found.name, found.version) for found in catalog.declarations.listed()]
            given_up = [(f"no {former.name}", round(former.at.timestamp() * 1e6)) for former in catalog.life.former()]
            return tuple(sorted([*declared, *given_up]))
        finally:
            catalog.close()
    except TimestoreError:
        return None
