"""What a verification can find, and what a person does about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Problem = Literal["missing", "unreadable", "bytes", "digest", "rows", "times", "statistics", "content", "tag"]
LOST = frozenset[Problem]({"missing", "unreadable", "digest"})
"""The rows of an object can't be had from it."""
ADVICE: dict[Problem, str] = {
    "missing": "restore the object from the bucket's versions or a backup, or land its source again",
    "unreadable": "restore the object from the bucket's versions or a backup, or land its source again",
    "digest": "restore the object from the bucket's versions or a backup, or land its source again",
    "bytes": "restore the object from the bucket's versions or a backup, or land its source again",
    "rows": "restore the catalog and the object from the same backup, or land its source again",
    "content": "restore the partition's objects from a backup, or land its sources again and build it",
    "times": "`timestore verify --repair --yes` writes them anew from the file",
    "statistics": "`timestore verify --repair --yes` writes them anew from the file",
    "tag": "remove the tag: its version is gone",
}
"""What to do about each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that is not as catalogued. `object`: an object's name, a partition's key for `content`, or a tag."""

    object: str
    problem: Problem
    detail: str
