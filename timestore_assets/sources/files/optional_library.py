"""Libraries that only some formats need: where one is missing the file is refused, and the others beside it are read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from timestore_assets.extras import Extra, extra
from timestore_assets.model.errors import BadFileError, MissingExtraError


@contextmanager
def format_library(name: Extra) -> Iterator[None]:
    """While the library of a format is imported.

    Raises:
        BadFileError: `missing_package`; the reason says how it is installed.
    """
    try:
        with extra(name):
            yield
    except MissingExtraError as error:
        raise BadFileError("missing_package", str(error)) from None
