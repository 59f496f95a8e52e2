"""Names of objects in a store: which are allowed, and why the rest is not."""

from __future__ import annotations

from timestore_assets.model.errors import InputError

_LONGEST_PART = 255  # bytes; the limit of a file name on the usual file systems


def checked(name: str) -> str:
    """The name, when every store can hold it below its root.

    Parts are separated by `/`; none is empty, begins with a dot, or holds a backslash or control character.

    Raises:
        InputError: the name could lead outside the root, into the staging area, or nowhere.
    """
    for part in name.split("/"):
        if not part or part.startswith(".") or "\\" in part or not part.isprintable() or len(part.encode()) > _LONGEST_PART:
            raise InputError(f"{name!r} is no object name: its part {part!r} is empty, too long, hidden or has odd characters")
    return name
