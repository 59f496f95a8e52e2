"""Landing with small partitions that share files, or that have their own, however few there are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from timestore_assets.segments import shared_file


@contextmanager
def sharing(is_on: bool = True) -> Iterator[None]:
    """Inside the block all partitions of a commit share a file, or each has its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared_file, "MANY_WINDOWS", 1 if is_on else 1_000_000_000)
        yield
