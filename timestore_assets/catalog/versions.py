"""Compare and set by a version that rises with every change."""

from __future__ import annotations

from timestore_assets.model.errors import ConflictError


def require_version(what: str, found: int, wanted: int | None) -> int:
    """The version found, 0 for none; ConflictError when another was wanted."""
    if wanted is not None and wanted != found:
        there = f"is at version {found}" if found else "does not exist"
        raise ConflictError(f"{what} {there}, not at version {wanted}; read it again and decide anew")
    return found
